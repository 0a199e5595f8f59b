"""What follows from other columns of a manifest, by this project's rules: cell, stratum, split, pool and category."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import healpy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from db.models.sampling import NOBS_Z_BINS, STRATUM_TYPES
from etl.draw.rules import ConfuserRules, flux_nanomaggies
from etl.imports.findings import Differences, Mask, Texts
from etl.splits import NSIDE, SplitConfig, split_of_cells

CATEGORY_INPUTS = ("flux_g", "flux_r", "shape_r_arcsec", "shape_e1", "shape_e2", "sersic")
"""Measured columns that decide whether a galaxy is a hard confuser."""

_NOBS_Z_UPPER = (2, 5, 10)
_NO_BIN = ("", "invalid", "other", "none", "unk", "exp")
"""Words of earlier manifests for a galaxy that has no bin, or no category."""

_CATEGORY_WORDS = {
    "ring_proxy": "ring",
    "edge_on_proxy": "edge_on",
    "large_galaxy": "large",
    "blue_clumpy_proxy": "blue_clumpy",
}
"""Earlier names of the kinds of confusers."""


@dataclass(frozen=True)
class Rules:
    """The rules that values are derived by."""

    splits: SplitConfig
    confusers: ConfuserRules

    @cached_property
    def split_of_cell(self) -> Texts:
        """The split of every cell of the sky."""
        return split_of_cells(np.arange(healpy.nside2npix(NSIDE)), self.splits).astype(object)

    def compare(self, batch: pa.RecordBatch, keys: Texts, found: Differences) -> None:
        """Derive every derivable column that a batch has, and count where it says otherwise.

        Pool and category are compared where all that they follow from is known, and for mined negatives never. An EXP
        galaxy has no type bin: a draw puts it into one.
        """
        columns = set(batch.schema.names)
        cells = cells_of(_numbers(batch, "ra"), _numbers(batch, "dec"))
        ours: dict[str, Texts] = {"healpix_128": cells.astype(object), "split": self.split_of_cell[cells]}
        if "type" in columns:
            ours["type_bin"] = type_bin_of(texts(batch, "type"))
        if "nobs_z" in columns:
            ours["nobs_z_bin"] = nobs_z_bin_of(_numbers(batch, "nobs_z"))
        if columns >= {"type", *CATEGORY_INPUTS}:
            ours["category"] = category_of(batch, self.confusers)
            is_exp = texts(batch, "type") == "EXP"
            ours["pool"] = np.where(ours["category"] != "", "N2", np.where(is_exp, "", "N1")).astype(object)
        for name in [name for name in ours if name in columns]:
            theirs, mine = said(batch, name), ours[name]
            known = self._is_derivable(batch, name)
            found.compare(name, keys[known], theirs[known], mine[known], (theirs != mine)[known])

    def _is_derivable(self, batch: pa.RecordBatch, name: str) -> Mask:
        derivable = np.ones(len(batch), dtype=np.bool_)
        if name == "type_bin":
            derivable = texts(batch, "type") != "EXP"
        if name in ("category", "pool"):
            derivable = np.logical_and.reduce([~np.isnan(_numbers(batch, column)) for column in CATEGORY_INPUTS])
            if "category" in batch.schema.names:
                derivable &= said(batch, "category") != "mined"
        return derivable


def cells_of(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the HEALPix cell of positions in degrees, nside 128, NESTED; cell 0 for positions off the sky."""
    on_sky = (ra >= 0) & (ra < 360) & (dec >= -90) & (dec <= 90)
    cells = healpy.ang2pix(NSIDE, np.where(on_sky, ra, 0), np.where(on_sky, dec, 0), nest=True, lonlat=True)
    return np.where(on_sky, cells, 0).astype(np.int32)


def nobs_z_bin_of(nobs_z: NDArray[np.float64]) -> Texts:
    """Return the bin of each number of z exposures, empty where there is none; shape (n,)."""
    bins = np.array(NOBS_Z_BINS, dtype=object)[np.searchsorted(_NOBS_Z_UPPER, nobs_z)]
    return np.where(nobs_z >= 1, bins, "").astype(object)


def type_bin_of(types: Texts) -> Texts:
    """Return the type where it is one that strata are made of, else nothing; shape (n,)."""
    return np.where(np.isin(types.astype(np.str_), STRATUM_TYPES), types, "").astype(object)


def category_of(batch: pa.RecordBatch, rules: ConfuserRules) -> Texts:
    """Return the kind of confuser that each galaxy is, empty where it is none or a measurement is missing.

    The same rules as in the SQL function `sampling.confuser_code`, for rows that are not in the database yet.
    """
    flux_g, flux_r, shape_r, e1, e2, sersic = (_numbers(batch, name) for name in CATEGORY_INPUTS)
    types = texts(batch, "type")
    is_dev, is_ser, is_exp = types == "DEV", types == "SER", types == "EXP"
    kinds = {
        "ring": (is_dev | (is_ser & (sersic >= rules.ring_sersic_min))) & (flux_r >= rules.ring_flux_r_min),
        "edge_on": (is_exp | is_ser | is_dev)
        & (np.hypot(e1, e2) >= rules.edge_on_ellipticity_min)
        & (shape_r >= rules.edge_on_shape_r_min_arcsec),
        "large": (shape_r >= rules.large_shape_r_min_arcsec) & (flux_r >= rules.large_flux_r_min),
        "blue_clumpy": (flux_g > 0)
        & (flux_g >= flux_r * 10 ** (-0.4 * rules.blue_g_minus_r_max))
        & (flux_r >= flux_nanomaggies(rules.blue_mag_r_max)),
    }
    return np.select(list(kinds.values()), list(kinds), "").astype(object)


def texts(batch: pa.RecordBatch, name: str) -> Texts:
    """Return a column of text without the spaces around it, empty where nothing is given; shape (n,)."""
    column = pc.fill_null(pc.utf8_trim_whitespace(batch.column(name)), "")
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)


def said(batch: pa.RecordBatch, name: str) -> Texts:
    """Return what a manifest says of a derived column, in our words; shape (n,)."""
    if name == "healpix_128":
        return np.asarray(pc.fill_null(batch.column(name), -1).to_numpy(zero_copy_only=False), dtype=object)
    words = pa.array(texts(batch, name), pa.string())
    if name in ("category", "nobs_z_bin", "type_bin"):
        is_none: Mask = pc.is_in(pc.utf8_lower(words), pa.array(_NO_BIN)).to_numpy(zero_copy_only=False)
        words = pc.if_else(pa.array(is_none), "", words)
    if name == "category":
        place = pc.index_in(words, pa.array(list(_CATEGORY_WORDS)))
        words = pc.coalesce(pa.array(list(_CATEGORY_WORDS.values())).take(place), words)
    return np.asarray(words.to_numpy(zero_copy_only=False), dtype=object)


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    """Return a column of numbers, NaN where one is missing; shape (n,)."""
    values: NDArray[np.float64] = batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values
