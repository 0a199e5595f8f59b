"""Sweep files of the benchmark's sky, written at the speed of the disk: DR10's 130 columns, 505 bytes a row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from etl.mock.columns import SWEEP_COLUMNS
from tests.bench.pool.sky import Box, Bricks, bricks

RELEASE = 10_000
_BLOCK = 2880
_BANDS = ("G", "R", "I", "Z")
_WISE = ("W1", "W2", "W3", "W4")
_NUMPY = {"A": "S", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "B": "u1", "L": "S"}
_EXTINCTION = {"G": 3.214, "R": 2.165, "I": 1.592, "Z": 1.211, "W1": 0.184, "W2": 0.113, "W3": 0.024, "W4": 0.009}
_COUNTS_SLOPE = 0.43  # d log10 N / d mag: 37 % of the galaxies to z = 21 are brighter than 20
_LENS_OFFSET_DEG = 0.3 / 3600

Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Lenses:
    """Known lenses that the sky has a galaxy for; degrees. Those of a tier get one that a stratum has a place for."""

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    is_positive: NDArray[np.bool_]

    def within(self, box: Box) -> Lenses:
        """Keep those in a box."""
        inside = (self.ra >= box.ra) & (self.ra < box.ra + 5) & (self.dec >= box.dec) & (self.dec < box.dec + 5)
        return Lenses(self.ra[inside], self.dec[inside], self.is_positive[inside])


NO_LENSES = Lenses(np.empty(0), np.empty(0), np.empty(0, np.bool_))


class SweepWriter:
    """Writes files whose rows share their photometry: made once, and only places and keys differ between files.

    Parameters
    ----------
    longest
        Rows of the longest file.
    kept
        Share of the rows that the pool keeps; in the survey's own files 0.04, the others being faint or stars.
    """

    def __init__(self, longest: int, *, kept: float = 1.0, seed: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self._is_kept = self._rng.random(longest + longest // 2) < kept
        self._rows = _photometry(self._is_kept, self._rng)

    def write(self, folder: Path, box: Box, lenses: Lenses = NO_LENSES) -> Keys:
        """Write the file of a box; return the keys of the rows that the pool keeps, in the order of the file."""
        rng = np.random.default_rng([box.number, box.n_rows])
        start = int(rng.integers(0, len(self._rows) - box.n_rows + 1))
        rows = self._rows[start : start + box.n_rows]
        here = lenses.within(box)
        n_lenses = min(len(here.ra), box.n_rows)
        patch = bricks(box)
        brick_of_lens = _brick_at(patch, here.ra[:n_lenses], here.dec[:n_lenses])
        n_lenses_in = np.bincount(brick_of_lens, minlength=len(patch.brickid))
        share = rng.lognormal(0, 0.1, len(patch.brickid)) * patch.ra_width * np.cos(np.radians(patch.dec))
        counts = n_lenses_in + rng.multinomial(box.n_rows - n_lenses, share / share.sum())
        brick = np.repeat(np.arange(len(counts)), counts)
        first = np.cumsum(counts) - counts
        objid = np.arange(box.n_rows) - first[brick]
        ra = patch.ra[brick] + patch.ra_width[brick] * rng.random(box.n_rows)
        dec = patch.dec[brick] + 0.25 * rng.random(box.n_rows)
        # Each lens takes the place of a row of its brick.
        order = np.argsort(brick_of_lens, kind="stable")
        rank = np.arange(n_lenses) - np.searchsorted(brick_of_lens[order], brick_of_lens[order])
        at = first[brick_of_lens[order]] + rank
        ra[at] = here.ra[order]
        dec[at] = here.dec[order] + _LENS_OFFSET_DEG * rng.uniform(-1, 1, n_lenses)
        before = rows[at].copy()
        _make_deflectors(rows, at[here.is_positive[order]], rng)
        rows["RA"], rows["DEC"], rows["OBJID"] = ra, dec, objid
        rows["BRICKID"], rows["BRICKNAME"] = patch.brickid[brick], patch.name[brick]
        _write(folder / box.name, rows)
        is_kept = self._is_kept[start : start + box.n_rows].copy()
        is_kept[at[here.is_positive[order]]] = True
        rows[at] = before
        keys = (np.int64(RELEASE) << 40) + (patch.brickid[brick].astype(np.int64) << 16) + objid
        return np.asarray(keys[is_kept], np.int64)


def _brick_at(patch: Bricks, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number within the box of the brick that holds each position."""
    row_edges = np.unique(patch.dec)
    row = np.searchsorted(row_edges, dec, side="right") - 1
    first = np.searchsorted(patch.dec, row_edges)[row]
    return np.asarray(first + ((ra - patch.ra[first]) // patch.ra_width[first]), np.int64)


def _photometry(is_kept: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.void]:
    """Rows with every column filled but for places and keys; a little of everything, as Tractor writes it."""
    n = len(is_kept)
    rows = np.zeros(n, _dtype())
    for (
        name,
        tform,
    ) in SWEEP_COLUMNS:  # noise in what the pool does not keep: files must not compress better than real ones
        if tform.endswith("E") and not name.startswith(("GAIA", "PARALLAX", "PM", "REF")):
            rows[name] = rng.lognormal(0, 1, rows[name].shape)
    rows["RELEASE"], rows["GAIA_DUPLICATED_SOURCE"], rows["WISE_COADD_ID"] = RELEASE, b"F", b"0000m000"
    kinds = rng.choice([b"SER", b"DEV", b"REX", b"EXP"], n, p=[0.3, 0.2, 0.35, 0.15])
    is_star = ~is_kept & (rng.random(n) < 0.5)
    kinds[is_star] = b"PSF"
    rows["TYPE"] = kinds
    faintest = np.where(is_kept, 20.999, 25.0)
    mag_z = np.maximum(faintest + np.log10(rng.random(n)) / _COUNTS_SLOPE, np.where(is_kept | is_star, 13.0, 21.01))
    colour = {"R": rng.normal(0.8, 0.3, n), "I": rng.normal(0.3, 0.1, n), "Z": np.zeros(n)}
    colour["G"] = colour["R"] + rng.normal(0.9, 0.35, n)
    ebv = rng.lognormal(-3, 0.5, n)
    rows["EBV"] = ebv
    for band in _BANDS:
        depth = rng.lognormal(np.log(400 if band in "GR" else 100), 0.4, n)
        rows[f"FLUX_{band}"] = 10 ** (0.4 * (22.5 - mag_z - colour[band]))
        rows[f"PSFDEPTH_{band}"], rows[f"GALDEPTH_{band}"] = depth, 0.7 * depth
        rows[f"FLUX_IVAR_{band}"] = depth * rng.uniform(0.1, 0.7, n)
        rows[f"PSFSIZE_{band}"] = rng.normal(1.3, 0.15, n)
        rows[f"NOBS_{band}"] = np.clip(rng.lognormal(1.6, 0.7, n), 0, 80)
    for band in _BANDS + _WISE:
        rows[f"MW_TRANSMISSION_{band}"] = 10 ** (-0.4 * _EXTINCTION[band] * ebv)
    is_galaxy = ~is_star
    tilt = np.clip(rng.rayleigh(0.22, n), 0, 0.9) * (is_galaxy & (kinds != b"REX"))
    angle = rng.uniform(0, 2 * np.pi, n)
    rows["SHAPE_R"] = rng.lognormal(-0.3, 0.6, n) * is_galaxy
    rows["SHAPE_E1"], rows["SHAPE_E2"] = tilt * np.cos(angle), tilt * np.sin(angle)
    index = {b"SER": rng.uniform(0.5, 6, n), b"DEV": np.full(n, 4.0), b"REX": np.ones(n), b"EXP": np.ones(n)}
    rows["SERSIC"] = np.select([kinds == kind for kind in index], list(index.values()), 0)
    rows["MASKBITS"] = np.where(rng.random(n) < 0.08, 1 << rng.integers(0, 14, n), 0)
    rows["FITBITS"] = rng.choice([0, 1, 512], n)
    return rows


def _make_deflectors(rows: NDArray[np.void], at: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Make rows into galaxies that a stratum has a place for."""
    rows["TYPE"][at] = rng.choice([b"SER", b"DEV", b"REX"], len(at), p=[0.5, 0.35, 0.15])
    rows["FLUX_Z"][at] = 10 ** (0.4 * (22.5 - rng.uniform(17, 19.9, len(at))))
    for band in "GRZ":
        rows[f"NOBS_{band}"][at] = np.maximum(rows[f"NOBS_{band}"][at], 1)


def _dtype() -> np.dtype[np.void]:
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    for name, tform in SWEEP_COLUMNS:
        repeat, code = int(tform[:-1]), tform[-1]
        if code in "AL":
            fields.append((name, f"S{repeat}"))
        else:
            fields.append((name, _NUMPY[code]) if repeat == 1 else (name, _NUMPY[code], (repeat,)))
    return np.dtype(fields)


@cache
def _headers() -> tuple[str, fits.Header]:
    columns = [fits.Column(name, tform) for name, tform in SWEEP_COLUMNS]
    return fits.PrimaryHDU().header.tostring(), fits.BinTableHDU.from_columns(columns, nrows=0, name="SWEEP").header


def _write(path: Path, rows: NDArray[np.void]) -> None:
    primary, table = _headers()
    table["NAXIS2"] = len(rows)
    with path.open("wb") as stream:
        stream.write((primary + table.tostring()).encode("ascii"))
        rows.tofile(stream)
        stream.write(bytes(-rows.nbytes % _BLOCK))
