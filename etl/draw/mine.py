"""Hard-negative mining: an old draw's members and the galaxies that a model wrongly takes for lenses make a new one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator
from sqlalchemy import Connection, Engine, Row, Select, exists, func, insert, literal, select

from db.bulk import require_indexes
from db.config import NAME_PATTERN, StageConfig
from db.errors import MissingInputError
from db.lock import only_one
from db.models.catalog import Lens
from db.models.imaging import Cutout
from db.models.sampling import Draw, DrawMember, Mining, Stratum
from db.models.training import Model, Score
from db.provenance import RecordedRun, canonical_config, recorded_run
from db.statements import statement
from etl.draw.cells import cells_of, read_targets
from etl.draw.keys import salt
from etl.draw.negatives import NEGATIVE_WEIGHT
from etl.draw.stage import refuse_loaded_meanwhile, refuse_stale_match
from etl.errors import SamplingError
from etl.match import MatchConfig, match_lenses


class MineConfig(StageConfig):
    """What to mine, and how much of it."""

    model: str
    """Name of the model whose scores are mined; its split scheme says which galaxies may be taken."""
    draw: str | None = None
    """The draw whose members are taken over; None: the one that the model was trained on."""
    name: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Name of the new draw; None: `<draw>-mined-<model>`."""
    n: int | None = Field(default=None, ge=1, le=1_000_000)
    per_positive: int | None = Field(default=None, ge=1, le=1000)

    @model_validator(mode="after")
    def _one_number(self) -> MineConfig:
        if (self.n is None) == (self.per_positive is None):
            message = "how many to mine is said by n or by per_positive, one of the two"
            raise ValueError(message)
        return self


@dataclass(frozen=True)
class MineSummary:
    """Counts of one mined draw."""

    name: str
    base_name: str
    model: str
    is_new: bool
    n_members: int
    n_wanted: int
    n_mined: int
    n_near_lens: int


def mine_negatives(engine: Engine, config: MineConfig) -> MineSummary:
    """Make the mined draw, after matching every known lens anew; the same mining again changes nothing.

    Raises
    ------
    MissingInputError
        When the model or the draw is not there, or the model has scored no galaxy beside the draw's members.
    SamplingError
        When a draw of this name has other rules, or no scored galaxy may be taken.
    BusyError
        When another draw or a match is under way, or lenses or galaxies came while this one ran.
    """
    with engine.connect() as connection:
        require_indexes(connection)
        model, base = _find(connection, config)
        name = config.name or f"{base.name}-mined-{model.name}"
        rules = config.model_dump(mode="json") | {"draw": base.name, "name": name, "key_rule": base.key_rule}
        found = _existing(connection, name, rules)
        if found is not None:
            return found
        _refuse_unscored(connection, model, base)
    match_lenses(engine, MatchConfig())  # holds the match's lock itself
    with (
        only_one(engine, "draws"),
        only_one(engine, "the match"),
        recorded_run(engine, command="draw mine", config=rules) as run,
        engine.begin() as connection,
    ):
        refuse_stale_match(connection, base.survey, base.data_release)
        draw_id = _insert_draw(connection, name, base, run)
        _insert_strata(connection, draw_id, base.draw_id)
        connection.execute(statement("mine_members"), {"draw_id": draw_id, "base_draw_id": base.draw_id})
        n_kept = _count(connection, _negatives(draw_id))
        n_near_lens = _count(connection, _negatives(base.draw_id)) - n_kept
        n_wanted = config.n or (config.per_positive or 0) * _count(connection, _positives(draw_id))
        connection.execute(
            statement("mine_negatives"),
            {
                "draw_id": draw_id,
                "base_draw_id": base.draw_id,
                "model_id": model.model_id,
                "scheme_id": model.scheme_id,
                "cutout_version": model.cutout_version,
                "exp_strata": _exp_strata(connection, draw_id),
                "salt_exp": salt(base.seed, "EXP"),
                "negative_weight": NEGATIVE_WEIGHT,
                "n_wanted": n_wanted,
            },
        )
        n_mined = _count(connection, _negatives(draw_id)) - n_kept
        if not n_mined:
            raise SamplingError(
                f"draw {base.name}: every galaxy that model {model.name} scored beside its members lies near a known "
                "lens, or outside the training part of the sky: have it score more galaxies"
            )
        connection.execute(statement("mine_strata"), {"draw_id": draw_id})
        connection.execute(
            insert(Mining).values(
                draw_id=draw_id,
                base_draw_id=base.draw_id,
                model_id=model.model_id,
                n_wanted=n_wanted,
                n_mined=n_mined,
                n_near_lens=n_near_lens,
            )
        )
        summary = _summarise(connection, draw_id, is_new=True)
        refuse_loaded_meanwhile(connection, base.survey, base.data_release)
        return summary


