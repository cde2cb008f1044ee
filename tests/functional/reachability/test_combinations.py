"""Combinations of a sigmoid head: every verdict proven again from the head as it was given, and held against other methods.

The exact method for two dimensions is an arrangement of lines in rational numbers: each label is on one side of its line, so the
combinations that can happen are those of the regions between the lines.
"""

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import CombinationReachability, combination_reachability, label_cosine_similarity
from lightning_cossim.functional.reachability import combination_stages, programs
from lightning_cossim.functional.reachability.patterns import Patterns
from lightning_cossim.functional.reachability.scaled_head import ScaledHead
from lightning_cossim.functional.reachability.separation import Outcome
from tests import strategies
from tests.functional.reachability.test_reachability import no_climb

Array = NDArray[np.floating[Any]]
Signs = tuple[int, ...]


def regions(W: Array, b: Array) -> set[Signs]:
    """The signs of all logits in each region between the lines of a head with D = 2, exactly; 0 for a logit that is always 0."""
    rows = [(Fraction(x), Fraction(y)) for x, y in W.tolist()]
    bias = [Fraction(value) for value in b.tolist()]
    found = set()
    for (x, y), offset in zip(rows, bias, strict=True):
        if not (x or y):
            continue
        foot, along = (-offset * x / (x * x + y * y), -offset * y / (x * x + y * y)), (-y, x)
        at = [g * foot[0] + h * foot[1] + other for (g, h), other in zip(rows, bias, strict=True)]
        slope = [g * along[0] + h * along[1] for g, h in rows]
        crossings = sorted({-value / rise for value, rise in zip(at, slope, strict=True) if rise})
        places = [Fraction(0)] if not crossings else [crossings[0] - 1, crossings[-1] + 1]
        places += [(one + other) / 2 for one, other in itertools.pairwise(crossings)]
        for place, side in itertools.product(places, (1, -1)):
            values = [value + place * rise for value, rise in zip(at, slope, strict=True)]
            # where a line is the same, the step to one side of it decides
            found.add(tuple(sign(value or side * (g * x + h * y)) for value, (g, h) in zip(values, rows, strict=True)))
    return found or {tuple(map(sign, bias))}


def sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def exactly(W: Array, b: Array, patterns: list[Signs]) -> list[str]:
    known = regions(W, b)
    return ["yes" if any(fits(pattern, one) for one in known) else "no" for pattern in patterns]


def fits(pattern: Signs, region: Signs) -> bool:
    return all(not wanted or wanted == got for wanted, got in zip(pattern, region, strict=True))


def asked(W: Array, b: Array | None, patterns: Any, **options: Any) -> CombinationReachability:
    """Verdicts on patterns of signs, proven."""
    signs = torch.as_tensor(patterns)
    bias = None if b is None else torch.from_numpy(b.copy())
    found = combination_reachability(torch.from_numpy(W.copy()), on=signs > 0, off=signs < 0, bias=bias, **options)
    prove(found, W, np.zeros(len(W)) if b is None else b)
    return found


def prove(found: CombinationReachability, W: Array, b: Array) -> None:
    """Each "yes" by its witness, each "no" by its certificate, in NumPy and from the head as it was given."""
    length = np.sqrt(np.mean(np.sum(W**2, axis=1)))
    for number, verdict in enumerate(found.verdicts):
        on, off = found.on[number].numpy(), found.off[number].numpy()
        certificate, witness = found.certificates[number], found.witnesses[number].numpy()
        assert (verdict == "undecided") == (found.means[number] is None)
        assert (verdict == "no") == (certificate is not None)
        assert (verdict == "yes") == bool(np.isfinite(witness).all()) == (found.margins[number].item() > 1e-6)
        if verdict == "yes":
            logits = W @ witness + b
            assert (logits[on] > 0).all()
            assert (logits[off] < 0).all()
        if certificate is not None:
            labels, weights = certificate.labels.numpy(), certificate.weights.numpy()
            assert len({*labels.tolist()}) == len(labels) > 0
            assert (on[labels] == (weights > 0)).all()
            assert (off[labels] == (weights < 0)).all()
            assert np.abs(weights).sum() == pytest.approx(1, abs=1e-12)
            reach = np.abs(weights) @ np.linalg.norm(W[labels], axis=1)
            assert np.linalg.norm(weights @ W[labels]) <= 1.01e-9 * min(length, reach) + 1e-15 * reach
            assert certificate.residual <= 1e-9
            assert weights @ b[labels] <= 1.01e-9 * np.abs(weights * b[labels]).sum()


