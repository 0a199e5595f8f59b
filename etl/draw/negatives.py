"""The negatives of a draw: one pass over the pool keeps candidates and counts all others, SQL ranks the candidates.

The draw is exact: every stratum takes the galaxies with the lowest keys. Estimates only decide how many are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, func, select

from db.models.catalog import LensNeighbour, SweepFile
from db.statements import statement
from etl.draw.cells import Cell, Eligible, Target, as_arrays, as_json, cells_of, estimate, last_keys, read_targets
from etl.draw.keys import salt
from etl.draw.rules import DrawConfig

SAMPLE_ROWS = (50_000, 400_000)
"""Galaxies that are sampled for the estimate: a hundredth of the pool, at least and at most these."""

NEGATIVE_WEIGHT = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """What a pass found in one cell."""

    n_eligible: int
    n_kept_n1: int
    n_kept_n2: int


def insert_negatives(
    connection: Connection,
    draw_id: int,
    config: DrawConfig,
    data_release: int,
    estimated: Mapping[int, Eligible] | None = None,
) -> int:
    """Draw the negatives of every stratum, N2 first, and persist what was eligible and drawn.

    Parameters
    ----------
    estimated
        What is eligible in each stratum (by its key); None takes a sample of the pool. The draw does not depend on it.

    Returns
    -------
    int
        Passes over the pool: 1 unless the estimate was far too high; 0 where no stratum has positives.
    """
    targets = read_targets(connection, draw_id)
    if not targets:
        return 0
    cells = cells_of(targets)
    rules = config.sql_parameters() | {"data_release": data_release}
    eligible = estimated or _sample(connection, cells, rules)
    salts = {f"salt_{purpose.lower()}": salt(config.seed, purpose) for purpose in ("N1", "N2", "EXP")}
    n_passes = 0
    while True:
        keys = {target.stratum_id: last_keys(target, eligible[target.stratum_id], 2.0**n_passes) for target in targets}
        body = as_json(cells, keys)
        _pass(connection, rules | salts | as_arrays(cells, keys) | {"near_lens": _near_lens(connection)})
        n_passes += 1
        found = _found(connection, cells, {"cells": body, **_only(salts, "salt_n1", "salt_n2")})
        if _is_complete(targets, cells, found):
            break
        _log.info("pass %d kept too few candidates: going over the pool again", n_passes)
        connection.execute(statement("draw_pass_drop"))
        eligible = _counted(targets, cells, found)
    drawn = {"draw_id": draw_id, "cells": body, "negative_weight": NEGATIVE_WEIGHT}
    connection.execute(statement("draw_negatives"), drawn | _only(salts, "salt_n1", "salt_n2"))
    return n_passes


def _only(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _sample(connection: Connection, cells: Sequence[Cell], rules: Mapping[str, Any]) -> dict[int, Eligible]:
    """Estimate what is eligible from a sample of the pool's pages."""
    loaded = select(func.sum(SweepFile.n_kept)).where(SweepFile.status == "loaded")
    n_galaxies = int(connection.scalar(loaded) or 0)
    lowest, highest = SAMPLE_ROWS
    rate = min(1.0, min(highest, max(lowest, n_galaxies / 100)) / max(n_galaxies, 1))
    rows = connection.execute(statement("draw_sample"), {**rules, "percent": 100 * rate})
    return estimate(list(cells), {row.code: row.n_galaxies for row in rows}, rate)


def _near_lens(connection: Connection) -> str:
    """Return the keys of all galaxies near a known lens, as PostgreSQL's array."""
    keys = connection.scalars(select(LensNeighbour.ls_id).distinct().order_by(LensNeighbour.ls_id))
    return "{" + ",".join(map(str, keys)) + "}"


def _pass(connection: Connection, parameters: Mapping[str, Any]) -> None:
    """Go over the pool once; its parameters are written into the statement, as CREATE TABLE AS takes none."""
    connection.execute(select(func.set_config("work_mem", "256MB", True)))
    # Expressions tell the planner little about the number of rows: it would sort them all instead of hashing groups.
    connection.execute(select(func.set_config("enable_sort", "off", True)))
    written: list[BindParameter[Any]] = [
        bindparam(name, value, literal_execute=True) for name, value in parameters.items()
    ]
    connection.execute(statement("draw_pass").bindparams(*written))
    connection.execute(select(func.set_config("enable_sort", "on", True)))


def _found(connection: Connection, cells: Sequence[Cell], parameters: Mapping[str, Any]) -> list[_Found]:
    rows = {row.cell: row for row in connection.execute(statement("draw_counts"), parameters)}
    empty = _Found(0, 0, 0)
    return [
        _Found(int(row.n_eligible), row.n_kept_n1, row.n_kept_n2) if (row := rows.get(cell.number)) else empty
        for cell in cells
    ]


def _is_complete(targets: Sequence[Target], cells: Sequence[Cell], found: Sequence[_Found]) -> bool:
    """Tell whether every stratum kept as many candidates as it can take, for N1 also after N2 took its share."""
    for target in targets:
        own = [(cell, here) for cell, here in zip(cells, found, strict=True) if cell.stratum_id == target.stratum_id]
        n_n2 = min(target.n2, sum(here.n_eligible for cell, here in own if cell.category is not None))
        n_not_exp = sum(here.n_eligible for cell, here in own if not cell.is_exp)
        if sum(here.n_kept_n2 for _, here in own) < n_n2:
            return False
        if target.n1 and sum(here.n_kept_n1 for _, here in own) < min(n_not_exp, target.n1 + n_n2):
            return False
    return True


def _counted(targets: Sequence[Target], cells: Sequence[Cell], found: Sequence[_Found]) -> dict[int, Eligible]:
    """What is eligible in each stratum, exactly, as a pass counted it."""
    eligible = {}
    for target in targets:
        own = [(cell, here) for cell, here in zip(cells, found, strict=True) if cell.stratum_id == target.stratum_id]
        eligible[target.stratum_id] = Eligible(
            sum(here.n_eligible for cell, here in own if not cell.is_exp),
            sum(here.n_eligible for cell, here in own if cell.category is not None),
        )
    return eligible
