"""`cutouts make` and `cutouts validate` on a small sky of real FITS bricks in a real database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, select, update

from db.errors import MissingInputError
from db.models.imaging import Cutout, CutoutMetric, Gate, ShortcutFeature
from etl.cutouts.commands import EXIT_NO_GO, N_REASONS
from etl.cutouts.files import read_cutout
from etl.cutouts.make import make_cutouts
from etl.validation.validate import ValidationConfig, validate_cutouts
from tests.etl.cutout_sky import HOLED_BRICK, N_BRICKS, N_MEMBERS, Sky, brick_name, make_sky, write_bricks


@pytest.fixture(scope="module")
def small_bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bricks(tmp_path_factory.mktemp("bricks"))


@pytest.fixture
def sky(engine: Engine, small_bricks: Path, tmp_path: Path) -> Sky:
    return make_sky(engine, small_bricks, tmp_path / "store")


def test_every_member_gets_its_file_and_its_row(sky: Sky) -> None:
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert (summary.n_targets, summary.n_present, summary.n_without_brick, summary.failed) == (N_MEMBERS, 0, 0, [])
    assert summary.n_by_status == {"ok": N_MEMBERS - 2, "partial": 1, "rejected": 1}
    rows = sky.cutouts()
    assert len(rows) == N_MEMBERS
    for row in rows.values():
        assert (row["survey"], row["layer"], row["source"], row["bands"]) == ("mock", "mock", "coadd", "grz")
        if row["status"] == "rejected":
            assert row["brickname"] == brick_name(HOLED_BRICK)
            assert "centre lack data in z" in str(row["reject_reason"])
            continue
        data = sky.store.get_bytes(str(row["uri"]))
        assert len(data) == row["n_bytes"]
        cutout = read_cutout(data)
        assert cutout.meta["meta_cutout_type"] == ("positive" if row["lens_id"] else "negative")
        assert cutout.meta["meta_brickname"] == row["brickname"]
        # The middle of every image is the brightest pixel of its galaxy, which the twin's lens lies 3 pixels from.
        peak = np.unravel_index(np.argmax(cutout.pixels[45:56, 45:56, 1]), (11, 11))
        assert peak in {(5, 5), (5, 2)}


def test_keys_use_the_object_number_or_the_name_where_that_is_not_unique(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    positives = sky.store.keys("cutouts/positives/v1/")
    assert "cutouts/positives/v1/0000m040_0.npz" in positives
    assert "cutouts/positives/v1/0001m040_DESI-001.0-04.0.npz" in positives
    assert {key for key in positives if "0002m040" in key} == {
        "cutouts/positives/v1/0002m040_DESI-002.0-04.0.npz",
        "cutouts/positives/v1/0002m040_DESI-002.1-04.0.npz",
    }
    assert "cutouts/negatives/v1/0000m040_4.npz" in sky.store.keys("cutouts/negatives/v1/")


def test_a_second_run_does_nothing_and_a_lost_file_comes_back_with_its_bytes(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    before = sky.cutouts()
    again = make_cutouts(sky.engine, sky.config(), sky.address)
    assert again.n_present == N_MEMBERS
    assert sum(again.n_by_status.values()) == 0
    key = "cutouts/positives/v1/0000m040_0.npz"
    data = sky.store.get_bytes(key)
    (sky.store.root / key).unlink()
    restored = make_cutouts(sky.engine, sky.config(), sky.address)
    assert sum(restored.n_by_status.values()) == 1
    assert sky.store.get_bytes(key) == data
    assert sky.cutouts() == before


def test_worker_processes_make_the_same_files_as_one(sky: Sky, tmp_path: Path) -> None:
    make_cutouts(sky.engine, sky.config(version="a", n_workers=2), sky.address)
    seen: list[tuple[int, int]] = []
    make_cutouts(sky.engine, sky.config(version="b"), sky.address, lambda done, total: seen.append((done, total)))
    by_version: dict[object, set[object]] = {"a": set(), "b": set()}
    for row in sky.cutouts().values():
        by_version[row["version"]].add((row["lens_id"], row["ls_id"], row["sha256"], row["status"]))
    assert by_version["a"] == by_version["b"]
    assert len(by_version["a"]) == N_MEMBERS
    assert seen[-1] == (N_MEMBERS, N_MEMBERS)


def test_files_without_rows_after_a_crash_are_made_again(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    import etl.cutouts.record as stage

    def crash(*arguments: object) -> int:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(stage, "copy_arrow", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            make_cutouts(sky.engine, sky.config(), sky.address)
    assert sky.count(Cutout) == 0
    files = sky.store.keys("cutouts/positives/v1/")
    assert files
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert summary.n_present == 0
    assert sky.count(Cutout) == N_MEMBERS
    assert sky.store.keys("cutouts/positives/v1/") == files


def test_a_brick_without_files_is_named_and_the_others_go_on(sky: Sky, tmp_path: Path) -> None:
    coadds = tmp_path / "fewer"
    (coadds / "coadd").mkdir(parents=True)
    for folder in sorted((sky.coadds / "coadd" / "000").iterdir())[1:]:
        (coadds / "coadd" / "000").mkdir(exist_ok=True)
        (coadds / "coadd" / "000" / folder.name).symlink_to(folder)
    summary = make_cutouts(sky.engine, sky.config(coadds=str(coadds)), sky.address)
    # Bricks 0 and 10 to 13 are absent: one for the folder left out, four for another group.
    assert [reason.split(":")[0] for reason in summary.failed] == [
        f"brick {brick_name(brick)}" for brick in (0, 10, 11, 12, 13)
    ]
    assert summary.n_failed_targets == 25
    assert sky.count(Cutout) == N_MEMBERS - 25
    finished = make_cutouts(sky.engine, sky.config(), sky.address)
    assert (finished.n_present, finished.failed) == (N_MEMBERS - 25, [])


def test_a_draw_that_is_not_there_is_refused_with_those_that_are(sky: Sky) -> None:
    with pytest.raises(MissingInputError, match=r"no draw 'other'.*small.*stronglens draw"):
        make_cutouts(sky.engine, sky.config(draw="other"), sky.address)
    with pytest.raises(MissingInputError, match="stronglens draw"):
        validate_cutouts(sky.engine, ValidationConfig(draw="other"), sky.address)
    with pytest.raises(MissingInputError, match="stronglens cutouts make --draw small"):
        validate_cutouts(sky.engine, ValidationConfig(draw="small"), sky.address)


VALIDATION = ValidationConfig(draw="small", n_workers=1, min_matched_positives=10, n_bootstrap=50)


def test_validation_measures_audits_and_says_the_same_again(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    report = validate_cutouts(sky.engine, VALIDATION, sky.address)
    n_stored = N_MEMBERS - 1
    assert report.n_measured_now == sky.count(CutoutMetric) == n_stored
    assert report.problems == ()
    gates = {gate.rule: gate for gate in report.gates}
    assert gates["positives_sound"].value == 1.0
    assert gates["negatives_sound"].value == pytest.approx((N_BRICKS * 4 - 1) / (N_BRICKS * 4))
    assert len(report.features) == sky.count(ShortcutFeature) == 13
    assert sky.count(Gate) == 4
    again = validate_cutouts(sky.engine, VALIDATION, sky.address)
    assert again.n_measured_now == 0
    assert (again.features, again.gates) == (report.features, report.gates)
    assert sky.count(ShortcutFeature) == 13
    with sky.engine.connect() as connection:
        row = connection.execute(
            select(CutoutMetric, Cutout.uri).join(Cutout, Cutout.cutout_id == CutoutMetric.cutout_id).limit(1)
        ).one()
    meta = read_cutout(sky.store.get_bytes(row.uri)).meta
    assert row.v1_mad_r == meta["meta_mad_r"]


def test_a_changed_or_broken_file_fails_the_gate_and_is_named(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    broken, changed = "cutouts/positives/v1/0000m040_0.npz", "cutouts/positives/v1/0004m040_0.npz"
    sky.store.put_bytes(broken, sky.store.get_bytes(broken)[:-500])
    sky.store.put_bytes(changed, sky.store.get_bytes("cutouts/positives/v1/0005m040_0.npz"))
    report = validate_cutouts(sky.engine, VALIDATION, sky.address)
    assert not report.is_go
    assert {gate.rule for gate in report.gates if not gate.is_passed} >= {"positives_sound"}
    assert len(report.problems) == 2
    assert any(broken in problem for problem in report.problems)
    assert any("SHA-256" in problem for problem in report.problems)
    assert sky.count(CutoutMetric) == N_MEMBERS - 3


def test_the_command_line_makes_validates_and_exits_3_for_no_go(sky: Sky, run_cli, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("STRONGLENS_STORE", str(sky.store.root))
    refused = run_cli("cutouts", "validate", "--draw", "small")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    made = run_cli("cutouts", "make", "--draw", "small", "--coadds", str(sky.coadds))
    assert made.returncode == 0, made.stderr
    assert f"{N_MEMBERS} members" in made.stdout
    key = "cutouts/positives/v1/0000m040_0.npz"
    sky.store.put_bytes(key, b"not an npz")
    judged = run_cli("cutouts", "validate", "--draw", "small", "--workers", "1")
    assert judged.returncode == EXIT_NO_GO, judged.stderr
    assert "NO-GO: draw small" in judged.stdout
    assert "quarantined, and in no manifest: 1 unreadable (results.quarantine lists them)" in judged.stdout
    assert key in judged.stdout
    assert "Traceback" not in judged.stderr
    wrong = run_cli("cutouts", "make", "--draw", "small", "--version", "v2", "--coadds", str(sky.store.root))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "holds no folder `coadd`" in wrong.stderr
    (sky.store.root / "coadd").mkdir()
    missing = run_cli("cutouts", "make", "--draw", "small", "--version", "v2", "--coadds", str(sky.store.root))
    assert missing.returncode == 1
    assert missing.stderr.count("failed: brick") == N_REASONS
    assert f"and {N_BRICKS - N_REASONS} more" in missing.stderr


def test_a_rejected_cutout_stays_rejected_when_its_row_is_there(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    with sky.engine.begin() as connection:
        connection.execute(update(Cutout).where(Cutout.status == "rejected").values(reject_reason="kept"))
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert summary.n_present == N_MEMBERS
    assert "kept" in {row["reject_reason"] for row in sky.cutouts().values()}
