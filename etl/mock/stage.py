"""Stage 2: the mock sky around the candidates of the catalog, recorded like every stage."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from db.provenance import recorded_run
from etl.mock.candidates import read_candidates
from etl.mock.config import SkyConfig
from etl.mock.sky import Progress, SkySummary, render_sky


def make_sky(engine: Engine, out: Path, config: SkyConfig, progress: Progress | None = None) -> SkySummary:
    """Render the mock sky around the candidates in `catalog.lens`; a finished sky is left as it is.

    Raises
    ------
    MissingInputError
        When the catalog holds no candidate.
    MockSkyError
        When the folder holds something else.
    """
    with recorded_run(engine, command="mock sky", config=config):
        return render_sky(read_candidates(engine), out, config, progress)