def drawn(rng: np.random.Generator, num_labels: int) -> list[Signs]:
    """All exact patterns of up to six labels, 64 of more; and 40 that leave some labels free."""
    exact = [*itertools.product((1, -1), repeat=num_labels)]
    chosen = exact if len(exact) <= 64 else [exact[place] for place in rng.choice(len(exact), 64, replace=False)]
    return [*chosen, *(tuple(row) for row in rng.integers(-1, 2, size=(40, num_labels)).tolist())]


# ---- against other methods


@pytest.mark.parametrize("seed", range(10))
def test_verdicts_are_those_of_the_arrangement_of_lines(seed: int) -> None:
    """300 heads and their translations, half without biases, scaled by 1e-8 to 1e8: none wrong, 1 in 100 undecided at most."""
    rng, count, undecided, moved = np.random.default_rng(seed), 0, 0, 0
    for number in range(30):
        W = rng.normal(size=(int(rng.integers(2, 8)), 2))
        b = rng.normal(size=len(W)) if number % 2 else np.zeros(len(W))
        patterns, verdicts = drawn(rng, len(W)), []
        for rows in (W, W + rng.normal(size=2)):
            wanted = exactly(rows, b, patterns)
            verdicts.append(wanted)
            scale = 10.0 ** rng.integers(-8, 9)
            factor, bias = ((1.0, b), (scale, scale * b), (scale, b))[int(rng.integers(3))]
            found = asked(factor * rows, bias if number % 2 else None, patterns).verdicts
            assert not [one for one, other in zip(found, wanted, strict=True) if one not in {other, "undecided"}]
            count, undecided = count + len(found), undecided + found.count("undecided")
        moved += verdicts[0] != verdicts[1]
    assert undecided < 0.01 * count
    assert moved > 10, "a translation changes what can happen"


@pytest.mark.parametrize("seed", range(4))
def test_what_dense_sampling_shows_can_happen(seed: int) -> None:
    """In more dimensions: combinations of 100 000 random embeddings, near and far."""
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(9, 4)), rng.normal(size=9) * (seed % 2)
    f = rng.normal(size=(100_000, 4)) * np.exp(rng.uniform(-2, 4, size=(100_000, 1)))
    shown = {tuple(row) for row in np.sign(f @ W.T + b).astype(int).tolist()}
    exact = [*itertools.product((1, -1), repeat=9)]
    found = asked(W, b, exact)
    possible = {pattern for pattern, verdict in zip(exact, found.verdicts, strict=True) if verdict == "yes"}
    assert shown <= possible
    assert found.verdicts.count("undecided") <= 5
    if not seed % 2:  # a central arrangement in general position has 2 * sum of binomials regions (Cover 1965)
        assert len(possible) == 2 * (1 + 8 + 28 + 56)
    else:
        assert len(possible) == 1 + 9 + 36 + 84 + 126


@given(rng=strategies.generators())
def test_planted_impossible_patterns_are_all_found(rng: np.random.Generator) -> None:
    """Five labels whose weighted rows sum to zero; the biases leave a slack, or none."""
    W, b = rng.normal(size=(30, 12)), rng.normal(size=30)
    labels, weights = rng.choice(30, 5, replace=False), rng.uniform(0.3, 1, size=5) * rng.choice([-1, 1], size=5)
    W[labels[0]] = -(weights[1:] @ W[labels[1:]]) / weights[0]
    b[labels[0]] = -(weights[1:] @ b[labels[1:]] + rng.choice([0, 0.1])) / weights[0]
    patterns = np.zeros((12, 30), dtype=int)
    patterns[1:6] = rng.integers(-1, 2, size=(5, 30))
    patterns[6:] = rng.choice([-1, 1], size=(6, 30))
    patterns[:, labels] = np.sign(weights)
    assert asked(W, b, patterns).verdicts == ["no"] * 12
    patterns[:, labels] *= -1
    assert asked(W, b, patterns[:1]).verdicts == (["no"] if abs(weights @ b[labels]) < 1e-9 else ["yes"])


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_solver_says_the_same(monkeypatch: pytest.MonkeyPatch, *, has_bias: bool) -> None:
    rng = np.random.default_rng(1)
    W, b = rng.normal(size=(7, 2)), rng.normal(size=7) if has_bias else np.zeros(7)
    patterns = drawn(rng, 7)
    wanted = exactly(W, b, patterns)
    monkeypatch.setattr(programs, "separate", lambda questions, number_B, *rest: [Outcome()] * len(number_B))
    monkeypatch.setattr(programs, "climb", no_climb)
    found = asked(W, b, patterns)
    assert found.verdicts == wanted
    assert "solver" in found.means


