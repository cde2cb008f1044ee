"""Reachability: every verdict proven again from the head as it was given, and held against what is found in other ways."""

import itertools
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import Reachability, label_reachability, pair_reachability
from lightning_cossim.functional import decisions as stages
from tests import strategies
from tests.functional.test_centering import W2, W3

Array = NDArray[np.float64]


def all_pairs(num_labels: int) -> Tensor:
    return torch.tensor([*itertools.combinations(range(num_labels), 2)])


def said(result: Reachability, verdict: str) -> list[Any]:
    """What got this verdict."""
    return [own for own, given in zip(result.labels.tolist(), result.verdicts, strict=True) if given == verdict]


def prove(result: Reachability, W: Tensor, b: Tensor | None = None) -> None:
    """Each "yes" by its witness, each "no" by its certificate, in NumPy and from the head as it was given."""
    rows, bias = W.double().numpy(), np.zeros(len(W)) if b is None else b.double().numpy()
    live = np.isfinite(rows).all(axis=1) & np.isfinite(bias)
    length = np.sqrt(np.mean(np.sum((rows[live] - rows[live].mean(axis=0)) ** 2, axis=1)))
    for number, verdict in enumerate(result.verdicts):
        own = np.atleast_1d(result.labels[number].numpy())
        certificate, witness = result.certificates[number], result.witnesses[number].numpy()
        assert (verdict == "undecided") == (result.means[number] is None)
        assert (verdict == "no") == (certificate is not None)
        assert (verdict == "yes") == bool(np.isfinite(witness).all()) == (result.margins[number].item() > 1e-6)
        if verdict == "yes":
            logits = np.where(live, rows @ witness + bias, -np.inf)
            others = np.delete(logits, own)
            assert not len(others) or logits[own].min() > others.max()
        if certificate is not None:
            y, a = certificate.weights.numpy(), certificate.own_weights.numpy()
            rivals = certificate.rivals.numpy()
            assert live[rivals].all()
            assert not {*rivals.tolist()} & {*own.tolist()}
            assert len({*rivals.tolist()}) == len(rivals)
            assert (y > 0).all()
            assert (a >= 0).all()
            assert y.sum() == pytest.approx(1, abs=1e-12)
            assert a.sum() == pytest.approx(1, abs=1e-12)
            rounding = 1e-15 * len(rivals) * np.abs(rows[live]).max()
            assert np.linalg.norm(a @ rows[own] - y @ rows[rivals]) <= 1.01e-9 * length + rounding
            assert certificate.residual <= 1e-9
            assert a @ bias[own] <= y @ bias[rivals] + 1e-9 * bias[live].std() + 1e-15 * np.abs(bias[live]).max()


def decided(W: Tensor, b: Tensor | None = None, **options: Any) -> list[str]:
    """Verdicts on all labels, proven."""
    result = label_reachability(W, bias=b, **options)
    prove(result, W, b)
    return [str(verdict) for verdict in result.verdicts]


def decided_pairs(W: Tensor, b: Tensor | None = None, **options: Any) -> list[tuple[int, ...]]:
    """The jointly reachable pairs, proven, all others not being so."""
    result = pair_reachability(W, pairs=all_pairs(len(W)), bias=b, **options)
    prove(result, W, b)
    assert not said(result, "undecided")
    return [tuple(pair) for pair in said(result, "yes")]


# ---- values


@pytest.mark.parametrize(
    ("unembedding", "pairs"),
    [
        (W2, [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]),
        (W3, [(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5)]),
    ],
)
def test_the_papers_pairs(unembedding: Tensor, pairs: list[tuple[int, int]]) -> None:
    """THEORY §8. In W3 cos(0, 1) is -0.805 and {0, 1} jointly reachable; cos(1, 3) is +0.805 and {1, 3} is not."""
    assert decided_pairs(unembedding) == pairs
    assert decided(unembedding) == ["yes"] * len(unembedding)


class Head(NamedTuple):
    """A head with rows that nothing can bring out on top."""

    W: Array
    b: Array
    planted: list[int]


