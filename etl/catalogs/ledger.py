"""Sets of rows into the ledger's tables, one statement each."""

from __future__ import annotations

from typing import Any

import healpy
import numpy as np
import pandas as pd
from sqlalchemy import (
    ARRAY,
    Connection,
    TableValuedAlias,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine

from db.models import Base
from db.models.catalog import Lens, LensSource
from etl.catalogs.discovery import DISCOVERIES
from etl.catalogs.merge import assign

NSIDE = 128
_TIER_ORDER = ("A", "B")


def add_lenses(connection: Connection, rows: pd.DataFrame) -> pd.DataFrame:
    """Give every row its lens, founding lenses where there is none in reach.

    Parameters
    ----------
    rows
        Published rows that are not in the ledger yet (columns of `etl.catalogs.published.ROW_COLUMNS`).

    Returns
    -------
    pandas.DataFrame
        The rows with ``lens_id``, ``match_status`` and ``separation_arcsec``.
    """
    fields = (Lens.lens_id, Lens.ra, Lens.dec, Lens.is_lens_claim, Lens.discovery, Lens.tier)
    known = pd.DataFrame(connection.execute(select(*fields)), columns=[field.key for field in fields])
    place = assign(known[["ra", "dec"]].to_numpy(float), rows[["ra", "dec"]].to_numpy(float))
    claims = _strongest_claims(rows, place.lens)
    is_known = claims.index < len(known)
    _strengthen(connection, known, claims[is_known])
    founders = rows.iloc[place.founders]
    claims_of_new = claims[~is_known]  # sorted by lens, and so in the order of the founders
    new = pd.DataFrame(
        {
            "name": founders["object_name"].to_numpy(),
            "ra": founders["ra"].to_numpy(),
            "dec": founders["dec"].to_numpy(),
            "healpix_128": healpy.ang2pix(NSIDE, founders["ra"], founders["dec"], nest=True, lonlat=True),
            "lens_type": founders["lens_type"].to_numpy(),
            "tier": claims_of_new["tier"].to_numpy(),
            "is_lens_claim": claims_of_new["is_lens_claim"].to_numpy(),
            "discovery": claims_of_new["discovery"].to_numpy(),
        }
    )
    lens_ids = np.concatenate([known["lens_id"].to_numpy(np.int64), _insert_lenses(connection, new)])
    status = np.where(place.is_ambiguous, "ambiguous", "matched").astype(object)
    status[place.founders] = "new"
    return rows.assign(lens_id=lens_ids[place.lens], match_status=status, separation_arcsec=place.separation_arcsec)


def add_sources(connection: Connection, catalog: str, placed: pd.DataFrame) -> pd.Series:
    """Insert the published rows themselves; give their ``source_id``, indexed as the rows."""
    names = ["lens_id", "row_sha256", "name", "ra", "dec", "body", "match_status", "separation_arcsec"]
    inserted = insert_columns(
        connection,
        LensSource,
        placed[names].assign(catalog=catalog),
        LensSource.row_sha256,
        LensSource.source_id,
    )
    return placed["row_sha256"].map(inserted.set_index("row_sha256")["source_id"])


def insert_columns(
    connection: Connection, model: type[Base], columns: pd.DataFrame, *returning: InstrumentedAttribute[Any]
) -> pd.DataFrame:
    """Insert a frame whose columns are named as the table's, in its order, by one INSERT from arrays; NaN is NULL.

    A conflict or a violated constraint fails the whole statement.
    """
    names = list(columns.columns)
    source = _as_rows(model, columns)
    values = [cast(source.c[name], JSONB) if name == "body" else source.c[name] for name in names]
    statement = insert(model).from_select(names, select(*values).order_by(source.c.position))
    if not returning:
        connection.execute(statement)
        return pd.DataFrame()
    result = connection.execute(statement.returning(*returning))
    return pd.DataFrame(result.all(), columns=[field.key for field in returning])


def _strongest_claims(rows: pd.DataFrame, lens: np.ndarray) -> pd.DataFrame:
    """What the rows together claim of each lens that they name: one row per lens, ascending."""
    tier_rank = rows["tier"].map({tier: rank for rank, tier in enumerate(_TIER_ORDER)}).fillna(len(_TIER_ORDER))
    strongest = (
        rows[["is_lens_claim", "discovery_rank"]]
        .assign(tier_rank=tier_rank)
        .groupby(lens)
        .agg({"is_lens_claim": "any", "discovery_rank": "min", "tier_rank": "min"})
    )
    discovery = np.array(DISCOVERIES, dtype=object)[strongest["discovery_rank"].to_numpy()]
    tier = np.array([*_TIER_ORDER, None], dtype=object)[strongest["tier_rank"].to_numpy(int)]
    return strongest.assign(discovery=discovery, tier=tier)[["is_lens_claim", "discovery", "tier"]]


def _strengthen(connection: Connection, known: pd.DataFrame, claims: pd.DataFrame) -> None:
    """Let known lenses gain what the new rows claim; they never lose anything.

    A first claim to lens also says how the lens was found; a later one does not change history.
    """
    before = known.loc[claims.index]
    first_claim = claims["is_lens_claim"] & ~before["is_lens_claim"]
    tier = before["tier"].where(before["tier"].notna(), claims["tier"])
    after = before[["lens_id"]].assign(
        is_lens_claim=before["is_lens_claim"] | claims["is_lens_claim"],
        discovery=before["discovery"].where(~first_claim, claims["discovery"]),
        tier=tier,
    )
    changed = after[first_claim | (tier.notna() & before["tier"].isna())]
    if changed.empty:
        return
    source = _as_rows(Lens, changed)
    gained = {name: source.c[name] for name in ("is_lens_claim", "discovery", "tier")}
    connection.execute(update(Lens).where(Lens.lens_id == source.c.lens_id).values(gained))


def _insert_lenses(connection: Connection, new: pd.DataFrame) -> np.ndarray:
    if new.empty:
        return np.empty(0, np.int64)
    inserted = insert_columns(connection, Lens, new, Lens.name, Lens.ra, Lens.dec, Lens.lens_id)
    key = ["name", "ra", "dec"]
    ids: np.ndarray = new[key].merge(inserted, on=key, how="left", validate="1:1")["lens_id"].to_numpy(np.int64)
    return ids


def _as_rows(model: type[Base], columns: pd.DataFrame) -> TableValuedAlias:
    """Build a FROM clause of the frame's rows, with their ``position``."""
    types = {name: _array_element(model, name) for name in columns.columns}
    arrays = [bindparam(None, _plain(columns[name]), type_=ARRAY(kind)) for name, kind in types.items()]
    fields = [column(name, kind) for name, kind in types.items()]
    return func.unnest(*arrays).table_valued(*fields, with_ordinality="position").render_derived(name="given")


def _array_element(model: type[Base], name: str) -> TypeEngine[Any]:
    kind: TypeEngine[Any] = model.metadata.tables[f"catalog.{model.__tablename__}"].c[name].type
    return Text() if isinstance(kind, JSONB) else kind


def _plain(values: pd.Series) -> list[object]:
    return list(values.astype(object).where(values.notna(), None))
