"""A small scored survey, filled once and copied for every test that wants one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from db.embedded import EmbeddedServer
from db.engine import connectable
from tests.analysis.scored_sky import ScoredSky, scored_sky
from tests.training.conftest import world  # noqa: F401 - a fixture

SCORED = "template_scored"


@pytest.fixture(scope="session")
def scored_template(server: EmbeddedServer, template_database: str) -> ScoredSky:
    """What the template of `sky` holds."""
    admin = connectable(server.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {SCORED} TEMPLATE {template_database}"))
    admin.dispose()
    filled = connectable(server.url(SCORED))
    made = scored_sky(filled, domain={"column": "psf_fwhm_z_arcsec", "half": "low"})
    filled.dispose()
    return made


@pytest.fixture
def sky(scored_template: ScoredSky) -> ScoredSky:
    """What the database of `sky_engine` holds."""
    return scored_template


@pytest.fixture
def sky_engine(
    scored_template: ScoredSky, new_database: Callable[[str], URL], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """Engine of a database of its own with members and scores of model m1, not evaluated; also for commands."""
    url = new_database(SCORED)
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", url.render_as_string(hide_password=False))
    made = connectable(url)
    yield made
    made.dispose()
