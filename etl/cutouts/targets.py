"""Which cutouts a draw needs: its members, the brick and the key of each, and what is there already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import ARRAY, Connection, Text, any_, func, literal, select

from db.errors import MissingInputError
from db.models import Survey
from db.models.catalog import Brick, Galaxy, Lens, LensMatch
from db.models.imaging import Cutout
from db.models.sampling import Draw, DrawMember
from db.sky import nearest
from etl.cutouts.files import BANDS
from etl.errors import CutoutError
from etl.survey import split_ls_id

LAYERS = {Survey.DR10.value: "ls-dr10-south", Survey.MOCK.value: "mock"}
"""Imaging layer of each survey; DR10's merged layer `ls-dr10` mixes in another camera above dec 32.375."""

SWEEP_CONDITIONS = (
    *(f"psf_fwhm_{band}_arcsec" for band in BANDS),
    *(f"psfdepth_{band}" for band in BANDS),
    *(f"nobs_{band}" for band in BANDS),
)
"""Columns of the pool that tell the conditions at a galaxy, in the order of `Made.conditions`."""

BRICK_SEARCH_ARCSEC = 300.0
"""A position without a Tractor match lies in the brick of the nearest pool galaxy, looked for this far."""


@dataclass(frozen=True)
class DrawRef:
    """The draw that a stage works on."""

    draw_id: int
    name: str
    survey: str
    data_release: int

    @property
    def layer(self) -> str:
        """Imaging layer of its survey."""
        return LAYERS[self.survey]


def find_draw(connection: Connection, name: str) -> DrawRef:
    """Look a draw up by name.

    Raises
    ------
    MissingInputError
        When there is none; the message lists those there are.
    """
    row = connection.execute(
        select(Draw.draw_id, Draw.name, Draw.survey, Draw.data_release).where(Draw.name == name)
    ).one_or_none()
    if row is None:
        known = ", ".join(connection.scalars(select(Draw.name).order_by(Draw.name))) or "none"
        raise MissingInputError(f"there is no draw '{name}' (there are: {known}): run `stronglens draw` first")
    return DrawRef(*row)


