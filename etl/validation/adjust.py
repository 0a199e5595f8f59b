"""What is left of a feature when brightness, shape and conditions have said what they can.

Matching leaves the spread of the features themselves: the noise of an image varies by a factor of two with depth and
seeing, the core's brightness by ten with size and profile, and a shortcut of a few per cent drowns in it. So negatives
say what a galaxy's feature should be, and every object is left with its difference from that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.validation.classifier import N_FOLDS, sky_folds

COVARIATES = ("mag_r", "psf_fwhm_r_arcsec", "depth_r", "shape_r_arcsec", "sersic", "ellipticity")
"""What a feature is adjusted for, within each Tractor type."""

MAY_BE_NEGATIVE = frozenset({"audit_annulus_mean_r", "audit_outer_r", "audit_border_r"})
"""Means of mostly sky; the others are adjusted as logarithms, so that differences are ratios."""

_FOLD_SEED = 42
_MIN_ROWS_PER_TERM = 3
_SMALLEST_SHAPE_ARCSEC = 0.05
_CLIP_SIGMA = 4.0
_RIDGE = 0.1
_HUBER_SIGMA = 2.0
_N_REWEIGHTED = 3

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def adjusted(objects: pd.DataFrame, feature: str) -> Floats:
    """Subtract from a feature what the negatives of the same type, on other sky, lead one to expect.

    The expectation is a robust regression (Huber weights) on all terms up to second order of `COVARIATES`, fitted to
    negatives of the other four folds of sky cells, for positives and negatives alike.

    Parameters
    ----------
    objects
        Columns label, healpix_128, type, `COVARIATES` and the feature.

    Returns
    -------
    array
        (n,) differences, of the natural logarithm unless the feature is one of `MAY_BE_NEGATIVE`. NaN where the
        feature, a covariate or the type is missing, the logarithm does not exist, or its type has too few negatives.
    """
    values = _on_its_scale(objects[feature].to_numpy(float), feature)
    covariates = _covariates(objects)
    is_usable = np.isfinite(values) & np.isfinite(covariates).all(axis=1) & objects["type"].notna().to_numpy()
    is_negative = (objects["label"] == 0).to_numpy(bool)
    fold = sky_folds(objects["healpix_128"].to_numpy(np.int64), _FOLD_SEED)
    left = np.full(len(objects), np.nan)
    if fold is None:
        return left
    kinds = objects["type"].to_numpy(object)
    for kind in sorted(set(kinds[is_usable])):
        rows = np.flatnonzero(is_usable & (kinds == kind))
        terms = _terms(covariates[rows], is_negative[rows])
        for k in range(N_FOLDS):
            fitted, others = is_negative[rows] & (fold[rows] != k), fold[rows] == k
            if fitted.sum() >= _MIN_ROWS_PER_TERM * terms.shape[1] and others.any():
                expected = terms[others] @ _robust_fit(terms[fitted], values[rows[fitted]])
                left[rows[others]] = values[rows[others]] - expected
    return left


def _on_its_scale(values: Floats, feature: str) -> Floats:
    if feature in MAY_BE_NEGATIVE:
        return values
    return np.asarray(np.log(np.where(values > 0, values, np.nan)))


def _covariates(objects: pd.DataFrame) -> Floats:
    columns = objects[list(COVARIATES)].to_numpy(float)
    place = COVARIATES.index("shape_r_arcsec")
    columns[:, place] = np.log10(np.maximum(columns[:, place], _SMALLEST_SHAPE_ARCSEC))
    return np.asarray(columns)


def _terms(covariates: Floats, is_negative: Bools) -> Floats:
    """Constant, linear and second-order terms of the covariates that vary among the negatives of a type."""
    if not is_negative.any():
        return np.ones((len(covariates), 1))
    negatives = covariates[is_negative]
    spread = negatives.std(axis=0)
    varies = spread > 1e-6  # REX has one ellipticity and, as DEV, one Sersic index
    scaled = (covariates[:, varies] - np.median(negatives[:, varies], axis=0)) / spread[varies]
    scaled = np.clip(scaled, -_CLIP_SIGMA, _CLIP_SIGMA)
    first, second = np.triu_indices(scaled.shape[1])
    return np.column_stack([np.ones(len(scaled)), scaled, scaled[:, first] * scaled[:, second]])


def _robust_fit(terms: Floats, values: Floats) -> Floats:
    """Least squares with Huber weights; a slight ridge keeps terms that hardly vary from running away."""
    coefficients = _weighted_fit(terms, values, np.ones(len(values)))
    for _ in range(_N_REWEIGHTED):
        distance = np.abs(values - terms @ coefficients)
        scale = 1.4826 * float(np.median(distance)) + 1e-12
        coefficients = _weighted_fit(terms, values, 1 / np.maximum(1, distance / (_HUBER_SIGMA * scale)))
    return coefficients


def _weighted_fit(terms: Floats, values: Floats, weights: Floats) -> Floats:
    weighted = terms * weights[:, None]
    ridge = _RIDGE * np.eye(terms.shape[1])
    return np.asarray(np.linalg.solve(weighted.T @ terms + ridge, weighted.T @ values), np.float64)
