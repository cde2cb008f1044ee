"""Probability overlap: the Bhattacharyya coefficient of input profiles, and the sums over inputs behind it."""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import probability_overlap
from lightning_cossim.functional.overlap import Overlap, OverlapKind, add_products, log_probabilities
from tests import reference, strategies
from tests.strategies import Array, Head

BHATTACHARYYA = Overlap.of(8)
bhattacharyya_coefficient = BHATTACHARYYA.finish

NAN, INF = torch.nan, torch.inf


def logits(head: Head) -> Array:
    z: Array = head.f @ head.W.T + head.b
    return z


def generic_probs(num_inputs: int = 200, num_labels: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_inputs, num_labels, generator=generator, dtype=torch.float64).mul(2).softmax(dim=1)


class Sums(NamedTuple):
    """What a batch adds: sums of products of profiles, of probabilities and of their squares, and the number of inputs."""

    joint: Tensor
    probs: Tensor
    num_inputs: Tensor
    squares: Tensor


def overlap_sums(log_probs: Tensor, overlap: Overlap = BHATTACHARYYA, labels: list[int] | None = None) -> Sums:
    h_NK, probs, counts, squares = overlap.profiles(log_probs.clone())
    h_NL = h_NK if labels is None else h_NK[:, labels]
    joint = torch.zeros(h_NL.shape[1], h_NL.shape[1], dtype=overlap.joint_dtype if overlap.counts_inputs else h_NL.dtype)
    add_products(joint, h_NL)
    return Sums(joint.triu() + joint.triu(diagonal=1).T, probs, counts.sum(), squares)


# ---- values


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-6)])
@given(head=strategies.heads(scale=2))
def test_overlap_is_the_bhattacharyya_coefficient(dtype: Any, tolerance: float, head: Head) -> None:
    p = reference.softmax(logits(head)).astype(dtype)
    overlap = probability_overlap(torch.from_numpy(p))
    np.testing.assert_allclose(overlap, reference.bhattacharyya(p), rtol=0, atol=tolerance)
    assert not overlap.isnan().any()


@given(head=strategies.heads(scale=2))
def test_overlap_lies_in_0_and_1_is_symmetric_and_one_with_itself(head: Head) -> None:
    for dtype in (torch.float64, torch.float32):
        overlap = probability_overlap(torch.from_numpy(reference.softmax(logits(head))).to(dtype))
        assert overlap.min() >= 0
        assert overlap.max() <= 1
        assert torch.equal(overlap.diagonal(), torch.ones(len(head.W), dtype=dtype))
        torch.testing.assert_close(overlap, overlap.T, rtol=0, atol=1e-6)


def test_equal_profiles_overlap_no_more_than_fully() -> None:
    """Whatever rounding makes of labels that are always equally probable, or always a third as probable."""
    probs = generic_probs(50, 40).float() / 4
    overlap = probability_overlap(torch.cat([probs, probs / 3], dim=1))
    assert overlap.max() == 1
    torch.testing.assert_close(overlap[:40, 40:].diagonal(), torch.ones(40), rtol=0, atol=1e-6)


@given(head=strategies.heads(scale=2))
def test_it_brackets_the_overlap_coefficient(head: Head) -> None:
    """THEORY §4: 1 - sqrt(1 - BC^2) <= OVL <= BC, OVL the sum of minima of the two profiles."""
    p = reference.softmax(logits(head))
    profiles = (p / p.sum(axis=0)).T
    ovl = np.array([[np.minimum(q, r).sum() for r in profiles] for q in profiles])
    bc = probability_overlap(torch.from_numpy(p)).numpy()
    assert (ovl <= bc + 1e-12).all()
    assert (1 - np.sqrt(1 - bc**2) <= ovl + 1e-7).all()


def test_every_profile_is_normalized_by_its_own_mass() -> None:
    """A label a thousand times rarer, with the same profile, overlaps fully; one that shares no input, not at all."""
    common = torch.tensor([0.5, 0.25, 0.0])
    probs = torch.stack([common, common / 1000, torch.tensor([0.0, 0.0, 1.0])], dim=1)
    wanted = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(probability_overlap(probs), wanted, rtol=0, atol=1e-6)


def test_the_docstring_example_by_hand() -> None:
    """Two inputs (1/2, 1/2, 0) and (1/2, 0, 1/2): S_00 = 1, S_01 = S_11 = 1/2."""
    overlap = probability_overlap(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]], dtype=torch.float64))
    assert overlap[0, 1].item() == pytest.approx(0.5**0.5, abs=1e-15)
    assert overlap[1, 2].item() == 0


# ---- inputs and labels that do not count


