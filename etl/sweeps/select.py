"""Which rows of a sweep go into the pool, and which of those are out of range."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import healpy
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.errors import SweepFileError
from etl.survey import DATA_RELEASE, N_BRICKID_BITS, N_OBJID_BITS, ls_id, survey_of_release
from etl.sweeps.box import SkyBox
from etl.sweeps.columns import GALAXY_FLOATS, GALAXY_INTEGERS, GALAXY_SCHEMA
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.rows import SweepRows, arrow
from etl.sweeps.seen import SeenKeys

NSIDE = 128

_Mask = NDArray[np.bool_]


class _Problem(NamedTuple):
    """A reason to refuse rows, which rows it holds for, and the columns whose values tell."""

    reason: str
    is_bad: _Mask
    columns: tuple[str, ...]


@dataclass
class RowCounts:
    """What became of a file's rows so far; `bad` describes as many bad ones as may be quarantined, and one more."""

    n_read: int = 0
    n_kept: int = 0
    n_not_selected: int = 0
    n_bad: int = 0
    bad: list[str] = field(default_factory=list)


@dataclass
class PoolSelection:
    """Judge of one file's rows; `select` takes its chunks in order.

    Attributes
    ----------
    survey
        The one survey of the file; another release among its rows refuses the file.
    box
        Where its rows must lie; None when its name does not say.
    bricks
        Names of the bricks of the rows kept so far, by number.
    """

    config: SweepLoadConfig
    survey: str
    sweep_file_id: int
    box: SkyBox | None = None
    counts: RowCounts = field(default_factory=RowCounts)
    bricks: dict[int, str] = field(default_factory=dict)
    _seen: SeenKeys = field(default_factory=SeenKeys)

    def select(self, rows: SweepRows) -> pa.RecordBatch:
        """Return the rows that go into ``catalog.galaxy``, and count the others.

        Only what decides is read of every row; the other columns are read of the rows that are kept.

        Raises
        ------
        SweepFileError
            When a row is of another survey, or a brick number has two names.
        """
        self._check_survey(rows)
        is_chosen = _is_selected(rows, self.config)
        numbers = np.flatnonzero(is_chosen) + self.counts.n_read
        self.counts.n_read += rows.num_rows
        self.counts.n_not_selected += rows.num_rows - len(numbers)
        chosen = rows.where(is_chosen)
        is_good = self._judge(chosen, numbers, _problems(chosen, self.box))
        good, numbers = chosen.where(is_good), numbers[is_good]
        keys = ls_id(good.values("RELEASE"), good.values("BRICKID"), good.values("OBJID"))
        repeats = _Problem("ls_id repeats within the file", self._seen.add(keys), ())
        is_new = self._judge(good, numbers, [repeats])
        kept = good.where(is_new)
        self.counts.n_kept += kept.num_rows
        self._note_bricks(kept)
        return self._galaxies(kept, keys[is_new])

    def _check_survey(self, rows: SweepRows) -> None:
        surveys = set(survey_of_release(np.unique(rows.values("RELEASE"))).tolist())
        if surveys - {self.survey}:
            raise SweepFileError(f"mixes surveys: {', '.join(sorted(surveys | {self.survey}))}")

    def _judge(self, rows: SweepRows, numbers: NDArray[np.int64], problems: list[_Problem]) -> _Mask:
        """Count and describe the rows that have a problem; return which have none."""
        is_bad = np.logical_or.reduce([problem.is_bad for problem in problems], axis=0)
        bad = np.flatnonzero(is_bad)
        for index in bad[: self.config.max_quarantine_rows + 1 - len(self.counts.bad)]:
            problem = next(problem for problem in problems if problem.is_bad[index])
            key = "/".join(str(rows.records[name][index]) for name in ("RELEASE", "BRICKID", "OBJID"))
            found = ", ".join(str(rows.records[name][index]) for name in problem.columns)
            reason = f"{problem.reason}: {found}" if found else problem.reason
            self.counts.bad.append(f"row {numbers[index]} (release/brickid/objid {key}): {reason}")
        self.counts.n_bad += len(bad)
        is_good: _Mask = ~is_bad
        return is_good

    def _note_bricks(self, rows: SweepRows) -> None:
        if not rows.num_rows:
            return
        ids, names = rows.values("BRICKID"), rows.values("BRICKNAME")
        # Neighbouring rows share their brick, so few of them begin one.
        begins = np.r_[True, (ids[1:] != ids[:-1]) | (names[1:] != names[:-1])]
        for brickid, stored in set(zip(ids[begins].tolist(), names[begins].tolist(), strict=True)):
            name = stored.decode("ascii", "replace")
            known = self.bricks.setdefault(brickid, name)
            if known != name:
                raise SweepFileError(f"gives brick {brickid} two names: {known} and {name}")

    def _galaxies(self, rows: SweepRows, keys: NDArray[np.int64]) -> pa.RecordBatch:
        n_rows = rows.num_rows
        ra, dec, flux_i = rows.values("RA"), rows.values("DEC"), rows.values("FLUX_I")
        cells = healpy.ang2pix(NSIDE, ra, dec, nest=True, lonlat=True)
        own: dict[str, pa.Array] = {
            "ls_id": arrow(keys),
            "ra": arrow(ra),
            "dec": arrow(dec),
            "healpix_128": arrow(cells.astype(np.int32)),
            "sweep_file_id": arrow(np.full(n_rows, self.sweep_file_id, np.int32)),
            "survey": arrow(np.full(n_rows, self.survey.encode())).cast(pa.string()),
            "data_release": arrow(np.full(n_rows, DATA_RELEASE, np.int16)),
            "type": arrow(rows.values("TYPE").astype("S3")).cast(pa.string()),  # SER, DEV, REX, EXP
            # Only where i was not observed may it be missing.
            "flux_i": arrow(np.where(np.isfinite(flux_i), flux_i, np.float32(0))),
        }
        names = {galaxy: fits for fits, galaxy in (GALAXY_FLOATS | GALAXY_INTEGERS).items()}
        arrays = [own[name] if name in own else rows.column(names[name]) for name in GALAXY_SCHEMA.names]
        return pa.RecordBatch.from_arrays(arrays, schema=GALAXY_SCHEMA)


