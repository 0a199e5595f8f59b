"""The candidates of a model as `results.discoveries` publishes them: a table for people, and a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from sqlalchemy import Connection, column, select, table

from analysis.errors import AnalysisError

COLUMNS = (
    "rank",
    "score",
    "survey_quantile",
    "probability",
    "probability_lo",
    "probability_hi",
    "ra",
    "dec",
    "ls_id",
    "split",
    "is_trained_on",
    "pool",
    "category",
    "known_lens_name",
    "known_lens_separation_arcsec",
    "type",
    "mag_g_ab",
    "mag_r_ab",
    "mag_z_ab",
    "nobs_z",
    "psf_fwhm_r_arcsec",
    "psf_fwhm_z_arcsec",
    "galdepth_z_ab",
    "ebv_mag",
    "model_name",
    "survey",
    "fraction",
    "prevalence",
    "threshold",
    "checked_at",
    "cutout_id",
    "uri",
    "n_test_accesses",
)
"""Columns of the CSV file."""

Row = Mapping[str, Any]


def read_discoveries(connection: Connection, model_id: int) -> list[Row]:
    """Read the candidates of a model, best first."""
    view = table("discoveries", column("model_id"), *map(column, COLUMNS), schema="results")
    rows = connection.execute(
        select(*(view.c[name] for name in COLUMNS)).where(view.c.model_id == model_id).order_by(view.c.rank)
    )
    return [dict(row) for row in rows.mappings()]


def candidates_table(rows: Sequence[Row], n_most: int) -> Table:
    """Lay the first candidates out."""
    shown = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    headings = (
        "rank",
        "score",
        "of survey",
        "P(lens)",
        "ra",
        "dec",
        "type",
        "mag r",
        "FWHM r",
        "split",
        "pool",
        "taught",
    )
    for heading in headings:
        shown.add_column(heading, no_wrap=True, justify="left" if heading in ("type", "split", "pool") else "right")
    for row in rows[:n_most]:
        shown.add_row(
            str(row["rank"]),
            f"{row['score']:.6f}",
            f"{row['survey_quantile']:.2e}",
            _probability(row),
            f"{row['ra']:.5f}",
            f"{row['dec']:+.5f}",
            str(row["type"]),
            _number(row["mag_r_ab"]),
            _number(row["psf_fwhm_r_arcsec"]),
            row["split"] or "-",
            row["category"] or row["pool"] or "-",
            "yes" if row["is_trained_on"] else "",
        )
    return shown


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write all candidates to a new or existing file; an absent value is an empty field.

    Raises
    ------
    AnalysisError
        When the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as exc:
        raise AnalysisError(f"{path}: cannot be written: {exc.strerror}; give another place to --csv") from exc


def _probability(row: Row) -> str:
    if row["probability"] is None:
        return "-"
    return f"{row['probability']:.3g} ({row['probability_lo']:.2g}-{row['probability_hi']:.2g})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