@pytest.mark.parametrize("bad_row", [[NAN] * 6, [NAN, 0.5, 0.5, 0.0, 0.0, 0.0]])
def test_inputs_with_a_nan_are_left_out(bad_row: list[float]) -> None:
    probs = generic_probs()
    with_bad = torch.cat([probs[:50], torch.tensor([bad_row], dtype=torch.float64), probs[50:]])
    torch.testing.assert_close(probability_overlap(with_bad), probability_overlap(probs), rtol=0, atol=1e-14)
    np.testing.assert_allclose(probability_overlap(with_bad), reference.bhattacharyya(with_bad.numpy()), atol=1e-12)
    assert overlap_sums(with_bad.log()).num_inputs.item() == 200


def test_a_label_without_mass_is_unknown() -> None:
    """Its row, its column and its diagonal; nothing else."""
    probs = torch.cat([generic_probs(), torch.zeros(200, 1, dtype=torch.float64)], dim=1)
    overlap = probability_overlap(probs)
    assert overlap[6].isnan().all()
    assert overlap[:, 6].isnan().all()
    torch.testing.assert_close(overlap[:6, :6], probability_overlap(generic_probs()), rtol=0, atol=1e-14)


@pytest.mark.parametrize("probs", [torch.zeros(0, 4), torch.full((5, 4), NAN)], ids=["none", "all NaN"])
def test_without_inputs_everything_is_unknown(probs: Tensor) -> None:
    assert probability_overlap(probs).isnan().all()
    assert overlap_sums(probs.log()).num_inputs.item() == 0


# ---- log-probabilities


@given(head=strategies.heads(scale=2))
def test_log_probabilities_are_those_of_the_softmax(head: Head) -> None:
    z = logits(head)
    np.testing.assert_allclose(log_probabilities(torch.from_numpy(z)).exp(), reference.softmax(z), rtol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_log_probabilities_are_taken_in_float32_or_better(dtype: torch.dtype) -> None:
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).mul(5).to(dtype)
    log_probs = log_probabilities(z)
    assert log_probs.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    exact = z.double().log_softmax(dim=1)
    torch.testing.assert_close(log_probs, exact, rtol=0, atol=1e-5, check_dtype=False)


def test_minus_infinity_is_a_probability_of_zero_and_the_other_infinity_is_none() -> None:
    log_probs = log_probabilities(torch.tensor([[0.0, 0.0, -INF], [0.0, INF, 0.0], [0.0, NAN, 0.0], [-INF, -INF, -INF]]))
    assert log_probs[0].exp().tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-7)
    assert log_probs[0, 2] == -INF
    assert log_probs[1:].isnan().all()


def test_logits_of_minus_infinity_leave_the_other_labels_as_they_were() -> None:
    """Masked labels overlap nobody."""
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masked = torch.cat([z, torch.full((50, 1), -INF, dtype=torch.float64)], dim=1)
    overlap = bhattacharyya_coefficient(overlap_sums(log_probabilities(masked)).joint)
    wanted = bhattacharyya_coefficient(overlap_sums(log_probabilities(z)).joint)
    torch.testing.assert_close(overlap[:4, :4], wanted, rtol=0, atol=1e-14)
    assert overlap[4].isnan().all()


# ---- sums over inputs


@pytest.mark.parametrize("kind", ["bhattacharyya", "product", "coactivation", "topk"])
def test_squared_probabilities_are_summed_whatever_the_kind(kind: OverlapKind) -> None:
    """They tell how many inputs a label's probability is spread over."""
    probs = generic_probs()
    probs[3] = torch.nan
    wanted = np.nansum(probs.numpy() ** 2, axis=0)
    np.testing.assert_allclose(overlap_sums(probs.log(), Overlap.of(probs.shape[1], kind=kind)).squares, wanted, rtol=1e-12)


def test_the_sums_are_what_they_say() -> None:
    probs = generic_probs()
    sums = overlap_sums(probs.log())
    roots = probs.sqrt().numpy()
    np.testing.assert_allclose(sums.joint, sum(np.outer(row, row) for row in roots), rtol=1e-12)
    np.testing.assert_allclose(sums.probs, probs.numpy().sum(axis=0), rtol=1e-12)
    torch.testing.assert_close(sums.joint.diagonal(), sums.probs)
    assert sums.num_inputs.item() == 200
    assert not sums.num_inputs.is_floating_point()


@pytest.mark.parametrize("num_labels", [1, 63, 65, 300, 513, 1030])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_sums_of_many_labels_are_those_of_the_whole_product(num_labels: int, dtype: torch.dtype) -> None:
    """On and above the diagonal, in blocks that need not be even, over chunks of inputs; in place, on top of what was there."""
    generator = torch.Generator().manual_seed(num_labels)
    profiles = torch.randint(3, (1500, num_labels), generator=generator).float()
    before = torch.randint(9, (num_labels, num_labels), generator=generator).to(dtype)
    total = before.clone()
    add_products(total, profiles)
    wanted = before + (profiles.long().T @ profiles.long()).to(dtype)
    assert torch.equal(total.triu(), wanted.triu())