def _is_selected(rows: SweepRows, config: SweepLoadConfig) -> _Mask:
    """Tell which rows are galaxies bright enough in z; one whose flux is not a number is, and then is found bad."""
    flux_z = rows.values("FLUX_Z")
    faintest = np.float64(10 ** ((22.5 - config.mag_z_max) / 2.5))
    selected: _Mask = (flux_z >= faintest) | ~np.isfinite(flux_z)
    selected &= np.isin(rows.values("TYPE"), [kind.encode() for kind in config.types])
    if "BRICK_PRIMARY" in rows.columns:
        selected &= rows.values("BRICK_PRIMARY")
    return selected


def _problems(rows: SweepRows, box: SkyBox | None) -> list[_Problem]:
    """Return what is out of range."""
    ra, dec, objid, brickid = (rows.values(name) for name in ("RA", "DEC", "OBJID", "BRICKID"))
    too_wide = "does not fit {} bits".format
    problems = [
        _Problem("RA is not in [0, 360)", ~((ra >= 0) & (ra < 360)), ("RA",)),
        _Problem("DEC is not in [-90, 90]", ~((dec >= -90) & (dec <= 90)), ("DEC",)),
        _Problem(f"OBJID {too_wide(N_OBJID_BITS)}", (objid < 0) | (objid >> N_OBJID_BITS > 0), ("OBJID",)),
        _Problem(f"BRICKID {too_wide(N_BRICKID_BITS)}", (brickid < 0) | (brickid >> N_BRICKID_BITS > 0), ("BRICKID",)),
    ]
    for name in GALAXY_FLOATS:
        is_bad = ~np.isfinite(rows.values(name))
        if name == "FLUX_I":
            is_bad &= rows.values("NOBS_I") > 0
        problems.append(_Problem(f"{name} is not finite", is_bad, (name,)))
    if box is not None:
        is_outside = ~box.contains(ra, dec)
        problems.append(_Problem("its position is outside the file name's box", is_outside, ("RA", "DEC")))
    return problems
