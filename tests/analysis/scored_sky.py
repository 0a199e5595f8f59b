"""A small survey with scores but no pixels: members in random conditions, a scheme, a scored model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, insert, text

from db.models.provenance import Config
from db.provenance import canonical_config
from etl.splits import SplitConfig, split_of_cells
from tests.builders import cells, insert_draw, insert_galaxies, insert_lenses, insert_run
from tests.etl.draw_world import insert_model, insert_scheme
from training.config import TrainConfig

N_POSITIVES, N_NEGATIVES = 600, 3000


@dataclass(frozen=True)
class ScoredSky:
    """What the database holds: one row for each member, in the order of cutout_id, and the key of model m1."""

    members: pd.DataFrame
    model_id: int


def scored_sky(engine: Engine, seed: int = 4, **recipe: object) -> ScoredSky:
    """Fill an empty database; positives score higher, and higher still in good seeing.

    Keys of `recipe` are those that model m1 was trained by.
    """
    rng = np.random.default_rng(seed)
    n = N_POSITIVES + N_NEGATIVES
    label = (np.arange(n) < N_POSITIVES).astype(int)
    rows = pd.DataFrame({"label": label, "ra": rng.uniform(10, 30, n), "dec": rng.uniform(-25, 5, n)})
    rows["nobs_z"] = rng.integers(0, 14, n)
    rows["psf_fwhm_z_arcsec"] = rng.uniform(0.8, 1.6, n).astype(np.float32).astype(float)
    rows["ebv_mag"] = rng.exponential(0.05, n).astype(np.float32).astype(float)
    rows["type"] = rng.choice(["SER", "DEV", "REX", "EXP"], n)
    rows["flux_r"] = rng.uniform(5, 500, n).astype(np.float32).astype(float)
    rows["galdepth_z"] = rng.uniform(10, 200, n).astype(np.float32).astype(float)
    rows["tier"] = np.where(label == 1, rng.choice(["A", "B"], n, p=[0.4, 0.6]), None)
    rows["pool"] = np.where(label == 1, "positive", rng.choice(["N1", "N2"], n, p=[0.8, 0.2]))
    rows["category"] = np.where(rows.pool == "N2", rng.choice(["ring", "edge_on"], n), None)
    rows["discovery"] = np.where((label == 1) & (rng.random(n) < 0.1), "hst", "ground_imaging")
    rows["grade"] = np.where(label == 1, rng.choice(["A", "B", "C", "D", None], n), None)
    logit = rng.normal(-2.5, 1.5, n) + label * (4 - 5 * (rows.psf_fwhm_z_arcsec - 0.8))
    rows["score"] = np.round(1 / (1 + np.exp(-logit)), 3)
    rows["healpix_128"] = cells(rows.ra, rows.dec)
    rows["split"] = split_of_cells(rows.healpix_128.to_numpy(), SplitConfig())
    with engine.begin() as connection:
        draw_id, stratum_id = insert_draw(connection)
        insert_scheme(connection)
        lenses = insert_lenses(connection, *_place(rows[label == 1]), list(rows.tier[label == 1]))
        rows["lens_id"] = [*lenses, *[0] * N_NEGATIVES]
        columns = ("nobs_z", "psf_fwhm_z_arcsec", "ebv_mag", "type", "flux_r", "galdepth_z")
        rows["ls_id"] = insert_galaxies(connection, *_place(rows), **{name: rows[name].to_numpy() for name in columns})
        # A tenth of the positives match nothing, so that their conditions are not known.
        rows["is_matched"] = (label == 0) | (rng.random(n) < 0.9)
        rows["cutout_id"] = _insert_members(connection, rows, draw_id, stratum_id)
        model_id = insert_model(connection, draw="d")
        _give_recipe(connection, model_id, recipe)
        insert_scores(connection, model_id, rows)
    return ScoredSky(rows, model_id)


def _give_recipe(connection: Connection, model_id: int, recipe: dict[str, object]) -> None:
    digest, body = canonical_config(TrainConfig.model_validate({"name": "m1"} | recipe).model_dump(mode="json"))
    connection.execute(insert(Config).values(config_sha256=digest, body=body))
    connection.execute(
        text("UPDATE training.model SET config_sha256 = :digest WHERE model_id = :model"),
        {"digest": digest, "model": model_id},
    )


def insert_scores(connection: Connection, model_id: int, rows: pd.DataFrame) -> None:
    """Give a model the scores of these members."""
    run = insert_run(connection)
    _many(
        connection,
        "INSERT INTO training.score (model_id, cutout_id, score, run_id) VALUES (:model, :cutout_id, :score, :run)",
        rows[["cutout_id", "score"]].assign(model=model_id, run=run),
    )


def _place(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows.ra.to_numpy(), rows.dec.to_numpy()


def _many(connection: Connection, statement: str, rows: pd.DataFrame) -> None:
    plain = rows.astype(object).where(rows.notna(), None)
    connection.execute(text(statement), plain.to_dict("records"))


def _insert_members(connection: Connection, rows: pd.DataFrame, draw_id: int, stratum_id: int) -> list[int]:
    run = insert_run(connection)
    # Keys have 54 bits: a column of them with a gap would become floats.
    known = rows.assign(draw=draw_id, stratum=stratum_id, run=run)
    known["lens"] = known.lens_id.astype("Int64").where(known.label == 1)
    known["galaxy"] = known.ls_id.astype("Int64").where(known.is_matched)
    known["own_galaxy"] = known.ls_id.astype("Int64").where(known.label == 0)
    known["probability"] = np.where(known.label == 0, 0.5, np.nan)
    scheme = {"run": run, "draw": draw_id}
    connection.execute(
        text(
            "INSERT INTO sampling.split_assignment (scheme_id, draw_id, n_close_pairs, n_guard_drops, run_id) "
            "SELECT scheme_id, :draw, 0, 0, :run FROM sampling.split_scheme"
        ),
        scheme,
    )
    _many(
        connection,
        "INSERT INTO sampling.split_cell (scheme_id, healpix_128, split, is_calibration) "
        "SELECT scheme_id, :healpix_128, :split, :split = 'val' AND sampling.is_calibration_cell(:healpix_128, seed) "
        "FROM sampling.split_scheme",
        known[["healpix_128", "split"]].drop_duplicates(),
    )
    _many(
        connection,
        "UPDATE catalog.lens SET discovery = :discovery WHERE lens_id = :lens_id",
        known.loc[known.label == 1, ["lens_id", "discovery"]],
    )
    _many(
        connection,
        "WITH source AS (INSERT INTO catalog.lens_source (lens_id, catalog, row_sha256, name, ra, dec, body, "
        "match_status, separation_arcsec) VALUES (:lens_id, 'p', repeat(md5(CAST(:lens_id AS text)), 2), '', 0, 0, "
        "'{}', 'new', 0) RETURNING lens_id, source_id) "
        "INSERT INTO catalog.lens_grade (lens_id, source_id, paper, grade) "
        "SELECT lens_id, source_id, 'p', :grade FROM source",
        known.loc[known.grade.notna(), ["lens_id", "grade"]],
    )
    _many(
        connection,
        "INSERT INTO sampling.draw_member (draw_id, label, pool, category, tier, lens_id, ls_id, stratum_id, ra, dec, "
        "healpix_128, weight, inclusion_probability) VALUES (:draw, :label, :pool, :category, :tier, :lens, :galaxy, "
        ":stratum, :ra, :dec, :healpix_128, 1, :probability)",
        known,
    )
    _many(
        connection,
        "INSERT INTO imaging.cutout (survey, data_release, lens_id, ls_id, ra, dec, version, layer, source, brickname, "
        "uri, sha256, n_bytes, bands, n_pixels, pixel_scale_arcsec, nan_fraction, status, run_id) VALUES ('dr10', 10, "
        ":lens, :own_galaxy, :ra, :dec, 'v1', 'ls-dr10-south', 'coadd', '0001p000', 'x' || :ls_id, md5('x' || :ls_id), "
        "1, 'grz', 101, 0.262, 0, 'ok', :run)",
        known,
    )
    order = text(
        "SELECT c.cutout_id FROM imaging.cutout c LEFT JOIN catalog.lens l USING (lens_id) "
        "ORDER BY c.ls_id NULLS FIRST, c.lens_id"
    )
    return list(connection.scalars(order))
