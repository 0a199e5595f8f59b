"""A small mock sky, rendered once: its formats, counts and noise, and that nothing but the arcs gives lenses away."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from etl.mock.candidates import Candidates
from etl.mock.coadd import coadd_path
from etl.mock.config import SkyConfig
from etl.mock.contents import fill_patch
from etl.mock.errors import MockSkyError
from etl.mock.plan import Patch, plan_patches
from etl.mock.scene import galaxy_light, render, star_light
from etl.mock.sky import SkySummary, render_sky
from etl.mock.sweep import box_names

N_PATCHES = 150
BANDS = "grz"
MASK = sum(1 << bit for bit in (1, 5, 6, 7, 11, 12, 13))


def scattered(n: int) -> Candidates:
    rng = np.random.default_rng(5)
    tier = np.where(np.arange(n) % 3 == 0, "A", "B")
    name = np.array([f"TEST-{i:04d}" for i in range(n)])
    ra = rng.uniform(0, 360, n)
    ra[:2] = [0.0003, 359.9997]
    return Candidates(name, ra, np.degrees(np.arcsin(rng.uniform(-0.9, 0.55, n))), tier)


SMALL = SkyConfig(n_tier_b=N_PATCHES, workers=1, seed=11)


@dataclass(frozen=True)
class Sky:
    root: Path
    summary: SkySummary
    patches: list[Patch]
    rows: np.ndarray

    def cube(self, brick: str, kind: str = "image") -> np.ndarray:
        return np.stack([fitsio.read(coadd_path(self.root, brick, kind, band), ext=1) for band in BANDS])


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Sky:
    out = tmp_path_factory.mktemp("mock") / "sky"
    candidates = scattered(N_PATCHES)
    summary = render_sky(candidates, out, replace_workers(2))
    rows = np.concatenate([fitsio.read(path) for path in sorted((out / "sweep").iterdir())])
    return Sky(out, summary, plan_patches(candidates, SMALL), rows)


def replace_workers(workers: int) -> SkyConfig:
    return SMALL.model_copy(update={"workers": workers})


def text(column: np.ndarray) -> np.ndarray:
    return np.char.strip(column.astype(str))


def magnitude(flux: np.ndarray) -> np.ndarray:
    return 22.5 - 2.5 * np.log10(np.clip(flux, 1e-6, None))


def negatives(rows: np.ndarray, patch: Patch) -> np.ndarray:
    """Rows that the draw could take: DESIGN section 4."""
    x, y = patch.tangent.to_pixels(rows["RA"], rows["DEC"])
    lens_x, lens_y = patch.tangent.to_pixels(patch.avoid_ra, patch.avoid_dec)
    clear = (np.hypot(x[:, None] - lens_x, y[:, None] - lens_y) * 0.262 > 11).all(axis=1)
    galaxy = np.isin(text(rows["TYPE"]), ["SER", "DEV", "REX", "EXP"])
    return galaxy & clear & (magnitude(rows["FLUX_Z"]) < 20) & ((rows["MASKBITS"] & MASK) == 0)


def test_coadds_have_an_empty_primary_a_compressed_image_and_the_survey_s_wcs(sky: Sky) -> None:
    patch = sky.patches[7]
    for kind in ("image", "invvar", "psfsize"):
        for band in BANDS:
            path = coadd_path(sky.root, patch.brickname, kind, band)
            assert path.relative_to(sky.root) == Path(
                f"coadd/{patch.brickname[:3]}/{patch.brickname}/legacysurvey-{patch.brickname}-{kind}-{band}.fits.fz"
            )
            with fits.open(path) as hdus:
                assert len(hdus) == 2
                assert hdus[0].data is None
                assert isinstance(hdus[1], fits.CompImageHDU)
                assert hdus[1].data.shape == (300, 300)
                assert hdus[1].data.dtype.kind == "f"
                assert np.isfinite(hdus[1].data).all()
                assert hdus[1].header["BRICKNAME"] == patch.brickname
                assert hdus[1].header["BRICKID"] == patch.brickid
                assert hdus[1].header["FILTER"] == band
                assert (hdus[1].header["CTYPE1"], hdus[1].header["CTYPE2"]) == ("RA---TAN", "DEC--TAN")
                assert hdus[1].header["CD2_2"] * 3600 == pytest.approx(0.262)
                np.testing.assert_allclose(hdus[1].data, fitsio.read(path, ext=1), atol=1e-6)


def test_sources_lie_where_astropy_s_wcs_says(sky: Sky) -> None:
    for patch in sky.patches[:12]:
        rows = sky.rows[text(sky.rows["BRICKNAME"]) == patch.brickname]
        with fits.open(coadd_path(sky.root, patch.brickname, "image", "r")) as hdus:
            wcs = WCS(hdus[1].header)
        theirs = wcs.all_world2pix(rows["RA"], rows["DEC"], 0)
        np.testing.assert_allclose(theirs, patch.tangent.to_pixels(rows["RA"], rows["DEC"]), atol=1e-3)
        ra, dec = patch.tangent.to_sky(*theirs)
        np.testing.assert_allclose(dec, rows["DEC"], atol=1e-9)
        np.testing.assert_allclose((ra - rows["RA"] + 180) % 360 - 180, 0, atol=1e-8)


def test_the_light_of_a_source_centres_on_the_position_of_its_row(sky: Sky) -> None:
    patch = sky.patches[5]
    contents = fill_patch(patch, SMALL)
    rows = sky.rows[text(sky.rows["BRICKNAME"]) == patch.brickname]
    row_xy = np.transpose(patch.tangent.to_pixels(rows["RA"], rows["DEC"]))
    y, x = np.mgrid[:300, :300]
    small = (contents.galaxies.shape_r < 1.0) & ~contents.galaxies.clumpy
    middle = np.flatnonzero((np.abs(contents.xy - 149.5) < 100).all(axis=1) & small)
    checked = 0
    for i in middle[contents.galaxies.blue_flux_r[middle] == 0][:12]:
        alone = np.arange(len(contents.galaxies)) == i
        single = replace(contents.galaxies, flux=contents.galaxies.flux * alone[:, None])
        single = replace(single, blue_flux_r=single.blue_flux_r * alone)
        light = (galaxy_light(replace(contents, galaxies=single)) + star_light(replace(contents, galaxies=single)))[1]
        centre = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        np.testing.assert_allclose(centre, contents.xy[i], atol=0.1)
        if contents.galaxies.flux[i, 1] > 3:
            assert np.hypot(*(row_xy - centre).T).min() < 0.15
            checked += 1
    assert checked >= 3


def test_noiseless_light_sums_to_the_catalogued_flux(sky: Sky) -> None:
    patch = sky.patches[3]
    contents = fill_patch(patch, SMALL)
    near = np.hypot(*(contents.xy - 149.5).T) < 90
    total = (contents.galaxies.flux[:, [0, 1, 3]] * near[:, None]).sum(axis=0)
    total *= [contents.conditions.transmission(band) for band in BANDS]
    kept = replace(contents.galaxies, flux=contents.galaxies.flux * near[:, None])
    kept = replace(kept, blue_flux_r=kept.blue_flux_r * near)
    inside = replace(contents, galaxies=kept)
    light = galaxy_light(inside) + star_light(inside)
    # Profiles are cut at 8 radii, as Tractor's, which loses up to 6 % of a high-index galaxy.
    assert (light.sum(axis=(1, 2)) / total > 0.90).all()
    assert (light.sum(axis=(1, 2)) / total < 1.005).all()


def test_noise_agrees_with_the_inverse_variance_and_the_depth(sky: Sky) -> None:
    pulls, depths = [], []
    for patch in sky.patches[:10]:
        contents = fill_patch(patch, SMALL)
        scene = render(replace(contents, arcs=()), SMALL)
        truth = galaxy_light(contents) + star_light(contents)
        blank = (truth < 0.2 * scene.invvar.clip(1e-9) ** -0.5) & (scene.invvar > 0)
        pulls.append(((scene.image - truth) * np.sqrt(scene.invvar))[blank])
        rows = sky.rows[text(sky.rows["BRICKNAME"]) == patch.brickname]
        for b, band in enumerate(BANDS):
            area = contents.conditions.pixel_sigma(band) ** -2 / rows[f"PSFDEPTH_{band.upper()}"][0]
            depths.append(np.median(scene.invvar[b]) / area / rows[f"PSFDEPTH_{band.upper()}"][0])
    pull = np.concatenate(pulls)
    assert pull.std() == pytest.approx(1.0, abs=0.02)
    assert pull.mean() == pytest.approx(0.0, abs=0.02)
    assert np.array(depths) == pytest.approx(1.0, abs=0.12)


def test_masked_pixels_are_zero_in_image_and_inverse_variance(sky: Sky) -> None:
    invvar = {patch.brickname: sky.cube(patch.brickname, "invvar") for patch in sky.patches}
    masked = [brick for brick, cube in invvar.items() if (cube == 0).any()]
    assert 3 <= len(masked) <= 40
    assert (sky.cube(masked[0])[invvar[masked[0]] == 0] == 0).all()
    assert (sky.cube(masked[0], "psfsize")[invvar[masked[0]] == 0] == 0).all()


def test_sweeps_have_the_130_columns_of_dr10_in_order(sky: Sky, shared_data: Path) -> None:
    with (shared_data / "sweeps" / "dr10_sweep_columns.csv").open(encoding="utf-8") as lines:
        published = [(row["name"], row["tform"]) for row in csv.DictReader(lines)]
    path = min((sky.root / "sweep").iterdir())
    with fits.open(path) as hdus:
        mine = [(c.name, c.format if c.format[0].isdigit() else f"1{c.format}") for c in hdus[1].columns]
        assert hdus[1].header["NAXIS1"] == 505
    assert mine == published
    assert len(mine) == 130


def test_rows_are_finite_and_lie_in_their_file_s_box(sky: Sky) -> None:
    for path in sorted((sky.root / "sweep").iterdir()):
        rows = fitsio.read(path)
        low, high = path.stem.removeprefix("sweep-").split("-")
        (ra0, dec0), (ra1, dec1) = ((int(c[:3]), int(c[4:]) * (-1 if c[3] == "m" else 1)) for c in (low, high))
        assert ((rows["RA"] >= ra0) & (rows["RA"] < ra1)).all()
        assert ((rows["DEC"] >= dec0) & (rows["DEC"] < dec1)).all()
        assert (ra1 - ra0, dec1 - dec0) == (5, 5)
    numbers = [name for name in sky.rows.dtype.names if sky.rows[name].dtype.kind in "fiu"]
    assert all(np.isfinite(sky.rows[name]).all() for name in numbers)
    assert set(sky.rows["RELEASE"]) == {9990}
    keys = sky.rows["BRICKID"].astype(np.int64) << 16 | sky.rows["OBJID"]
    assert np.unique(keys).size == sky.rows.size


def test_boxes_wrap_and_are_named_as_in_dr10() -> None:
    names = box_names(np.array([0.0, 359.99, 4.99, 125.0]), np.array([-0.001, 0.0, 32.0, -90.0]))
    assert names.tolist() == [
        "sweep-000m005-005p000.fits",
        "sweep-355p000-360p005.fits",
        "sweep-000p030-005p035.fits",
        "sweep-125m090-130m085.fits",
    ]


def test_nearly_every_candidate_has_a_row_at_its_place(sky: Sky) -> None:
    gaps, kinds = [], []
    for patch in sky.patches:
        rows = sky.rows[text(sky.rows["BRICKNAME"]) == patch.brickname]
        x, y = patch.tangent.to_pixels(rows["RA"], rows["DEC"])
        for lens_x, lens_y in zip(*patch.tangent.to_pixels(patch.lens_ra, patch.lens_dec), strict=True):
            gap = np.hypot(x - lens_x, y - lens_y) * 0.262
            gaps.append(gap.min())
            kinds.append(text(rows["TYPE"])[gap.argmin()])
    near = np.array(gaps) < 0.5
    assert 0.95 <= near.mean() < 1.0
    assert (np.array(gaps)[~near] > 5).all()
    assert np.isin(np.array(kinds)[near], ["SER", "DEV", "REX"]).mean() > 0.9


def test_every_kind_of_negative_is_there_in_the_promised_numbers(sky: Sky) -> None:
    per_patch = {"n1": 6000, "lrg": 1500, "ring": 500, "edge_on": 400, "large": 400, "blue_clumpy": 300}
    found = dict.fromkeys(per_patch, 0)
    for patch in sky.patches:
        rows = sky.rows[text(sky.rows["BRICKNAME"]) == patch.brickname]
        kind, r = text(rows["TYPE"]), magnitude(rows["FLUX_R"])
        g_r, r_z = magnitude(rows["FLUX_G"]) - r, r - magnitude(rows["FLUX_Z"])
        e = np.hypot(rows["SHAPE_E1"], rows["SHAPE_E2"])
        pool, early = negatives(rows, patch), (kind == "DEV") | ((kind == "SER") & (rows["SERSIC"] >= 4))
        masks = {
            "n1": pool & (kind != "EXP"),
            "lrg": pool & (kind != "EXP") & (g_r > 1.2) & (r_z > 0.7) & (r > 17) & (r < 20.5),
            "ring": pool & early & (rows["FLUX_R"] >= 5),
            "edge_on": pool & (kind != "REX") & (e >= 0.5) & (rows["SHAPE_R"] >= 0.6),
            "large": pool & (rows["SHAPE_R"] >= 2) & (rows["FLUX_R"] >= 3),
            "blue_clumpy": pool & (g_r <= 0.4) & (r <= 20.5),
        }
        for name, mask in masks.items():
            found[name] += int(mask.sum())
    # The default sky has 1,049 candidates in some 1,040 patches; this one N_PATCHES.
    wanted = {name: number * N_PATCHES / 1040 for name, number in per_patch.items()}
    assert all(found[name] >= wanted[name] for name in wanted), (found, wanted)


def test_conditions_reach_every_stratum_and_change_from_patch_to_patch(sky: Sky) -> None:
    nobs = np.array([fill_patch(patch, SMALL).conditions.nobs["z"] for patch in sky.patches])
    assert (np.histogram(nobs, [1, 3, 6, 11, 100])[0] >= 0.03 * N_PATCHES).all()
    assert np.unique(sky.rows["PSFSIZE_R"]).size == len(sky.patches)


@dataclass(frozen=True)
class Sample:
    labels: np.ndarray
    patches: np.ndarray
    metadata: np.ndarray
    core_flux: np.ndarray
    core_pixels: np.ndarray
    surroundings: np.ndarray


@pytest.fixture(scope="module")
def sample(sky: Sky) -> Sample:
    """Cutouts of all lenses and of the N1 negatives, sliced from the rendered images."""
    dy, dx = np.mgrid[-32:33, -32:33]
    radius = np.hypot(dx, dy)
    annuli = [(radius >= low) & (radius < high) for low, high in ((2, 4), (4, 6), (6, 8), (8, 10), (10, 13))]
    table: list[tuple[object, ...]] = []
    for number, patch in enumerate(sky.patches):
        rows = sky.rows[text(sky.rows["BRICKNAME"]) == patch.brickname]
        image = sky.cube(patch.brickname)
        keep = negatives(rows, patch) & (text(rows["TYPE"]) != "EXP")
        x, y = patch.tangent.to_pixels(rows["RA"][keep], rows["DEC"][keep])
        lens_x, lens_y = patch.tangent.to_pixels(patch.lens_ra, patch.lens_dec)
        first = rows[0]
        meta = [first[f"{name}_{band}"] for name in ("NOBS", "PSFSIZE", "PSFDEPTH") for band in "GRZ"]
        for px, py, label in zip(
            np.r_[x, lens_x], np.r_[y, lens_y], np.r_[np.zeros(x.size), np.ones(lens_x.size)], strict=True
        ):
            column, row = round(px), round(py)
            if min(column, row) < 32 or max(column, row) > 267:
                continue
            cut = image[:, row - 32 : row + 33, column - 32 : column + 33]
            core = cut[:, radius < 4]
            noise = 1.48 * np.median(np.abs(cut[0] - np.median(cut[0])))
            excess = cut[0] - cut[2] * core[0].sum() / core[2].sum()
            lopsided = np.abs(cut[0] - cut[0, ::-1, ::-1])
            seen = [
                f for a in annuli for f in (excess[a].mean(), excess[a].max(), lopsided[a].mean(), cut[0][a].mean())
            ]
            sums = np.concatenate([cut[:, radius < limit].sum(axis=1) for limit in (2, 3, 4)])
            table.append(
                (label, number, [*meta, first["EBV"], first["DEC"]], sums, core.ravel(), np.array(seen) / noise)
            )
    return Sample(*(np.array(column) for column in zip(*table, strict=True)))


def auc(features: np.ndarray, sample: Sample) -> float:
    """Cross-validated by patch, as a classifier of any strength that ranks would see it."""
    ranks = QuantileTransformer(output_distribution="normal", n_quantiles=200)
    model = make_pipeline(ranks, LogisticRegression(max_iter=400, C=0.3))
    folds = GroupKFold(5)
    score = cross_val_predict(model, features, sample.labels, groups=sample.patches, cv=folds, method="predict_proba")
    return float(roc_auc_score(sample.labels, score[:, 1]))


def test_metadata_alone_does_not_tell_lenses_apart(sample: Sample) -> None:
    value = auc(sample.metadata, sample)
    assert max(value, 1 - value) < 0.60


def test_the_core_alone_hardly_tells_lenses_apart(sample: Sample) -> None:
    assert auc(sample.core_flux, sample) < 0.70
    assert auc(np.arcsinh(sample.core_pixels / 0.003), sample) < 0.70


def test_what_surrounds_the_core_does_tell_lenses_apart(sample: Sample) -> None:
    assert auc(np.arcsinh(sample.surroundings), sample) > 0.78


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(sky: Sky, tmp_path: Path) -> None:
    patch = sky.patches[20]
    few = Candidates(*(np.array(v) for v in (patch.lens_name, patch.lens_ra, patch.lens_dec, patch.lens_tier)))
    render_sky(few, tmp_path / "one", replace_workers(1))
    again = plan_patches(few, SMALL)[0]
    for band in BANDS:
        mine = fitsio.read(coadd_path(tmp_path / "one", again.brickname, "image", band), ext=1)
        np.testing.assert_allclose(
            mine, fitsio.read(coadd_path(sky.root, patch.brickname, "image", band), ext=1), atol=2e-4
        )
    render_sky(few, tmp_path / "two", replace_workers(2))
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.f*"))
    assert len(files) >= 10
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    other = SMALL.model_copy(update={"seed": 12})
    assert not np.allclose(render(fill_patch(again, other), other).image, render(fill_patch(again, SMALL), SMALL).image)


def test_a_finished_sky_is_left_alone_and_another_one_is_refused(sky: Sky) -> None:
    before = (sky.root / "SKY.json").stat().st_mtime_ns
    again = render_sky(scattered(N_PATCHES), sky.root, SMALL)
    assert again.already_rendered
    assert (again.n_rows, again.n_patches) == (sky.summary.n_rows, sky.summary.n_patches)
    assert (sky.root / "SKY.json").stat().st_mtime_ns == before
    with pytest.raises(MockSkyError, match="another seed"):
        render_sky(scattered(N_PATCHES), sky.root, SMALL.model_copy(update={"seed": 1}))


def test_a_folder_that_is_not_a_mock_sky_is_never_touched(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("mine")
    with pytest.raises(MockSkyError, match="not a mock sky"):
        render_sky(scattered(3), theirs, SMALL)
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "thesis.tex").write_text("mine")
    with pytest.raises(MockSkyError, match="in the way"):
        render_sky(scattered(3), tmp_path / "new", SMALL)
    assert (theirs / "thesis.tex").exists()
    assert (tmp_path / "new.partial" / "thesis.tex").exists()


def test_progress_counts_every_patch_and_the_manifest_says_mock(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    render_sky(scattered(3), tmp_path / "sky", SMALL, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    manifest = json.loads((tmp_path / "sky" / "SKY.json").read_text())
    assert manifest["survey"] == "mock"
    assert manifest["config"]["arcs"]["tier_a"]["theta_e_arcsec"][0] > 0
    with (tmp_path / "sky" / "arcs_truth.csv").open(encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == 3
