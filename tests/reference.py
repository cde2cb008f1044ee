"""The formulas of THEORY §3-5 in slow NumPy float64, one loop at a time: what the package is compared with.

Nothing here comes from the package, from torch or from SciPy. Entries that do not count are NaN.
Shapes: `W` (K, D) unembedding, `b` (K,) bias, `f` (N, D) embeddings, `S` (D, D) their covariance, `p` (N, K) probabilities,
`s` and `o` (K, K) similarities and overlaps, compared over pairs i < j.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def center_labels(W: Array, live: Mask | None = None) -> Array:
    """Every row minus the mean live row, g_i - mean g; rows of at most 16 eps of the longest live row become zero."""
    counts = _live(W, live)
    rows = W.astype(np.float64)
    mean = sum(rows[i] for i in counts) / len(counts)
    longest = max(_length(rows[i]) for i in counts)
    eps = np.finfo(np.float64 if W.dtype == np.float64 else np.float32).eps
    centered: Array = rows - mean
    for i in counts:
        if _length(centered[i]) <= 16 * eps * longest:
            centered[i] = 0
    return centered


def common_mode_ratio(W: Array, live: Mask | None = None) -> float:
    """The length of the mean live row over the root of the mean squared length of rows minus it."""
    counts = _live(W, live)
    mean = sum(W[i].astype(np.float64) for i in counts) / len(counts)
    squares = [_length(row) ** 2 for row in center_labels(W, live)[counts]]
    return _length(mean) / float(np.sqrt(sum(squares) / len(counts)))


def cosine(W: Array, centered: bool, live: Mask | None = None) -> Array:
    """g_i . g_j / (|g_i| |g_j|), of centered rows or of the rows as they are."""
    rows = center_labels(W, live) if centered else W.astype(np.float64)
    cos = _unknown(len(W))
    for i in _live(W, live):
        for j in _live(W, live):
            lengths = _length(rows[i]) * _length(rows[j])
            if lengths > 0:
                cos[i, j] = float(rows[i] @ rows[j]) / lengths
    return cos


def covariance(f: Array) -> Array:
    """The population covariance 1/n sum (f - mean)(f - mean)^T."""
    rows = f.astype(np.float64)
    mean = sum(rows) / len(rows)
    return sum((np.outer(row - mean, row - mean) for row in rows), np.zeros((f.shape[1], f.shape[1]))) / len(rows)


def logit_correlation(W: Array, S: Array, centered: bool = True, live: Mask | None = None) -> Array:
    """g_i^T S g_j / sqrt(g_i^T S g_i . g_j^T S g_j), of centered rows or of the rows as they are."""
    rows = center_labels(W, live) if centered else W.astype(np.float64)
    corr = _unknown(len(W))
    for i in _live(W, live):
        for j in _live(W, live):
            product = float(rows[i] @ S @ rows[i]) * float(rows[j] @ S @ rows[j])
            if product > 0:
                corr[i, j] = float(rows[i] @ S @ rows[j]) / np.sqrt(product)
    return corr


def log_odds_variance(W: Array, S: Array) -> Array:
    """(g_i - g_j)^T S (g_i - g_j)."""
    rows = W.astype(np.float64)
    variance = _unknown(len(W))
    for i in _live(W, None):
        for j in _live(W, None):
            variance[i, j] = float((rows[i] - rows[j]) @ S @ (rows[i] - rows[j]))
    return variance


def log_odds_variance_of_inputs(W: Array, b: Array, f: Array) -> Array:
    """The variance over inputs of z_i - z_j, from the logits themselves."""
    z = f.astype(np.float64) @ W.astype(np.float64).T + b
    return np.array([[np.mean((z_i - z_j - np.mean(z_i - z_j)) ** 2) for z_j in z.T] for z_i in z.T])


def logit_correlation_of_inputs(W: Array, b: Array, f: Array) -> Array:
    """Pearson's correlation over inputs of the logits minus their mean over labels, from the logits themselves."""
    z = f.astype(np.float64) @ W.astype(np.float64).T + b
    away = z - z.mean(axis=1, keepdims=True)
    away = away - away.mean(axis=0)
    return np.array([[(x @ y) / np.sqrt((x @ x) * (y @ y)) for y in away.T] for x in away.T])


