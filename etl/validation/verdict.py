"""The verdict on a draw's cutouts, and which cutouts it is about: what training asks before it begins."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.orm import Session

from db.models.imaging import Cutout, Gate, Quarantine, Validation
from db.models.sampling import Draw, DrawMember


def cutouts_digest(cutouts: Iterable[tuple[int, str]]) -> str:
    """SHA-256 over the lines `cutout_id sha256` of cutouts, given by cutout_id."""
    digest = hashlib.sha256()
    for cutout_id, sha256 in cutouts:
        digest.update(f"{cutout_id} {sha256}\n".encode())
    return digest.hexdigest()


def usable_digest(connection: Connection, draw_id: int, version: str) -> str:
    """Digest of the cutouts of a draw that can be used now: stored and not quarantined, of any layer."""
    positives, negatives = (
        select(Cutout.cutout_id, Cutout.sha256)
        .join_from(DrawMember, Cutout, own)
        .join(Draw, Draw.draw_id == DrawMember.draw_id)
        .outerjoin(Quarantine, Quarantine.cutout_id == Cutout.cutout_id)
        .where(
            DrawMember.draw_id == draw_id,
            DrawMember.label == label,
            Cutout.survey == Draw.survey,
            Cutout.version == version,
            Cutout.uri.is_not(None),
            Quarantine.cutout_id.is_(None),
        )
        for label, own in ((1, Cutout.lens_id == DrawMember.lens_id), (0, Cutout.ls_id == DrawMember.ls_id))
    )
    rows = connection.execute(positives.union_all(negatives).order_by("cutout_id"))
    return cutouts_digest((row.cutout_id, row.sha256) for row in rows)


def read_verdict(connection: Connection, draw_id: int, version: str) -> Validation | None:
    """Return the last verdict on a draw's cutouts; None when they were never judged."""
    with Session(connection, expire_on_commit=False) as session:
        return session.get(Validation, (draw_id, version))


def failed_rules(connection: Connection, draw_id: int, version: str) -> list[str]:
    """Names of the rules that the last validation of a draw's cutouts did not pass."""
    failed = select(Gate.rule).where(Gate.draw_id == draw_id, Gate.version == version, ~Gate.is_passed)
    return list(connection.scalars(failed.order_by(Gate.rule)))


def write_verdict(connection: Connection, verdict: Validation) -> None:
    """Replace the verdict of a draw and version; the caller commits."""
    key = (Validation.draw_id == verdict.draw_id, Validation.version == verdict.version)
    connection.execute(delete(Validation).where(*key))
    names = ("draw_id", "version", "is_go", "n_cutouts", "cutouts_sha256", "n_quarantined", "run_id")
    connection.execute(insert(Validation).values({name: getattr(verdict, name) for name in names}))
