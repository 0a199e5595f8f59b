"""A small sky of real FITS bricks, with its lenses, pool and draw in a real database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from sqlalchemy import Engine, func, insert, select

from db.models.catalog import Brick, Galaxy, Lens, LensMatch, SweepFile
from db.models.imaging import Cutout
from db.models.provenance import Config, Run
from db.models.sampling import Draw, DrawMember, Stratum
from etl.cutouts.config import CutoutConfig
from etl.cutouts.make import StoreAddress
from etl.storage import LocalStore
from etl.survey import ls_id

N_BRICKS = 14
N_SIDE = 260
CONFIG_SHA = "0" * 64
POSITIVE = (129.0, 129.0)
NEGATIVES = ((70.0, 70.0), (70.0, 180.0), (185.0, 75.0), (180.0, 190.0))
UNMATCHED_BRICK, SHARED_BRICK, HOLED_BRICK = 1, 2, 3


@dataclass(frozen=True)
class Sky:
    engine: Engine
    coadds: Path
    store: LocalStore

    def config(self, **values: object) -> CutoutConfig:
        return CutoutConfig(**({"draw": "small", "coadds": str(self.coadds), "n_workers": 1} | values))  # type: ignore[arg-type]

    @property
    def address(self) -> StoreAddress:
        return StoreAddress(str(self.store.root))

    def cutouts(self) -> dict[int, dict[str, object]]:
        with self.engine.connect() as connection:
            return {row.cutout_id: dict(row._mapping) for row in connection.execute(select(Cutout.__table__))}

    def count(self, model: type) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(model)) or 0)


def brick_name(brick: int) -> str:
    return f"{brick:04d}m040"


def brick_wcs(brick: int) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10.0 + 2 * brick, -4.0]
    wcs.wcs.crpix = [(N_SIDE + 1) / 2] * 2
    wcs.wcs.cd = np.diag([-0.262 / 3600, 0.262 / 3600])
    return wcs


def write_brick(root: Path, brick: int) -> None:
    rng = np.random.default_rng(brick)
    name, wcs = brick_name(brick), brick_wcs(brick)
    folder = root / "coadd" / name[:3] / name
    folder.mkdir(parents=True)
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": wcs.wcs.crval[0], "CRVAL2": wcs.wcs.crval[1]}
        | {"CRPIX1": wcs.wcs.crpix[0], "CRPIX2": wcs.wcs.crpix[1], "CD1_1": wcs.wcs.cd[0, 0], "CD1_2": 0.0}
        | {"CD2_1": 0.0, "CD2_2": wcs.wcs.cd[1, 1]}
    )
    y, x = np.mgrid[:N_SIDE, :N_SIDE]
    light = sum(np.exp(-np.hypot(x - cx, y - cy) / 5) for cx, cy in (POSITIVE, *NEGATIVES))
    for band in "grz":
        image = (light + rng.normal(0, 0.01, light.shape)).astype(np.float32)
        invvar = np.full(light.shape, 1e4, np.float32)
        if brick == HOLED_BRICK and band == "z":
            invvar[68:72, 68:72] = 0
        if brick == HOLED_BRICK and band == "g":
            invvar[225:235, 150:200] = 0
        for kind, pixels in (("image", image), ("invvar", invvar)):
            hdu = fits.CompImageHDU(pixels, header, compression_type="GZIP_1", quantize_level=0)
            file = folder / f"legacysurvey-{name}-{kind}-{band}.fits.fz"
            fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)


def position(brick: int, x: float, y: float) -> dict[str, float | int]:
    ra, dec = (float(value) for value in brick_wcs(brick).all_pix2world(x, y, 0))
    return {"ra": ra, "dec": dec, "healpix_128": int(hp.ang2pix(128, ra, dec, nest=True, lonlat=True))}


def galaxy(brick: int, objid: int, x: float, y: float) -> dict[str, object]:
    rng = np.random.default_rng(1000 * brick + objid)
    values: dict[str, object] = {}
    for column in Galaxy.__table__.columns:
        values[column.name] = float(rng.uniform(1, 2)) if column.type.python_type is float else 3
    values |= {"flux_r": 20.0, "psfdepth_r": 900.0, "psf_fwhm_r_arcsec": 1.2, "survey": "mock", "data_release": 10}
    values |= {"ls_id": int(ls_id(9990, brick, objid)), "type": "SER", "is_imported": False}
    return values | position(brick, x, y)


def write_bricks(root: Path) -> Path:
    """Write the coadds of all bricks."""
    for brick in range(N_BRICKS):
        write_brick(root, brick)
    return root


def make_sky(engine: Engine, coadds: Path, store: Path) -> Sky:
    """One positive in each brick (one unmatched, two that share a galaxy) and four negatives."""
    with engine.begin() as connection:
        connection.execute(insert(Config).values(config_sha256=CONFIG_SHA, body={}))
        run = connection.scalar(
            insert(Run)
            .values(command="test", config_sha256=CONFIG_SHA, version="0", code_sha256="0", host="h", status="running")
            .returning(Run.run_id)
        )
        connection.execute(
            insert(SweepFile).values(
                survey="mock", data_release=10, name="sweep.fits", uri="sweep.fits", n_bytes=1, sha256="0", n_read=1,
                n_kept=1, n_not_selected=0, n_quarantined=0, status="loaded", run_id=run,
            )
        )  # fmt: skip
        draw = connection.scalar(
            insert(Draw)
            .values(
                name="small", survey="mock", data_release=10, seed=1, config_sha256=CONFIG_SHA, run_id=run,
                n_lenses_known=1, n_galaxies=1,
            )
            .returning(Draw.draw_id)
        )  # fmt: skip
        stratum = connection.scalar(
            insert(Stratum)
            .values(
                draw_id=draw, nobs_z_bin="3-5", type="SER", n_positives=1, n_eligible_n1=99, n_eligible_n2=0,
                n_target_n1=99, n_target_n2=0, n_drawn_n1=99, n_drawn_n2=0,
            )
            .returning(Stratum.stratum_id)
        )  # fmt: skip
        for brick in range(N_BRICKS):
            connection.execute(
                insert(Brick).values(survey="mock", data_release=10, brickid=brick, brickname=brick_name(brick))
            )
            centres = (POSITIVE, *NEGATIVES)
            connection.execute(insert(Galaxy), [galaxy(brick, i, x, y) for i, (x, y) in enumerate(centres)])
            for i, (x, y) in enumerate(NEGATIVES, start=1):
                connection.execute(
                    insert(DrawMember).values(
                        draw_id=draw, label=0, pool="N1", ls_id=int(ls_id(9990, brick, i)), stratum_id=stratum,
                        inclusion_probability=0.5, weight=1.0, **position(brick, x, y),
                    )
                )  # fmt: skip
            for twin in range(2 if brick == SHARED_BRICK else 1):
                here = position(brick, POSITIVE[0] + 3 * twin, POSITIVE[1])
                lens = connection.scalar(
                    insert(Lens)
                    .values(
                        name=f"DESI-{brick:03d}.{twin}-04.0", tier="A", is_lens_claim=True, lens_type="galaxy",
                        discovery="ground_imaging", **here,
                    )
                    .returning(Lens.lens_id)
                )  # fmt: skip
                match = None if brick == UNMATCHED_BRICK else int(ls_id(9990, brick, 0))
                if match is not None:
                    connection.execute(
                        insert(LensMatch).values(
                            lens_id=lens, survey="mock", data_release=10, ls_id=match, separation_arcsec=0.1
                        )
                    )
                connection.execute(
                    insert(DrawMember).values(
                        draw_id=draw, label=1, pool="positive", lens_id=lens, tier="A", ls_id=match, weight=1.0, **here
                    )
                )
    return Sky(engine, coadds, LocalStore(store))


N_MEMBERS = N_BRICKS * 5 + 1