def softmax(z: Array) -> Array:
    """exp z_i / sum_k exp z_k, per input."""
    powers = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    probs: Array = powers / powers.sum(axis=1, keepdims=True)
    return probs


def bhattacharyya(p: Array) -> Array:
    """S_ij / sqrt(S_ii S_jj) with S_ij = sum_x sqrt(p_i(x) p_j(x)), over inputs without a NaN."""
    seen = [row.astype(np.float64) for row in p if not np.isnan(row).any()]
    num_labels = p.shape[1]
    S = np.zeros((num_labels, num_labels))
    for row in seen:
        S += np.outer(np.sqrt(row), np.sqrt(row))
    overlap = _unknown(num_labels)
    for i in range(num_labels):
        for j in range(num_labels):
            if S[i, i] > 0 and S[j, j] > 0:
                overlap[i, j] = S[i, j] / np.sqrt(S[i, i]) / np.sqrt(S[j, j])
    return overlap


def product(p: Array) -> Array:
    """sum_x p_i p_j / sqrt(sum_x p_i^2 sum_x p_j^2)."""
    return bhattacharyya(p.astype(np.float64) ** 2)


def coactivation(p: Array, threshold: float) -> Array:
    """Inputs where both probabilities are above the threshold, over inputs where one is."""
    return _jaccard([{int(x) for x in np.flatnonzero(p[:, i] > threshold)} for i in range(p.shape[1])])


def top_k(p: Array, k: int) -> Array:
    """Inputs where both labels are among the k most likely, over inputs where one is."""
    among = [{int(i) for i in range(len(row)) if sum(row > row[i]) < k} for row in p]
    return _jaccard([{x for x, labels in enumerate(among) if i in labels} for i in range(p.shape[1])])


def errors(p: Array, target: Sequence[int], i: int, j: int) -> list[int]:
    """Inputs of i whose most likely label is j, and inputs of j whose most likely label is i; over inputs without a NaN."""
    given = [(t, int(np.argmax(row))) for t, row in zip(target, p, strict=True) if not np.isnan(row).any()]
    return [sum(one == (i, j) for one in given), sum(one == (j, i) for one in given)]


def joint_shares(h: Array, target: Sequence[int], i: int, j: int) -> list[float]:
    """Of the sum of h_i h_j over inputs without a NaN, the parts on inputs of i, on inputs of j and on all others."""
    parts = [0.0, 0.0, 0.0]
    for t, row in zip(target, h.astype(np.float64), strict=True):
        if not np.isnan(row).any():
            parts[0 if t == i else 1 if t == j else 2] += float(row[i] * row[j])
    return [part / sum(parts) for part in parts] if sum(parts) > 0 else [math.nan] * 3


def expected_curve(s: Array, o: Array) -> Array:
    """The isotonic regression of overlap on similarity: max over a <= i of min over b >= i of the mean overlap from a to b."""
    expected = _unknown(len(s))
    pairs, fit = _fit(s, o)
    for (i, j), value in zip(pairs, fit, strict=True):
        expected[i, j] = expected[j, i] = value
    return expected


def expected_overlap(s: Array, o: Array) -> Array:
    """The curve of the other pairs at a pair's similarity: a straight line between two of theirs, beyond them the end's value.

    Of up to 200 pairs the others are all others, of up to 20 000 those of other folds.
    """
    expected = _unknown(len(s))
    pairs = list(_pairs(s, o))
    for pair in pairs:
        leaves = [pair] if len(pairs) <= 200 else [one for one in pairs if fold(*one) == fold(*pair)]
        others = o.copy()
        for i, j in leaves:
            others[i, j] = np.nan
        left, fit = _fit(s, others)
        curve = sorted({(round(float(s[one]), 6), value) for one, value in zip(left, fit.tolist(), strict=True)})
        expected[pair] = expected[pair[::-1]] = _on_line(curve, round(float(s[pair]), 6))
    return expected


