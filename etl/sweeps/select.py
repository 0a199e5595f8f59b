"""Which rows of a sweep go into the pool, and which of those are out of range."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import healpy
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.errors import SweepFileError
from etl.survey import DATA_RELEASE, N_BRICKID_BITS, N_OBJID_BITS, ls_id, survey_of_release
from etl.sweeps.box import SkyBox
from etl.sweeps.columns import GALAXY_FLOATS, GALAXY_INTEGERS, GALAXY_SCHEMA
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.reader import text_values

NSIDE = 128

_Mask = NDArray[np.bool_]


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
    """Judge of one file's rows; `select` takes its batches in order.

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
    _seen: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def select(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a batch that go into ``catalog.galaxy``, and count the others.

        Raises
        ------
        SweepFileError
            When a row is of another survey, or a brick number has two names.
        """
        self._check_survey(batch)
        first_row = self.counts.n_read
        chosen = np.flatnonzero(_is_selected(batch, self.config))
        self.counts.n_read += batch.num_rows
        self.counts.n_not_selected += batch.num_rows - len(chosen)
        rows = batch.take(pa.array(chosen))
        numbers = chosen + first_row
        is_good = self._judge(rows, numbers, _problems(rows, self.box))
        rows, numbers = rows.filter(pa.array(is_good)), numbers[is_good]
        keys = _keys(rows)
        is_new = self._judge(rows, numbers, {"ls_id repeats within the file": self._repeats(keys)})
        if not is_new.all():
            rows, keys = rows.filter(pa.array(is_new)), keys[is_new]
        self.counts.n_kept += rows.num_rows
        self._note_bricks(rows)
        return self._galaxies(rows, keys)

    def _check_survey(self, batch: pa.RecordBatch) -> None:
        surveys = set(survey_of_release(np.unique(_numpy(batch, "RELEASE"))).tolist())
        if surveys - {self.survey}:
            raise SweepFileError(f"mixes surveys: {', '.join(sorted(surveys | {self.survey}))}")

    def _judge(self, rows: pa.RecordBatch, numbers: NDArray[np.int64], problems: dict[str, _Mask]) -> _Mask:
        """Count and describe the rows that have a problem; return which have none."""
        is_bad = np.logical_or.reduce(list(problems.values()), axis=0)
        bad = np.flatnonzero(is_bad)
        for index in bad[: self.config.max_quarantine_rows + 1 - len(self.counts.bad)]:
            reason = next(reason for reason, mask in problems.items() if mask[index])
            row = {name: rows.column(name)[int(index)].as_py() for name in ("RELEASE", "BRICKID", "OBJID")}
            key = "/".join(str(value) for value in row.values())
            self.counts.bad.append(f"row {numbers[index]} (release/brickid/objid {key}): {reason}")
        self.counts.n_bad += len(bad)
        is_good: _Mask = ~is_bad
        return is_good

    def _repeats(self, keys: NDArray[np.int64]) -> _Mask:
        """Tell which keys were there before, in this batch or an earlier one; remember the others."""
        unique, first = np.unique(keys, return_index=True)
        at = np.searchsorted(self._seen, unique)
        is_new = np.ones(len(unique), dtype=np.bool_)
        within = at < len(self._seen)
        is_new[within] = self._seen[at[within]] != unique[within]
        self._seen = np.insert(self._seen, at[is_new], unique[is_new])
        repeats = np.ones(len(keys), dtype=np.bool_)
        repeats[first[is_new]] = False
        return repeats

    def _note_bricks(self, rows: pa.RecordBatch) -> None:
        ids, names = _numpy(rows, "BRICKID"), text_values(rows.column("BRICKNAME"))
        pairs = np.unique(np.rec.fromarrays([ids, names]))
        for brickid, name in pairs.tolist():
            known = self.bricks.setdefault(brickid, name.decode("ascii", "replace"))
            if known != name.decode("ascii", "replace"):
                raise SweepFileError(f"gives brick {brickid} two names: {known} and {name.decode()}")

    def _galaxies(self, rows: pa.RecordBatch, keys: NDArray[np.int64]) -> pa.RecordBatch:
        n_rows = rows.num_rows
        cells = healpy.ang2pix(NSIDE, _numpy(rows, "RA"), _numpy(rows, "DEC"), nest=True, lonlat=True)
        flux_i = _numpy(rows, "FLUX_I")
        own: dict[str, pa.Array] = {
            "ls_id": pa.array(keys),
            "ra": rows.column("RA"),
            "dec": rows.column("DEC"),
            "healpix_128": pa.array(np.asarray(cells, dtype=np.int32)),
            "sweep_file_id": pa.repeat(pa.scalar(self.sweep_file_id, pa.int32()), n_rows),
            "survey": pa.repeat(self.survey, n_rows),
            "data_release": pa.repeat(pa.scalar(DATA_RELEASE, pa.int16()), n_rows),
            "type": pa.array(text_values(rows.column("TYPE")).astype("U"), pa.string()),
            # Only where i was not observed may it be missing.
            "flux_i": pa.array(np.where(np.isfinite(flux_i), flux_i, np.float32(0))),
        }
        same = {name: rows.column(fits) for fits, name in (GALAXY_FLOATS | GALAXY_INTEGERS).items()}
        columns = same | own
        return pa.RecordBatch.from_arrays([columns[name] for name in GALAXY_SCHEMA.names], schema=GALAXY_SCHEMA)


def _numpy(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    values: NDArray[Any] = batch.column(name).to_numpy(zero_copy_only=False)
    return values


def _keys(rows: pa.RecordBatch) -> NDArray[np.int64]:
    return ls_id(_numpy(rows, "RELEASE"), _numpy(rows, "BRICKID"), _numpy(rows, "OBJID"))


def _is_selected(batch: pa.RecordBatch, config: SweepLoadConfig) -> _Mask:
    """Tell which rows are galaxies bright enough in z; one whose flux is not a number is, and then is found bad."""
    kinds = np.isin(text_values(batch.column("TYPE")), [kind.encode() for kind in config.types])
    flux_z = _numpy(batch, "FLUX_Z").astype(np.float64)
    faintest = 10 ** ((22.5 - config.mag_z_max) / 2.5)
    selected: _Mask = kinds & ((flux_z >= faintest) | ~np.isfinite(flux_z))
    if "BRICK_PRIMARY" in batch.schema.names:
        selected &= _numpy(batch, "BRICK_PRIMARY").astype(np.bool_)
    return selected


def _problems(rows: pa.RecordBatch, box: SkyBox | None) -> dict[str, _Mask]:
    """Return, by reason, which rows are out of range."""
    ra, dec = _numpy(rows, "RA").astype(np.float64), _numpy(rows, "DEC").astype(np.float64)
    objid, brickid = _numpy(rows, "OBJID").astype(np.int64), _numpy(rows, "BRICKID").astype(np.int64)
    is_i_observed = _numpy(rows, "NOBS_I").astype(np.int64) > 0
    problems: dict[str, _Mask] = {
        "RA is not in [0, 360)": ~((ra >= 0) & (ra < 360)),
        "DEC is not in [-90, 90]": ~((dec >= -90) & (dec <= 90)),
        f"OBJID does not fit {N_OBJID_BITS} bits": (objid < 0) | (objid >> N_OBJID_BITS > 0),
        f"BRICKID does not fit {N_BRICKID_BITS} bits": (brickid < 0) | (brickid >> N_BRICKID_BITS > 0),
    }
    for fits in GALAXY_FLOATS:
        is_bad = ~np.isfinite(_numpy(rows, fits).astype(np.float64))
        problems[f"{fits} is not finite"] = is_bad & is_i_observed if fits == "FLUX_I" else is_bad
    if box is not None:
        problems["its position is outside the file name's box"] = ~box.contains(ra, dec)
    return problems
