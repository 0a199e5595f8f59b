"""What operating points yield in a survey of a given share of lenses: purity, candidates, cost of follow-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import ColumnElement, Engine, Select, column, func, literal_column, select, table

from analysis.errors import AnalysisError, NoScoresError
from training.registry import find_model

Row = Mapping[str, Any]

SAMPLE_NAMES = {"tier_a": "A", "tier_ab": "A, B"}
COLUMNS = ("tier", "target", "recall", "survey FPR", "purity", "candidates", "lenses", "per lens", "cost", "rests on")
LEGEND = """target: the FPR on val that the threshold was chosen for. survey FPR: by inverse inclusion probability.
purity: the ends of both 95 % intervals, worst with worst. per lens, cost: candidates to follow up for one lens.
rests on: negatives above the threshold, of all. *: fewer than 10, here or where it was chosen, or below 10 lenses."""


@dataclass(frozen=True)
class Search:
    """A search to look ahead to: the share of its galaxies that are lenses, their number, the cost of one candidate."""

    prior: float = 1e-4
    n_galaxies: float = 1e6
    cost_per_candidate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no share, number or cost."""
        if not 0 < self.prior < 1:
            raise AnalysisError(f"prior {self.prior:g} is not between 0 and 1; the sky's share of lenses is about 1e-4")
        if not 0 < self.n_galaxies < float("inf"):
            raise AnalysisError(f"{self.n_galaxies:g} galaxies are none to search; give their number, e.g. 114e6")
        if not 0 <= self.cost_per_candidate < float("inf"):
            raise AnalysisError(
                f"cost {self.cost_per_candidate:g} of a candidate is negative or endless; give its price"
            )


@dataclass(frozen=True)
class Purity:
    """Rows of `results.purity_at` at the prior of a search, and of `results.purity` at several, of one model."""

    model_name: str
    search: Search
    rows: list[dict[str, Any]]
    by_prior: list[dict[str, Any]]
    training_prevalence: float | None


def read_purity(engine: Engine, model: str, search: Search) -> Purity:
    """Read what each operating point of a model yields, on each split that was evaluated.

    Raises
    ------
    ModelNotFoundError
        When there is no such model.
    NoScoresError
        When it was not evaluated, or its draw knows no inclusion probabilities, so that no rate is the survey's.
    """
    found = find_model(engine, model)
    at = func.results.purity_at(search.prior, search.cost_per_candidate).table_valued("model_id", name="at")
    purity, calibrations, points = (
        table(name, column("model_id"), schema="results") for name in ("purity", "calibrations", "threshold_table")
    )
    everything: ColumnElement[Any] = literal_column("*")
    with engine.connect() as connection:
        asked: Select[Any] = select(everything).select_from(at).where(at.c.model_id == found.model_id)
        several: Select[Any] = select(everything).select_from(purity).where(purity.c.model_id == found.model_id)
        rows, by_prior = ([dict(row) for row in connection.execute(query).mappings()] for query in (asked, several))
        mix: Select[Any] = select(literal_column("prevalence")).select_from(calibrations)
        prevalence = connection.scalar(mix.where(calibrations.c.model_id == found.model_id).limit(1))
        counted = select(func.count()).select_from(points).where(points.c.model_id == found.model_id)
        n_points = connection.scalar(counted)
    if not rows and n_points:
        raise NoScoresError(
            f"model {found.name} has no false-positive rate of the survey: its draw has no inclusion probabilities, or "
            f"it was evaluated before there were such rates: `stronglens evaluate {found.name} --again` says"
        )
    if not rows:
        raise NoScoresError(f"model {found.name} was not evaluated: run `stronglens evaluate {found.name}` first")
    return Purity(found.name, search, sorted(rows, key=_order), sorted(by_prior, key=_order), prevalence)


def _order(row: Row) -> tuple[Any, ...]:
    return (row["split"] != "val", row["sample"], -row["fpr_target"], row["lens_prior"])


def render(purity: Purity) -> RenderableType:
    """Lay the yields out: one table for the search asked for, one for purity by prior."""
    search = purity.search
    mix = purity.training_prevalence
    drawn = "" if mix is None else f"; in the draw it is 1 in {1 / mix:,.0f}"
    splits = sorted({row["split"] for row in purity.rows}, key=lambda split: split != "val")
    return Group(
        Text(f"model {purity.model_name}", style="bold"),
        Text(f"prior: 1 galaxy in {1 / search.prior:,.0f} is a lens{drawn}. {search.n_galaxies:,.0f} galaxies."),
        *(_yields([row for row in purity.rows if row["split"] == split], split, search) for split in splits),
        _by_prior([row for row in purity.by_prior if row["split"] == splits[-1]], splits[-1]),
        Text(LEGEND),
    )


def _grid(title: str, *columns: str) -> Table:
    grid = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in columns:
        grid.add_column(name, justify="left" if name in {"tier", "rests on"} else "right")
    return grid


def _readings(rows: Sequence[Row], split: str) -> str:
    return f"; readings of it: {rows[0]['n_test_accesses']}" if split == "test" and rows else ""


def _yields(rows: Sequence[Row], split: str, search: Search) -> Table:
    title = f"yield, rates of the {split} split{_readings(rows, split)}"
    grid = _grid(title, *COLUMNS)
    million = search.n_galaxies / 1e6
    for row in rows:
        grid.add_row(
            SAMPLE_NAMES[row["sample"]],
            f"{row['fpr_target']:g}",
            "" if row["recall"] is None else f"{row['recall']:.3f}",
            f"{_power(row['fpr'])} ({_power(row['fpr_lo'])}-{_power(row['fpr_hi'])})",
            _ends(row, "purity"),
            _count(row["candidates_per_million"], million),
            _count(row["lenses_per_million"], million),
            _count(row["candidates_per_lens"], 1),
            "" if row["cost_per_lens"] is None else f"{row['cost_per_lens']:,.4g}",
            f"{row['n_exceedances']}/{row['n_negatives']:,}" + ("*" if row["is_uncertain"] else ""),
        )
    return grid


def _by_prior(rows: Sequence[Row], split: str) -> Table:
    priors = sorted({row["lens_prior"] for row in rows})
    grid = _grid(
        f"purity by prior, rates of the {split} split{_readings(rows, split)}",
        *("tier", "target", *(f"prior {prior:g}" for prior in priors)),
    )
    cells = {(row["sample"], row["fpr_target"], row["lens_prior"]): _ends(row, "purity") for row in rows}
    for sample, target in dict.fromkeys((row["sample"], row["fpr_target"]) for row in rows):
        grid.add_row(SAMPLE_NAMES[sample], f"{target:g}", *(cells[sample, target, prior] for prior in priors))
    return grid


def _ends(row: Row, name: str) -> str:
    value, lo, hi = (row[f"{name}{end}"] for end in ("", "_lo", "_hi"))
    return "" if None in {value, lo, hi} else f"{value:.2g} ({lo:.2g}-{hi:.2g})"


def _power(value: float) -> str:
    """Write 0.00204 as 2.0e-3: a column of rates has no room for e-03."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def _count(value: float | None, times: float) -> str:
    return "" if value is None else f"{value * times:,.3g}" if value * times < 100 else f"{value * times:,.0f}"