@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_the_sums_add_over_batches(sizes: list[int]) -> None:
    """However the inputs are cut, empty batches included."""
    probs = generic_probs(sum(sizes))
    starts = np.cumsum([0, *sizes])
    parts = [overlap_sums(probs[start : start + size].log()) for start, size in zip(starts, sizes, strict=False)]
    whole = overlap_sums(probs.log())
    together = Sums(*(torch.stack(values).sum(dim=0) for values in zip(*parts, strict=True)))
    for added, wanted in zip(together, whole, strict=True):
        torch.testing.assert_close(added, wanted, rtol=1e-12, atol=1e-12)


def test_chosen_labels_are_looked_at_under_the_softmax_over_all() -> None:
    """Only pairs among the chosen are summed, in their order; the probabilities of all labels are."""
    log_probs = generic_probs().log()
    chosen = overlap_sums(log_probs, labels=[4, 0, 2])
    whole = overlap_sums(log_probs)
    torch.testing.assert_close(chosen.joint, whole.joint[[4, 0, 2]][:, [4, 0, 2]])
    torch.testing.assert_close(chosen.probs, whole.probs)


def test_inputs_with_a_nan_do_not_count() -> None:
    probs = generic_probs(20)
    seen = torch.arange(20) % 3 != 0
    log_probs = probs.log()
    log_probs[~seen, 1] = NAN
    sums = overlap_sums(log_probs)
    for actual, wanted in zip(sums, overlap_sums(probs[seen].log()), strict=True):
        torch.testing.assert_close(actual, wanted)


def test_roots_survive_where_probabilities_underflow() -> None:
    """log p = -150: in float32 p is 0, its root 2.7e-33 is not."""
    log_probs = torch.tensor([[0.0, -150.0]])
    assert log_probs.exp()[0, 1] == 0
    assert overlap_sums(log_probs).joint[0, 1].item() == pytest.approx(np.exp(-75), rel=1e-5, abs=0)


