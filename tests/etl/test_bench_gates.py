"""The benchmark of the gates: its plants do what they say and nothing else, and its counts are counts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from etl.validation.adjust import COVARIATES
from etl.validation.matching import Pairs
from etl.validation.objects import CONDITIONS
from tests.bench.gates import plants, table, trial
from tests.bench.gates.sky import Sky, make_sky

SPOILT = [plant for plant in plants.PLANTS if plant.key != "clean"]


@pytest.fixture(scope="module")
def sky() -> Sky:
    return make_sky(seed=7, n_candidates=14)


def spoil(sky: Sky, key: str) -> Sky:
    plant = next(plant for plant in plants.PLANTS if plant.key == key)
    return plant.spoil(sky, np.random.default_rng(5))


def is_positive(sky: Sky) -> np.ndarray:
    return (sky.objects["label"] == 1).to_numpy()


def test_a_sky_has_a_row_and_a_cutout_for_each_object_and_the_same_again(sky: Sky) -> None:
    assert is_positive(sky).sum() >= 10
    assert (~is_positive(sky)).sum() > 50
    assert sky.pixels.shape == (len(sky.objects), 101, 101, 3)
    assert sky.sigma.shape == (len(sky.objects), 3)
    assert {*CONDITIONS, *COVARIATES, "type", "healpix_128"} <= set(sky.objects)
    negatives = sky.objects[~is_positive(sky)]
    assert negatives[list(CONDITIONS)].notna().all(axis=None)
    assert set(negatives["type"]) == {"SER", "DEV", "REX"}
    again = make_sky(seed=7, n_candidates=14)
    pd.testing.assert_frame_equal(again.objects, sky.objects)
    np.testing.assert_array_equal(again.pixels, sky.pixels)


def test_the_centre_of_a_cutout_holds_its_galaxy(sky: Sky) -> None:
    r = sky.pixels[~is_positive(sky)][..., 1]
    core, sky_level = np.nanmedian(r[:, 49:52, 49:52], axis=(1, 2)), np.nanmedian(r, axis=(1, 2))
    assert ((core - sky_level) > 3 * sky.sigma[~is_positive(sky), 1]).mean() > 0.97


@pytest.mark.parametrize("plant", SPOILT, ids=lambda plant: plant.key)
def test_a_plant_changes_the_pixels_of_one_class_only_and_leaves_the_clean_sky_alone(
    sky: Sky, plant: plants.Plant
) -> None:
    before = sky.pixels.copy(), sky.objects.copy()
    spoilt = plant.spoil(sky, np.random.default_rng(5))
    np.testing.assert_array_equal(sky.pixels, before[0])
    pd.testing.assert_frame_equal(sky.objects, before[1])
    kept = np.ones(len(sky.objects), bool) if plant.changed is None else sky.objects["label"] != plant.changed
    np.testing.assert_array_equal(spoilt.pixels[kept], sky.pixels[kept])
    if plant.changed is not None:
        assert (spoilt.pixels[~kept] != sky.pixels[~kept]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(np.isnan(spoilt.pixels), np.isnan(sky.pixels))
    assert (spoilt.objects["label"] == sky.objects["label"]).all()


def test_deeper_positives_means_negatives_with_a_third_more_noise(sky: Sky) -> None:
    negative = ~is_positive(sky)
    added = (spoil(sky, "deeper_0.30").pixels - sky.pixels)[negative]
    noise = np.sqrt(1 + np.nanvar(added, axis=(1, 2)) / sky.sigma[negative] ** 2)
    np.testing.assert_allclose(2.5 * np.log10(noise), 0.3, atol=0.02)
    assert np.abs(np.nanmean(added, axis=(1, 2)) / sky.sigma[negative]).max() < 0.06


def test_recorded_depths_and_exposures_follow(sky: Sky) -> None:
    recorded, consistent = spoil(sky, "deeper_0.30_recorded").objects, spoil(sky, "deeper_0.30_consistent").objects
    negative = ~is_positive(sky)
    for band in "grz":
        gap = sky.objects[f"depth_{band}"] - recorded[f"depth_{band}"]
        np.testing.assert_allclose(gap[negative], 0.3)
        assert (gap[~negative].dropna() == 0).all()
        assert recorded[f"nobs_{band}"].equals(sky.objects[f"nobs_{band}"])
        assert consistent[f"depth_{band}"].equals(recorded[f"depth_{band}"])
        fewer = consistent[f"nobs_{band}"] - sky.objects[f"nobs_{band}"]
        assert (fewer[negative] <= 0).all()
        assert fewer[negative].min() < 0
        assert (fewer[~negative].dropna() == 0).all()


@pytest.mark.parametrize(("key", "share"), [("core_10", 0.10), ("core_05", 0.05)])
def test_a_brighter_core_is_that_much_brighter_and_shaped_like_the_psf(sky: Sky, key: str, share: float) -> None:
    y, x = np.mgrid[:101, :101] - 50
    core, far = np.hypot(x, y) < 4, np.hypot(x, y) > 20
    positive = is_positive(sky)
    before, after = sky.pixels[positive], spoil(sky, key).pixels[positive]
    ratio = after[:, core].mean(axis=1) / before[:, core].mean(axis=1)
    np.testing.assert_allclose(ratio, 1 + share, rtol=1e-4)
    light = after - before
    assert (np.nanmax(np.abs(light[:, far]), axis=(1, 2)) < 1e-3 * light[:, 50, 50].max(axis=-1)).all()
    assert (light[:, 50, 50] > light[:, 50, 53]).all()


def test_a_border_offset_touches_five_pixels_on_each_side(sky: Sky) -> None:
    positive = is_positive(sky)
    added = (spoil(sky, "border_0.20").pixels - sky.pixels)[positive] / sky.sigma[positive][:, None, None, :]
    assert (np.nan_to_num(added[:, 5:-5, 5:-5]) == 0).all()
    for strip in (added[:, :5], added[:, -5:], added[:, :, :5], added[:, :, -5:]):
        np.testing.assert_allclose(np.nanmedian(strip, axis=(1, 2)), 0.2, atol=0.01)


def test_more_exposures_are_more_exposures(sky: Sky) -> None:
    more, positive = spoil(sky, "nobs_1.50").objects, is_positive(sky)
    for band in "grz":
        wanted = np.rint(sky.objects.loc[positive, f"nobs_{band}"] * 1.5)
        assert more.loc[positive, f"nobs_{band}"].equals(wanted)
        assert more.loc[~positive, f"nobs_{band}"].equals(sky.objects.loc[~positive, f"nobs_{band}"])


def test_the_share_within_pairs_equals_counting_them_one_by_one() -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 6, 200).astype(float)
    values[:3] = np.nan
    pairs = Pairs(np.arange(100), rng.permutation(np.arange(100, 200)))
    count = [
        1.0 if values[p] > values[n] else 0.5 if values[p] == values[n] else 0.0
        for p, n in zip(pairs.positive, pairs.negative, strict=True)
        if not np.isnan(values[p])
    ]
    share = sum(count) / len(count)
    assert trial.within_pairs(values, pairs) == pytest.approx(max(share, 1 - share), abs=1e-12)
    assert trial.within_pairs(np.ones(200), pairs) == 0.5


def made_up(n_found: int, n_alarms: int, n: int = 20) -> list[dict[str, Any]]:
    """Trials in which each plant is found in the first skies, and the clean sky refused in the first few."""

    def one(is_refused: bool) -> dict[str, Any]:
        names = ("metadata_only", "border_only", *trial.COMPARED)
        verdict = "red" if is_refused else "green"
        audit = {"verdict": verdict, "judged_by": "matched", "raw": 0.6, "matched": 0.5, "adjusted": None, "lo": 0.5}
        pairs = dict.fromkeys(trial.COMPARED, 0.5)
        return {
            "n_pairs": 250,
            "failed": ["no_shortcut", "core_ratio"] if is_refused else [],
            "faults": ["border_only"] if is_refused else [],
            "core_ratio": 1.2 if is_refused else 1.0,
            "features": dict.fromkeys(names, audit),
            "paired": pairs,
            "paired_adjusted": pairs,
        }

    return [
        {
            "n_positives": 300,
            "n_negatives": 2000,
            "skies": {
                plant.key: one(seed < (n_alarms if plant.key == "clean" else n_found)) for plant in plants.PLANTS
            },
        }
        for seed in range(n)
    ]


def test_the_table_counts_skies_and_gives_jeffreys_intervals() -> None:
    trials = made_up(n_found=17, n_alarms=1)
    rows = {row.key: row for row in table.found(trials)}
    assert (rows["clean"].k, rows["core_10"].k, rows["core_10"].n) == (1, 17, 20)
    wanted = beta.ppf([0.025, 0.975], 17.5, 3.5)
    assert (rows["core_10"].lo, rows["core_10"].hi) == pytest.approx(tuple(wanted))
    assert rows["core_10"].by == {"border_only": 17, "core_ratio": 17}
    alarms = table.false_alarms(trials)
    assert alarms["border_only"] == {"red": 1, "green": 19}
    assert alarms["core_ratio"] == {"green": 19, "red": 1}
    text = "\n".join(table.markdown(trials))
    assert "17 of 20 | 0.85" in text
    assert "`border_only` 17, `core_ratio` 17" in text
    json.dumps(table.as_dict(trials))
