"""One seed: its sky is rendered once, spoilt in every way, and audited by the very functions of the stage."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from db.settings import CHECKOUT
from etl.cutouts.files import Pixels
from etl.cutouts.metrics import measure_audit
from etl.validation.adjust import adjusted
from etl.validation.border import border_statistics
from etl.validation.gates import judge
from etl.validation.matching import Pairs, match_classes
from etl.validation.shortcuts import AuditSettings, audit_shortcuts
from tests.bench.gates.plants import PLANTS, Plant
from tests.bench.gates.sky import Sky, make_sky

SETTINGS = AuditSettings(n_bootstrap=200, seed=42, min_matched_positives=30)
"""Those of `stronglens cutouts validate`."""

COMPARED = ("audit_mad_r", "audit_core_4px_r", "audit_border_r", "audit_outer_r")
_SOURCES = (
    *("etl/mock/*", "etl/cutouts/metrics.py", "etl/validation/border.py", "etl/validation/adjust.py"),
    *("etl/validation/auc.py", "etl/validation/classifier.py", "etl/validation/matching.py"),
    *("etl/validation/shortcuts.py", "etl/validation/gates.py"),
    *("tests/bench/gates/sky.py", "tests/bench/gates/plants.py", "tests/bench/gates/trial.py"),
)
_CHUNK = 16


def run_seed(seed: int, n_candidates: int) -> dict[str, Any]:
    """Audit the clean sky of a seed and every spoilt one; what came out, ready for JSON."""
    sky = make_sky(seed, n_candidates)
    clean = _measured(sky.pixels)
    return {
        "seed": seed,
        "n_candidates": n_candidates,
        "n_positives": int((sky.objects["label"] == 1).sum()),
        "n_negatives": int((sky.objects["label"] == 0).sum()),
        "skies": {plant.key: _audited(plant, sky, clean) for plant in PLANTS},
    }


def digest() -> str:
    """SHA-256 of the sources that decide the outcome: an earlier seed counts only if they are the same."""
    files = sorted(path for pattern in _SOURCES for path in Path(CHECKOUT).glob(pattern) if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _measured(pixels: Pixels) -> pd.DataFrame:
    parts = []
    for start in range(0, len(pixels), _CHUNK):
        planes = np.ascontiguousarray(np.moveaxis(pixels[start : start + _CHUNK], -1, 1))
        audit = {f"audit_{name}_r": values for name, values in measure_audit(planes[:, 1]).items()}
        parts.append(pd.DataFrame(audit | border_statistics(planes)))
    return pd.concat(parts, ignore_index=True)


def _audited(plant: Plant, sky: Sky, clean: pd.DataFrame) -> dict[str, Any]:
    spoilt = plant.spoil(sky, np.random.default_rng([sky.objects.shape[0], len(plant.key)]))
    metrics = clean.copy()
    if plant.changed is not None:
        changed = np.flatnonzero(sky.objects["label"] == plant.changed)
        metrics.iloc[changed] = _measured(spoilt.pixels[changed]).to_numpy()
    objects = pd.concat([spoilt.objects.reset_index(drop=True), metrics], axis=1)
    pairs = match_classes(objects)
    features = audit_shortcuts(objects, pairs, SETTINGS)
    members = objects.assign(status="ok", uri="stored", is_sound=True)
    gates = judge(members, members, pairs, features)
    return {
        "n_pairs": len(pairs.positive),
        "failed": [gate.rule for gate in gates if not gate.is_passed],
        "core_ratio": next(gate.value for gate in gates if gate.rule == "core_ratio"),
        "faults": [feature.feature for feature in features if feature.is_fault],
        "features": {
            feature.feature: {
                "verdict": feature.verdict,
                "judged_by": feature.judged_by,
                "raw": feature.auc_raw,
                "matched": feature.auc_matched,
                "adjusted": feature.auc_adjusted,
                "lo": feature.auc_lo,
                "hi": feature.auc_hi,
            }
            for feature in features
        },
        "paired": {name: within_pairs(objects[name].to_numpy(float), pairs) for name in COMPARED},
        "paired_adjusted": {name: within_pairs(adjusted(objects, name), pairs) for name in COMPARED},
    }


def within_pairs(values: npt.NDArray[np.float64], pairs: Pairs) -> float:
    """How often the positive of a pair has the larger value (ties half), folded."""
    gap = values[pairs.positive] - values[pairs.negative]
    gap = gap[np.isfinite(gap)]
    share = float((gap > 0).mean() + 0.5 * (gap == 0).mean())
    return max(share, 1 - share)
