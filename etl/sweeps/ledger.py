"""``catalog.sweep_file``: which sweep files are in the pool, and why others are not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Row,
    Select,
    Text,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or

from db.models.base import Survey
from db.models.catalog import Brick, Galaxy, SweepFile
from db.models.provenance import Config, Run
from etl.errors import LoadError, SweepFileError
from etl.survey import DATA_RELEASE
from etl.sweeps.box import SkyBox, box_of_name
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.select import RowCounts
from etl.sweeps.source import SweepSource


def already_loaded(engine: Engine, sources: Sequence[SweepSource]) -> set[str]:
    """Return the names of the files that are in the pool and look as they did when they were loaded.

    Place, size and time of change decide, in an object store its ETag. Nothing is read: what looks different is for the
    workers, who compare its SHA-256.
    """
    columns = (SweepFile.name, SweepFile.uri, SweepFile.n_bytes, SweepFile.etag, SweepFile.modified_at)
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).where(SweepFile.status == "loaded")).all()
    with_etag = {(row.name, row.uri, row.n_bytes, row.etag) for row in rows if row.etag is not None}
    with_time = {(row.name, row.uri, row.n_bytes, row.modified_at) for row in rows if row.modified_at is not None}
    same = set()
    for source in sources:
        is_same = (
            (source.name, source.uri, source.n_bytes, source.modified_at) in with_time
            if source.etag is None
            else (source.name, source.uri, source.n_bytes, source.etag) in with_etag
        )
        if is_same:
            same.add(source.name)
    return same


def refuse_other_selection(engine: Engine, config: SweepLoadConfig) -> None:
    """Refuse to mix selections: every sweep of the pool was loaded with the same faintest magnitude and types.

    Raises
    ------
    LoadError
        When a loaded file was selected otherwise.
    """
    types = sorted(config.types)
    statement = (
        select(SweepFile.name, Config.body)
        .ext(distinct_on(Config.config_sha256))
        .join(Run, Run.run_id == SweepFile.run_id)
        .join(Config, Config.config_sha256 == Run.config_sha256)
        .where(SweepFile.status == "loaded", SweepFile.kind == "sweep", SweepFile.n_kept > 0)
        .order_by(Config.config_sha256, SweepFile.name)
    )
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    for name, body in rows:
        mag_z_max, types_before = body.get("mag_z_max"), sorted(body.get("types", ()))
        if mag_z_max is not None and (mag_z_max, types_before) != (config.mag_z_max, types):
            raise LoadError(
                f"the pool holds galaxies of types {', '.join(types_before)} to z = {mag_z_max:g} ({name}), this load "
                f"asks for {', '.join(types)} to z = {config.mag_z_max:g}: a pool has one selection; give the same, or "
                "unload what is there"
            )


def lock_file(connection: Connection, name: str) -> None:
    """Wait until no other transaction works on a file of this name; released when the transaction ends."""
    digest = hashlib.sha256(f"catalog.sweep_file {name}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    connection.execute(select(func.pg_advisory_xact_lock(key)))


def loaded_before(connection: Connection, survey: str, name: str) -> Row[int, int, str | None] | None:
    """Return key, size and SHA-256 of the loaded file of this name, if there is one."""
    statement = select(SweepFile.sweep_file_id, SweepFile.n_bytes, SweepFile.sha256).where(
        _is_file(survey, name), SweepFile.status == "loaded"
    )
    return connection.execute(statement).one_or_none()


def open_entry(connection: Connection, source: SweepSource, survey: str, run_id: int) -> int:
    """Start the row of a file that is being loaded, in place of an earlier refusal; return its key.

    Raises
    ------
    SweepFileError
        When a loaded file already covers some of the sky that its name declares.
    """
    forgotten = and_(
        SweepFile.status == "refused",
        or_(_is_file(survey, source.name), SweepFile.uri == source.uri),
    )
    connection.execute(delete(SweepFile).where(forgotten))
    box = box_of_name(source.name)
    other = connection.scalar(_overlapping(survey, box)) if box else None
    if other is not None:
        raise SweepFileError(f"declares sky that {other} has brought in already; two files cannot hold one source")
    statement = insert(SweepFile).values(**_entry(source, survey, run_id), status="loaded")
    return int(connection.execute(statement.returning(SweepFile.sweep_file_id)).scalar_one())


def _overlapping(survey: str, box: SkyBox) -> Select[str]:
    """Select the name of a loaded file whose box shares more than an edge with this one."""
    return (
        select(SweepFile.name)
        .where(
            SweepFile.status == "loaded",
            SweepFile.survey == survey,
            SweepFile.data_release == DATA_RELEASE,
            SweepFile.ra_min_deg < box.ra_max,
            SweepFile.ra_max_deg > box.ra_min,
            SweepFile.dec_min_deg < box.dec_max,
            SweepFile.dec_max_deg > box.dec_min,
        )
        .limit(1)
    )


def note_seen(connection: Connection, sweep_file_id: int, source: SweepSource) -> None:
    """Remember where a loaded file is now, and how it looks, once its content was found to be the same."""
    seen = {"uri": source.uri, "etag": source.etag, "modified_at": source.modified_at}
    connection.execute(update(SweepFile).where(SweepFile.sweep_file_id == sweep_file_id).values(**seen))


def renew_entry(connection: Connection, sweep_file_id: int, source: SweepSource, survey: str, run_id: int) -> None:
    """Start the row of a loaded file anew, since its content has changed; it keeps its key."""
    connection.execute(
        update(SweepFile).where(SweepFile.sweep_file_id == sweep_file_id).values(**_entry(source, survey, run_id))
    )


def close_entry(connection: Connection, sweep_file_id: int, counts: RowCounts, sha256: str) -> None:
    """Fill in what became of a file's rows."""
    statement = update(SweepFile).where(SweepFile.sweep_file_id == sweep_file_id)
    connection.execute(
        statement.values(
            n_read=counts.n_read,
            n_kept=counts.n_kept,
            n_not_selected=counts.n_not_selected,
            n_quarantined=counts.n_bad,
            sha256=sha256,
            loaded_at=func.clock_timestamp(),
        )
    )


