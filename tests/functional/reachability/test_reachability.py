"""Reachability: every verdict proven again from the head as it was given, and held against what is found in other ways."""

import itertools
import re
from collections.abc import Iterator
from types import SimpleNamespace
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
from lightning_cossim.functional.reachability import answers, programs, separation, stages
from lightning_cossim.functional.reachability.ascent import Ascent, Climb
from lightning_cossim.functional.reachability.rankings import Rankings
from lightning_cossim.functional.reachability.scaled_head import ScaledHead
from lightning_cossim.functional.reachability.separation import Outcome, solve
from tests import strategies
from tests.functional.test_centering import W2, W3

Array = NDArray[np.float64]


def all_pairs(num_labels: int) -> Tensor:
    return torch.tensor([*itertools.combinations(range(num_labels), 2)])


def said(result: Reachability, verdict: str) -> list[Any]:
    """What got this verdict."""
    own = [label if isinstance(label, int) else tuple(label) for label in result.labels.tolist()]
    return [one for one, its in zip(own, result.verdicts, strict=True) if its == verdict]


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
    return said(result, "yes")


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
    """K from 5 to 40, D from 2 to 5; rows of lengths from 1e-2 to 1e2, with a bias or without; a fifth of them are mixtures of
    others or equal to another; all of it translated, and scaled by 1e-8 to 1e8.
    """
    rng = np.random.default_rng(seed)
    K, D = int(rng.integers(5, 41)), int(rng.integers(2, 6))
    W = rng.normal(size=(K, D)) * 10 ** rng.uniform(-2 if seed % 3 else 0, 2 if seed % 3 else 0.3, size=(K, 1))
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
    sample: list[set[Any]] = [*sampled(head, 20_000, seed)]
    for result, seen in zip((labels, joint), sample, strict=True):
        prove(result, W, b)
        assert not seen & {*said(result, "no")}
    if b is None and W.shape[1] == 2:
        sweep: list[set[Any]] = [*swept(head.W)]
        for result, possible in zip((labels, joint), sweep, strict=True):
            assert {*said(result, "yes")} == possible & {*said(result, "yes"), *said(result, "no")}
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


