"""Scores of a survey that never was: half a million objects in many cells, with conditions to bin."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from analysis.scores import WORDS, ScoredObjects
from db.models.sampling import CONFUSERS_OF_THE_POOL
from tests.bench.train.sizes import Sizes


def made_scores(sizes: Sizes, n_cells: int) -> ScoredObjects:
    """Positives score higher by 3 in the logit; everything else is drawn at random."""
    rng = np.random.default_rng(11)
    n = sizes.n_scores
    label = (np.arange(n) < sizes.n_positives).astype(np.int64)
    is_n2 = (label == 0) & (rng.random(n) < 0.15)
    words: dict[str, Any] = dict.fromkeys(WORDS, np.full(n, ""))
    words |= {
        "pool": np.where(label == 1, "positive", np.where(is_n2, "N2", "N1")),
        "category": np.where(is_n2, rng.choice(CONFUSERS_OF_THE_POOL, n), ""),
        "tier": np.where(label == 1, rng.choice(["A", "B"], n, p=[0.1, 0.9]), ""),
        "discovery": np.where(label == 1, "ground_imaging", ""),
        "split": np.full(n, "test"),
        "nobs_z_bin": rng.choice(["1-2", "3-5", "6-10", "11+"], n),
        "stratum_type": rng.choice(["SER", "DEV", "REX"], n),
        "type": rng.choice(["SER", "DEV", "REX", "EXP"], n),
        "best_letter_grade": np.where(label == 1, rng.choice(["A", "B", "C", ""], n), ""),
    }
    return ScoredObjects(
        cutout_id=np.arange(n),
        score=expit(rng.normal(3 * label, 1.0)),
        label=label,
        healpix_128=rng.integers(0, n_cells, n),
        is_calibration=np.zeros(n, np.bool_),
        inclusion_probability=np.full(n, 0.01),
        dec=rng.uniform(-65, 33, n),
        mag_r_ab=rng.uniform(16.5, 21.5, n),
        nobs_z=rng.integers(1, 15, n).astype(float),
        psf_fwhm_z_arcsec=rng.uniform(0.8, 1.6, n),
        galdepth_z_ab=rng.uniform(21.8, 23.8, n),
        ebv_mag=rng.uniform(0, 0.3, n),
        **words,
    )