def planted_head(seed: int) -> Head:
    """K from 5 to 40, D from 2 to 5; rows of lengths from 1e-2 to 1e2, with a bias or without; some rows are mixtures of others or
    equal to another; all of it translated, and scaled by 1e-8 to 1e8."""
    rng = np.random.default_rng(seed)
    K, D = int(rng.integers(5, 41)), int(rng.integers(2, 6))
    W = rng.normal(size=(K, D)) * 10 ** rng.uniform(*([-2, 2] if seed % 3 else [0, 0.3]), size=(K, 1))
    b = rng.normal(size=K) * 10 ** rng.uniform(-2, 1) if seed % 2 else np.zeros(K)
    planted, plain = np.split(rng.permutation(K), [K // 5])
    for number, label in enumerate(planted):
        parts = rng.choice(plain, size=1 if number % 2 else min(len(plain), int(rng.integers(2, 7))), replace=False)
        share = rng.dirichlet(np.ones(len(parts)))
        W[label], b[label] = share @ W[parts], share @ b[parts] - (rng.uniform(0.01, 1) if seed % 2 else 0)
    scale = 10 ** rng.uniform(-8, 8)
    return Head(scale * (W + rng.normal(size=D) * 10), scale * (b + (3 if seed % 2 else 0)), planted.tolist())


def largest_margin(W: Array, b: Array, own: list[int]) -> tuple[float, float]:
    """The two stages of THEORY §6, each as one linear program over all differences of rows."""
    rows, rivals = W - W.mean(axis=0), [k for k in range(len(W)) if k not in own]
    rows /= np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    bias = b - b.mean()
    bias /= bias.std() or 1
    G = np.concatenate([rows[i] - rows[rivals] for i in own])
    h = np.concatenate([bias[i] - bias[rivals] for i in own])
    A, c = np.hstack([-G, np.ones((len(G), 1))]), [0] * W.shape[1] + [-1]
    exact = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    bounded: list[tuple[float | None, float | None]] = [(-1, 1)] * W.shape[1]
    first = linprog(c, A, np.zeros(len(G)), bounds=[*bounded, (None, None)], options=exact)  # type: ignore[call-overload]
    if -first.fun > 1e-6 or not bias.any():
        return -first.fun, -np.inf
    second = linprog(c, A, h, bounds=[(None, None)] * len(c), options=exact)  # type: ignore[call-overload]
    return -first.fun, -second.fun if second.status == 0 else np.inf


def sampled(head: Head, num: int, seed: int) -> tuple[set[int], set[tuple[int, int]]]:
    """The labels and pairs that embeddings drawn at many scales put strictly on top."""
    rng = np.random.default_rng(seed)
    reach = np.abs(head.W - head.W.mean(axis=0)).max()
    f = rng.normal(size=(num, head.W.shape[1])) * 10 ** rng.uniform(-3, 4, size=(num, 1)) / reach * max(np.std(head.b), 1e-12)
    logits = f @ (head.W - head.W.mean(axis=0)).T + head.b
    order = np.argsort(-logits, axis=1)[:, :3]
    top = np.take_along_axis(logits, order, axis=1)
    clear = 1e-9 * np.abs(logits).max(axis=1)
    labels = {*order[top[:, 0] - top[:, 1] > clear, 0].tolist()}
    first, second = np.sort(order[top[:, 1] - top[:, 2] > clear, :2], axis=1).T.tolist()
    return labels, {*zip(first, second, strict=True)}


def swept(W: Array) -> tuple[set[int], set[tuple[int, int]]]:
    """All that can be on top in two dimensions without a bias: one direction between any two at which the order changes."""
    rows = W - W.mean(axis=0)
    i, j = np.triu_indices(len(W), 1)
    apart = rows[i] - rows[j]
    apart = apart[np.linalg.norm(apart, axis=1) > 1e-9 * np.abs(rows).max()]
    turns = np.arctan2(apart[:, 0], -apart[:, 1]) % np.pi
    angles = np.sort(np.concatenate([turns, turns + np.pi]))
    angles = (angles + np.append(angles[1:], angles[0] + 2 * np.pi)) / 2
    scores = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ rows.T
    order = np.argsort(-scores, axis=1)[:, :3]
    top = np.take_along_axis(scores, order, axis=1) / np.abs(rows).max()
    labels = {*order[top[:, 0] - top[:, 1] > 1e-12, 0].tolist()}
    first, second = np.sort(order[top[:, 1] - top[:, 2] > 1e-12, :2], axis=1).T.tolist()
    return labels, {*zip(first, second, strict=True)}


def check_against_others(seed: int) -> tuple[int, int]:
    """Undecided answers of one head, and all; nothing may be wrong."""
    head = planted_head(seed)
    W, b = torch.from_numpy(head.W), torch.from_numpy(head.b) if seed % 2 else None
    labels = label_reachability(W, bias=b)
    pairs = all_pairs(len(W))
    chosen = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:60]
    joint = pair_reachability(W, pairs=pairs[chosen], bias=b)
    for result, seen in zip((labels, joint), sampled(head, 20_000, seed), strict=True):
        prove(result, W, b)
        impossible = [own if isinstance(own, int) else tuple(own) for own in said(result, "no")]
        assert not seen & {*impossible}
    if b is None and W.shape[1] == 2:
        for result, possible in zip((labels, joint), swept(head.W), strict=True):
            assert not possible & {own if isinstance(own, int) else tuple(own) for own in said(result, "no")}
            assert {own if isinstance(own, int) else tuple(own) for own in said(result, "yes")} <= possible
    for own, verdict in zip([*labels.labels.tolist(), *joint.labels.tolist()], labels.verdicts + joint.verdicts, strict=True):
        margin = max(largest_margin(head.W, head.b, [own] if isinstance(own, int) else own))
        assert verdict != "yes" or margin > 1e-7, (seed, own, margin)
        assert verdict != "no" or margin < 1e-6, (seed, own, margin)
    assert {*head.planted} <= {*said(labels, "no")}, (seed, head.planted, labels.verdicts)
    verdicts = labels.verdicts + joint.verdicts
    return verdicts.count("undecided"), len(verdicts)


@pytest.mark.parametrize("seed", range(12))
def test_answers_are_those_of_other_methods(seed: int) -> None:
    """Dense sampling, one linear program over all differences, and in two dimensions the sweep over all angles."""
    undecided, _ = check_against_others(seed)
    assert undecided == 0


@pytest.mark.full
def test_answers_on_three_hundred_heads_are_those_of_other_methods() -> None:
    counts = np.array([check_against_others(seed) for seed in range(300)])
    undecided, answers = counts.sum(axis=0)
    print(f"{answers} answers, {undecided} undecided")
    assert undecided < 0.01 * answers