@pytest.mark.parametrize("seed", range(4))
def test_the_solver_says_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all that works by products has failed."""
    head = planted_head(seed)
    W, b = torch.from_numpy(head.W), torch.from_numpy(head.b)
    wanted, pairs = label_reachability(W, bias=b), all_pairs(len(W))[::5]
    joint = pair_reachability(W, bias=b, pairs=pairs)
    monkeypatch.setattr(programs, "separate", lambda questions, number_B, *rest: [Outcome()] * len(number_B))
    monkeypatch.setattr(stages, "guesses", lambda *rest: iter(()))
    monkeypatch.setattr(programs, "climb", no_climb)
    found = label_reachability(W, bias=b)
    prove(found, W, b)
    assert found.verdicts == wanted.verdicts
    assert {*found.means} == {"mixture", "solver"}  # of equal rows
    again = pair_reachability(W, bias=b, pairs=pairs)
    prove(again, W, b)
    assert again.verdicts == joint.verdicts


def no_climb(ascent: Ascent, dim: int) -> Iterator[Climb]:
    """It finds nothing but some other label for each."""
    num = len(ascent.start)
    rivals = ascent.rivals(torch.zeros(num, ascent.num_labels))[:, :1]
    yield Climb(torch.zeros(num, dim).double(), torch.zeros(num).double(), torch.zeros(num, dtype=torch.bool), rivals)


# ---- what they do not depend on


@given(data=st.data())
def test_translation_scale_rotation_and_linear_maps_change_no_answer(data: st.DataObject) -> None:
    """Nor does the order of the labels."""
    W = data.draw(strategies.unembeddings())
    K, D = W.shape
    b = data.draw(strategies.vectors(K)) if data.draw(st.booleans()) else np.zeros(K)
    order, scale = data.draw(strategies.permutations(K)), data.draw(strategies.scales(-8, 8))
    maps = [np.eye(D), data.draw(strategies.orthogonal_matrices(D)), data.draw(strategies.invertible_matrices(D))]
    labels, pairs = decided(*both(W, b)), decided_pairs(*both(W, b))
    for A in maps:
        other = scale * (W @ A + data.draw(strategies.vectors(D)))[order], scale * (b + data.draw(st.integers(-3, 3)))[order]
        assert decided(*both(*other)) == [labels[label] for label in order]
        assert {frozenset(int(order[label]) for label in pair) for pair in decided_pairs(*both(*other))} == {
            *map(frozenset, pairs)
        }


def both(W: strategies.Array, b: strategies.Array) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(W.copy()), torch.from_numpy(b.copy())


def test_a_bias_that_is_constant_is_none() -> None:
    W = torch.from_numpy(planted_head(2).W)
    plain = label_reachability(W)
    for constant in (0.1, 1e8):
        assert label_reachability(W, bias=torch.full((len(W),), constant)).verdicts == plain.verdicts


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_results_are_of_float64_whatever_the_head_is_of(dtype: torch.dtype) -> None:
    result = label_reachability(W3.to(dtype), bias=torch.zeros(6, dtype=dtype))
    assert result.verdicts == ["yes"] * 6
    assert result.margins.dtype == result.witnesses.dtype == torch.float64
    assert result.witnesses.shape == (6, 2)


def test_autocast_does_not_reach_them() -> None:
    W = torch.from_numpy(planted_head(4).W)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = label_reachability(W)
    prove(inside, W)
    assert inside.verdicts == label_reachability(W).verdicts


# ---- bias


SQUARE = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
"""A triangle, and a label within."""


@pytest.mark.parametrize(("bias", "verdict"), [(0.0, "no"), (-5.0, "no"), (1e-3, "yes"), (5.0, "yes")])
def test_a_bias_can_revive_a_label(bias: float, verdict: str) -> None:
    assert decided(SQUARE, torch.tensor([0, 0, 0, bias], dtype=torch.float64)) == ["yes", "yes", "yes", verdict]


def test_a_bias_can_take_away_no_label_that_has_a_direction() -> None:
    """An embedding that is long enough overcomes it."""
    assert decided(SQUARE, torch.tensor([-1e6, 0, 0, 0], dtype=torch.float64))[:3] == ["yes"] * 3


def test_what_a_mixture_of_biases_is_has_to_be_exceeded() -> None:
    """The zero row is half of the first and a quarter of each other: it needs more than 1.5."""
    biases = [1.0, 2.0, 2.0]
    assert decided(SQUARE, torch.tensor([*biases, 1.499], dtype=torch.float64))[3] == "no"
    assert decided(SQUARE, torch.tensor([*biases, 1.501], dtype=torch.float64))[3] == "yes"


def test_of_equal_rows_the_one_with_more_bias_can_win() -> None:
    W = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert decided(W, torch.tensor([0.0, 1.0, 0.5, 0.0, 0.0])) == ["no", "yes", "no", "yes", "yes"]
    assert decided(W, torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0])) == ["no", "no", "no", "yes", "yes"]
    assert (0, 2) not in decided_pairs(W, torch.tensor([0.0, 1.0, 0.5, 0.0, 0.0]))
    assert (1, 2) in decided_pairs(W, torch.tensor([0.0, 1.0, 0.5, 0.0, 0.0]))


def test_with_equal_rows_throughout_the_bias_decides_alone() -> None:
    W = torch.full((4, 3), 0.1)
    assert decided(W) == ["no"] * 4
    assert decided(W, torch.tensor([0.0, 2.0, 1.0, 1.0])) == ["no", "yes", "no", "no"]
    assert decided_pairs(W, torch.tensor([0.0, 2.0, 1.5, 1.0])) == [(1, 2)]


# ---- degenerate heads


def test_one_label_is_always_on_top() -> None:
    result = label_reachability(torch.tensor([[1.0, 2.0]]), embeddings=torch.ones(3, 2))
    assert result.verdicts == ["yes"]
    assert result.witnesses.tolist() == [[0, 0]]
    assert result.margins.item() == torch.inf


def test_of_two_labels_each_can_be_on_top_unless_they_are_equal() -> None:
    two = torch.tensor([[1.0, 2.0], [1.5, 2.0]])
    assert decided(two) == ["yes", "yes"]
    assert decided_pairs(two) == [(0, 1)]
    assert decided(two[[0, 0]]) == ["no", "no"]
    assert decided_pairs(two[[0, 0]]) == [(0, 1)]


def test_of_two_equal_rows_neither_is_reachable_and_the_pair_can_be() -> None:
    W = torch.cat([SQUARE[:3], SQUARE[:1]])
    assert decided(W) == ["no", "yes", "yes", "no"]
    assert (0, 3) in decided_pairs(W)
    assert not {(0, 1), (1, 3)} & {*decided_pairs(W)}


def test_of_three_equal_rows_no_pair_is_reachable() -> None:
    W = torch.cat([SQUARE[:3], SQUARE[:1], SQUARE[:1]])
    assert decided_pairs(W) == [(1, 2)]


def test_a_negative_zero_is_zero() -> None:
    W = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    assert decided(W) == ["no", "no", "yes", "yes"]


def test_a_pair_can_be_reachable_with_a_label_that_is_not() -> None:
    """The fourth row lies between the first and the others, next to the first."""
    W = torch.cat([SQUARE[:3], torch.tensor([[0.9, 0.0]], dtype=torch.float64)])
    assert decided(W) == ["yes", "yes", "yes", "no"]
    assert decided_pairs(W) == [*itertools.combinations(range(4), 2)]


def test_zero_rows_are_labels_like_others() -> None:
    """A translation moves them away from zero, and changes nothing."""
    assert decided(SQUARE) == decided(SQUARE + 7) == ["yes", "yes", "yes", "no"]
    padded = torch.cat([SQUARE[:3] + 3, torch.zeros(12, 2)])
    assert decided(padded) == ["yes", "yes", "no", *["no"] * 12]  # (2, 2) is within now, and zero a corner, but nobody's alone


def test_rows_on_the_border_are_not_reachable() -> None:
    """Strictly first is what counts: in the middle of a side some other is never behind."""
    W = torch.cat([SQUARE[:3], SQUARE[[0, 1]].mean(dim=0, keepdim=True), SQUARE[[1, 2]].mean(dim=0, keepdim=True)])
    assert decided(W) == ["yes", "yes", "yes", "no", "no"]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_rows_and_biases_that_are_not_finite_are_left_out(bad: float) -> None:
    W = torch.cat([torch.tensor([[bad, 1.0]], dtype=torch.float64), SQUARE, torch.tensor([[9.0, 9.0]], dtype=torch.float64)])
    b = torch.tensor([0, 0, 0, 0, 0, bad], dtype=torch.float64)
    result = label_reachability(W, bias=b)
    prove(result, W, b)
    assert result.labels.tolist() == [1, 2, 3, 4]
    assert result.verdicts == ["yes", "yes", "yes", "no"]
    with pytest.raises(InputError, match="to hold live labels, got label 5, whose row or bias is not finite"):
        label_reachability(W, bias=b, label_subset=torch.tensor([1, 5]))
    with pytest.raises(InputError, match="to hold live labels, got label 0"):
        pair_reachability(W, bias=b, pairs=torch.tensor([[1, 0]]))


def test_no_live_label_and_no_question_is_no_error() -> None:
    assert label_reachability(torch.full((3, 2), torch.nan), bias=torch.ones(3)).verdicts == []
    assert label_reachability(SQUARE, label_subset=torch.tensor([], dtype=torch.int64)).verdicts == []
    assert pair_reachability(SQUARE, pairs=torch.zeros(0, 2, dtype=torch.int64)).verdicts == []


@pytest.mark.parametrize("scale", [1e-170, 1e-12, 1e12, 1e150])
def test_no_head_is_too_small_or_too_large(scale: float) -> None:
    assert decided(SQUARE * scale) == ["yes", "yes", "yes", "no"]
    assert decided(SQUARE * scale, torch.tensor([0, 0, 0, scale], dtype=torch.float64)) == ["yes"] * 4


@pytest.mark.parametrize("height", [1e-13, 1e-8])
def test_what_is_beyond_float64_is_undecided(height: float) -> None:
    """The fourth row is above the third by next to nothing: it is on top there, and no margin or residual tells so."""
    W = torch.tensor([[-1, -1], [1, -1], [0, 0], [0, height]], dtype=torch.float64)
    assert decided(W) == ["yes", "yes", "no", "undecided"]


# ---- how they are decided


def test_independent_rows_are_all_reachable_by_rank() -> None:
    """As in every head of no more labels than dimensions, almost surely."""
    W = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    result = label_reachability(W)
    prove(result, W)
    assert result.means == ["rank"] * 6
    pairs = pair_reachability(W, pairs=all_pairs(6), bias=torch.arange(6.0))
    prove(pairs, W, torch.arange(6.0))
    assert pairs.means == ["rank"] * 15


@pytest.mark.parametrize("bias", [None, torch.tensor([0.0, 0.0, 0.0, 0.5], dtype=torch.float64)])
def test_what_inputs_rank_first_is_reachable(bias: Tensor | None) -> None:
    f = torch.tensor([[3.0, 0.1], [torch.nan, 0.0], [0.1, 0.2], [-2.0, 1.0]], dtype=torch.float64)
    result = label_reachability(SQUARE, bias=bias, embeddings=f)
    prove(result, SQUARE, bias)
    assert result.means[:2] == ["inputs", "inputs"]
    assert torch.equal(result.witnesses[:2], f[[0, 3]])
    assert result.means[3] == ("mixture" if bias is None else "inputs")
    pairs = pair_reachability(SQUARE, bias=bias, embeddings=f, pairs=torch.tensor([[3, 0], [0, 1]]))
    prove(pairs, SQUARE, bias)
    assert pairs.means == ["inputs", "direction" if bias is not None else "inputs"]


def test_inputs_that_tie_say_nothing() -> None:
    result = label_reachability(SQUARE, embeddings=torch.zeros(5, 2))
    prove(result, SQUARE)
    assert "inputs" not in result.means


def test_the_means_are_named() -> None:
    """Corners by their own direction, flat ones by ascent, what is within by mixtures."""
    W = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    result = label_reachability(W)
    prove(result, W)
    assert {*zip(result.verdicts, result.means, strict=True)} == {("yes", "direction"), ("yes", "ascent"), ("no", "mixture")}


def test_of_many_rivals_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates stay sparse, and the answers are those of all."""
    W = torch.randn(600, 3, generator=torch.Generator().manual_seed(1))
    wanted = label_reachability(W).verdicts
    monkeypatch.setattr(programs, "_FEW", 8)
    monkeypatch.setattr(programs, "_CHUNK", 50)
    result = label_reachability(W)
    prove(result, W)
    assert result.verdicts == wanted
    assert max(len(one.rivals) for one in result.certificates if one is not None) < 100


