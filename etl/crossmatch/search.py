"""Each position's nearest pool galaxy, nearest known lens, and what the models say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Engine,
    Executable,
    case,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute

from db import sky, temporary
from db.bulk import require_indexes
from db.errors import MissingInputError
from db.models.catalog import Galaxy, Lens
from db.temporary import LensPair, Pair, Probe
from etl.crossmatch.errors import CrossmatchError
from etl.crossmatch.positions import Positions
from etl.crossmatch.scores import choose_models, scores_of_found
from etl.match import loaded_surveys
from etl.stale import along_the_sky

LENS_RADIUS_ARCSEC = 11.0
"""A known lens this near an input position is named."""

MAX_RADIUS_ARCSEC = 3600.0

_N_AT_ONCE = 20_000
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("input_ra", pa.float64()),
        ("input_dec", pa.float64()),
        ("ls_id", pa.int64()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("separation_arcsec", pa.float64()),
        ("survey", pa.string()),
        ("type", pa.string()),
        ("mag_g_ab", pa.float64()),
        ("mag_r_ab", pa.float64()),
        ("mag_z_ab", pa.float64()),
        ("nobs_z", pa.int16()),
        ("lens_name", pa.string()),
        ("lens_tier", pa.string()),
        ("is_lens_claim", pa.int16()),
        ("lens_separation_arcsec", pa.float64()),
    ]
)

Progress = Callable[[int, int], None]
"""Called with the positions done and the positions to do."""


@dataclass(frozen=True)
class CrossmatchRequest:
    """What to look for.

    Attributes
    ----------
    radius_arcsec
        A galaxy within this distance (inclusive) is a match.
    survey
        The pool to search; None for the one that is loaded.
    models
        Names of the models whose scores are wanted; none: every model of the survey that is no shuffled control.
    """

    radius_arcsec: float = 5.0
    survey: str | None = None
    models: tuple[str, ...] = ()


def crossmatch(
    engine: Engine, positions: Positions, request: CrossmatchRequest, progress: Progress | None = None
) -> pa.Table:
    """Look for the nearest galaxy and the nearest known lens of each position.

    Returns
    -------
    Table
        One row for each position, in their order: its number (from 1) and position; the nearest galaxy's ls_id,
        position and separation_arcsec, survey, type, magnitudes (AB, not dereddened) and nobs_z; name, tier,
        is_lens_claim (0 for a cluster core that no paper claims to lens) and distance of the nearest known lens within
        11 arcsec of the position; and `score_<model>` for each model: its highest score of the galaxy, or of the known
        lens where that is within the radius too. What was not found is NULL.

    Raises
    ------
    CrossmatchError
        When the radius makes no sense, several surveys are loaded and none is named, or there is no such model.
    MissingInputError
        When the pool is empty or has no indexes yet.
    """
    if not 0 < request.radius_arcsec <= MAX_RADIUS_ARCSEC:
        raise CrossmatchError(
            f"radius is {request.radius_arcsec} arcsec, expected more than 0 and at most {MAX_RADIUS_ARCSEC:.0f}"
        )
    with engine.connect() as connection, connection.begin() as transaction:
        survey, data_release = _survey(connection, request.survey)
        require_indexes(connection)
        models = choose_models(connection, survey, request.models)
        order = along_the_sky(positions.ra, positions.dec)
        rows = {"place": np.arange(len(order)), "key": order, "ra": positions.ra[order], "dec": positions.dec[order]}
        temporary.create(connection, Probe, pa.table(rows))
        temporary.create(connection, Pair)
        temporary.create(connection, LensPair)
        in_pool = (Galaxy.survey == survey) & (Galaxy.data_release == data_release)
        found = []
        for start in range(0, len(order), _N_AT_ONCE):
            some = Probe.place.between(start, start + _N_AT_ONCE - 1)
            _find(connection, some, in_pool, request.radius_arcsec)
            found.append(_as_arrow(connection.execute(_answers(some, survey)).all()))
            if progress is not None:
                progress(min(start + _N_AT_ONCE, len(order)), len(order))
        answers = pa.concat_tables([_SCHEMA.empty_table(), *found]).sort_by("row")
        for name, scores in scores_of_found(connection, models, request.radius_arcsec, len(order)).items():
            answers = answers.append_column(f"score_{name}", pa.array(scores, from_pandas=True))
        transaction.rollback()
    return answers


def _survey(connection: Connection, wanted: str | None) -> tuple[str, int]:
    loaded = dict(loaded_surveys(connection))
    if not loaded:
        raise MissingInputError("catalog.galaxy is empty: run `stronglens sweeps load` first")
    if wanted is None and len(loaded) > 1:
        raise CrossmatchError(f"several surveys are loaded ({', '.join(loaded)}): name one with --survey")
    survey = wanted or next(iter(loaded))
    if survey not in loaded:
        raise CrossmatchError(f"survey {survey} has no galaxies (loaded: {', '.join(loaded)})")
    return survey, loaded[survey]


def _find(
    connection: Connection, some: ColumnElement[bool], in_pool: ColumnElement[bool], radius_arcsec: float
) -> None:
    """Keep the nearest galaxy and the nearest known lens of some probes."""
    galaxies = sky.nearest(Probe, Galaxy, radius_arcsec=radius_arcsec, key=Galaxy.ls_id, where=in_pool)
    lenses = sky.nearest(Probe, Lens, radius_arcsec=LENS_RADIUS_ARCSEC, key=Lens.lens_id)
    for pair, key, nearest in ((Pair, "ls_id", galaxies), (LensPair, "lens_id", lenses)):
        rows = nearest.add_columns(Probe.key).where(some)
        connection.execute(insert(pair).from_select([key, "separation_arcsec", "key"], rows))
        temporary.analyze(connection, pair)


def _answers(some: ColumnElement[bool], survey: str) -> Executable:
    """Select the answers of some probes, in the order of `_SCHEMA`."""
    return (
        select(
            Probe.key + 1,
            Probe.ra,
            Probe.dec,
            Pair.ls_id,
            Galaxy.ra,
            Galaxy.dec,
            Pair.separation_arcsec,
            literal(survey),
            Galaxy.type,
            _magnitude(Galaxy.flux_g),
            _magnitude(Galaxy.flux_r),
            _magnitude(Galaxy.flux_z),
            Galaxy.nobs_z,
            Lens.name,
            Lens.tier,
            case((Lens.is_lens_claim, 1), (~Lens.is_lens_claim, 0)),
            LensPair.separation_arcsec,
        )
        .select_from(Probe)
        .outerjoin(Pair, Pair.key == Probe.key)
        .outerjoin(Galaxy, Galaxy.ls_id == Pair.ls_id)
        .outerjoin(LensPair, LensPair.key == Probe.key)
        .outerjoin(Lens, Lens.lens_id == LensPair.lens_id)
        .where(some)
    )


def _magnitude(flux: InstrumentedAttribute[float]) -> ColumnElement[float | None]:
    """AB magnitude of a flux in nanomaggies; NULL where it is not positive."""
    return case((flux > 0, 22.5 - 2.5 * func.log(flux.cast(Double))))


def _as_arrow(rows: Sequence[Sequence[object]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(_SCHEMA)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
    return pa.table(arrays, schema=_SCHEMA)
