"""What is recorded already of the objects of some files, and which files say something else."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sqlalchemy import ARRAY, Connection, Text, any_, literal, select

from db.models import Survey
from db.models.imaging import Cutout
from etl.cutouts.register.errors import Kind, NotTaken
from etl.cutouts.register.placing import is_any


def new_files(
    connection: Connection, files: pd.DataFrame, layer: str, version: str
) -> tuple[pd.DataFrame, int, list[NotTaken]]:
    """Return the files that are to be taken in, how many are recorded already, and those in conflict.

    Of several files of one object the first counts. `files` is as `placing.Placed` has it, with `uri`, the address that
    each has or gets in the store.
    """
    there = _cutouts_of(connection, files, layer, version)
    is_positive = files["is_positive"]
    objects = files["lens_id"].where(is_positive, files["ls_id"]).astype("int64")
    files = files.assign(object=objects).reset_index(drop=True)
    files = files.merge(there, on=["is_positive", "object"], how="left", validate="many_to_one")
    first = files.groupby(["is_positive", "object"])[["sha256", "name"]].transform("first")
    is_first = first["name"] == files["name"]
    is_recorded = files["there_status"].notna()
    other = files["there_sha256"].where(is_recorded, first["sha256"])
    is_same = files["sha256"] == other
    is_repeated = is_first & files["uri"].duplicated()
    is_used = (is_repeated | files["uri"].isin(_uris_in_use(connection, files["uri"]))) & ~is_recorded
    odd = [
        NotTaken(row.name, Kind.CONFLICT, _conflict(row, version, first["name"][row.Index]))
        for row in files[~is_same | is_used].itertuples()
    ]
    is_new = is_same & ~is_recorded & is_first & ~is_used
    n_present = int((is_same & ~is_used & ~is_new).sum())
    return files[is_new], n_present, odd


def _conflict(row: Any, version: str, first: str) -> str:
    if isinstance(row.there_status, str):
        other = f"another file, SHA-256 {row.there_sha256[:12]}..." if row.there_sha256 else row.there_status
        return f"{version} of {row.galaxy_id} is recorded already ({other}); take these in as another --version"
    if first != row.name:
        return f"is another file than {first}, of the same object"
    return f"{row.uri} is the cutout of another object or version"


def _cutouts_of(connection: Connection, files: pd.DataFrame, layer: str, version: str) -> pd.DataFrame:
    """Return is_positive, object, there_sha256 and there_status of what is recorded of these objects."""
    found = []
    for is_positive, key in ((True, Cutout.lens_id), (False, Cutout.ls_id)):
        wanted = files.loc[files["is_positive"] == is_positive, str(key.key)]
        rows = connection.execute(
            select(key, Cutout.sha256, Cutout.status).where(
                is_any(key, wanted), Cutout.survey == Survey.DR10, Cutout.layer == layer, Cutout.version == version
            )
        )
        frame = pd.DataFrame(rows.all(), columns=["object", "there_sha256", "there_status"])
        found.append(frame.assign(is_positive=is_positive).astype({"object": "int64"}))
    return pd.concat(found, ignore_index=True)


def _uris_in_use(connection: Connection, uris: pd.Series) -> set[str]:
    is_among = Cutout.uri == any_(literal(uris.tolist(), ARRAY(Text)))
    return {str(uri) for uri in connection.scalars(select(Cutout.uri).where(is_among))}
