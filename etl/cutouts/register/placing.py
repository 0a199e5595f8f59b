"""The objects of files that exist already: which galaxy, which lens, and what is recorded of them.

A negative is the pool galaxy whose brick and objid the file names. A positive is the lens whose match that galaxy is;
where the galaxy is no lens's match, it is the tiered lens at the file's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Connection, any_, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute

from db import temporary
from db.models import Survey
from db.models.catalog import Galaxy, Lens, LensMatch
from db.sky import nearest
from db.temporary import Probe
from etl import bricks
from etl.cutouts.register.errors import Kind, NotTaken
from etl.cutouts.register.reading import Sound
from etl.cutouts.targets import SWEEP_CONDITIONS
from etl.imports.keys import read_keys
from etl.imports.known import known_galaxies, separations_arcsec
from etl.stale import along_the_sky
from etl.survey import DATA_RELEASE, DR10_RELEASES, N_BRICKID_BITS, N_OBJID_BITS, split_ls_id

GALAXY_RADIUS_ARCSEC = 1.5
"""A file's centre lies at most so far from the galaxy that it names: positions in older files are rounded."""

LENS_RADIUS_ARCSEC = 1.0
_N_KEY_BITS = N_BRICKID_BITS + N_OBJID_BITS
_LENS_COLUMNS = {
    "lens_id": "Int64",
    "lens_ra": "float64",
    "lens_dec": "float64",
    "lens_name": "object",
    "match_ls_id": "Int64",
}


@dataclass(frozen=True)
class Placed:
    """Files whose object is known, and those without.

    Attributes
    ----------
    files
        The fields of `Sound`, and lens_id, ls_id (one of the two), stem (last part of the key, without suffix), and
        the columns of `SWEEP_CONDITIONS`, NaN where they are not known.
    odd
        The others.
    """

    files: pd.DataFrame
    odd: list[NotTaken]


def releases_in_pool(connection: Connection) -> list[int]:
    """Return the release numbers of DR10 that the pool's galaxies have, each by one look into its key."""
    found: list[int] = []
    first, end = DR10_RELEASES.start, DR10_RELEASES.stop << _N_KEY_BITS
    while True:
        beyond = Galaxy.ls_id.between(first << _N_KEY_BITS, end - 1)
        key = connection.scalar(select(func.min(Galaxy.ls_id)).where(beyond))
        if key is None:
            return found
        found.append(int(key) >> _N_KEY_BITS)
        first = found[-1] + 1


def place(connection: Connection, sound: Sequence[Sound], releases: Sequence[int]) -> Placed:
    """Find the objects of some files, inside a transaction whose end drops what the search leaves."""
    files = pd.DataFrame(sound)
    files["is_key"] = files["galaxy_id"].str.fullmatch(r"\d{4}[mp]\d{3}_\d+")
    files = files.join(_galaxies(connection, files, releases))
    odd = _without_galaxy(files, releases)
    files = files.drop(index=list(odd))
    files = files.join(_lenses(connection, files[files["is_positive"]]))
    without_lens = _without_lens(files)
    files = files.drop(index=list(without_lens))
    odd |= without_lens
    is_positive = files["is_positive"]
    objects = files["match_ls_id"].where(is_positive, files["galaxy"]).astype("Int64")
    is_matched = objects.notna()
    brickid = split_ls_id(objects[is_matched].astype("int64"))[1]
    files.loc[is_matched, "brickname"] = bricks.name_of(brickid).astype(object)
    placed = files.assign(
        lens_id=files["lens_id"].where(is_positive).astype("Int64"),
        ls_id=objects.where(~is_positive),
        stem=_stems(objects, files),
    )
    return Placed(placed, [odd[index] for index in sorted(odd)])


