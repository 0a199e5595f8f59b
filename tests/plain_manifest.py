"""A manifest that needs no database: every column plain, but for those that are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.manifest import Manifest


def plain_manifest(n: int, **columns: Any) -> Manifest:
    """A manifest of `n` training negatives; `columns` override what it holds."""
    made: dict[str, Any] = {
        "cutout_id": np.arange(n, dtype=np.int64),
        "uri": np.array([f"store:{number}" for number in range(n)], np.str_),
        "sha256": np.array([f"{number:064x}" for number in range(n)], np.str_),
        "split": np.full(n, "train"),
        "label": np.zeros(n, np.int8),
        "weight": np.ones(n, np.float32),
        "tier": np.full(n, ""),
        "best_letter_grade": np.full(n, ""),
        "is_calibration": np.zeros(n, np.bool_),
        "nobs_z": np.full(n, 4, np.float32),
        "psf_fwhm_z_arcsec": np.full(n, 1.1, np.float32),
    }
    about: dict[str, Any] = {"draw_id": 1, "scheme_id": 1, "cutout_version": "v1", "survey": "mock"}
    return Manifest(**about, **(made | columns), layouts=frozenset({("grz", 101)}))
