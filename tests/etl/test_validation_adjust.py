"""What regression on brightness, shape and conditions leaves of a feature, against a rule that the tests made up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from etl.validation.adjust import COVARIATES, adjusted
from etl.validation.classifier import N_FOLDS, sky_folds

FEATURE, SKY_MEAN = "audit_core_4px_r", "audit_outer_r"


def objects(n: int = 1200, seed: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    """A table whose feature is a known rule of the covariates times exp(scatter), and the scatter."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "label": (rng.random(n) < 0.2).astype(int),
            "healpix_128": rng.integers(0, 200, n),
            "type": rng.choice(["SER", "DEV", "REX"], n),
            "mag_r": rng.normal(19, 0.6, n),
            "psf_fwhm_r_arcsec": rng.normal(1.3, 0.1, n),
            "depth_r": rng.normal(24, 0.4, n),
            "shape_r_arcsec": 10 ** rng.normal(0, 0.15, n),
            "sersic": rng.normal(4, 0.8, n),
            "ellipticity": rng.uniform(0, 0.5, n),
        }
    )
    table.loc[table["type"] != "SER", "sersic"] = 4.0
    table.loc[table["type"] == "REX", "ellipticity"] = 0.0
    scatter = rng.normal(0, 0.03, n)
    size = np.log10(table["shape_r_arcsec"])
    rule = -0.9 * (table["mag_r"] - 19) - 2 * size - 1.5 * size**2 + 0.3 * size * (table["sersic"] - 4)
    rule += table["type"].map({"SER": 0.0, "DEV": 0.4, "REX": -0.7})
    table[FEATURE] = np.exp(rule + scatter)
    table[SKY_MEAN] = rule + scatter - 5
    return table, scatter


@pytest.mark.parametrize("feature", [FEATURE, SKY_MEAN])
def test_what_is_left_is_the_scatter_alone(feature: str) -> None:
    table, scatter = objects()
    left = adjusted(table, feature)
    assert np.isfinite(left).all()
    assert table[FEATURE].max() / table[FEATURE].min() > 50
    assert (left - scatter).std() < 0.015
    assert np.corrcoef(left, scatter)[0, 1] > 0.9


def test_positives_never_teach_what_to_expect() -> None:
    table, _ = objects()
    is_positive = (table["label"] == 1).to_numpy()
    spoilt = table.assign(**{FEATURE: table[FEATURE] * np.where(is_positive, 1.1, 1)})
    gained = adjusted(spoilt, FEATURE) - adjusted(table, FEATURE)
    np.testing.assert_allclose(gained[is_positive], np.log(1.1), atol=1e-9)
    np.testing.assert_allclose(gained[~is_positive], 0, atol=1e-12)


def test_no_one_is_measured_by_negatives_of_its_own_sky() -> None:
    table, _ = objects()
    fold = sky_folds(table["healpix_128"].to_numpy(), 42)
    assert fold is not None
    assert len(np.unique(fold)) == N_FOLDS
    for cell in table["healpix_128"].unique()[:20]:
        assert len(np.unique(fold[table["healpix_128"] == cell])) == 1
    one = fold == 2
    spoilt = table.assign(**{FEATURE: table[FEATURE] * np.where(one & (table["label"] == 0), 3.0, 1.0)})
    before, after = adjusted(table, FEATURE), adjusted(spoilt, FEATURE)
    own = one & (table["label"] == 1).to_numpy()
    np.testing.assert_allclose(after[own], before[own], atol=1e-12)
    others = ~one
    assert np.abs(after[others] - before[others]).max() > 1e-3


def test_a_few_wild_negatives_do_not_bend_it() -> None:
    table, scatter = objects()
    wild = np.random.default_rng(1).random(len(table)) < 0.03
    wild &= (table["label"] == 0).to_numpy()
    left = adjusted(table.assign(**{FEATURE: table[FEATURE] * np.where(wild, 10.0, 1)}), FEATURE)
    assert (left - scatter)[~wild].std() < 0.025


@pytest.mark.parametrize("column", [*COVARIATES, FEATURE])
def test_what_is_missing_stays_missing_and_costs_no_one_else(column: str) -> None:
    table, scatter = objects()
    table.loc[:9, column] = np.nan
    left = adjusted(table, FEATURE)
    assert np.isnan(left[:10]).all()
    assert (left - scatter)[10:].std() < 0.015


def test_a_feature_below_zero_has_no_logarithm() -> None:
    table, _ = objects()
    table.loc[4, FEATURE] = -0.1
    assert np.isnan(adjusted(table, FEATURE)[4])
    assert np.isfinite(adjusted(table, SKY_MEAN)).all()


def test_a_type_with_too_few_negatives_and_a_sky_of_few_cells_are_left_out() -> None:
    table, _ = objects()
    rare = (table["type"] == "REX") & (table["label"] == 0)
    few = table.drop(table.index[rare][20:]).reset_index(drop=True)
    left = adjusted(few, FEATURE)
    is_rex = (few["type"] == "REX").to_numpy()
    assert np.isnan(left[is_rex]).all()
    assert np.isfinite(left[~is_rex]).all()
    assert np.isnan(adjusted(table.assign(healpix_128=table["healpix_128"] % (N_FOLDS - 1)), FEATURE)).all()
    assert len(adjusted(table.iloc[:0], FEATURE)) == 0
