"""No training on cutouts that were not judged, or were judged unfit: the verdict of `cutouts validate` binds."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from etl.validation.verdict import failed_rules, read_verdict, usable_digest
from training.config import TrainConfig
from training.errors import GateError
from training.manifest import Manifest

_log = logging.getLogger(__name__)


def require_go(engine: Engine, recipe: TrainConfig, manifest: Manifest) -> str | None:
    """Ask the verdict on the cutouts of a manifest; return the reason for which another than GO was accepted.

    Raises
    ------
    GateError
        When the verdict is not GO, or not about the cutouts as they are now, and `recipe.accept_gate` gives no reason.
    """
    objection = _objection(engine, recipe, manifest)
    if objection is None:
        return None
    if recipe.accept_gate is None:
        raise GateError(f'{objection}, or say why it may be trained on: --accept-gate "REASON"')
    _log.warning("%s; trained all the same: %s", objection, recipe.accept_gate)
    return recipe.accept_gate


def _objection(engine: Engine, recipe: TrainConfig, manifest: Manifest) -> str | None:
    draw_id, version = manifest.draw_id, manifest.cutout_version
    what = f"draw {recipe.draw!r}, cutouts {version}"
    validate = f"run `stronglens cutouts validate --draw {recipe.draw} --version {version}`"
    with engine.connect() as connection:
        verdict = read_verdict(connection, draw_id, version)
        if verdict is None:
            return f"{what}: never validated: {validate} first"
        if usable_digest(connection, draw_id, version) != verdict.cutouts_sha256:
            return f"{what}: its cutouts changed since they were validated: {validate} again"
        if verdict.is_go:
            return None
        failed = ", ".join(failed_rules(connection, draw_id, version)) or "rules"
        return f"{what}: its validation says NO-GO ({failed}): mend what results.gates lists and {validate} again"