def load_targets(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    """Return one row per member of a draw, in the order of members.

    Columns: member_id, label, lens_id, ls_id, ra, dec, tier, weight, type, name (of the lens), those of
    `SWEEP_CONDITIONS`, brickname (None where no brick is known), stem (last part of the key, without suffix), key, and
    of the cutout that is there: cutout_id, uri, status, sha256 (None where there is none).
    """
    targets = _members(connection, draw, version)
    near = _nearest_galaxies(connection, draw) if targets["ls_id"].isna().any() else {}
    return placed(
        targets, version, Neighbourhood(bricknames(connection, draw), near, _shared_galaxies(connection, draw))
    )


@dataclass(frozen=True)
class Neighbourhood:
    """What files are named by: names of bricks, galaxies nearest to unmatched lenses, and those of several lenses."""

    bricknames: dict[int, str]
    nearest: dict[int, int]
    shared: set[int]


def placed(targets: pd.DataFrame, version: str, around: Neighbourhood) -> pd.DataFrame:
    """Add brickname, stem and key to targets with label, lens_id, ls_id and name."""
    unmatched = targets["ls_id"].isna()
    brickid = pd.Series(pd.NA, index=targets.index, dtype="Int64")
    brickid[~unmatched] = split_ls_id(targets.loc[~unmatched, "ls_id"].astype("int64"))[1]
    if unmatched.any():
        found = targets.loc[unmatched, "lens_id"].map(around.nearest).dropna().astype("int64")
        brickid[found.index] = split_ls_id(found)[1]
    targets["brickname"] = brickid.map(around.bricknames).astype(object)
    targets["stem"] = _stems(targets, around.shared)
    folder = targets["label"].map({1: "positives", 0: "negatives"})
    targets["key"] = "cutouts/" + folder + f"/{version}/" + targets["stem"] + ".npz"
    return targets


def load_cutouts(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    """Return the cutouts that members of a draw have: member_id, cutout_id, uri, status, sha256."""
    columns = (DrawMember.member_id, Cutout.cutout_id, Cutout.uri, Cutout.status, Cutout.sha256)
    wanted = (
        DrawMember.draw_id == draw.draw_id,
        Cutout.survey == draw.survey,
        Cutout.layer == draw.layer,
        Cutout.version == version,
    )
    members = select(*columns).where(*wanted)
    positives = members.join(Cutout, Cutout.lens_id == DrawMember.lens_id).where(DrawMember.label == 1)
    negatives = members.join(Cutout, Cutout.ls_id == DrawMember.ls_id).where(DrawMember.label == 0)
    rows = connection.execute(positives.union_all(negatives))
    return as_frame(rows, ("member_id", "cutout_id", "uri", "status", "sha256"))


def refuse_used(connection: Connection, uris: Sequence[str]) -> None:
    """Refuse to make files that are those of other cutouts already, such as those of another survey in one store.

    Raises
    ------
    CutoutError
        When there is one.
    """
    is_among = Cutout.uri == any_(literal(list(uris), ARRAY(Text)))
    used = connection.execute(select(Cutout.uri, Cutout.survey, Cutout.layer).where(is_among).limit(1)).one_or_none()
    if used is not None:
        raise CutoutError(
            f"{used.uri}: is the file of another cutout (survey {used.survey}, layer {used.layer}): "
            "make these as another version with --version"
        )


def as_frame(rows: Iterable[Sequence[Any]], names: Sequence[str]) -> pd.DataFrame:
    """Make a table of database rows; columns of integers become Int64, since float64 cannot hold an ls_id."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    made = {}
    for name, values in zip(names, columns, strict=True):
        is_integer = name.endswith("_id") or name.startswith(("nobs_", "healpix_")) or name == "label"
        made[name] = pd.array(values, dtype="Int64") if is_integer else list(values)
    return pd.DataFrame(made)


def _members(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    columns = (
        DrawMember.member_id, DrawMember.label, DrawMember.lens_id, DrawMember.ls_id, DrawMember.ra, DrawMember.dec,
        DrawMember.tier, DrawMember.weight, Galaxy.type, Lens.name,
        *(getattr(Galaxy, name) for name in SWEEP_CONDITIONS),
    )  # fmt: skip
    members = (
        select(*columns)
        .outerjoin(Galaxy, Galaxy.ls_id == DrawMember.ls_id)
        .outerjoin(Lens, Lens.lens_id == DrawMember.lens_id)
        .where(DrawMember.draw_id == draw.draw_id)
        .order_by(DrawMember.member_id)
    )
    table = as_frame(connection.execute(members), [column.key for column in columns])
    return table.merge(load_cutouts(connection, draw, version), on="member_id", how="left", validate="one_to_one")


def bricknames(connection: Connection, draw: DrawRef) -> dict[int, str]:
    """Return the names of the bricks that are loaded, by number."""
    of_survey = (Brick.survey == draw.survey, Brick.data_release == draw.data_release)
    rows = connection.execute(select(Brick.brickid, Brick.brickname).where(*of_survey))
    return {row.brickid: row.brickname for row in rows}


def _nearest_galaxies(connection: Connection, draw: DrawRef) -> dict[int, int]:
    """Nearest pool galaxy of each positive without a match: lens_id to ls_id."""
    found = (
        nearest(
            DrawMember,
            Galaxy,
            radius_arcsec=BRICK_SEARCH_ARCSEC,
            key=Galaxy.ls_id,
            where=Galaxy.survey == draw.survey,
        )
        .add_columns(DrawMember.lens_id)
        .where(DrawMember.draw_id == draw.draw_id, DrawMember.label == 1, DrawMember.ls_id.is_(None))
    )
    return {row.lens_id: row.matched_key for row in connection.execute(found)}


def _shared_galaxies(connection: Connection, draw: DrawRef) -> set[int]:
    """Galaxies that are the match of several positives, in any draw: their ids cannot name the files."""
    several = (
        select(LensMatch.ls_id)
        .join(Lens, Lens.lens_id == LensMatch.lens_id)
        .where(LensMatch.survey == draw.survey, Lens.tier.is_not(None))
        .group_by(LensMatch.ls_id)
        .having(func.count() > 1)
    )
    return set(connection.scalars(several))


def _stems(targets: pd.DataFrame, shared: set[int]) -> pd.Series:
    """`<brick>_<objid>`, or `<brick>_<lens name>` where objid does not tell one positive from all others."""
    objid = pd.Series("", index=targets.index, dtype=object)
    matched = targets["ls_id"].notna()
    objid[matched] = split_ls_id(targets.loc[matched, "ls_id"].astype("int64"))[2].astype(str)
    by_name = (targets["label"] == 1) & (~matched | targets["ls_id"].isin(shared))
    names = targets["name"].fillna("").str.replace(r"[^A-Za-z0-9.+-]", "_", regex=True)
    return targets["brickname"].fillna("") + "_" + objid.where(~by_name, names)
