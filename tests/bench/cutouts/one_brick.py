"""A draw as large as wanted whose members all lie in one full brick, in a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, insert
from sqlalchemy.engine import URL

from db import migrate
from db.bootstrap import bootstrap
from db.copy import copy_arrow, psycopg_connection
from db.embedded import EmbeddedServer
from db.engine import connectable
from db.models.catalog import Brick
from db.models.sampling import SplitAssignment, SplitCell, SplitScheme
from etl.bricks import brick_of_name, centre_of
from tests.bench.cutouts.brick_files import BRICK
from tests.builders import insert_draw, insert_galaxies, insert_lenses, insert_run

DRAW, SCHEME = "d", "cells"
N_CELLS = 200
"""Cells that members are dealt to, so that splits and the audit's folds have something to split."""
TRAIN, VAL = 140, 170
_ONE_POSITIVE_IN = 10
_RELEASE = 10_000


@contextmanager
def one_brick_draw(folder: Path, n_members: int, n_pixels: int) -> Iterator[URL]:
    """Start a server with a draw of `n_members` in the brick of `brick_files`; one in ten is a positive."""
    server = EmbeddedServer(folder / "server", durable=False)
    server.start()
    try:
        url = server.url("bench")
        bootstrap(url)
        engine = connectable(url)
        migrate.upgrade(engine)
        with engine.begin() as connection:
            _fill(connection, n_members, n_pixels)
        engine.dispose()
        yield url
    finally:
        server.remove()


def _fill(connection: Connection, n: int, n_pixels: int) -> None:
    rng = np.random.default_rng(3)
    brickid = int(brick_of_name([BRICK])[0])
    ra, dec = (float(value[0]) for value in centre_of(brick_of_name([BRICK])))
    half = (n_pixels / 2 - 60) * 0.262 / 3600
    ras, decs = (ra + rng.uniform(-half, half, n)) % 360, dec + rng.uniform(-half, half, n)
    keys = (np.int64(_RELEASE) << 40) + (np.int64(brickid) << 16) + np.arange(n, dtype=np.int64)
    insert_galaxies(connection, ras, decs, ls_id=keys)
    connection.execute(insert(Brick).values(survey="dr10", data_release=10, brickid=brickid, brickname=BRICK))
    draw_id, stratum_id = insert_draw(connection)
    origin = {"run_id": insert_run(connection)}
    rule = {"nside": 128, "seed": 1, "train_below": 0.7, "val_below": 0.85, "guard_arcsec": 30.0}
    scheme = insert(SplitScheme).values(name=SCHEME, **rule, **origin).returning(SplitScheme.scheme_id)
    scheme_id = connection.execute(scheme).scalar_one()
    splits = ["train"] * TRAIN + ["val"] * (VAL - TRAIN) + ["test"] * (N_CELLS - VAL)
    cells = [{"scheme_id": scheme_id, "healpix_128": cell, "split": split} for cell, split in enumerate(splits)]
    connection.execute(insert(SplitCell), cells)
    done = {"scheme_id": scheme_id, "draw_id": draw_id, "n_close_pairs": 0, "n_guard_drops": 0}
    connection.execute(insert(SplitAssignment).values(**done, **origin))

    is_positive = np.arange(n) % _ONE_POSITIVE_IN == 0
    n_positive = int(is_positive.sum())
    lenses = insert_lenses(connection, ras[is_positive], decs[is_positive], ["A"] * n_positive)
    lens_id = np.zeros(n, np.int64)
    lens_id[is_positive] = lenses
    members = pa.table(
        {
            "draw_id": pa.array([draw_id] * n, pa.int32()),
            "label": pa.array(is_positive.astype(np.int16)),
            "pool": pa.array(np.where(is_positive, "positive", "N1").tolist()),
            "tier": pa.array(["A" if positive else None for positive in is_positive.tolist()], pa.string()),
            "weight": pa.array(np.ones(n)),
            "inclusion_probability": pa.array(np.full(n, 0.5), mask=is_positive),
            "stratum_id": pa.array([stratum_id] * n, pa.int32()),
            "lens_id": pa.array(lens_id, mask=~is_positive),
            "ls_id": pa.array(keys),
            "ra": pa.array(ras),
            "dec": pa.array(decs),
            "healpix_128": pa.array(rng.integers(0, N_CELLS, n).astype(np.int32)),
        }
    )
    copy_arrow(psycopg_connection(connection), "sampling.draw_member", members)