def _galaxies(connection: Connection, files: pd.DataFrame, releases: Sequence[int]) -> pd.DataFrame:
    """Find the galaxy that each file names: galaxy, galaxy_arcsec, and its conditions; by the index of `files`.

    A brick and an objid are one source in one release; where the pool has several, it is the nearest.
    """
    batch = pa.RecordBatch.from_pydict({"galaxy_id": pa.array(files["galaxy_id"], pa.string())})
    keys = np.concatenate([np.empty(0, np.int64), *(read_keys(batch, release).ls_id for release in releases)])
    named = pd.DataFrame({"galaxy": keys, "index": np.tile(files.index.to_numpy(), len(releases))})
    galaxies = known_galaxies(connection, keys[keys >= 0], ["ra", "dec", *SWEEP_CONDITIONS]).astype(np.float64)
    named = named[named["galaxy"].isin(galaxies.index)].reset_index(drop=True)
    rows = galaxies.loc[named["galaxy"]].reset_index(drop=True)
    apart = separations_arcsec(_positions(files.loc[named["index"]]), rows)
    found = named.assign(galaxy_arcsec=apart).join(rows[list(SWEEP_CONDITIONS)])
    found = found.sort_values(["galaxy_arcsec", "galaxy"]).drop_duplicates("index").set_index("index")
    return found.astype({"galaxy": "Int64"})


def _without_galaxy(files: pd.DataFrame, releases: Sequence[int]) -> dict[int, NotTaken]:
    where = f"the pool (releases {', '.join(map(str, releases)) or 'none'})"
    is_unknown = files["galaxy"].isna() & ~files["is_positive"]
    odd = {
        row.Index: NotTaken(row.name, Kind.NO_OBJECT, f"galaxy {row.galaxy_id} is not in {where}")
        for row in files[is_unknown].itertuples()
    }
    return odd | _far(files[~files["is_positive"]])


def _far(files: pd.DataFrame) -> dict[int, NotTaken]:
    odd = {}
    for row in files[files["galaxy_arcsec"] > GALAXY_RADIUS_ARCSEC].itertuples():
        reason = f"lies {row.galaxy_arcsec:.2f} arcsec from galaxy {row.galaxy_id}, limit {GALAXY_RADIUS_ARCSEC}"
        odd[row.Index] = NotTaken(row.name, Kind.FAR, reason)
    return odd


def _lenses(connection: Connection, positives: pd.DataFrame) -> pd.DataFrame:
    """Find the lens of each positive: `_LENS_COLUMNS`, lens_arcsec, and n_sharing, the lenses that have one match.

    lens_arcsec is how far the file's centre lies from a lens that was found by its match.
    """
    matched = _lenses_where(connection, LensMatch.ls_id, positives["galaxy"].dropna())
    by_match = positives[["galaxy", "ra", "dec"]].reset_index().merge(matched, left_on="galaxy", right_on="match_ls_id")
    by_match = by_match.assign(lens_arcsec=_apart(by_match)).sort_values(["lens_arcsec", "lens_id"])
    by_match = by_match.drop_duplicates("index")
    rest = positives.drop(index=by_match["index"])
    by_place = _lenses_at(connection, rest).assign(lens_arcsec=np.nan)
    columns = ["index", *_LENS_COLUMNS, "lens_arcsec"]
    lenses = pd.concat([by_match[columns], by_place[columns]], ignore_index=True).set_index("index")
    # Joined, not mapped: Series.map goes through float64, which cannot tell one ls_id from the next.
    sharing = _lenses_where(connection, LensMatch.ls_id, lenses["match_ls_id"].dropna()).groupby("match_ls_id").size()
    return lenses.join(sharing.rename("n_sharing"), on="match_ls_id")