@pytest.mark.parametrize("seed", range(4))
def test_programs_alone_say_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without guesses and ascent, so that witnesses and certificates of all patterns come from them."""
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(7, 2)), rng.normal(size=7)
    patterns = drawn(rng, 7)
    wanted = exactly(W, b, patterns)
    monkeypatch.setattr(combination_stages, "_guesses", lambda *rest: iter(()))
    monkeypatch.setattr(programs, "climb", no_climb)
    found = asked(W, b, patterns)
    assert found.verdicts == wanted
    assert {*found.means} >= {"ascent", "mixture"}


@pytest.mark.parametrize(
    ("bias", "proves"), [([1.0, 1.0], False), ([1.0, -0.5], False), ([1.0, -1.0], True), ([0.5, -1.0], True)]
)
def test_rows_prove_nothing_that_a_bias_overcomes(bias: list[float], *, proves: bool) -> None:
    """Two opposite rows: both labels can be on if and only if the biases sum to more than 0."""
    head = ScaledHead.of(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]).double(), torch.tensor(bias).double(), centered=False)
    patterns = Patterns(head, torch.tensor([[1, 1]], dtype=torch.int8))
    found = patterns.proof(0, torch.tensor([0, 1]), torch.tensor([0.5, 0.25, 0.25]).double())
    assert (found is not None) == proves


def test_a_proof_holds_for_patterns_that_ask_for_the_same_signs_alone() -> None:
    """Of the labels with a weight; the others may have any."""
    head = ScaledHead.of(torch.tensor([[1.0, 2.0], [-1.0, -2.0], [1.0, 0.0]]).double(), torch.zeros(3).double(), centered=False)
    signs = torch.tensor([[1, 1, 0], [1, 1, -1], [1, -1, 0], [-1, -1, 1], [1, 0, 1]], dtype=torch.int8)
    patterns = Patterns(head, signs)
    proof = patterns.proof(0, torch.tensor([0, 1]), torch.tensor([0.5, 0.25, 0.25]).double())
    assert proof is not None
    assert [number for number, _ in patterns.shared(0, proof, torch.arange(5))] == [0, 1]


def test_of_many_labels_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounds that add violated labels give the same verdicts as all labels at once."""
    rng = np.random.default_rng(2)
    W, b = rng.normal(size=(300, 3)), rng.normal(size=300) - 2
    patterns = -np.ones((120, 300), dtype=int)
    patterns[np.arange(120), rng.integers(0, 300, size=120)] = 1
    patterns[:40] *= rng.integers(0, 2, size=(40, 300))
    wanted = asked(W, b, patterns).verdicts
    assert {*wanted} >= {"yes", "no"}
    monkeypatch.setattr(programs, "_FEW", 8)
    monkeypatch.setattr(programs, "_CHUNK", 50)
    found = asked(W, b, patterns)
    assert found.verdicts == wanted
    assert max(len(one.labels) for one in found.certificates if one is not None) <= 2 * 3 + 6, "of the labels looked at"


# ---- what theory says


@given(rng=strategies.generators())
def test_the_cosine_decides_about_two_labels_without_a_bias(rng: np.random.Generator) -> None:
    """Both on: cosine above -1. One without the other: cosine below 1."""
    row = rng.normal(size=3)
    W = np.stack([row, rng.normal(size=3), -2 * row, 3 * row])
    cosine = label_cosine_similarity(torch.from_numpy(W), centered=False)
    pairs = [*itertools.combinations(range(4), 2)]
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        patterns = np.zeros((6, 4), dtype=int)
        for number, pair in enumerate(pairs):
            patterns[number, pair] = signs
        limit = -1 if signs[0] == signs[1] else 1
        wanted = ["no" if abs(float(cosine[pair]) - limit) < 1e-12 else "yes" for pair in pairs]
        assert asked(W, None, patterns).verdicts == wanted


def test_with_a_bias_only_parallel_rows_can_fail() -> None:
    W = np.array([[1.0, 2.0], [-2.0, -4.0], [0.0, 0.0], [1.0, 0.0]])
    both = [(1, 1, 0, 0)]
    assert asked(W, np.array([1.0, 3.0, 0.0, 0.0]), both).verdicts == ["yes"]
    assert asked(W, np.array([1.0, -2.0, 0.0, 0.0]), both).verdicts == ["no"]
    assert asked(W, np.array([0.0, 0.0, 1.0, 0.0]), [(0, 0, 1, 1), (0, 0, -1, 0)]).verdicts == ["yes", "no"]
    assert asked(W, None, [(0, 0, 1, 0), (0, 0, -1, 0), (0, 0, 0, 1)]).verdicts == ["no", "no", "yes"]


