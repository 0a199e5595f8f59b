"""Galaxies of a manifest that the catalog has already: they are compared with it and never overwritten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import ARRAY, BigInteger, Connection, any_, literal, select

from db.models.catalog import Galaxy
from etl.imports.derived import texts
from etl.imports.findings import Differences, Texts

POSITION_TOLERANCE_ARCSEC = 0.5
FLOAT_TOLERANCE = 1e-5
"""Relative, of values that went through float32 or a few decimals."""


def known_galaxies(connection: Connection, keys: NDArray[np.int64], columns: Sequence[str]) -> pd.DataFrame:
    """Return the galaxies of these keys that are in the catalog, with some of its columns, by ls_id."""
    wanted = [Galaxy.__table__.c[name] for name in ("ls_id", *columns)]
    of_keys = Galaxy.ls_id == any_(literal(keys.tolist(), ARRAY(BigInteger)))
    rows = connection.execute(select(*wanted).where(of_keys).order_by(Galaxy.ls_id)).all()
    return pd.DataFrame(rows, columns=["ls_id", *columns]).set_index("ls_id")


def compare_known(rows: pa.RecordBatch, names: Texts, galaxies: pd.DataFrame, found: Differences) -> None:
    """Count where a manifest and the catalog say different things of one galaxy.

    Parameters
    ----------
    rows, names
        Rows of the manifest, and what it calls them; n of them.
    galaxies
        The same n galaxies as the catalog has them, in that order. A value that either lacks is not compared.
    """
    if not len(rows):
        return
    separation = separations_arcsec(rows, galaxies)
    found.compare(
        "position (arcsec from the catalog's)",
        names,
        separation.astype(object),
        np.zeros(len(rows), dtype=object),
        separation > POSITION_TOLERANCE_ARCSEC,
    )
    for name in galaxies.columns.drop(["ra", "dec"]):
        ours = galaxies[name].to_numpy()
        if name == "type":
            theirs = texts(rows, name)
            found.compare(f"{name} (catalog)", names, theirs, ours, theirs != ours)
            continue
        said = rows.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        kept = ours.astype(np.float64)
        is_both = ~np.isnan(said) & ~np.isnan(kept)
        said, kept = said[is_both], kept[is_both]
        tolerance = FLOAT_TOLERANCE if pa.types.is_floating(rows.column(name).type) else 0.0
        found.compare(
            f"{name} (catalog)",
            names[is_both],
            said.astype(object),
            kept.astype(object),
            np.abs(said - kept) > tolerance * np.abs(kept),
        )


def separations_arcsec(rows: pa.RecordBatch, galaxies: pd.DataFrame) -> NDArray[np.float64]:
    """Return how far a manifest's positions lie from the catalog's, arcsec (small angles), shape (n,)."""
    ra, dec = (rows.column(name).to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
    away_ra = (ra - galaxies["ra"].to_numpy() + 180) % 360 - 180
    away_dec = dec - galaxies["dec"].to_numpy()
    separation: NDArray[np.float64] = np.hypot(away_ra * np.cos(np.radians(dec)), away_dec) * 3600
    return separation
