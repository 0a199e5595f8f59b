"""`cutouts validate` on a small sky: what is read, what is kept, what the verdict is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select, text, update

from db.models.imaging import Cutout, CutoutMetric, Quarantine, Validation
from etl.cutouts.make import make_cutouts
from etl.distribute import Distribute, in_processes
from etl.emr.errors import EmrError
from etl.emr.validate import run as run_job
from etl.errors import StorageError
from etl.validation import EXIT_NO_GO
from etl.validation import kept as kept_rows
from etl.validation.validate import ValidationConfig, validate_cutouts
from etl.validation.verdict import usable_digest
from tests.etl.cutout_sky import N_MEMBERS, Sky, make_sky, write_bricks

N_STORED = N_MEMBERS - 1
CONFIG = ValidationConfig(draw="small", n_workers=1, min_matched_positives=10, n_bootstrap=20)
POSITIVE = "cutouts/positives/v1/0000m040_0.npz"
NEGATIVE = "cutouts/negatives/v1/0000m040_4.npz"


@pytest.fixture(scope="module")
def bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bricks(tmp_path_factory.mktemp("bricks"))


@pytest.fixture
def sky(engine: Engine, bricks: Path, tmp_path: Path) -> Sky:
    made = make_sky(engine, bricks, tmp_path / "store")
    make_cutouts(made.engine, made.config(), made.address)
    return made


class Reader:
    """Does the work here, and notes which cutouts it read; dies before the batch of a given number."""

    def __init__(self, dies_before: int | None = None) -> None:
        self.read: list[int] = []
        self.dies_before = dies_before

    @contextmanager
    def __call__(self, work: Any, pieces: Sequence[Any]) -> Iterator[Iterator[Any]]:
        def results() -> Iterator[pd.DataFrame]:
            for number, piece in enumerate(pieces):
                if number == self.dies_before:
                    raise KeyboardInterrupt
                self.read += piece.cutout_id.tolist()
                yield work(piece)

        yield results()


def validate(sky: Sky, distribute: Distribute | None = None, **config: object) -> Any:
    return validate_cutouts(sky.engine, CONFIG.model_copy(update=config), sky.address, distribute=distribute)


def key_of(sky: Sky, key: str) -> int:
    return next(number for number, row in sky.cutouts().items() if row["uri"] == f"store:{key}")


def rows(sky: Sky, query: str) -> list[tuple[Any, ...]]:
    with sky.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_a_second_validation_reads_no_file_and_says_the_same(sky: Sky) -> None:
    first, second = Reader(), Reader()
    report = validate(sky, first)
    assert sorted(first.read) == sorted(number for number, row in sky.cutouts().items() if row["uri"])
    assert report.n_measured_now == N_STORED == len(first.read)
    again = validate(sky, second)
    assert second.read == []
    assert (again.features, again.gates, again.verdict) == (report.features, report.gates, report.verdict)
    border = next(audit for audit in again.features if audit.feature == "border_only")
    assert border.n_positives > 0


def test_an_unfit_cutout_is_listed_left_out_of_what_can_be_used_and_let_go_when_it_is_mended(sky: Sky) -> None:
    broken, gone = key_of(sky, POSITIVE), key_of(sky, NEGATIVE)
    data = sky.store.get_bytes(POSITIVE)
    lost = sky.store.get_bytes(NEGATIVE)
    sky.store.put_bytes(POSITIVE, data[:-500])
    (sky.store.root / NEGATIVE).unlink()
    report = validate(sky)
    assert dict(report.quarantined) == {"unreadable": 1, "missing": 1}
    assert rows(sky, "SELECT cutout_id, reason, uri FROM results.quarantine ORDER BY cutout_id") == sorted(
        [(broken, "unreadable", f"store:{POSITIVE}"), (gone, "missing", f"store:{NEGATIVE}")]
    )
    found_at = dict(rows(sky, "SELECT cutout_id, found_at FROM imaging.quarantine"))
    assert sky.count(CutoutMetric) == N_STORED - 2
    # Those alone are looked at again, and what is unchanged keeps its date.
    sky.store.put_bytes(NEGATIVE, lost)
    reader = Reader()
    assert dict(validate(sky, reader).quarantined) == {"unreadable": 1}
    assert sorted(reader.read) == sorted([broken, gone])
    assert dict(rows(sky, "SELECT cutout_id, found_at FROM imaging.quarantine")) == {broken: found_at[broken]}
    sky.store.put_bytes(POSITIVE, data)
    assert validate(sky).quarantined == ()
    assert sky.count(Quarantine) == 0
    assert sky.count(CutoutMetric) == N_STORED


def test_the_manifest_holds_no_quarantined_cutout(sky: Sky) -> None:
    with sky.engine.begin() as connection:
        for statement in (
            (
                "INSERT INTO sampling.split_scheme (name, nside, seed, train_below, val_below, guard_arcsec, run_id) "
                "SELECT 's', 128, 1, 0.7, 0.85, 30, run_id FROM provenance.run LIMIT 1"
            ),
            (
                "INSERT INTO sampling.split_cell (scheme_id, healpix_128, split) "
                "SELECT DISTINCT scheme_id, healpix_128, 'train' FROM sampling.draw_member, sampling.split_scheme"
            ),
            (
                "INSERT INTO sampling.split_assignment (scheme_id, draw_id, n_close_pairs, n_guard_drops, run_id) "
                "SELECT scheme_id, draw_id, 0, 0, d.run_id FROM sampling.draw AS d, sampling.split_scheme"
            ),
        ):
            connection.execute(text(statement))
    before = {number for (number,) in rows(sky, "SELECT cutout_id FROM results.manifest")}
    assert len(before) == N_STORED
    for key in (POSITIVE, NEGATIVE):
        sky.store.put_bytes(key, b"spoiled")
    validate(sky)
    after = {number for (number,) in rows(sky, "SELECT cutout_id FROM results.manifest")}
    assert after == before - {key_of(sky, POSITIVE), key_of(sky, NEGATIVE)}


def test_an_alteration_after_measuring_is_found_by_a_recheck(sky: Sky) -> None:
    validate(sky)
    sky.store.put_bytes(POSITIVE, sky.store.get_bytes("cutouts/positives/v1/0005m040_0.npz"))
    assert validate(sky).quarantined == ()
    report = validate(sky, recheck=True)
    assert dict(report.quarantined) == {"altered": 1}
    assert not report.is_go
    assert sky.count(CutoutMetric) == N_STORED - 1


def test_what_a_killed_validation_measured_stays_and_the_next_reads_the_rest(
    sky: Sky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.validation.unread.BATCH_FILES", 10)
    monkeypatch.setattr(kept_rows, "FLUSH_ROWS", 20)
    killed = Reader(dies_before=5)
    with pytest.raises(KeyboardInterrupt):
        validate(sky, killed)
    assert (len(killed.read), sky.count(CutoutMetric), sky.count(Validation)) == (50, 40, 0)
    rest = Reader()
    report = validate(sky, rest)
    assert len(rest.read) == report.n_measured_now == N_STORED - 40
    assert set(rest.read) | set(killed.read[:40]) == {number for number, row in sky.cutouts().items() if row["uri"]}
    assert sky.count(CutoutMetric) == N_STORED
    monkeypatch.setattr(kept_rows, "FLUSH_ROWS", 4096)
    assert validate(sky, recheck=True).gates == report.gates


def test_processes_measure_the_same_as_one(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.validation.unread.BATCH_FILES", 30)
    validate(sky)
    names = [column.name for column in CutoutMetric.__table__.columns]
    query = f"SELECT {', '.join(names)} FROM imaging.cutout_metric ORDER BY cutout_id"
    alone = np.array(rows(sky, query), dtype=float)
    validate(sky, in_processes(2), recheck=True)
    np.testing.assert_array_equal(np.array(rows(sky, query), dtype=float), alone)


def test_metrics_from_before_the_border_was_kept_are_measured_again(sky: Sky) -> None:
    validate(sky)
    old = key_of(sky, POSITIVE)
    border = [column.name for column in CutoutMetric.__table__.columns if column.name.startswith("border_")]
    with sky.engine.begin() as connection:
        before = connection.execute(select(CutoutMetric.__table__).where(CutoutMetric.cutout_id == old)).one()
        nothing = dict.fromkeys(border)
        connection.execute(update(CutoutMetric).where(CutoutMetric.cutout_id == old).values(nothing))
    reader = Reader()
    validate(sky, reader)
    assert reader.read == [old]
    with sky.engine.connect() as connection:
        after = connection.execute(select(CutoutMetric.__table__).where(CutoutMetric.cutout_id == old)).one()
    assert after == before


def test_a_store_in_another_place_is_one_error_and_quarantines_nothing(sky: Sky, tmp_path: Path) -> None:
    sky.store.root.rename(tmp_path / "moved")
    with pytest.raises(StorageError, match=r"holds no file of draw 'small' .*STRONGLENS_STORE"):
        validate(sky)
    assert sky.count(Quarantine) == 0


def test_the_verdict_names_the_very_cutouts_it_is_about(sky: Sky) -> None:
    report = validate(sky)
    usable = sorted((number, row["sha256"]) for number, row in sky.cutouts().items() if row["uri"])
    wanted = hashlib.sha256("".join(f"{number} {digest}\n" for number, digest in usable).encode()).hexdigest()
    query = "SELECT draw_id, is_go, n_cutouts, cutouts_sha256, n_quarantined FROM imaging.validation"
    ((draw_id, is_go, n_cutouts, digest, n_quarantined),) = rows(sky, query)
    assert (is_go, n_cutouts, digest, n_quarantined) == (report.is_go, N_STORED, wanted, 0)
    with sky.engine.connect() as connection:
        assert usable_digest(connection, draw_id, "v1") == wanted
    published = rows(sky, "SELECT rule, value, limit_value, is_passed, detail, is_go FROM results.gates ORDER BY rule")
    gates = sorted(report.gates, key=lambda gate: gate.rule)
    assert published == [
        (gate.rule, gate.value, gate.limit, gate.is_passed, gate.detail, report.is_go) for gate in gates
    ]
    with sky.engine.begin() as connection:
        connection.execute(update(Cutout).where(Cutout.cutout_id == usable[3][0]).values(sha256="0" * 64))
        assert usable_digest(connection, draw_id, "v1") != wanted


def test_spark_measures_what_this_machine_does_and_no_go_is_the_exit_status(
    sky: Sky, shared_session: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.validation.unread.BATCH_FILES", 30)
    sky.store.put_bytes(POSITIVE, b"not an npz")
    assert run_job(CONFIG, [str(sky.store.root)], shared_session) == EXIT_NO_GO
    said = capsys.readouterr().out
    assert "FAILED positives_sound: " in said
    assert "quarantined, unreadable: 1" in said
    assert "NO-GO: draw small, cutouts v1 fails " in said
    names = [column.name for column in CutoutMetric.__table__.columns]
    query = f"SELECT {', '.join(names)} FROM imaging.cutout_metric ORDER BY cutout_id"
    by_spark = np.array(rows(sky, query), dtype=float)
    assert len(by_spark) == N_STORED - 1
    validate(sky, recheck=True)
    np.testing.assert_array_equal(np.array(rows(sky, query), dtype=float), by_spark)
    with pytest.raises(EmrError, match="takes one place, that of the store, not 0"):
        run_job(CONFIG, [], shared_session)
