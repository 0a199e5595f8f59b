"""The first load of a large pool: without indexes, which are built at the end and find what no key could refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, inspect, select

from db import drift
from db.bulk import begin_bulk, build_indexes, is_bulk, require_indexes
from db.errors import DuplicateKeyError, MissingInputError
from db.models.catalog import Galaxy
from etl.match import MatchConfig, match_lenses
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, load_sweeps
from etl.sweeps.outcome import LoadOutcome
from etl.sweeps.replace import unload_file
from etl.sweeps.source import find_sources
from tests.builders import insert_galaxies, insert_lenses

Load = Callable[..., LoadOutcome]


@pytest.fixture
def load(engine: Engine, shared_session: Any) -> Load:
    def run(path: Path, **options: Any) -> LoadOutcome:
        made = LoadOptions(session=shared_session, **options)
        return load_sweeps(engine, find_sources([str(path)]), SweepLoadConfig(), made)

    return run


def bulk(engine: Engine) -> bool:
    with engine.connect() as connection:
        return is_bulk(connection)


def n_galaxies(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(connection.scalars(select(Galaxy.ls_id)).all())


def two_files(sweep_files: Any, folder: Path, *, n_shared: int = 0) -> None:
    """Neighbouring files; `n_shared` sources on their common border are in both, as neither can tell alone."""
    west, east = sweep_files.make(300), sweep_files.make(300, seed=2, ra=7.5)
    for sweep in (west, east):
        sweep["TYPE"], sweep["FLUX_Z"] = b"SER", 9
    east[:n_shared] = west[:n_shared]
    west["RA"][:n_shared] = east["RA"][:n_shared] = 5.0
    sweep_files.write(folder / "sweep-000m005-005p000.fits", west)
    sweep_files.write(folder / "sweep-005m005-010p000.fits", east)


def test_a_bulk_load_ends_with_every_key_index_and_reference_that_the_models_say(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    two_files(sweep_files, tmp_path)
    built: list[str] = []
    result = load(tmp_path, bulk=True, on_index=built.append)
    assert (result.is_bulk, result.n_kept) == (False, 600)
    assert sorted(built) == ["ix_galaxy_q3c", "ix_galaxy_sweep_file_id", "pk_galaxy"]
    assert drift.check(engine) == []


def test_a_bulk_load_can_come_in_parts_and_wait_for_its_indexes(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    two_files(sweep_files, tmp_path)
    first = load(tmp_path / "sweep-000m005-005p000.fits", bulk=True, index=False)
    assert first.is_bulk
    assert bulk(engine)
    assert inspect(engine).get_indexes("galaxy", schema="catalog") == []
    with engine.begin() as connection:
        insert_lenses(connection, 1.0, 1.0, ["A"])
        with pytest.raises(MissingInputError, match="run `stronglens sweeps load` again"):
            require_indexes(connection)
    with pytest.raises(MissingInputError, match="its first load has not ended"):
        match_lenses(engine, MatchConfig())
    second = load(tmp_path)
    assert not second.is_bulk
    assert [outcome.status for outcome in second.files] == ["skipped", "loaded"]
    assert n_galaxies(engine) == 600
    assert drift.check(engine) == []
    assert not build_indexes(engine)


def test_a_pool_with_rows_keeps_its_indexes(engine: Engine, load: Load, sweep_files: Any, tmp_path: Path) -> None:
    with engine.begin() as connection:
        insert_galaxies(connection, [200.0], [20.0])
    two_files(sweep_files, tmp_path)
    assert not begin_bulk(engine)
    assert not load(tmp_path, bulk=True, index=False).is_bulk
    assert drift.check(engine) == []


def test_building_the_key_names_the_sources_that_two_files_share(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    two_files(sweep_files, tmp_path, n_shared=7)
    with pytest.raises(DuplicateKeyError, match=r"7 keys are in catalog\.galaxy more") as caught:
        load(tmp_path, bulk=True)
    assert "2 times, from sweep-000m005-005p000.fits, sweep-005m005-010p000.fits" in str(caught.value)
    assert "stronglens sweeps unload NAME" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert bulk(engine)
    assert unload_file(engine, "sweep-005m005-010p000.fits") == 300
    assert build_indexes(engine)
    assert n_galaxies(engine) == 300
    assert drift.check(engine) == []


def test_a_bulk_load_refuses_a_file_whose_name_declares_no_sky(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    sweep_files.write(tmp_path / "tractor-x.fits", sweep_files.make(10))
    (outcome,) = load(tmp_path, bulk=True).files
    assert "its name declares no patch of sky" in str(outcome.reason)
    assert n_galaxies(engine) == 0
    assert drift.check(engine) == []


def test_a_bulk_load_refuses_a_changed_file_until_there_are_indexes(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    two_files(sweep_files, tmp_path)
    load(tmp_path, bulk=True, index=False)
    path = tmp_path / "sweep-000m005-005p000.fits"
    path.unlink()
    sweep_files.write(path, sweep_files.make(20))
    (outcome,) = load(path, index=False).files
    assert "has changed since it was loaded, and the pool has no indexes yet" in str(outcome.reason)
    assert n_galaxies(engine) == 600


def test_rows_come_in_bulk_exactly_as_with_indexes(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    two_files(sweep_files, tmp_path)
    columns = [column for column in Galaxy.__table__.columns if column.name != "sweep_file_id"]

    def rows() -> list[Any]:
        with engine.connect() as connection:
            return sorted(connection.execute(select(*columns)).all())

    load(tmp_path, bulk=True)
    in_bulk = rows()
    for name in ("sweep-000m005-005p000.fits", "sweep-005m005-010p000.fits"):
        unload_file(engine, name)
    load(tmp_path, bulk=False)
    assert in_bulk == rows()
    assert np.unique([row.ls_id for row in in_bulk]).size == 600
