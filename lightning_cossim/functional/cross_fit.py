"""Cross-fitting: the isotonic regression of overlap on similarity, evaluated at every pair from a fit without that pair.

A pair that takes part in a fit pulls the fit towards itself. A pair with the highest or lowest similarity can even determine the
fit alone.

NumPy, float64. Shapes: P pairs, M distinct similarities (levels). One call fits several folds: F folds, Q pairs in these folds,
S levels that remain in their fits, fold by fold.
"""

from typing import Any, Final

import numpy as np
from scipy.optimize import isotonic_regression

from lightning_cossim.functional.pairs import Pairs

__all__ = ["cross_fitted", "folds"]

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Integers = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]
Booleans = np.ndarray[tuple[int], np.dtype[np.bool_]]

_LEFT_OUT_ALONE: Final = 200
"""Up to this number of pairs, each pair is left out alone."""
_LEFT_OUT: Final = 20_000
"""Above this number of pairs, no pair is left out."""
_NUM_FOLDS: Final = 10
_AT_A_TIME: Final = 20_000
"""Levels per call of SciPy. A call costs as much as about 1 000 levels; many more levels than this do not fit in the cache."""


def folds(pairs: Pairs) -> Integers | None:
    """The fold of each pair (P,), from 0 on, or None if no pair is left out. The pairs of one fold are left out together.

    Up to 200 pairs: each pair is a fold. Up to 20 000 pairs: ten folds, chosen by a hash of the two labels (SplitMix64's
    finalizer). So the fold of a pair does not depend on the order of the pairs, on the order of its labels, or on the other
    pairs.
    """
    if len(pairs) <= _LEFT_OUT_ALONE:
        return np.arange(len(pairs))
    if len(pairs) > _LEFT_OUT:
        return None
    row, column = (labels.numpy().astype(np.uint64) for labels in (pairs.row, pairs.column))
    mixed = np.minimum(row, column) << np.uint64(32) | np.maximum(row, column)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ mixed >> np.uint64(31)) % np.uint64(_NUM_FOLDS)).astype(np.int64)


def cross_fitted(similarity: Floats, level: Integers, overlap: Floats, weight: Floats, fold: Integers) -> Floats:
    """The isotonic regression at every pair (P,), fitted to the pairs of all other folds.

    Between two similarities of the fit, the regression is linear. Beyond the last one on either side, it is constant. Pairs with
    the same similarity in other folds remain in the fit.

    Args:
        similarity: (M,), ascending.
        level: (P,), the index of the similarity of each pair.
        overlap: (P,), not all equal.
        weight: (P,), at least 1, the number of pairs that each pair represents.
        fold: (P,), from 0 on, at least two different folds.
    """
    num_levels, num_folds, apart = len(similarity), int(fold.max()) + 1, 2 * float(np.ptp(overlap))
    sum_P = weight * overlap
    weight_M, sum_M = np.bincount(level, weight), np.bincount(level, sum_P)
    at_a_time = max(1, _AT_A_TIME // num_levels)
    fitted_P = np.empty_like(overlap)
    for first in range(0, num_folds, at_a_time):
        num = min(at_a_time, num_folds - first)
        pairs = np.flatnonzero((fold >= first) & (fold < first + num))
        place_Q = (fold[pairs] - first) * num_levels + level[pairs]
        weight_FM = np.tile(weight_M, num) - np.bincount(place_Q, weight[pairs], num * num_levels)
        sum_FM = np.tile(sum_M, num) - np.bincount(place_Q, sum_P[pairs], num * num_levels)
        stays_FM = weight_FM > 0.5  # weights are at least 1, so 0.5 is far above rounding
        place_S = np.flatnonzero(stays_FM)
        bounds = np.searchsorted(place_S, np.arange(num + 1) * num_levels)
        # One regression for several folds: each fold is raised above the one before, so no values are pooled across folds.
        raised_S = np.repeat(apart * np.arange(num), np.diff(bounds))
        weight_S = weight_FM[place_S]
        fit_S = isotonic_regression(sum_FM[place_S] / weight_S + raised_S, weights=weight_S).x - raised_S
        fitted_P[pairs] = _interpolated(similarity, fit_S, stays_FM, place_S, bounds, place_Q)
    return fitted_P


def _interpolated(
    similarity: Floats, fit_S: Floats, stays_FM: Booleans, place_S: Integers, bounds: Integers, place_Q: Integers
) -> Floats:
    """The fits at the given places (folds and levels). A place whose level is not in its fit gets the interpolation."""
    fold_Q, level_Q = np.divmod(place_Q, len(similarity))
    last_Q = stays_FM.cumsum()[place_Q] - 1  # the last level of the fit up to the place
    next_Q = np.minimum(last_Q + ~stays_FM[place_Q], bounds[fold_Q + 1] - 1)
    last_Q = np.maximum(last_Q, bounds[fold_Q])
    low_Q, high_Q = (similarity[place_S[one_Q] % len(similarity)] for one_Q in (last_Q, next_Q))
    share_Q = (similarity[level_Q] - low_Q) / np.where(high_Q > low_Q, high_Q - low_Q, 1)
    values_Q: Floats = fit_S[last_Q] + share_Q * (fit_S[next_Q] - fit_S[last_Q])
    return values_Q
