"""Manifests of an earlier pool, made as such a group makes them: with pandas, by its own code, in its own words."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import healpy
import numpy as np
import pandas as pd

WORDS = {
    "": None,
    "ring": "ring_proxy",
    "edge_on": "edge_on_proxy",
    "large": "large_galaxy",
    "blue_clumpy": "blue_clumpy",
}


def split_of(cell: int) -> str:
    """The split of a cell, by the published rule."""
    u = int(hashlib.sha256(f"{cell}_42".encode()).hexdigest()[:8], 16) / 2**32
    return "train" if u < 0.70 else "val" if u < 0.85 else "test"


def nobs_bin_of(nobs_z: int) -> str:
    """The bin of a number of exposures."""
    return "1-2" if nobs_z <= 2 else "3-5" if nobs_z <= 5 else "6-10" if nobs_z <= 10 else "11+"


def category_of(row: pd.Series) -> str:
    """The kind of confuser of one galaxy, in magnitudes and one rule after the other."""
    mag_r = 22.5 - 2.5 * np.log10(row.flux_r) if row.flux_r > 0 else np.inf
    mag_g = 22.5 - 2.5 * np.log10(row.flux_g) if row.flux_g > 0 else np.inf
    if row.flux_r >= 5 and (row.type == "DEV" or (row.type == "SER" and row.sersic >= 4)):
        return "ring"
    if row.type != "REX" and np.sqrt(row.shape_e1**2 + row.shape_e2**2) >= 0.5 and row.shape_r >= 0.6:
        return "edge_on"
    if row.shape_r >= 2 and row.flux_r >= 3:
        return "large"
    return "blue_clumpy" if mag_g - mag_r <= 0.4 and mag_r <= 20.5 else ""


def make_manifest(shared_data: Path, n_rows: int, seed: int = 5) -> pd.DataFrame:
    """Real positions, bricks, types and fluxes of DR10 with made-up conditions, and everything derived from them."""
    rng = np.random.default_rng(seed)
    with (shared_data / "sweeps" / "dr10_lrg_rows.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["TYPE"] in ("SER", "DEV", "REX", "EXP")]
    chosen = [rows[index] for index in rng.choice(len(rows), n_rows, replace=False)]
    real = pd.DataFrame(
        {
            "brickname": [row["BRICKNAME"] for row in chosen],
            "objid": rng.permutation(60_000)[:n_rows].astype(np.int32),
            "ra": [float(row["RA"]) for row in chosen],
            "dec": [float(row["DEC"]) for row in chosen],
            "type": [row["TYPE"] for row in chosen],
            "nobs_z": rng.integers(1, 15, n_rows).astype(np.int32),
            **{
                f"flux_{band}": np.float32([row[f"FLUX_{band.upper()}"] for row in chosen])
                for band in ("g", "r", "z", "w1")
            },
        }
    )
    real.insert(0, "galaxy_id", real.brickname + "_" + real.objid.astype(str))
    made_up = {
        **{f"psfsize_{band}": rng.uniform(0.9, 2, n_rows) for band in "grz"},
        **{f"psfdepth_{band}": rng.uniform(50, 3000, n_rows) for band in "grz"},
        **{f"galdepth_{band}": rng.uniform(50, 3000, n_rows) for band in "grz"},
        "ebv": rng.uniform(0.01, 0.2, n_rows),
        **{f"mw_transmission_{band}": rng.uniform(0.7, 1, n_rows) for band in "grz"},
        "shape_r": rng.uniform(0.3, 3, n_rows),
        "shape_e1": rng.uniform(-0.7, 0.7, n_rows),
        "shape_e2": rng.uniform(-0.7, 0.7, n_rows),
        "sersic": rng.uniform(0.5, 6, n_rows),
    }
    frame = real.assign(**{name: values.astype(np.float32) for name, values in made_up.items()})
    return derive(frame.assign(maskbits=np.int32(0), fitbits=np.int32(0)))


def derive(frame: pd.DataFrame) -> pd.DataFrame:
    """Fill in what follows from the other columns of a manifest."""
    theta, phi = np.radians(90 - frame.dec), np.radians(frame.ra)
    category = frame.apply(category_of, axis=1) if len(frame) else pd.Series([], dtype=object)
    cells = {nside: healpy.ang2pix(nside, theta, phi, nest=True).astype(np.int64) for nside in (64, 128)}
    return frame.assign(
        nobs_z_bin=[nobs_bin_of(value) for value in frame.nobs_z],
        type_bin=frame.type.where(frame.type != "EXP", "OTHER"),
        healpix_64=cells[64],
        healpix_128=cells[128],
        split=[split_of(cell) for cell in cells[128]],
        pool=np.where(category != "", "N2", np.where(frame.type == "EXP", "", "N1")),
        confuser_category=category.map(WORDS),
        sweep_file="sweep-000m005-010p000.fits",
        row_index=np.arange(len(frame), dtype=np.int32),
        pipeline_version="1.0.0",
    )
