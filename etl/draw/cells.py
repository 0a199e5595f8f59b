"""The cells in which one pass over the pool counts and keeps galaxies: strata, divided by kind of confuser and EXP."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

from sqlalchemy import Connection, select

from db.models.sampling import CONFUSERS_OF_THE_POOL, NOBS_Z_BINS, STRATUM_TYPES, Stratum
from etl.draw.keys import FIRST_KEY, LAST_KEY, last_key

N_CODES = 80
"""Codes that a galaxy may have: 4 bins of nobs_z, 4 types, 5 kinds of confusers (with none)."""


@dataclass(frozen=True)
class Target:
    """A stratum that a draw fills, and how many of each pool it wants."""

    stratum_id: int
    nobs_z_bin: str
    type: str
    n_positives: int
    n1: int
    n2: int


@dataclass(frozen=True)
class Cell:
    """Galaxies of one kind in one stratum.

    `code` is what the pass computes of a galaxy: 20 x bin + 5 x type (3 is EXP) + kind of confuser (0 is none). EXP
    galaxies of a bin have one code and as many cells as the bin has strata: their keys say in which one they stand.
    `place` is that stratum's among those of its bin, 0 for all but EXP.
    """

    code: int
    stratum_id: int
    is_exp: bool
    category: str | None
    exp_keys: tuple[int, int] | None = None
    place: int = 0

    @property
    def number(self) -> int:
        """Its number in the statement `draw_pass`."""
        return self.code + N_CODES * self.place


@dataclass(frozen=True)
class Eligible:
    """Galaxies of one stratum that N1 (with those that N2 takes before) and N2 choose from; estimated or counted."""

    n1: float
    n2: float


@dataclass(frozen=True)
class LastKeys:
    """The highest keys that are kept as candidates of a stratum; None keeps none."""

    n1: int | None
    n2: int | None


def read_targets(connection: Connection, draw_id: int) -> list[Target]:
    """Return the strata of a draw that have positives."""
    columns = (Stratum.stratum_id, Stratum.nobs_z_bin, Stratum.type, Stratum.n_positives)
    rows = connection.execute(
        select(*columns, Stratum.n_target_n1, Stratum.n_target_n2)
        .where(Stratum.draw_id == draw_id, Stratum.n_positives > 0)
        .order_by(Stratum.stratum_id)
    )
    return [Target(*row[:4], n1=row.n_target_n1 or 0, n2=row.n_target_n2 or 0) for row in rows]


def cells_of(targets: list[Target]) -> list[Cell]:
    """Return the cells of some strata; EXP confusers fill the strata of their bin in proportion to the positives."""
    cells = []
    for place, nobs_z_bin in enumerate(NOBS_Z_BINS):
        here = sorted((target for target in targets if target.nobs_z_bin == nobs_z_bin), key=lambda t: t.type)
        total = sum(target.n_positives for target in here)
        edges = [FIRST_KEY, *(last_key(n, total) + 1 for n in accumulate(target.n_positives for target in here))]
        for nth, (target, (first, end)) in enumerate(zip(here, pairwise(edges), strict=True)):
            own, exp = 20 * place + 5 * STRATUM_TYPES.index(target.type), 20 * place + 5 * len(STRATUM_TYPES)
            cells.append(Cell(own, target.stratum_id, is_exp=False, category=None))
            for kind, category in enumerate(CONFUSERS_OF_THE_POOL, start=1):
                cells.append(Cell(own + kind, target.stratum_id, is_exp=False, category=category))
                cells.append(Cell(exp + kind, target.stratum_id, True, category, (first, end - 1), nth))
    return cells


def estimate(cells: list[Cell], sampled: Mapping[int, int], rate: float) -> dict[int, Eligible]:
    """Estimate what is eligible in each stratum from galaxies sampled by code, on the low side.

    Too few candidates cost another pass, too many next to nothing. A sample of pages scatters more than one of
    galaxies; 8 / sqrt(n) allows for a few alike on a page. A count below 100 says nothing.
    """
    eligible = {}
    for stratum_id in {cell.stratum_id for cell in cells}:
        own = [cell for cell in cells if cell.stratum_id == stratum_id]
        n1 = sum(sampled.get(cell.code, 0) for cell in own if not cell.is_exp)
        n2 = sum(sampled.get(cell.code, 0) * _share(cell) for cell in own if cell.category is not None)
        eligible[stratum_id] = Eligible(_low(n1) / rate, _low(n2) / rate)
    return eligible


def _share(cell: Cell) -> float:
    return 1.0 if cell.exp_keys is None else (cell.exp_keys[1] - cell.exp_keys[0]) / 2**64


def _low(n: float) -> float:
    return n * (1 - 8 / math.sqrt(n)) if n >= 100 else 0.0


def last_keys(target: Target, eligible: Eligible, margin: float) -> LastKeys:
    """Return the keys up to which candidates are kept: the number wanted and `margin` times its scatter of 6 sigma.

    N1 chooses from those that N2 leaves, so it may need as many more as N2 takes.
    """
    return LastKeys(
        _last_key(target.n1 + target.n2 if target.n1 else 0, eligible.n1, margin),
        _last_key(target.n2, eligible.n2, margin),
    )


def _last_key(n_wanted: int, n_eligible: float, margin: float) -> int | None:
    if n_wanted == 0:
        return None
    n_kept = math.ceil(n_wanted + margin * (6 * math.sqrt(n_wanted) + 50))
    return LAST_KEY if n_kept >= n_eligible else last_key(n_kept, math.floor(n_eligible))


def as_json(cells: list[Cell], keys: Mapping[int, LastKeys]) -> str:
    """Return cells as the statements after the pass read them."""
    rows = [
        {
            "cell": cell.number,
            "stratum_id": cell.stratum_id,
            "is_exp": cell.is_exp,
            "category": cell.category,
            "last_key_n1": _last_keys(cell, keys).n1,
            "last_key_n2": _last_keys(cell, keys).n2,
        }
        for cell in cells
    ]
    return json.dumps(rows)


def as_arrays(cells: list[Cell], keys: Mapping[int, LastKeys]) -> dict[str, str]:
    """Return what the pass looks up by a galaxy's cell or bin, as PostgreSQL's arrays.

    Where nothing is kept stands the lowest key of all, which next to no galaxy has, and which does no harm.
    """
    n1, n2 = [FIRST_KEY] * 3 * N_CODES, [FIRST_KEY] * 3 * N_CODES
    second, third = [LAST_KEY] * len(NOBS_Z_BINS), [LAST_KEY] * len(NOBS_Z_BINS)
    for cell in cells:
        last = _last_keys(cell, keys)
        n1[cell.number] = FIRST_KEY if last.n1 is None else last.n1
        n2[cell.number] = FIRST_KEY if last.n2 is None else last.n2
        if cell.exp_keys is not None and cell.place > 0:
            (second, third)[cell.place - 1][cell.code // 20] = cell.exp_keys[0]
    arrays = {"last_keys_n1": n1, "last_keys_n2": n2, "exp_second": second, "exp_third": third}
    return {name: "{" + ",".join(map(str, values)) + "}" for name, values in arrays.items()}


def _last_keys(cell: Cell, keys: Mapping[int, LastKeys]) -> LastKeys:
    """Return the highest keys that are kept of a cell: EXP galaxies are no N1, only confusers are N2."""
    last = keys[cell.stratum_id]
    return LastKeys(None if cell.is_exp else last.n1, None if cell.category is None else last.n2)
