"""How the scores of several models become one: average, stacking, or Bayes with independent members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from training.calibrators import PlattScaling, logit
from training.errors import EnsembleError

Floats = npt.NDArray[np.float64]

PENALTY_C = 1.0
"""Inverse strength of the L2 penalty on stacking's coefficients, in units of the standard deviations of the logits."""


class Combination(Protocol):
    """A fitted map from the scores of m members to one score."""

    method: ClassVar[str]

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return one score in [0, 1] for each row of scores, shape (n, m) to (n,)."""
        ...

    @property
    def coefficients(self) -> tuple[float, ...]:
        """What each member counts for: its weight, or the coefficient of its log-odds."""
        ...

    def to_body(self) -> dict[str, object]:
        """Return what was fitted, as JSON can hold it; `combination_of` reads it."""
        ...


@dataclass(frozen=True)
class Average:
    """The mean of the members' scores as they are; nothing is fitted."""

    n_members: int
    method: ClassVar[str] = "average"

    @classmethod
    def fit(cls, scores: npt.ArrayLike, _labels: npt.ArrayLike) -> Self:
        """Count the members."""
        return cls(np.asarray(scores).shape[1])

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return the mean of each row."""
        return np.asarray(_rows(scores, self.n_members).mean(axis=1))

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The same for each."""
        return (1 / self.n_members,) * self.n_members

    def to_body(self) -> dict[str, object]:
        """Return the number of members."""
        return {"method": self.method, "n_members": self.n_members}

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> Self:
        """Read what `to_body` gave."""
        return cls(int(_number(body["n_members"])))


@dataclass(frozen=True)
class Stacking:
    """sigmoid(a + sum_i b_i logit(s_i)): logistic regression on the members' log-odds.

    Wolpert (1992), Neural Netw. 5, 241. The L2 penalty keeps coefficients finite where the classes are separable, and
    those of members that say the same alike.
    """

    intercept: float
    slopes: tuple[float, ...]
    method: ClassVar[str] = "stacking"

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Fit on labelled scores, each object counted once.

        Raises
        ------
        EnsembleError
            When a class is absent.
        """
        x, y = logit(scores), np.asarray(labels)
        _require_both_classes(y)
        centre, spread = x.mean(axis=0), x.std(axis=0)
        spread[spread == 0] = 1.0
        fitted = LogisticRegression(C=PENALTY_C, max_iter=1000, tol=1e-8).fit((x - centre) / spread, y)
        slopes = fitted.coef_[0] / spread
        return cls(float(fitted.intercept_[0] - slopes @ centre), tuple(slopes.tolist()))

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return the fitted probability for each row."""
        return np.asarray(expit(self.intercept + logit(_rows(scores, len(self.slopes))) @ np.array(self.slopes)))

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The slopes."""
        return self.slopes

    def to_body(self) -> dict[str, object]:
        """Return intercept and slopes."""
        return {"method": self.method, "intercept": self.intercept, "slopes": list(self.slopes)}

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> Self:
        """Read what `to_body` gave."""
        return cls(_number(body["intercept"]), tuple(map(_number, _list(body["slopes"]))))


@dataclass(frozen=True)
class NaiveBayes:
    """Posterior log-odds sum_i l_i - (m - 1) l_0 from the members' calibrated log-odds l_i and the prior's l_0.

    Exact where the members' scores are independent within each class (Kittler et al. 1998, IEEE PAMI 20, 226: the
    product rule). Members that look at the same pixels are not: the ranking is still of use, the probabilities are
    too sure. Beyond log-odds of 36.7 a score is 1, and such objects tie.
    """

    calibrators: tuple[PlattScaling, ...]
    prior: float
    method: ClassVar[str] = "bayes"

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Calibrate each member on labelled scores; the prior is their share of positives.

        Raises
        ------
        EnsembleError
            When a class is absent.
        """
        s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
        _require_both_classes(y)
        return cls(tuple(PlattScaling.fit(member, y) for member in s.T), float((y == 1).mean()))

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return the posterior probability for each row."""
        x = logit(_rows(scores, len(self.calibrators)))
        intercept = sum(member.intercept for member in self.calibrators)
        prior = (len(self.calibrators) - 1) * float(logit(self.prior))
        return np.asarray(expit(intercept + x @ np.array(self.coefficients) - prior))

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The slopes of the members' calibrations."""
        return tuple(member.slope for member in self.calibrators)

    def to_body(self) -> dict[str, object]:
        """Return the prior and each member's calibration."""
        return {
            "method": self.method,
            "prior": self.prior,
            "members": [member.to_body() for member in self.calibrators],
        }

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> Self:
        """Read what `to_body` gave."""
        members = [PlattScaling.from_body(member) for member in _list(body["members"]) if isinstance(member, Mapping)]
        return cls(tuple(members), _number(body["prior"]))


COMBINATIONS: Mapping[str, type[Average | Stacking | NaiveBayes]] = {
    kind.method: kind for kind in (Average, Stacking, NaiveBayes)
}
"""Each combination by the word for it."""


def fit_combination(method: str, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Average | Stacking | NaiveBayes:
    """Fit a combination to scores of shape (n, m) in [0, 1] and labels of shape (n,), 0 or 1.

    Raises
    ------
    EnsembleError
        When the method is not known, scores and labels are not rows of one table, a score is out of range, or a class
        is absent where something is fitted.
    """
    kind = COMBINATIONS.get(method)
    if kind is None:
        raise EnsembleError(f"method {method!r} is not known; known are {', '.join(COMBINATIONS)}")
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if s.ndim != 2 or y.shape != s.shape[:1]:
        raise EnsembleError(f"scores of shape {s.shape} and labels of shape {y.shape} are not rows of one table")
    if not ((s >= 0) & (s <= 1)).all() or not np.isin(y, (0, 1)).all():
        raise EnsembleError("a score is NaN or outside [0, 1], or a label is neither 0 nor 1: score the members again")
    return kind.fit(s, y)


def combination_of(body: Mapping[str, object]) -> Average | Stacking | NaiveBayes:
    """Return the combination that a `to_body` describes."""
    return COMBINATIONS[str(body["method"])].from_body(body)


def _require_both_classes(labels: npt.NDArray[np.int64]) -> None:
    n_positives = int((labels == 1).sum())
    if not 0 < n_positives < len(labels):
        raise EnsembleError(
            f"there are {n_positives} positives and {len(labels) - n_positives} negatives to fit a combination to, "
            "both are needed: use a draw that reaches further, or the method average"
        )


def _rows(scores: npt.ArrayLike, n_members: int) -> Floats:
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 2 or s.shape[1] != n_members:
        raise EnsembleError(f"scores of shape {s.shape}, expected (n, {n_members}): one column for each member")
    return s


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise EnsembleError(f"a stored ensemble has {value!r} where a number is due: make it again by another name")
    return float(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise EnsembleError(f"a stored ensemble has {value!r} where a list is due: make it again by another name")
    return value