def _find(connection: Connection, config: MineConfig) -> tuple[Row[Any], Row[Any]]:
    model = connection.execute(select(Model.__table__).where(Model.name == config.model)).first()
    if model is None:
        known = ", ".join(connection.scalars(select(Model.name).order_by(Model.name))) or "none"
        raise MissingInputError(
            f"there is no model '{config.model}' (there are: {known}): run `stronglens train` first"
        )
    which = Draw.draw_id == model.draw_id if config.draw is None else Draw.name == config.draw
    base = connection.execute(select(Draw.__table__).where(which)).first()
    if base is None:
        known = ", ".join(connection.scalars(select(Draw.name).order_by(Draw.name)))
        raise MissingInputError(f"there is no draw '{config.draw}' (there are: {known}): run `stronglens draw` first")
    if base.survey != model.survey:
        raise SamplingError(f"draw {base.name} is of survey {base.survey}, model {model.name} of {model.survey}")
    return model, base


def _existing(connection: Connection, name: str, rules: dict[str, Any]) -> MineSummary | None:
    draw = connection.execute(select(Draw.draw_id, Draw.config_sha256).where(Draw.name == name)).first()
    if draw is None:
        return None
    if draw.config_sha256 != canonical_config(rules)[0]:
        raise SamplingError(f"draw {name} was made with other rules: choose another --name")
    return _summarise(connection, draw.draw_id, is_new=False)


def _refuse_unscored(connection: Connection, model: Row[Any], base: Row[Any]) -> None:
    is_member = exists().where(DrawMember.draw_id == base.draw_id, DrawMember.ls_id == Cutout.ls_id)
    beside = (
        select(Score.cutout_id)
        .join(Cutout, Cutout.cutout_id == Score.cutout_id)
        .where(Score.model_id == model.model_id, Cutout.ls_id.is_not(None), ~is_member)
        .limit(1)
    )
    if connection.scalar(beside) is None:
        raise MissingInputError(
            f"model {model.name} has scored no galaxy beside the members of draw {base.name}: draw under another name "
            f"(and seed), make its splits and cutouts, then run `stronglens score {model.name} --draw OTHER`"
        )


def _insert_draw(connection: Connection, name: str, base: Row[Any], run: RecordedRun) -> int:
    taken_over = ("survey", "data_release", "seed", "n_galaxies", "key_rule", "is_imported")
    values = {column: getattr(base, column) for column in taken_over}
    n_lenses = connection.scalar(select(func.count()).select_from(Lens))
    made = insert(Draw).values(
        name=name, config_sha256=run.config_sha256, run_id=run.run_id, n_lenses_known=n_lenses, **values
    )
    draw_id: int = connection.execute(made.returning(Draw.draw_id)).scalar_one()
    return draw_id


def _insert_strata(connection: Connection, draw_id: int, base_draw_id: int) -> None:
    columns = [column for column in Stratum.__table__.columns if column.name not in ("stratum_id", "draw_id")]
    rows = select(literal(draw_id), *columns).where(Stratum.draw_id == base_draw_id).order_by(Stratum.stratum_id)
    connection.execute(insert(Stratum).from_select(["draw_id", *(column.name for column in columns)], rows))


def _exp_strata(connection: Connection, draw_id: int) -> str:
    """Which keys of EXP galaxies belong to which stratum, as the statement reads them."""
    targets = read_targets(connection, draw_id)
    bins = {target.stratum_id: target.nobs_z_bin for target in targets}
    keys = {cell.stratum_id: cell.exp_keys for cell in cells_of(targets) if cell.exp_keys is not None}
    rows = [
        {"stratum_id": stratum_id, "nobs_z_bin": bins[stratum_id], "exp_from": first, "exp_to": last}
        for stratum_id, (first, last) in keys.items()
    ]
    return json.dumps(rows)


def _positives(draw_id: int) -> Select[Any]:
    return select(DrawMember.member_id).where(DrawMember.draw_id == draw_id, DrawMember.label == 1)


def _negatives(draw_id: int) -> Select[Any]:
    return select(DrawMember.member_id).where(DrawMember.draw_id == draw_id, DrawMember.label == 0)


def _count(connection: Connection, rows: Select[Any]) -> int:
    return connection.scalar(select(func.count()).select_from(rows.subquery())) or 0


def _summarise(connection: Connection, draw_id: int, *, is_new: bool) -> MineSummary:
    base = Draw.__table__.alias("base")
    row = connection.execute(
        select(Draw.name, base.c.name.label("base_name"), Model.name.label("model"))
        .add_columns(Mining.n_wanted, Mining.n_mined, Mining.n_near_lens)
        .join(Mining, Mining.draw_id == Draw.draw_id)
        .join(base, base.c.draw_id == Mining.base_draw_id)
        .join(Model, Model.model_id == Mining.model_id)
        .where(Draw.draw_id == draw_id)
    ).one()
    n_members = _count(connection, select(DrawMember.member_id).where(DrawMember.draw_id == draw_id))
    return MineSummary(
        row.name, row.base_name, row.model, is_new, n_members, row.n_wanted, row.n_mined, row.n_near_lens
    )