def test_rows_around_one_point_share_a_mixture() -> None:
    """As those of labels that were never trained: each is replaced by others than itself."""
    generator = torch.Generator().manual_seed(0)
    around = 1e-3 * torch.randn(300, 4, generator=generator, dtype=torch.float64)
    W = torch.cat([torch.randn(40, 4, generator=generator, dtype=torch.float64), around])
    result = label_reachability(W)
    prove(result, W)
    assert result.verdicts[40:] == ["no"] * 300


# ---- time and progress


def test_what_is_not_decided_in_time_is_undecided() -> None:
    W = torch.from_numpy(planted_head(1).W)
    result = label_reachability(W, time_limit=0, embeddings=torch.zeros(3, W.shape[1]))
    assert {*result.verdicts} == {"undecided"}
    assert result.margins.isnan().all()
    assert result.witnesses.isnan().all()
    assert result.certificates == [None] * len(W)
    assert result.means == [None] * len(W)


@pytest.mark.parametrize("looks", range(1, 60, 4))
def test_time_may_be_over_at_any_point(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decided by then stands, and is proven."""
    head = planted_head(3)
    W, b = torch.from_numpy(head.W), torch.from_numpy(head.b)
    ticks = itertools.count()
    for module in (answers, separation):
        monkeypatch.setattr(module, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(programs, "_MOST_ROUNDS", looks % 3)
    monkeypatch.setattr(programs, "_CHUNK", 3)
    result = label_reachability(W, bias=b, time_limit=looks, embeddings=torch.randn(9, W.shape[1], dtype=torch.float64))
    prove(result, W, b)


def test_progress_goes_to_one() -> None:
    told: list[float] = []
    label_reachability(torch.randn(700, 5, generator=torch.Generator().manual_seed(0)), progress=told.append)
    assert all(one <= other for one, other in itertools.pairwise(told))
    assert len(told) > 3
    assert told[-1] == 1


def test_a_solver_that_fails_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    head = ScaledHead.of(SQUARE, torch.zeros(4, dtype=torch.float64))
    questions, rivals = Rankings(head, torch.tensor([[3]])), torch.tensor([0, 1, 2])
    assert solve(questions, 0, rivals, 1, torch.inf).certificate is not None
    assert solve(questions, 0, rivals, 1, 0.0) == Outcome()
    monkeypatch.setattr(separation, "linprog", lambda *args, **options: SimpleNamespace(status=4))
    assert solve(questions, 0, rivals, 1, torch.inf) == Outcome()
    monkeypatch.setattr(separation, "_MOST_ROUNDS", 0)
    assert solve(questions, 0, rivals, 1, torch.inf) == Outcome()


def test_programs_that_do_not_end_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the solver."""
    monkeypatch.setattr(separation, "_MOST_STEPS", 1)
    assert label_reachability(SQUARE).means == ["direction"] * 3 + ["solver"]


# ---- errors


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"bias": torch.zeros(3)},
            "Expected `bias` to be a floating-point tensor of shape (4,), got torch.float32 of shape (3,).",
        ),
        (
            {"bias": torch.zeros(4, dtype=torch.int64)},
            "Expected `bias` to be a floating-point tensor of shape (4,), got torch.int64",
        ),
        (
            {"label_subset": torch.zeros(2)},
            "Expected `label_subset` to be an integer tensor of shape (P,), got torch.float32 of shape (2,).",
        ),
        (
            {"label_subset": torch.tensor([[0]])},
            "Expected `label_subset` to be an integer tensor of shape (P,), got torch.int64 of shape (1, 1).",
        ),
        ({"label_subset": torch.tensor([0, 4])}, "Expected `label_subset` to hold labels from 0 to 3, got 0 to 4."),
        ({"label_subset": torch.tensor([-1])}, "Expected `label_subset` to hold labels from 0 to 3, got -1 to -1."),
        ({"embeddings": torch.zeros(5, 3)}, "Expected `embeddings` of shape (N, 2), got (5, 3). Pass the inputs of the head."),
        ({"embeddings": torch.zeros(5)}, "Expected `embeddings` of shape (N, 2), got (5,)."),
        ({"time_limit": -1}, "Expected `time_limit` to be at least 0, got -1. Pass seconds, or None for no limit."),
        ({"time_limit": torch.nan}, "Expected `time_limit` to be at least 0, got nan. Pass seconds, or None for no limit."),
    ],
)
def test_what_labels_cannot_be_asked(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(text)}"):
        label_reachability(SQUARE, **options)


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        (torch.tensor([[0, 4]]), "Expected `pairs` to hold labels from 0 to 3, got 0 to 4."),
        (torch.tensor([0, 1]), "Expected `pairs` to be an integer tensor of shape (P, 2), got torch.int64 of shape (2,)."),
        (
            torch.tensor([[0.0, 1.0]]),
            "Expected `pairs` to be an integer tensor of shape (P, 2), got torch.float32 of shape (1, 2).",
        ),
        (
            torch.tensor([[0, 1], [2, 2]]),
            "Expected `pairs` to hold two different labels per row, got (2, 2). For one label, call `label_reachability`.",
        ),
    ],
)
def test_what_pairs_cannot_be_asked(pairs: Tensor, text: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(text)}"):
        pair_reachability(SQUARE, pairs=pairs)


