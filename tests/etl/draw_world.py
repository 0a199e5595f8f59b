"""A draw of a random pool, and a model that uses it, for the tests of what may happen to a draw afterwards."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Connection, Engine, text

from etl.draw.stage import draw_negatives
from tests.builders import insert_run
from tests.etl.test_draw import CONFIG, Pool, load, random_pool


def drawn_pool(engine: Engine) -> Pool:
    """3,000 galaxies, 12 lenses and the draw `default` of them."""
    pool = random_pool()
    load(engine, pool)
    draw_negatives(engine, CONFIG)
    return pool


def insert_model(connection: Connection, draw: str = "default", scheme: str = "default", name: str = "m1") -> int:
    """A model trained on a draw."""
    model_id = connection.scalar(
        text(
            "INSERT INTO training.model (name, survey, draw_id, scheme_id, cutout_version, architecture, n_parameters, "
            "config_sha256, preprocessing, manifest_sha256, n_train, n_val, status, checkpoint_uri, checkpoint_sha256, "
            "run_id) SELECT :name, d.survey, d.draw_id, x.scheme_id, 'v1', 'resnet18', 1, d.config_sha256, '{}', "
            "repeat('a', 64), 1, 1, 'succeeded', 'x', repeat('a', 64), :run FROM sampling.draw d, "
            "sampling.split_scheme x WHERE d.name = :draw AND x.name = :scheme RETURNING model_id"
        ),
        {"name": name, "draw": draw, "scheme": scheme, "run": insert_run(connection)},
    )
    return int(model_id)


def insert_scheme(connection: Connection) -> None:
    """A split scheme without cells."""
    connection.execute(
        text(
            "INSERT INTO sampling.split_scheme (name, nside, seed, train_below, val_below, guard_arcsec, run_id) "
            "VALUES ('default', 128, 42, 0.7, 0.85, 30, :run)"
        ),
        {"run": insert_run(connection)},
    )


def insert_scored_cutouts(connection: Connection, model_id: int) -> dict[int, float]:
    """A cutout and a score of every galaxy; returns the scores by ls_id."""
    run = insert_run(connection)
    connection.execute(
        text(
            "INSERT INTO imaging.cutout (survey, data_release, ls_id, ra, dec, version, layer, source, brickname, uri, "
            "sha256, n_bytes, bands, n_pixels, pixel_scale_arcsec, nan_fraction, status, run_id) "
            "SELECT survey, data_release, ls_id, ra, dec, 'v1', 'ls-dr10-south', 'coadd', '0001p000', 'x' || ls_id, "
            "md5(ls_id::text), 1, 'grz', 101, 0.262, 0, 'ok', :run FROM catalog.galaxy"
        ),
        {"run": run},
    )
    cutouts = connection.execute(text("SELECT cutout_id, ls_id FROM imaging.cutout ORDER BY ls_id")).all()
    scores = np.random.default_rng(8).uniform(0, 1, len(cutouts)).round(2)
    connection.execute(
        text("INSERT INTO training.score (model_id, cutout_id, score, run_id) VALUES (:model, :cutout, :score, :run)"),
        [
            {"model": model_id, "cutout": row.cutout_id, "score": float(score), "run": run}
            for row, score in zip(cutouts, scores, strict=True)
        ],
    )
    return {row.ls_id: float(score) for row, score in zip(cutouts, scores, strict=True)}
