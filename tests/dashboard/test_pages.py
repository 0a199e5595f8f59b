"""Each page on a populated database against the views, and on databases that it cannot show."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from dashboard.app import PAGES
from dashboard.frame import MOCK_BANNER
from dashboard.gallery import PER_PAGE
from dashboard.numerals import NONE
from db.engine import connectable, open_engine

from .conftest import draw

GALLERIES = [page for page in PAGES if page not in {"", "performance"}]


@pytest.fixture
def catalog(populated: Any) -> Iterator[Engine]:
    engine = open_engine()
    yield engine
    engine.dispose()


def values(engine: Engine, statement: str, **parameters: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement), parameters))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_its_title_and_the_mock_banner(populated: Any, page: str) -> None:
    drawn = draw(page, split="all")
    assert not drawn.errors
    assert f"## {PAGES[page][0]}" in drawn.text
    assert drawn.text.count(MOCK_BANNER) == 1


def test_overview_shows_the_numbers_of_the_views(populated: Any, catalog: Engine) -> None:
    shown = html.unescape(draw("", model=populated.model).text)
    for stage, n in values(catalog, "SELECT stage, n FROM results.stage_counts"):
        assert f">{stage}<" in shown
        assert f">{n:,}<" in shown
    of_model = "SELECT value, lo, hi FROM results.model_metrics WHERE model_name = :model AND metric = 'auc'"
    found = values(catalog, of_model, model=populated.model)
    assert found
    for value, lo, hi in found:
        assert (NONE if value is None else f"{value:.3f} [{lo:.3f}, {hi:.3f}]") in shown
    thresholds = values(
        catalog,
        "SELECT threshold, n_recovered_tier_a, n_tier_a FROM results.threshold_table WHERE model_name = :model",
        model=populated.model,
    )
    assert thresholds
    for threshold, k, n in thresholds:
        assert f">{threshold:.4f}<" in shown
        assert k is None or f">{k} / {n}<" in shown
    for feature, verdict in values(catalog, "SELECT feature, verdict FROM results.shortcut_audit"):
        assert f">{feature.replace('_', ' ')}<" in shown
        assert verdict in shown


@pytest.mark.parametrize("split", ["val", "test"])
def test_performance_shows_metrics_reliability_and_conditions_of_the_views(
    populated: Any, catalog: Engine, split: str
) -> None:
    drawn = draw("performance", model=populated.model, split=split)
    assert not drawn.errors
    shown = html.unescape(drawn.text)
    of = {"model": populated.model, "split": split}
    metrics = values(
        catalog, "SELECT metric, value FROM results.model_metrics WHERE model_name = :model AND split = :split", **of
    )
    assert metrics
    for metric, value in metrics:
        assert f">{metric.replace('_', ' ')}<" in shown
        assert (NONE if value is None else f"{value:.4f}") in shown
    conditions = values(
        catalog,
        "SELECT k, n FROM results.recall_by_condition WHERE model_name = :model AND split = :split "
        "AND sample = 'tier_a' AND axis = 'all' AND fpr_target = 0.01",
        **of,
    )
    ((k, n),) = conditions
    assert f">{k:,} / {n:,}<" in shown
    for (name,) in values(catalog, "SELECT model_name FROM results.models"):
        assert name in shown


def test_overview_counts_the_leaks(populated: Any, catalog: Engine) -> None:
    assert "as it must be" in draw("").html
    with catalog.begin() as connection:  # turn a cell around, as no stage would
        turned = connection.execute(
            text(
                "UPDATE sampling.split_cell SET is_calibration = false, "
                "split = CASE split WHEN 'test' THEN 'train' ELSE 'test' END WHERE "
                "(scheme_id, healpix_128) = "
                "(SELECT scheme_id, min(healpix_128) FROM sampling.split_cell GROUP BY 1 LIMIT 1)"
            )
        )
        assert turned.rowcount == 1
    st.cache_data.clear()
    shown = draw("").html
    assert "sl-card-bad" in shown
    assert "results.split_leakage" in shown


def test_top_candidates_are_the_best_ranks_in_order_with_a_link_to_the_sky(populated: Any, catalog: Engine) -> None:
    found = values(
        catalog,
        "SELECT rank, score, ra, dec FROM results.top_candidates WHERE model_name = :model AND rank <= 100 "
        "ORDER BY rank",
        model=populated.model,
    )[:PER_PAGE]
    tiles = draw("candidates", model=populated.model, split="all", depth="100").tiles
    assert [tile["rank"] for tile in tiles] == [rank for rank, *_ in found]
    assert [tile["score"] for tile in tiles] == pytest.approx([score for _, score, *_ in found], abs=5.1e-5)
    _, _, ra, dec = found[0]
    viewer = f"https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=16"
    assert html.unescape(tiles[0]["href"]) == viewer


def test_only_unknown_leaves_out_what_lies_at_a_known_lens(populated: Any, catalog: Engine) -> None:
    found = values(
        catalog,
        "SELECT rank FROM results.top_candidates WHERE model_name = :model AND rank <= 300 AND known_lens_name IS NULL "
        "ORDER BY rank",
        model=populated.model,
    )
    tiles = draw("candidates", model=populated.model, split="all", depth="300", unknown="true").tiles
    assert [tile["rank"] for tile in tiles] == [rank for (rank,) in found[:PER_PAGE]]


@pytest.mark.parametrize(
    ("page", "view", "order"),
    [("false-positives", "false_positives", "score DESC"), ("false-negatives", "false_negatives", "score")],
)
def test_a_gallery_of_errors_shows_the_rows_of_its_view(
    populated: Any, catalog: Engine, page: str, view: str, order: str
) -> None:
    found = values(
        catalog,
        f"SELECT score FROM results.{view} WHERE model_name = :model AND fpr_target = 0.01 ORDER BY {order}, cutout_id",
        model=populated.model,
    )
    assert found, f"the fixture has no {view} at FPR 1e-2"
    tiles = draw(page, model=populated.model, split="all").tiles
    assert [tile["score"] for tile in tiles] == pytest.approx([score for (score,) in found[:PER_PAGE]], abs=5.1e-5)


def test_false_positives_stand_beside_the_rates_of_each_kind(populated: Any, catalog: Engine) -> None:
    found = values(
        catalog,
        "SELECT k, n FROM results.fpr_by_contaminant WHERE model_name = :model AND fpr_target = 0.01 AND split = 'val'",
        model=populated.model,
    )
    assert found
    shown = draw("false-positives", model=populated.model).html
    for k, n in found:
        assert f">{k} / {n:,}<" in shown


@pytest.mark.parametrize("page", ["candidates", "false-positives"])
def test_a_missing_file_is_a_tile_that_says_so(
    populated: Any, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_files = draw(page, split="all")
    assert 'src="data:image/png;base64,' in with_files.html
    assert "no image" not in with_files.html
    monkeypatch.setenv("STRONGLENS_STORE", str(tmp_path / "elsewhere"))
    without = draw(page, split="all")
    assert "<img" not in without.html
    assert without.html.count(">no image<") == len(without.tiles) == len(with_files.tiles)
    assert "check STRONGLENS_STORE" in without.test.warning[0].value


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_database_says_what_to_run(database_url: URL, page: str) -> None:
    drawn = draw(page)
    assert not drawn.errors
    assert len(drawn.test.info) == 1
    assert "`stronglens demo`" in drawn.test.info[0].value


@pytest.mark.parametrize("page", PAGES)
def test_a_database_without_our_schema_is_one_line_that_names_the_fix(
    new_database: Callable[[str], URL], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_database("template1").render_as_string(hide_password=False)
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", url)
    (error,) = draw(page).errors
    assert "run `stronglens db" in error
    assert "\n" not in error


def test_a_server_that_is_not_there_is_one_line_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", "postgresql://u:secret@localhost:1/x")
    drawn = draw("")
    (error,) = drawn.errors
    assert "localhost:1" in error
    assert "\n" not in error
    assert "secret" not in drawn.text


def end_sessions(server: Any, url: URL, *more: str) -> None:
    admin = connectable(server.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        ended = connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": url.database}
        )
        assert ended.rowcount
        for statement in more:
            connection.execute(text(statement))
    admin.dispose()
    st.cache_data.clear()


def test_a_restart_of_the_server_is_not_noticed(database_url: URL, server: Any) -> None:
    assert not draw("").errors
    end_sessions(server, database_url)
    assert not draw("").errors


def test_a_database_that_goes_away_is_one_line_and_no_traceback(database_url: URL, server: Any) -> None:
    assert not draw("").errors
    end_sessions(server, database_url, f"DROP DATABASE {database_url.database}")
    (error,) = draw("").errors
    assert error.startswith("The database failed: ")
    assert "does not exist" in error
    assert "\n" not in error
