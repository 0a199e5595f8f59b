"""Rows for tests: lenses and a pool of galaxies, through the same COPY that the stages use."""

from __future__ import annotations

from typing import Any

import healpy
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike
from sqlalchemy import Connection, insert, text

from db.copy import copy_arrow, psycopg_connection
from db.models.catalog import Lens, SweepFile
from db.models.sampling import Draw, DrawMember, Stratum
from db.provenance import canonical_config

ARCSEC = 1 / 3600


def cells(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """HEALPix cells, nside 128, NESTED."""
    return healpy.ang2pix(128, np.asarray(ra), np.asarray(dec), nest=True, lonlat=True).astype(np.int32)


def insert_run(connection: Connection) -> int:
    """One finished run, for rows that must name one."""
    digest, _ = canonical_config({})
    connection.execute(
        text("INSERT INTO provenance.config VALUES (:digest, '{}') ON CONFLICT DO NOTHING"), {"digest": digest}
    )
    run_id = connection.scalar(
        text(
            "INSERT INTO provenance.run (command, config_sha256, version, code_sha256, host, status, finished_at) "
            "VALUES ('test', :digest, '0', repeat('0', 64), 'here', 'succeeded', now()) RETURNING run_id"
        ),
        {"digest": digest},
    )
    return int(run_id)


def insert_lenses(connection: Connection, ra: ArrayLike, dec: ArrayLike, tier: list[str | None]) -> list[int]:
    """Lenses at positions in degrees, named by their number; returns their keys."""
    ra_, dec_ = np.atleast_1d(ra).astype(float), np.atleast_1d(dec).astype(float)
    offset = connection.scalar(text("SELECT count(*) FROM catalog.lens"))
    rows = [
        {
            "name": f"L{offset + number}",
            "ra": float(r),
            "dec": float(d),
            "healpix_128": int(cell),
            "tier": t,
            "is_lens_claim": True,
            "lens_type": "galaxy",
            "discovery": "ground_imaging",
        }
        for number, (r, d, cell, t) in enumerate(zip(ra_, dec_, cells(ra_, dec_), tier, strict=True))
    ]
    return [int(row[0]) for row in connection.execute(insert(Lens).returning(Lens.lens_id), rows)]


def insert_galaxies(connection: Connection, ra: ArrayLike, dec: ArrayLike, **columns: Any) -> np.ndarray:
    """Galaxies of one sweep file; `columns` override the defaults (a plain SER of z = 18). Returns their ls_id."""
    ra_, dec_ = np.atleast_1d(ra).astype(float), np.atleast_1d(dec).astype(float)
    n = len(ra_)
    survey = columns.pop("survey", "dr10")
    file_number = connection.scalar(text("SELECT count(*) FROM catalog.sweep_file"))
    sweep_file_id = connection.scalar(
        insert(SweepFile)
        .values(
            survey=survey,
            data_release=10,
            name=f"sweep-{file_number}.fits",
            uri="test",
            n_bytes=1,
            n_read=n,
            n_kept=n,
            n_not_selected=0,
            n_quarantined=0,
            status="loaded",
            run_id=insert_run(connection),
        )
        .returning(SweepFile.sweep_file_id)
    )
    floats = [
        "flux_i",
        "flux_w1",
        "flux_ivar_g",
        "flux_ivar_r",
        "flux_ivar_z",
        "mw_transmission_g",
        "mw_transmission_r",
        "mw_transmission_z",
        "psf_fwhm_g_arcsec",
        "psf_fwhm_r_arcsec",
        "psf_fwhm_z_arcsec",
        "psfdepth_g",
        "psfdepth_r",
        "psfdepth_z",
        "galdepth_g",
        "galdepth_r",
        "galdepth_z",
        "ebv_mag",
    ]
    values: dict[str, Any] = {name: np.ones(n, np.float32) for name in floats}
    values |= {"flux_g": 20.0, "flux_r": 40.0, "flux_z": 60.0, "shape_r_arcsec": 1.0, "shape_e1": 0.0, "shape_e2": 0.0}
    values |= {"sersic": 2.0, "nobs_g": 4, "nobs_r": 4, "nobs_z": 4, "maskbits": 0, "fitbits": 0, "type": "SER"}
    release = 10_000 if survey == "dr10" else 9990
    keys = (np.int64(release) << 40) + (np.int64(file_number + 1) << 16) + np.arange(n, dtype=np.int64)
    values |= {"ls_id": keys, "ra": ra_, "dec": dec_, "healpix_128": cells(ra_, dec_), "survey": survey}
    values |= {"sweep_file_id": sweep_file_id, "data_release": 10} | columns
    table = pa.table({name: _column(value, n) for name, value in values.items()})
    copy_arrow(psycopg_connection(connection), "catalog.galaxy", table)
    return np.asarray(values["ls_id"])


def insert_draw(connection: Connection) -> tuple[int, int]:
    """An empty draw `d` of the survey with one stratum; returns the keys of both."""
    run_id = insert_run(connection)
    digest = connection.scalar(text("SELECT config_sha256 FROM provenance.run WHERE run_id = :r"), {"r": run_id})
    draw = {"name": "d", "survey": "dr10", "data_release": 10, "seed": 1, "config_sha256": digest}
    draw_id = connection.scalar(
        insert(Draw).values(**draw, run_id=run_id, n_lenses_known=0, n_galaxies=1).returning(Draw.draw_id)
    )
    numbers = ("n_positives", "n_eligible_n1", "n_eligible_n2", "n_target_n1", "n_target_n2", "n_drawn_n2")
    stratum_id = connection.scalar(
        insert(Stratum)
        .values(draw_id=draw_id, nobs_z_bin="3-5", type="DEV", **dict.fromkeys(numbers, 1), n_drawn_n1=1)
        .returning(Stratum.stratum_id)
    )
    return int(draw_id), int(stratum_id)


def insert_negative(connection: Connection, draw_id: int, stratum_id: int, ls_id: int) -> None:
    """A galaxy as a negative of a draw."""
    member = {"draw_id": draw_id, "label": 0, "pool": "N1", "ls_id": ls_id, "stratum_id": stratum_id}
    place = {"ra": 1.0, "dec": 1.0, "healpix_128": 1}
    connection.execute(insert(DrawMember).values(**member, **place, inclusion_probability=0.5, weight=1))


def _column(value: Any, n: int) -> Any:
    if np.ndim(value):
        return value if not isinstance(value, np.ndarray) or value.dtype.kind not in "US" else value.astype(object)
    return pa.array([value] * n)
