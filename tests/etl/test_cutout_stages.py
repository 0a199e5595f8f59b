"""`cutouts make` and `cutouts validate` on a small sky of real FITS bricks in a real database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from sqlalchemy import Engine, func, insert, select, update

from db.errors import MissingInputError
from db.models.catalog import Brick, Galaxy, Lens, LensMatch, SweepFile
from db.models.imaging import Cutout, CutoutMetric, Gate, ShortcutFeature
from db.models.provenance import Config, Run
from db.models.sampling import Draw, DrawMember, Stratum
from etl.cutouts.commands import EXIT_NO_GO, N_REASONS
from etl.cutouts.files import read_cutout
from etl.cutouts.make import CutoutConfig, StoreAddress, make_cutouts
from etl.storage import LocalStore
from etl.survey import ls_id
from etl.validation.validate import ValidationConfig, validate_cutouts

N_BRICKS = 14
N_SIDE = 260
CONFIG_SHA = "0" * 64
POSITIVE = (129.0, 129.0)
NEGATIVES = ((70.0, 70.0), (70.0, 180.0), (185.0, 75.0), (180.0, 190.0))
UNMATCHED_BRICK, SHARED_BRICK, HOLED_BRICK = 1, 2, 3


@dataclass(frozen=True)
class Sky:
    engine: Engine
    coadds: Path
    store: LocalStore

    def config(self, **values: object) -> CutoutConfig:
        return CutoutConfig(**({"draw": "small", "coadds": str(self.coadds), "n_workers": 1} | values))  # type: ignore[arg-type]

    @property
    def address(self) -> StoreAddress:
        return StoreAddress(str(self.store.root))

    def cutouts(self) -> dict[int, dict[str, object]]:
        with self.engine.connect() as connection:
            return {row.cutout_id: dict(row._mapping) for row in connection.execute(select(Cutout.__table__))}

    def count(self, model: type) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(model)) or 0)


def brick_name(brick: int) -> str:
    return f"{brick:04d}m040"


def brick_wcs(brick: int) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10.0 + 2 * brick, -4.0]
    wcs.wcs.crpix = [(N_SIDE + 1) / 2] * 2
    wcs.wcs.cd = np.diag([-0.262 / 3600, 0.262 / 3600])
    return wcs


def write_brick(root: Path, brick: int) -> None:
    rng = np.random.default_rng(brick)
    name, wcs = brick_name(brick), brick_wcs(brick)
    folder = root / "coadd" / name[:3] / name
    folder.mkdir(parents=True)
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": wcs.wcs.crval[0], "CRVAL2": wcs.wcs.crval[1]}
        | {"CRPIX1": wcs.wcs.crpix[0], "CRPIX2": wcs.wcs.crpix[1], "CD1_1": wcs.wcs.cd[0, 0], "CD1_2": 0.0}
        | {"CD2_1": 0.0, "CD2_2": wcs.wcs.cd[1, 1]}
    )
    y, x = np.mgrid[:N_SIDE, :N_SIDE]
    light = sum(np.exp(-np.hypot(x - cx, y - cy) / 5) for cx, cy in (POSITIVE, *NEGATIVES))
    for band in "grz":
        image = (light + rng.normal(0, 0.01, light.shape)).astype(np.float32)
        invvar = np.full(light.shape, 1e4, np.float32)
        if brick == HOLED_BRICK and band == "z":
            invvar[68:72, 68:72] = 0
        if brick == HOLED_BRICK and band == "g":
            invvar[225:235, 150:200] = 0
        for kind, pixels in (("image", image), ("invvar", invvar)):
            hdu = fits.CompImageHDU(pixels, header, compression_type="GZIP_1", quantize_level=0)
            file = folder / f"legacysurvey-{name}-{kind}-{band}.fits.fz"
            fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)


def position(brick: int, x: float, y: float) -> dict[str, float | int]:
    ra, dec = (float(value) for value in brick_wcs(brick).all_pix2world(x, y, 0))
    return {"ra": ra, "dec": dec, "healpix_128": int(hp.ang2pix(128, ra, dec, nest=True, lonlat=True))}


def galaxy(brick: int, objid: int, x: float, y: float) -> dict[str, object]:
    rng = np.random.default_rng(1000 * brick + objid)
    values: dict[str, object] = {}
    for column in Galaxy.__table__.columns:
        values[column.name] = float(rng.uniform(1, 2)) if column.type.python_type is float else 3
    values |= {"flux_r": 20.0, "psfdepth_r": 900.0, "psf_fwhm_r_arcsec": 1.2, "survey": "mock", "data_release": 10}
    values |= {"ls_id": int(ls_id(9990, brick, objid)), "type": "SER", "is_imported": False}
    return values | position(brick, x, y)


@pytest.fixture(scope="session")
def small_bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bricks")
    for brick in range(N_BRICKS):
        write_brick(root, brick)
    return root


@pytest.fixture
def sky(engine: Engine, small_bricks: Path, tmp_path: Path) -> Sky:
    """One positive in each brick (one unmatched, two that share a galaxy) and four negatives."""
    with engine.begin() as connection:
        connection.execute(insert(Config).values(config_sha256=CONFIG_SHA, body={}))
        run = connection.scalar(
            insert(Run)
            .values(command="test", config_sha256=CONFIG_SHA, version="0", code_sha256="0", host="h", status="running")
            .returning(Run.run_id)
        )
        connection.execute(
            insert(SweepFile).values(
                survey="mock", data_release=10, name="sweep.fits", uri="sweep.fits", n_bytes=1, sha256="0", n_read=1,
                n_kept=1, n_not_selected=0, n_quarantined=0, status="loaded", run_id=run,
            )
        )  # fmt: skip
        draw = connection.scalar(
            insert(Draw)
            .values(
                name="small", survey="mock", data_release=10, seed=1, config_sha256=CONFIG_SHA, run_id=run,
                n_lenses_known=1, n_galaxies=1,
            )
            .returning(Draw.draw_id)
        )  # fmt: skip
        stratum = connection.scalar(
            insert(Stratum)
            .values(
                draw_id=draw, nobs_z_bin="3-5", type="SER", n_positives=1, n_eligible_n1=99, n_eligible_n2=0,
                n_target_n1=99, n_target_n2=0, n_drawn_n1=99, n_drawn_n2=0,
            )
            .returning(Stratum.stratum_id)
        )  # fmt: skip
        for brick in range(N_BRICKS):
            connection.execute(
                insert(Brick).values(survey="mock", data_release=10, brickid=brick, brickname=brick_name(brick))
            )
            centres = (POSITIVE, *NEGATIVES)
            connection.execute(insert(Galaxy), [galaxy(brick, i, x, y) for i, (x, y) in enumerate(centres)])
            for i, (x, y) in enumerate(NEGATIVES, start=1):
                connection.execute(
                    insert(DrawMember).values(
                        draw_id=draw, label=0, pool="N1", ls_id=int(ls_id(9990, brick, i)), stratum_id=stratum,
                        inclusion_probability=0.5, weight=1.0, **position(brick, x, y),
                    )
                )  # fmt: skip
            for twin in range(2 if brick == SHARED_BRICK else 1):
                here = position(brick, POSITIVE[0] + 3 * twin, POSITIVE[1])
                lens = connection.scalar(
                    insert(Lens)
                    .values(
                        name=f"DESI-{brick:03d}.{twin}-04.0", tier="A", is_lens_claim=True, lens_type="galaxy",
                        discovery="ground_imaging", **here,
                    )
                    .returning(Lens.lens_id)
                )  # fmt: skip
                match = None if brick == UNMATCHED_BRICK else int(ls_id(9990, brick, 0))
                if match is not None:
                    connection.execute(
                        insert(LensMatch).values(
                            lens_id=lens, survey="mock", data_release=10, ls_id=match, separation_arcsec=0.1
                        )
                    )
                connection.execute(
                    insert(DrawMember).values(
                        draw_id=draw, label=1, pool="positive", lens_id=lens, tier="A", ls_id=match, weight=1.0, **here
                    )
                )
    return Sky(engine, small_bricks, LocalStore(tmp_path / "store"))


N_MEMBERS = N_BRICKS * 5 + 1


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
    import etl.cutouts.make as stage

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
    assert key in judged.stdout
    assert "Traceback" not in judged.stderr
    wrong = run_cli("cutouts", "make", "--draw", "small", "--version", "v2", "--coadds", str(sky.store.root))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "holds no folder `coadd`" in wrong.stderr
    (sky.store.root / "coadd").mkdir()
    missing = run_cli("cutouts", "make", "--draw", "small", "--version", "v2", "--coadds", str(sky.store.root))
    assert missing.returncode == 1
    assert missing.stderr.count("failed: brick") == N_REASONS
    assert f"and {N_BRICKS - N_REASONS} more bricks" in missing.stderr


def test_a_rejected_cutout_stays_rejected_when_its_row_is_there(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    with sky.engine.begin() as connection:
        connection.execute(update(Cutout).where(Cutout.status == "rejected").values(reject_reason="kept"))
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert summary.n_present == N_MEMBERS
    assert "kept" in {row["reject_reason"] for row in sky.cutouts().values()}