def test_float32_sums_over_batches_are_good_to_a_millionth() -> None:
    """20 000 inputs in batches of 256, against float64 on the same values."""
    z = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(0)) * 3
    joint = torch.zeros(6, 6)
    for start in range(0, len(z), 256):
        joint += overlap_sums(log_probabilities(z[start : start + 256])).joint
    exact = bhattacharyya_coefficient(overlap_sums(log_probabilities(z.double())).joint)
    torch.testing.assert_close(bhattacharyya_coefficient(joint), exact, rtol=0, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_reach_the_sums(dtype: torch.dtype) -> None:
    """A product in bfloat16 would be off in the third digit."""
    z = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    outside = overlap_sums(log_probabilities(z))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = overlap_sums(log_probabilities(z))
    assert inside.joint.dtype == torch.float32
    assert torch.equal(inside.joint, outside.joint)


def test_halves_are_worked_on_in_float32() -> None:
    """The value is that of float64 arithmetic on the same halves."""
    probs = generic_probs().to(torch.bfloat16)
    exact = reference.bhattacharyya(probs.double().numpy())
    np.testing.assert_allclose(probability_overlap(probs), exact, rtol=0, atol=2e-6)


def test_one_large_call_is_as_exact_as_many_small_ones() -> None:
    """200 000 inputs at once, in float32: within 1e-5 of float64."""
    probs = torch.randn(200_000, 10, generator=torch.Generator().manual_seed(0)).mul(3).softmax(dim=1)
    torch.testing.assert_close(probability_overlap(probs).double(), probability_overlap(probs.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("probs", "got"),
    [
        ([[torch.nan, 0.5], [1.5, 0.5]], "values from 0.5 to 1.5"),
        ([[0.0, 1.0000001]], "values from 0 to 1.00000012"),
    ],
)
def test_what_is_no_probability_is_told_as_it_is(probs: list[list[float]], got: str) -> None:
    with pytest.raises(InputError) as caught:
        probability_overlap(torch.tensor(probs))
    assert str(caught.value) == f"Expected `probs` in [0, 1], got {got}. Pass probabilities, for example `logits.softmax(-1)`."


class TestKinds:
    @given(head=strategies.heads(), kind=st.sampled_from(["product", "coactivation", "topk"]))
    def test_each_is_that_of_the_reference(self, head: Head, kind: OverlapKind) -> None:
        p = reference.softmax(head.f @ head.W.T + head.b)
        num_labels = p.shape[1]
        wanted = {
            "product": lambda: reference.product(p),
            "coactivation": lambda: reference.coactivation(p, 0.1),
            "topk": lambda: reference.top_k(p, max(2, min(5, num_labels // 5))),
        }[kind]()
        overlap = probability_overlap(torch.from_numpy(p), kind=kind)
        np.testing.assert_allclose(overlap.numpy(), wanted, rtol=1e-6, atol=1e-6)

    def test_coactivation_is_the_jaccard_score_of_two_labels_inputs(self) -> None:
        p = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
        overlap = probability_overlap(p, kind="coactivation", threshold=0.7)
        active = (p > 0.7).numpy()
        for i, j in [(0, 1), (2, 3), (1, 1)]:
            assert overlap[i, j].item() == pytest.approx(jaccard_score(active[:, i], active[:, j]))

    def test_labels_that_are_never_active_have_nothing_to_compare(self) -> None:
        """0/0 is NaN; against an active label it is 0."""
        p = torch.tensor([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1]])
        overlap = probability_overlap(p, kind="coactivation", threshold=0.3)
        assert overlap.isnan().tolist() == [[False] * 3, [False, True, True], [False, True, True]]
        assert overlap[0].tolist() == [1, 0, 0]

    def test_topk_does_not_see_the_temperature(self) -> None:
        z = torch.randn(100, 12, generator=torch.Generator().manual_seed(0))
        cold, warm = (probability_overlap((z * scale).softmax(dim=1), kind="topk", k=3) for scale in (3, 0.2))
        assert torch.equal(cold, warm)

    def test_ties_at_the_last_place_are_all_among_the_top(self) -> None:
        """Equal probabilities: no order of rows decides who overlaps whom. Labels that are masked out are never among them."""
        assert torch.equal(probability_overlap(torch.full((5, 4), 0.25), kind="topk", k=2), torch.ones(4, 4))
        overlap = probability_overlap(torch.tensor([[1.0, 0.0, 0.0]]), kind="topk", k=2)
        assert overlap[0, 1].item() == 0
        assert overlap[1, 2].isnan()

    def test_counts_do_not_stall(self) -> None:
        """A float32 sum stays at 2**24 whatever is added; counts go on."""
        overlap = Overlap.of(2, kind="coactivation")
        sums = overlap_sums(torch.tensor([[0.4, 0.6]]).log(), overlap)
        assert sums.joint.dtype == overlap.joint_dtype == torch.int64
        assert (torch.full((2, 2), 2**24) + sums.joint)[0, 0].item() == 2**24 + 1

    def test_a_sigmoid_gives_each_label_its_own_probability(self) -> None:
        z = torch.tensor([[0.0, 800.0, -800.0]])
        assert log_probabilities(z, "sigmoid").exp().tolist() == [[0.5, 1, 0]]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (
                {"kind": "jaccard"},
                "Expected `kind` to be 'bhattacharyya', 'product', 'coactivation' or 'topk', got 'jaccard'.",
            ),
            ({"link": "probit"}, "Expected `link` to be 'softmax', 'sigmoid', 'softcap' or 'cosine', got 'probit'."),
            (
                {"kind": "coactivation", "threshold": 0.5},
                "Expected `threshold` to be above 0 and below 0.5, got 0.5. Two probabilities of a softmax cannot both be",
            ),
            (
                {"kind": "coactivation", "threshold": 1, "link": "sigmoid"},
                "Expected `threshold` to be above 0 and below 1, got 1.",
            ),
            ({"kind": "coactivation", "threshold": float("nan")}, "Expected `threshold` to be above 0 and below 0.5, got nan."),
            ({"threshold": 0.1}, "Expected `threshold` only with kind 'coactivation', got 0.1 with 'bhattacharyya'."),
            ({"k": 3}, "Expected `k` only with kind 'topk', got 3 with 'bhattacharyya'."),
            ({"kind": "topk", "k": 1}, "Expected `k` to be from 2 to 7, got 1. It counts the most likely labels of an input."),
            ({"kind": "topk", "k": 8}, "Expected `k` to be from 2 to 7, got 8. It counts the most likely labels of an input."),
        ],
    )
    def test_bad_arguments_are_told(self, arguments: dict[str, Any], text: str) -> None:
        with pytest.raises(InputError, match=re.escape(text)):
            Overlap.of(8, **arguments)

    @pytest.mark.parametrize(("num_labels", "k"), [(3, 2), (10, 2), (15, 3), (40, 5), (1000, 5)])
    def test_default_k_grows_with_the_labels(self, num_labels: int, k: int) -> None:
        assert Overlap.of(num_labels, kind="topk").k == k