def test_a_vector_is_no_head() -> None:
    none = "Expected `unembedding` of shape (K, D) with D at least 1, got (4, 0). Pass the head's weight, for example"
    with pytest.raises(InputError, match=re.escape(none)):
        label_reachability(torch.zeros(4, 0))
    with pytest.raises(InputError, match=re.escape(none)):
        pair_reachability(torch.zeros(4, 0), pairs=torch.tensor([[0, 1]]))
    text = "Expected `unembedding` of shape (K, D), got (3,). Pass the head's weight, for example `model.head.weight`."
    for call in (label_reachability, lambda W: pair_reachability(W, pairs=torch.tensor([[0, 1]]))):
        with pytest.raises(InputError, match=re.escape(text)):
            call(torch.zeros(3))


@pytest.mark.parametrize("masked", [-1e6, -1e9, -1e30, float(torch.finfo(torch.float32).min)])
def test_a_bias_that_rules_labels_out_makes_no_false_no(masked: float) -> None:
    """Beside it all other biases look alike; a label that an input brings out is never said not to be reachable."""
    proven = 0
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        W = torch.randn(15, 2, generator=generator, dtype=torch.float64)
        b = 0.3 * torch.randn(15, generator=generator, dtype=torch.float64)
        alone = label_reachability(W[:12], bias=b[:12])
        b[12:] = masked
        found = label_reachability(W, bias=b)
        for label, verdict in enumerate(alone.verdicts):
            if verdict == "yes" and int((W @ alone.witnesses[label] + b).argmax()) == label:
                proven += 1
                assert found.verdicts[label] != "no"
    assert proven > 20