def record_refusal(connection: Connection, source: SweepSource, survey: str | None, reason: str, run_id: int) -> None:
    """Remember why a file was refused; a file of that name that is loaded keeps its row.

    A file whose survey could not be told is filed under the survey's own rows.
    """
    survey = survey or Survey.DR10.value
    entry = _entry(source, survey, run_id) | {"status": "refused", "error": reason}
    lock_file(connection, source.name)
    connection.execute(delete(SweepFile).where(SweepFile.status == "refused", SweepFile.uri == source.uri))
    statement = insert_or(SweepFile).values(**entry)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[SweepFile.survey, SweepFile.data_release, SweepFile.name],
            set_=entry | {"loaded_at": func.clock_timestamp()},
            where=SweepFile.status == "refused",
        )
    )


def name_bricks(connection: Connection, survey: str, bricks: dict[int, str]) -> None:
    """Add the names of bricks that are not known yet, in one statement: an import may hold the whole sky.

    Raises
    ------
    SweepFileError
        When a brick is known by another name, or a name by another number.
    """
    if not bricks:
        return
    ids, names = zip(*sorted(bricks.items()), strict=True)
    numbers = literal(list(ids), ARRAY(Integer))
    given = select(
        literal(survey), literal(DATA_RELEASE), func.unnest(numbers), func.unnest(literal(list(names), ARRAY(Text)))
    )
    columns = ["survey", "data_release", "brickid", "brickname"]
    connection.execute(insert_or(Brick).from_select(columns, given).on_conflict_do_nothing())
    statement = select(Brick.brickid, Brick.brickname).where(
        Brick.survey == survey, Brick.data_release == DATA_RELEASE, Brick.brickid == func.any(numbers)
    )
    known = {row.brickid: row.brickname for row in connection.execute(statement)}
    for brickid, name in sorted(bricks.items()):
        if known.get(brickid) != name:
            other = f"is {known[brickid]}" if brickid in known else "has another number"
            raise SweepFileError(f"names brick {brickid} {name}, which {other} in the catalog")


def owner_of(engine: Engine, key: int) -> str | None:
    """Return the name of the file that a source came from."""
    statement = (
        select(SweepFile.name).join(Galaxy, Galaxy.sweep_file_id == SweepFile.sweep_file_id).where(Galaxy.ls_id == key)
    )
    with engine.connect() as connection:
        return connection.scalar(statement)


def _is_file(survey: str, name: str) -> ColumnElement[bool]:
    return and_(SweepFile.survey == survey, SweepFile.data_release == DATA_RELEASE, SweepFile.name == name)


def _entry(source: SweepSource, survey: str, run_id: int) -> dict[str, Any]:
    """Return a row without counts yet."""
    box = box_of_name(source.name)
    return {
        "survey": survey,
        "data_release": DATA_RELEASE,
        "name": source.name,
        "uri": source.uri,
        "n_bytes": source.n_bytes,
        "sha256": None,
        "etag": source.etag,
        "modified_at": source.modified_at,
        "ra_min_deg": box.ra_min if box else None,
        "ra_max_deg": box.ra_max if box else None,
        "dec_min_deg": box.dec_min if box else None,
        "dec_max_deg": box.dec_max if box else None,
        "n_read": 0,
        "n_kept": 0,
        "n_not_selected": 0,
        "n_quarantined": 0,
        "run_id": run_id,
    }
