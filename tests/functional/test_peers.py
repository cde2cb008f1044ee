"""THEORY §3-5 against libraries that compute the same thing, to 1e-6: NumPy, SciPy, scikit-learn, torchmetrics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from sklearn.decomposition import PCA
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import jaccard_score, r2_score, roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors
from torchmetrics.functional import pairwise_cosine_similarity
from torchmetrics.functional.classification import binary_auroc

from lightning_cossim import functional
from tests import reference
from tests.strategies import Array

K, D, N = 30, 6, 500


class Case(NamedTuple):
    """A head at work."""

    W: Array
    f: Array
    p: Array
    s: Array
    o: Array


def case() -> Case:
    """No two similarities are the same, and no two overlaps."""
    rng = np.random.default_rng(0)
    W, f = rng.normal(size=(K, D)) + 0.5, rng.normal(size=(N, D)) * np.linspace(0.3, 1.2, D)
    z = f @ W.T
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return Case(W, f, p, cosine_similarity(W - W.mean(axis=0)), cosine_similarity(np.sqrt(p).T))


ONE = case()
PAIR = np.triu_indices(K, 1)


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def covariance() -> torch.Tensor:
    return tensor(np.cov(ONE.f.T, bias=True))


def jaccard(among: Any) -> Array:
    return np.array([[jaccard_score(a, b) for b in among.T] for a in among.T])


def fitted() -> Array:
    expected: Array = IsotonicRegression().fit_transform(ONE.s[PAIR], ONE.o[PAIR])
    return expected


def fitted_to_other_folds() -> Array:
    """Of 435 pairs a tenth is left out together: scikit-learn clips and interpolates where a pair was left out."""
    fold = np.array([reference.fold(i, j) for i, j in np.transpose(PAIR).tolist()])
    s, o, expected = ONE.s[PAIR].round(6), ONE.o[PAIR], np.full(len(fold), np.nan)
    for one in range(10):
        regression = IsotonicRegression(out_of_bounds="clip").fit(s[fold != one], o[fold != one])
        expected[fold == one] = regression.predict(s[fold == one])
    return expected


def adjusted() -> float:
    levels = len(np.unique(np.round(fitted(), 12)))
    num_pairs = len(PAIR[0])
    return float(1 - (1 - r2_score(ONE.o[PAIR], fitted())) * (num_pairs - 1) / (num_pairs - levels))


def whitened() -> Array:
    """Principal components of the rows, each of variance one."""
    cosines: Array = cosine_similarity(PCA(whiten=True).fit_transform(ONE.W))
    return cosines


def top_pairs() -> Any:
    return ONE.o[PAIR] >= np.sort(ONE.o[PAIR])[-22]  # a twentieth of 435


def shared_neighbors() -> float:
    """Of five nearest each, by similarity and by overlap; nobody is a neighbor of itself."""
    sets = []
    for similarity in (ONE.s, ONE.o):
        distance = np.clip(1 - similarity, 0, None)
        np.fill_diagonal(distance, 0)
        neighbors = NearestNeighbors(metric="precomputed").fit(distance).kneighbors(n_neighbors=5, return_distance=False)
        sets.append([set(row.tolist()) for row in neighbors])
    return float(np.mean([len(a & b) / len(a | b) for a, b in zip(*sets, strict=True)]))


def stepped_up() -> float:
    halves = [cosine_similarity(np.sqrt(ONE.p[half::2]).T)[PAIR] for half in (0, 1)]
    rho = spearmanr(*halves).statistic
    return float(2 * rho / (1 + rho))


def halves_reliability() -> torch.Tensor:
    return functional.reliability(*(functional.probability_overlap(tensor(ONE.p[half::2])) for half in (0, 1)))


PEERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "raw cosine, scikit-learn": (
        lambda: functional.label_cosine_similarity(tensor(ONE.W), centered=False),
        lambda: cosine_similarity(ONE.W),
    ),
    "raw cosine, torchmetrics": (
        lambda: functional.label_cosine_similarity(tensor(ONE.W), centered=False),
        lambda: pairwise_cosine_similarity(tensor(ONE.W), zero_diagonal=False),
    ),
    "centered cosine, scikit-learn": (
        lambda: functional.label_cosine_similarity(tensor(ONE.W)),
        lambda: cosine_similarity(ONE.W - ONE.W.mean(axis=0)),
    ),
    "causal cosine, scikit-learn": (lambda: functional.causal_cosine_similarity(tensor(ONE.W)), whitened),
    "difference cosine, scikit-learn": (
        lambda: functional.difference_cosine_similarity(tensor(ONE.W), pairs=torch.tensor([[0, 1], [2, 3], [4, 1]])),
        lambda: cosine_similarity(ONE.W[[0, 2, 4]] - ONE.W[[1, 3, 1]]),
    ),
    "logit correlation, NumPy": (
        lambda: functional.logit_correlation(tensor(ONE.W), embedding_covariance=covariance()),
        lambda: np.corrcoef((ONE.W - ONE.W.mean(axis=0)) @ ONE.f.T),
    ),
    "logit correlation of a sigmoid head, NumPy": (
        lambda: functional.logit_correlation(tensor(ONE.W), embedding_covariance=covariance(), centered=False),
        lambda: np.corrcoef(ONE.W @ ONE.f.T),
    ),
    "log-odds variance, NumPy": (
        lambda: functional.log_odds_variance(tensor(ONE.W), embedding_covariance=covariance()),
        lambda: np.array([[np.var(np.log(a / b)) for b in ONE.p.T] for a in ONE.p.T]),
    ),
    "bhattacharyya, scikit-learn": (
        lambda: functional.probability_overlap(tensor(ONE.p)),
        lambda: cosine_similarity(np.sqrt(ONE.p).T),
    ),
    "product, scikit-learn": (
        lambda: functional.probability_overlap(tensor(ONE.p), kind="product"),
        lambda: cosine_similarity(ONE.p.T),
    ),
    "coactivation, scikit-learn": (
        lambda: functional.probability_overlap(tensor(ONE.p), kind="coactivation", threshold=0.03),
        lambda: jaccard(ONE.p > 0.03),
    ),
    "topk, scikit-learn": (
        lambda: functional.probability_overlap(tensor(ONE.p), kind="topk", k=5),
        lambda: jaccard((-ONE.p).argsort(axis=1).argsort(axis=1) < 5),
    ),
    "expected overlap, scikit-learn": (
        lambda: functional.expected_overlap(tensor(ONE.s), tensor(ONE.o))[PAIR],
        fitted_to_other_folds,
    ),
    "explained overlap, scikit-learn": (lambda: functional.explained_overlap(tensor(ONE.s), tensor(ONE.o)), adjusted),
    "rank agreement, SciPy": (
        lambda: functional.rank_agreement(tensor(ONE.s), tensor(ONE.o)),
        lambda: spearmanr(ONE.s[PAIR], ONE.o[PAIR]).statistic,
    ),
    "top pair AUROC, scikit-learn": (
        lambda: functional.top_pair_auroc(tensor(ONE.s), tensor(ONE.o)),
        lambda: roc_auc_score(top_pairs(), ONE.s[PAIR]),
    ),
    "top pair AUROC, torchmetrics": (
        lambda: functional.top_pair_auroc(tensor(ONE.s), tensor(ONE.o)),
        lambda: binary_auroc(tensor((ONE.s[PAIR] + 1) / 2), torch.from_numpy(top_pairs()).int()),
    ),
    "neighbor Jaccard, scikit-learn": (
        lambda: functional.neighbor_jaccard(tensor(ONE.s), tensor(ONE.o)),
        shared_neighbors,
    ),
    "reliability, SciPy": (halves_reliability, stepped_up),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_computes_the_same(name: str) -> None:
    ours, theirs = PEERS[name]
    np.testing.assert_allclose(np.asarray(ours()), np.asarray(theirs()), rtol=0, atol=1e-6)


def test_the_cases_are_no_trivial_ones() -> None:
    """Similarity and overlap agree in part: a statistic that is wrong would show."""
    assert 0.2 < kendalltau(ONE.s[PAIR], ONE.o[PAIR]).statistic < 0.8
