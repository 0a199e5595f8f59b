"""A file that has changed takes the place of what it brought in before; one that is in use does not vanish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert, select

from db.models.catalog import Galaxy, LensMatch, LensNeighbour, SweepFile
from db.models.sampling import Draw, SplitScheme
from db.models.training import Model
from etl.errors import SweepFileError
from etl.match import MatchConfig, match_lenses
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, load_sweeps
from etl.sweeps.outcome import FileOutcome
from etl.sweeps.replace import unload_file
from etl.sweeps.source import find_sources
from tests.builders import insert_draw, insert_lenses, insert_negative

Load = Callable[[Path], FileOutcome]
NAME = "sweep-000m005-005p000.fits"


@pytest.fixture
def load(engine: Engine, shared_session: Any) -> Load:
    def run(path: Path) -> FileOutcome:
        options = LoadOptions(session=shared_session)
        return load_sweeps(engine, find_sources([str(path)]), SweepLoadConfig(), options).files[0]

    return run


@pytest.fixture
def sweep(sweep_files: Any) -> Any:
    """Two hundred galaxies that all belong to the pool."""
    made = sweep_files.make(200)
    made["TYPE"], made["FLUX_Z"] = b"DEV", 9
    return made


def keys(sweep: Any) -> np.ndarray:
    return (
        (sweep["RELEASE"].astype(np.int64) << 40)
        + (sweep["BRICKID"].astype(np.int64) << 16)
        + sweep["OBJID"].astype(np.int64)
    )


def pool(engine: Engine) -> dict[int, tuple[float, int]]:
    with engine.connect() as connection:
        rows = connection.execute(select(Galaxy.ls_id, Galaxy.ebv_mag, Galaxy.sweep_file_id))
        return {key: (ebv, file_id) for key, ebv, file_id in rows}


def rewritten(sweep_files: Any, path: Path, sweep: Any) -> Path:
    path.unlink()
    return sweep_files.write(path, sweep)


def draw_one(engine: Engine, ls_id: int, *, model: str | None) -> None:
    """A draw of one negative, and a model trained on it if it has a name."""
    with engine.begin() as connection:
        draw_id, stratum_id = insert_draw(connection)
        insert_negative(connection, draw_id, stratum_id, ls_id)
        run_id, digest = connection.execute(select(Draw.run_id, Draw.config_sha256)).one()
        if model is not None:
            rule = {"nside": 128, "seed": 42, "train_below": 0.7, "val_below": 0.85, "guard_arcsec": 30}
            scheme_id = connection.scalar(
                insert(SplitScheme).values(name="s", **rule, run_id=run_id).returning(SplitScheme.scheme_id)
            )
            columns = {c.name for c in Model.__table__.columns if not c.nullable and c.server_default is None}
            given = {
                "name": model,
                "survey": "dr10",
                "draw_id": draw_id,
                "scheme_id": scheme_id,
                "config_sha256": digest,
                "run_id": run_id,
                "status": "training",
                "preprocessing": {},
            }
            strings = {"cutout_version": "v1", "architecture": "resnet18"}
            rest = dict.fromkeys(columns - given.keys() - strings.keys() - {"model_id"}, 1)
            connection.execute(insert(Model).values(**given, **strings, **rest))


def test_a_changed_file_takes_the_place_of_its_rows_and_keeps_those_that_stay(
    engine: Engine, load: Load, sweep_files: Any, sweep: Any, tmp_path: Path
) -> None:
    path = sweep_files.write(tmp_path / NAME, sweep)
    load(path)
    before = pool(engine)
    changed = sweep_files.make(300, seed=1)
    changed["TYPE"], changed["FLUX_Z"] = b"DEV", 9
    changed["EBV"] = 0.25
    load(sweep_files.write(tmp_path / "sweep-005m005-010p000.fits", sweep_files.make(50, seed=2, ra=7.5)))
    others = pool(engine).keys() - before.keys()
    outcome = load(rewritten(sweep_files, path, changed[100:]))
    assert (outcome.status, outcome.n_kept) == ("loaded", 200)
    after = {key: value for key, value in pool(engine).items() if key not in others}
    assert after.keys() == set(keys(changed[100:]).tolist())
    assert {ebv for ebv, _ in after.values()} == {0.25}
    assert {file_id for _, file_id in after.values()} == {file_id for _, file_id in before.values()}
    assert others < pool(engine).keys()
    assert load(path).status == "skipped"


def test_a_source_of_another_file_keeps_a_changed_file_out_whole(
    engine: Engine, load: Load, sweep_files: Any, sweep: Any, tmp_path: Path
) -> None:
    path = sweep_files.write(tmp_path / NAME, sweep[:100])
    load(path)
    load(sweep_files.write(tmp_path / "tractor-x.fits", sweep[150:]))
    before = pool(engine)
    outcome = load(rewritten(sweep_files, path, sweep[:160]))
    assert outcome.status == "refused"
    assert "is already in the catalog, from tractor-x.fits" in str(outcome.reason)
    assert pool(engine) == before
    with engine.connect() as connection:
        entry = connection.execute(select(SweepFile.status, SweepFile.n_kept).where(SweepFile.name == NAME)).one()
    assert entry == ("loaded", 100)


@pytest.mark.parametrize(
    ("model", "fix"),
    [(None, "run `stronglens draw delete d` first"), ("m", "the draw is frozen, model m was trained on it")],
)
def test_a_galaxy_of_a_draw_does_not_vanish(
    engine: Engine, load: Load, sweep_files: Any, sweep: Any, tmp_path: Path, model: str | None, fix: str
) -> None:
    path = sweep_files.write(tmp_path / NAME, sweep)
    load(path)
    draw_one(engine, int(keys(sweep)[0]), model=model)
    before = pool(engine)
    outcome = load(rewritten(sweep_files, path, sweep[1:]))
    assert outcome.status == "refused"
    assert str(outcome.reason).startswith("1 galaxies that would go are held by draw d")
    assert fix in str(outcome.reason)
    with pytest.raises(SweepFileError, match=r"sweep-000m005-005p000\.fits: 1 galaxies that would go are held"):
        unload_file(engine, NAME)
    assert pool(engine) == before
    changed = sweep.copy()
    changed["EBV"] = 0.5
    assert load(rewritten(sweep_files, path, changed)).status == "loaded"
    assert {ebv for ebv, _ in pool(engine).values()} == {0.5}


def test_matches_of_vanished_galaxies_go_with_them_and_a_new_match_finds_what_is_there(
    engine: Engine, load: Load, sweep_files: Any, sweep: Any, tmp_path: Path
) -> None:
    path = sweep_files.write(tmp_path / NAME, sweep)
    load(path)
    with engine.begin() as connection:
        insert_lenses(connection, float(sweep["RA"][0]), float(sweep["DEC"][0]), ["A"])
    match_lenses(engine, MatchConfig())

    def matched() -> list[int]:
        with engine.connect() as connection:
            found = [*connection.scalars(select(LensMatch.ls_id)), *connection.scalars(select(LensNeighbour.ls_id))]
        return sorted(set(found))

    assert matched() == [keys(sweep)[0]]
    changed = sweep.copy()
    changed["OBJID"][0] += 400
    assert load(rewritten(sweep_files, path, changed)).status == "loaded"
    assert matched() == []
    match_lenses(engine, MatchConfig())
    assert matched() == [keys(changed)[0]]


def test_a_file_that_is_taken_out_leaves_the_others_and_can_come_back(
    engine: Engine, load: Load, sweep_files: Any, sweep: Any, tmp_path: Path
) -> None:
    path = sweep_files.write(tmp_path / NAME, sweep)
    load(path)
    load(sweep_files.write(tmp_path / "sweep-005m005-010p000.fits", sweep_files.make(50, seed=2, ra=7.5)))
    before = pool(engine)
    assert unload_file(engine, NAME) == 200
    assert pool(engine).keys() == before.keys() - set(keys(sweep).tolist())
    with pytest.raises(SweepFileError, match="no file of this name is in the ledger"):
        unload_file(engine, NAME)
    assert load(path).status == "loaded"
    assert pool(engine).keys() == before.keys()