def _lenses_at(connection: Connection, files: pd.DataFrame) -> pd.DataFrame:
    """Find the tiered lens at the centre of each file: index and `_LENS_COLUMNS`."""
    order = along_the_sky(files["ra"].to_numpy(), files["dec"].to_numpy())
    rows = files.iloc[order]
    probes = {"place": np.arange(len(rows)), "key": rows.index.to_numpy(np.int64), "ra": rows["ra"], "dec": rows["dec"]}
    temporary.create(connection, Probe, pa.table({name: np.asarray(values) for name, values in probes.items()}))
    is_tiered = Lens.tier.is_not(None)
    near = nearest(Probe, Lens, radius_arcsec=LENS_RADIUS_ARCSEC, key=Lens.lens_id, where=is_tiered)
    found = pd.DataFrame(
        connection.execute(near.add_columns(Probe.key)).all(), columns=["lens_id", "separation_arcsec", "index"]
    )
    found = found.astype({"lens_id": "Int64", "index": "int64"})
    return found[["index", "lens_id"]].merge(_lenses_where(connection, Lens.lens_id, found["lens_id"]), on="lens_id")


def _lenses_where(connection: Connection, column: InstrumentedAttribute[Any], keys: pd.Series) -> pd.DataFrame:
    """Return the tiered lenses with these keys, or with these galaxies as their match."""
    in_survey = (LensMatch.survey == Survey.DR10) & (LensMatch.data_release == DATA_RELEASE)
    columns = (Lens.lens_id, Lens.ra, Lens.dec, Lens.name, LensMatch.ls_id)
    lenses = (
        select(*columns)
        .outerjoin(LensMatch, (LensMatch.lens_id == Lens.lens_id) & in_survey)
        .where(Lens.tier.is_not(None), is_any(column, keys))
        .order_by(Lens.lens_id)
    )
    found = pd.DataFrame(connection.execute(lenses).all(), columns=list(_LENS_COLUMNS), dtype=object)
    return found.astype(_LENS_COLUMNS)


def is_any(column: InstrumentedAttribute[Any], keys: pd.Series) -> ColumnElement[bool]:
    """Condition that an integer column has one of many values, sent as one array."""
    return column == any_(literal(keys.astype("int64").unique().tolist(), ARRAY(BigInteger)))


def _apart(rows: pd.DataFrame) -> NDArray[np.float64]:
    lenses = rows[["lens_ra", "lens_dec"]].astype(np.float64).set_axis(["ra", "dec"], axis=1)
    return separations_arcsec(_positions(rows), lenses)


def _positions(files: pd.DataFrame) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: files[name].to_numpy(np.float64) for name in ("ra", "dec")})


def _without_lens(files: pd.DataFrame) -> dict[int, NotTaken]:
    odd = {}
    positives = files[files["is_positive"]]
    for row in positives[positives["lens_id"].isna()].itertuples():
        reason = f"no lens has the match {row.galaxy_id}, and none of a tier is within {LENS_RADIUS_ARCSEC:g} arcsec"
        odd[row.Index] = NotTaken(row.name, Kind.NO_OBJECT, reason)
    is_named = positives["is_key"] & positives["match_ls_id"].notna()
    for row in positives[is_named & (positives["galaxy"].fillna(-1) != positives["match_ls_id"])].itertuples():
        reason = f"is centred on the lens {row.lens_name}, whose match is not galaxy {row.galaxy_id}"
        odd[row.Index] = NotTaken(row.name, Kind.NO_OBJECT, reason)
    # Cutouts made here are centred on the lens, those of others on its galaxy.
    return odd | _far(positives[~(positives["lens_arcsec"] <= LENS_RADIUS_ARCSEC)])


def _stems(objects: pd.Series, files: pd.DataFrame) -> pd.Series:
    """Return the last parts of the keys, as `etl.cutouts.targets` gives them to what is made here."""
    is_by_name = files["is_positive"] & (files["n_sharing"].fillna(0) != 1)
    names = files["lens_name"].fillna("").str.replace(r"[^A-Za-z0-9.+-]", "_", regex=True)
    objid = pd.Series(split_ls_id(objects.fillna(0).astype("int64"))[2], files.index).astype(str)
    return files["brickname"] + "_" + objid.where(~is_by_name, names)