@given(data=st.data())
def test_scales_and_linear_maps_change_no_verdict(data: st.DataObject) -> None:
    rng, W = data.draw(strategies.generators()), data.draw(strategies.unembeddings())
    b = data.draw(strategies.vectors(len(W)))
    patterns = [tuple(row) for row in rng.integers(-1, 2, size=(20, len(W))).tolist()]
    wanted = asked(W, b, patterns).verdicts
    A, scale = data.draw(strategies.invertible_matrices(W.shape[1])), data.draw(strategies.scales(-8, 8))
    for rows, bias in ((W @ A, b), (scale * W, b), (scale * W, scale * b), (W, scale * b)):
        assert asked(rows, bias, patterns).verdicts == wanted
    order = data.draw(strategies.permutations(len(W)))
    assert asked(W[order], b[order], np.array(patterns)[:, order]).verdicts == wanted


def test_inputs_that_show_a_combination_are_its_witnesses() -> None:
    rng = np.random.default_rng(0)
    W, b, f = rng.normal(size=(40, 6)), rng.normal(size=40), rng.normal(size=(300, 6))
    shown = np.sign(f @ W.T + b).astype(int)
    found = asked(W, b, shown, embeddings=torch.from_numpy(f))
    assert found.verdicts == ["yes"] * 300
    assert found.means.count("inputs") > 290  # but for logits within rounding of 0
    without = asked(W, b, shown)
    assert "no" not in without.verdicts
    assert without.verdicts.count("undecided") < 3


# ---- forms, limits and errors


def test_one_combination_by_its_labels() -> None:
    W, none = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([], dtype=torch.int64)
    found = combination_reachability(W, on=torch.tensor([0, 1]), off=torch.tensor([2]))
    assert found.verdicts == ["no"]
    assert found.on.tolist() == [[True, True, False]]
    assert found.off.tolist() == [[False, False, True]]
    assert found.margins.dtype == found.witnesses.dtype == torch.float64
    anything = combination_reachability(W, on=none, off=none)
    assert anything.verdicts == ["yes"]
    assert anything.margins.item() == torch.inf
    nothing = torch.zeros(0, 3, dtype=torch.bool)
    assert combination_reachability(W, on=nothing, off=nothing).verdicts == []


def test_labels_that_are_not_asked_for_need_not_be_finite() -> None:
    W = torch.tensor([[1.0, 0.0], [torch.nan, 1.0], [-1.0, 0.0]])
    bias = torch.tensor([0.0, torch.inf, 0.0])
    found = combination_reachability(W, on=torch.tensor([0]), off=torch.tensor([2]), bias=bias)
    assert found.verdicts == ["yes"]
    never = combination_reachability(W, on=torch.tensor([0, 2]), off=torch.tensor([], dtype=torch.int64), bias=bias)
    assert never.verdicts == ["no"]
    assert never.certificates[0] is not None
    assert never.certificates[0].labels.tolist() == [0, 2]
    assert never.certificates[0].weights.tolist() == pytest.approx([0.5, 0.5])


def test_without_time_all_is_undecided_and_progress_ends_at_one() -> None:
    told: list[float] = []
    found = asked(np.eye(3), None, [(1, 1, -1)], time_limit=0, progress=told.append)
    assert found.verdicts == ["undecided"]
    assert told[-1] == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"on": torch.zeros(2)}, "Expected `on` to be a boolean tensor of shape (P, 3) or an integer tensor of shape (T,), got "),
        (
            {"on": torch.zeros(1, 2, dtype=torch.bool)},
            "got torch.bool of shape (1, 2). Pass one row per combination, or the label",
        ),
        ({"on": torch.tensor([3])}, "Expected `on` to hold labels from 0 to 2, got 3 to 3."),
        (
            {"off": torch.tensor([2])},
            "Expected `off` to hold live labels, got label 2, whose row or bias is not finite. Remove it",
        ),
        (
            {"off": torch.tensor([0])},
            "Expected `off` to have no label of `on`, got label 0 in both. A label cannot be on and off.",
        ),
        ({"off": torch.zeros(2, 3, dtype=torch.bool)}, "Expected `off` to have as many combinations as `on`, got 1 and 2."),
        (
            {"bias": torch.zeros(2)},
            "Expected `bias` to be a floating-point tensor of shape (3,), got torch.float32 of shape (2,).",
        ),
        ({"embeddings": torch.zeros(5, 3)}, "Expected `embeddings` of shape (N, 2), got (5, 3). Pass the inputs of the head."),
        ({"time_limit": -1}, "Expected `time_limit` to be at least 0, got -1."),
    ],
)
def test_errors_say_what_to_pass(options: dict[str, Any], text: str) -> None:
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [torch.nan, 1.0]])
    given: dict[str, Tensor] = {"on": torch.tensor([0]), "off": torch.tensor([1]), **options}
    with pytest.raises(InputError, match=re.escape(text)):
        combination_reachability(W, **given)  # type: ignore[arg-type]
