"""What the pixels of a cutout came from, and that a changed source is refused instead of mixed in."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from sqlalchemy import Engine, delete, select, update

from db.models.catalog import Galaxy
from db.models.imaging import Cutout, CutoutSource, PixelSource
from etl.cutouts.make import make_cutouts
from etl.errors import CutoutError
from tests.etl.cutout_sky import N_MEMBERS, SHARED_BRICK, UNMATCHED_BRICK, Sky, brick_name, make_sky, write_bricks

CHANGED = 4


@pytest.fixture(scope="module")
def bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bricks(tmp_path_factory.mktemp("bricks"))


@pytest.fixture
def sky(engine: Engine, bricks: Path, tmp_path: Path) -> Sky:
    """A sky with coadds of its own, which a test may change."""
    coadds = tmp_path / "survey"
    shutil.copytree(bricks, coadds)
    return make_sky(engine, coadds, tmp_path / "store")


def folder(sky: Sky, brick: int) -> Path:
    return sky.coadds / "coadd" / brick_name(brick)[:3] / brick_name(brick)


def change(sky: Sky, brick: int) -> None:
    """Write one image of a brick again, a little brighter."""
    path = folder(sky, brick) / f"legacysurvey-{brick_name(brick)}-image-r.fits.fz"
    with fits.open(path) as file:
        pixels, header = file[1].data + np.float32(1), file[1].header
    hdu = fits.CompImageHDU(pixels, header, compression_type="GZIP_1", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)


def forget(sky: Sky, brick: int, n: int) -> None:
    """Take the rows of some negatives of a brick away, as if they had just joined the draw."""
    with sky.engine.begin() as connection:
        keys = connection.scalars(
            select(Cutout.cutout_id)
            .where(Cutout.brickname == brick_name(brick), Cutout.ls_id.is_not(None))
            .order_by(Cutout.ls_id)
            .limit(n)
        ).all()
        connection.execute(delete(Cutout).where(Cutout.cutout_id.in_(keys)))


def files(sky: Sky) -> dict[str, str]:
    return {key: hashlib.sha256(sky.store.get_bytes(key)).hexdigest() for key in sky.store.keys("cutouts/")}


def test_every_cutout_names_its_brick_and_the_state_of_its_files(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    with sky.engine.connect() as connection:
        pairs = connection.execute(
            select(Cutout.brickname, Cutout.status, PixelSource)
            .join(CutoutSource, CutoutSource.cutout_id == Cutout.cutout_id)
            .join(PixelSource, PixelSource.pixel_source_id == CutoutSource.pixel_source_id)
        ).all()
    assert len(pairs) == N_MEMBERS
    assert {row.status for row in pairs} == {"ok", "partial", "rejected"}
    for row in pairs:
        assert (row.name, row.kind) == (row.brickname, "coadd")
    row = next(row for row in pairs if row.brickname == brick_name(CHANGED))
    assert row.uri == str(folder(sky, CHANGED))
    found = {path.name: path.stat() for path in folder(sky, CHANGED).iterdir()}
    assert len(found) == 6
    assert {Path(file["uri"]).name: (file["n_bytes"], file["version"]) for file in row.files} == {
        name: (about.st_size, f"{about.st_size}-{about.st_mtime_ns}") for name, about in found.items()
    }


def test_the_conditions_of_bricks_without_maps_are_those_of_the_matched_galaxy(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    with sky.engine.connect() as connection:
        negatives = connection.execute(
            select(Cutout.__table__, Galaxy.psf_fwhm_g_arcsec.label("psf"), Galaxy.psfdepth_z.label("depth")).join(
                Galaxy, Galaxy.ls_id == Cutout.ls_id
            )
        ).all()
    assert len(negatives) == N_MEMBERS // 5 * 4
    for row in negatives:
        assert row.conditions_source == "sweep"
        assert (row.psf_fwhm_g_arcsec, row.psfdepth_z, row.nexp_r) == (row.psf, row.depth, 3)
        assert row.is_registered is False
    positives = {
        (row["brickname"], row["conditions_source"], row["psf_fwhm_r_arcsec"])
        for row in sky.cutouts().values()
        if row["lens_id"]
    }
    assert (brick_name(UNMATCHED_BRICK), None, None) in positives
    assert {source for name, source, _ in positives if name != brick_name(UNMATCHED_BRICK)} == {"sweep"}


def test_a_brick_that_changed_gives_no_more_cutouts_to_the_version_and_the_others_go_on(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    forget(sky, CHANGED, 2)
    forget(sky, CHANGED + 1, 2)
    before, rows = files(sky), sky.cutouts()
    change(sky, CHANGED)
    summary = make_cutouts(sky.engine, sky.config(n_workers=2), sky.address)
    (reason,) = summary.failed
    assert reason.startswith(f"brick {brick_name(CHANGED)}: its coadds changed since v1 was cut: make them again as a ")
    assert reason.endswith("new version with --version")
    assert summary.n_failed_targets == 2
    assert sum(summary.n_by_status.values()) == 2
    assert files(sky) == before
    assert rows.items() <= sky.cutouts().items()
    assert sky.count(Cutout) == N_MEMBERS - 2
    # As another version it is cut from what it is now.
    assert make_cutouts(sky.engine, sky.config(version="v2"), sky.address).failed == []
    with sky.engine.connect() as connection:
        states = connection.execute(select(PixelSource.name, PixelSource.version)).all()
    assert len([name for name, _ in states if name == brick_name(CHANGED)]) == 2
    assert len(states) == 15


def test_sources_are_looked_at_when_asked_even_if_nothing_is_to_be_made(sky: Sky, run_cli, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    make_cutouts(sky.engine, sky.config(), sky.address)
    change(sky, CHANGED)
    shutil.rmtree(folder(sky, SHARED_BRICK))
    before, rows = files(sky), sky.cutouts()
    assert make_cutouts(sky.engine, sky.config(), sky.address).failed == []
    monkeypatch.setenv("STRONGLENS_STORE", str(sky.store.root))
    asked = run_cli("cutouts", "make", "--draw", "small", "--coadds", str(sky.coadds), "--check-sources")
    assert asked.returncode == 1
    assert f"failed: brick {brick_name(CHANGED)}: its coadds changed since v1 was cut" in asked.stderr
    assert f"failed: brick {brick_name(SHARED_BRICK)}: its coadds, that v1 was cut from, are gone" in asked.stderr
    assert asked.stderr.count("failed: ") == 2
    assert (files(sky), sky.cutouts()) == (before, rows)


def test_a_lost_file_comes_back_only_with_its_own_bytes(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    before, rows = files(sky), sky.cutouts()
    names = {brick: f"cutouts/positives/v1/{brick_name(brick)}_0.npz" for brick in (CHANGED, CHANGED + 1, CHANGED + 2)}
    for key in names.values():
        (sky.store.root / key).unlink()
    change(sky, CHANGED)
    # The same bytes at another time are another state, which nobody but a hash can tell from a change.
    with sky.engine.begin() as connection:
        connection.execute(delete(CutoutSource))
    change(sky, CHANGED + 1)
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert len(summary.failed) == 2
    for brick, reason in zip((CHANGED, CHANGED + 1), summary.failed, strict=True):
        assert reason.startswith(f"{names[brick]}: the file is lost, and cut again it would hold other bytes")
    assert summary.n_by_status["ok"] == 1
    assert files(sky) == {key: digest for key, digest in before.items() if key not in list(names.values())[:2]}
    assert sky.cutouts() == rows


def test_another_copy_of_the_same_coadds_is_no_change(sky: Sky, tmp_path: Path) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    forget(sky, CHANGED, 1)
    before = files(sky)
    shutil.copytree(sky.coadds, tmp_path / "mirror")
    summary = make_cutouts(sky.engine, sky.config(coadds=str(tmp_path / "mirror")), sky.address)
    assert (summary.failed, summary.n_by_status["ok"]) == ([], 1)
    assert files(sky) == before


def test_a_file_that_another_cutout_has_is_never_written_over(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    with sky.engine.begin() as connection:
        connection.execute(update(Cutout).values(layer="another"))
    before, rows = files(sky), sky.cutouts()
    with pytest.raises(CutoutError, match=r"is the file of another cutout \(survey mock, layer another\).*--version"):
        make_cutouts(sky.engine, sky.config(), sky.address)
    assert (files(sky), sky.cutouts()) == (before, rows)
    assert sum(make_cutouts(sky.engine, sky.config(version="v2"), sky.address).n_by_status.values()) == N_MEMBERS


def test_a_file_that_was_taken_in_in_another_folder_is_not_lost(sky: Sky) -> None:
    make_cutouts(sky.engine, sky.config(), sky.address)
    old, new = f"cutouts/positives/v1/{brick_name(CHANGED)}_0.npz", "taken/in.npz"
    sky.store.put_bytes(new, sky.store.get_bytes(old))
    (sky.store.root / old).unlink()
    with sky.engine.begin() as connection:
        connection.execute(update(Cutout).where(Cutout.uri == f"store:{old}").values(uri=f"store:{new}"))
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert (summary.n_present, summary.failed) == (N_MEMBERS, [])
    assert not sky.store.exists(old)