def fold(i: int, j: int) -> int:
    """SplitMix64's finalizer of the two labels, the smaller in the upper 32 bits, modulo 10."""
    mixed = min(i, j) << 32 | max(i, j)
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    return (mixed ^ mixed >> 31) % 10


def residual_scale(s: Array, o: Array) -> float:
    """1.4826 times the median of |o - e| over pairs, e the expected overlap."""
    expected = expected_overlap(s, o)
    gaps = sorted(abs(float(o[pair] - expected[pair])) for pair in _pairs(s, o))
    return 1.4826 * (gaps[len(gaps) // 2] + gaps[(len(gaps) - 1) // 2]) / 2


def plain_explained_overlap(s: Array, o: Array) -> float:
    """R^2 = 1 - sum (o - e)^2 / sum (o - mean o)^2, which credits the fit for its freedom."""
    pairs, fit = _fit(s, o)
    overlaps = np.array([o[pair] for pair in pairs])
    return float(1 - np.sum((overlaps - fit) ** 2) / np.sum((overlaps - overlaps.mean()) ** 2))


def explained_overlap(s: Array, o: Array) -> float:
    """1 - (1 - R^2) (n - 1) / (n - m) for n pairs and m distinct levels of the fit, 1 where n = m."""
    pairs, fit = _fit(s, o)
    n, m = len(pairs), len(np.unique(np.round(fit, 12)))
    return 1.0 if n == m else 1 - (1 - plain_explained_overlap(s, o)) * (n - 1) / (n - m)


def rank_agreement(s: Array, o: Array) -> float:
    """12 / (n^3 - n) sum (r - mean r)(q - mean q) with average ranks: one, plus those below, plus half the others that tie."""
    pairs = list(_pairs(s, o))
    return _rho_a([round(float(s[pair]), 6) for pair in pairs], [float(o[pair]) for pair in pairs])


def top_pair_auroc(s: Array, o: Array, share: float) -> float:
    """The share of (positive, negative) pairs of pairs that the similarity orders rightly, ties counting half."""
    pairs = [(round(float(s[pair]), 6), float(o[pair])) for pair in _pairs(s, o)]
    m = math.ceil(share * len(pairs))
    cut = sorted((overlap for _, overlap in pairs), reverse=True)[m - 1]
    positives = [similarity for similarity, overlap in pairs if overlap >= cut]
    negatives = [similarity for similarity, overlap in pairs if overlap < cut]
    won = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return won / (len(positives) * len(negatives))


def neighbor_jaccard(s: Array, o: Array, k: int) -> float:
    """Mean over labels of E / (2k - E), E the expected intersection of the two sets of k neighbors."""

    def seats(row: Array, own: int) -> dict[int, float]:
        others = sorted((j for j in range(len(row)) if j != own), key=lambda j: -row[j])
        last = row[others[k - 1]]
        above = [j for j in others if row[j] > last]
        tied = [j for j in others if row[j] == last]
        return {**dict.fromkeys(above, 1.0), **dict.fromkeys(tied, (k - len(above)) / len(tied))}

    total = 0.0
    for i in range(len(s)):
        mine, theirs = seats(np.round(s[i], 6), i), seats(o[i], i)
        shared = sum(weight * theirs.get(j, 0.0) for j, weight in mine.items())
        total += shared / (2 * k - shared)
    return total / len(s)


def reliability(a: Array, b: Array) -> float:
    """2 rho / (1 + rho) with rho = rho_a(A, B) / sqrt(rho_a(A, A) rho_a(B, B)), 0 if rho <= 0."""
    pairs = list(_pairs(a, b))
    x, y = [float(a[pair]) for pair in pairs], [float(b[pair]) for pair in pairs]
    rho = _rho_a(x, y) / math.sqrt(_rho_a(x, x) * _rho_a(y, y))
    return 2 * rho / (1 + rho) if rho > 0 else 0.0


def causal_cosine(W: Array) -> Array:
    """Cosines of the centered rows, whitened by the pseudo-inverse root of their covariance."""
    centered = center_labels(W)
    values, vectors = np.linalg.eigh(centered.T @ centered / len(W))
    keep = values > 1e-10 * values.max()
    white = centered @ vectors[:, keep] / np.sqrt(values[keep])
    return cosine(white, centered=False)


def difference_cosine(W: Array, pairs: list[tuple[int, int]]) -> Array:
    """Cosines between the differences g_i - g_j of the pairs."""
    return cosine(np.array([W[i] - W[j] for i, j in pairs]), centered=False)


def _jaccard(inputs: list[set[int]]) -> Array:
    whole = [[len(a | b) for b in inputs] for a in inputs]
    return np.array(
        [
            [len(a & b) / n if n else np.nan for b, n in zip(inputs, row, strict=True)]
            for a, row in zip(inputs, whole, strict=True)
        ]
    )


def _live(W: Array, live: Mask | None) -> list[int]:
    return [i for i in range(len(W)) if np.isfinite(W[i]).all() and (live is None or live[i])]


def _length(row: Any) -> float:
    return float(np.sqrt(np.sum(np.square(row.astype(np.float64)))))


def _unknown(num_labels: int) -> Array:
    return np.full((num_labels, num_labels), np.nan)


def _pairs(s: Array, o: Array) -> Iterator[tuple[int, int]]:
    for i in range(len(s)):
        for j in range(i + 1, len(s)):
            if not (np.isnan(s[i, j]) or np.isnan(o[i, j])):
                yield i, j


def _fit(s: Array, o: Array) -> tuple[list[tuple[int, int]], Array]:
    """The pairs that count, and the fit at each."""
    pairs = list(_pairs(s, o))
    similarities = [round(float(s[pair]), 6) for pair in pairs]
    levels = sorted(set(similarities))
    groups = [[float(o[pair]) for pair, value in zip(pairs, similarities, strict=True) if value == level] for level in levels]
    totals = np.cumsum([0.0] + [sum(group) for group in groups])
    counts = np.cumsum([0] + [len(group) for group in groups])
    means = np.full((len(levels), len(levels)), np.nan)  # [a, b]: the mean overlap of levels a to b
    for a in range(len(levels)):
        means[a, a:] = (totals[a + 1 :] - totals[a]) / (counts[a + 1 :] - counts[a])
    at_level = {level: means[: i + 1, i:].min(axis=1).max() for i, level in enumerate(levels)}
    return pairs, np.array([at_level[value] for value in similarities])


def _on_line(points: list[tuple[float, float]], x: float) -> float:
    """The value at x of the line through points from the left to the right; beyond the ends that of the end."""
    if x <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if x <= right:
            return low + (x - left) / (right - left) * (high - low)
    return points[-1][1]


def _rho_a(x: list[float], y: list[float]) -> float:
    r, q, n = _ranks(x), _ranks(y), len(x)
    return float(12 / (n**3 - n) * np.sum((r - r.mean()) * (q - q.mean())))


def _ranks(values: list[float]) -> Array:
    return np.array([1 + sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values])


def local_log_odds(p: Array) -> Array:
    """sum_x m delta^2 with delta = log of the first profile over the second, m their mean, over inputs without a NaN.

    An input where both are 0 counts nothing; one where only one of them is 0 makes the sum infinite.
    """
    seen = np.array([row for row in p.astype(np.float64) if not np.isnan(row).any()]).reshape(-1, p.shape[1])
    found = _unknown(p.shape[1])
    for i, one in enumerate(seen.T):
        for j, other in enumerate(seen.T):
            if one.sum() > 0 and other.sum() > 0:
                terms = [0.0]
                for a, b in zip(one / one.sum(), other / other.sum(), strict=True):
                    if a > 0 and b > 0:
                        terms.append((a + b) / 2 * (math.log(a) - math.log(b)) ** 2)
                    elif a + b > 0:
                        terms.append(math.inf)
                found[i, j] = math.fsum(terms)
    return found
