"""A classifier's out-of-fold score: how well a set of columns tells the classes apart on sky that it has not seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

N_FOLDS = 5


def sky_folds(cells: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64] | None:
    """Deal whole sky cells to `N_FOLDS` folds; the fold (n,) of each object, None with fewer cells than folds."""
    unique, number = np.unique(cells, return_inverse=True)
    if len(unique) < N_FOLDS:
        return None
    fold_of_cell = np.random.default_rng(seed).permutation(len(unique)) % N_FOLDS
    return np.asarray(fold_of_cell[number])


def out_of_fold_scores(
    features: npt.NDArray[np.float64], is_positive: npt.NDArray[np.bool_], cells: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.float64] | None:
    """Score each object by gradient-boosted trees trained on other sky cells (5 folds).

    Parameters
    ----------
    features
        (n, m); NaN means missing.
    is_positive, cells
        (n,) class and HEALPix cell of each object.

    Returns
    -------
    array or None
        (n,) scores; None when there are fewer cells than folds or a training part has one class only.
    """
    from scipy.stats import rankdata
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    fold = sky_folds(cells, seed)
    if fold is None:
        return None
    scores = np.full(len(features), np.nan)
    # One thread: on small tables and busy machines the others only wait for each other, 15 times as long.
    with threadpool_limits(1, user_api="openmp"):
        for k in range(N_FOLDS):
            train = fold != k
            if is_positive[train].all() or not is_positive[train].any():
                return None
            model = HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=8, l2_regularization=1.0, early_stopping=False, random_state=seed
            )
            model.fit(features[train], is_positive[train])
            # Ranks within a fold: each fold's model has a zero point of its own.
            scores[~train] = rankdata(model.decision_function(features[~train])) / (~train).sum()
    return scores
