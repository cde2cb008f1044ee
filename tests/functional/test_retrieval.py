"""Agreement where it matters most: the pairs that overlap most, and every label's nearest neighbors; and how reliable it is."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import neighbor_jaccard, reliability, top_pair_auroc
from lightning_cossim.functional.agreement import neighbor_jaccard_chance
from tests import reference
from tests.strategies import Array


def symmetric(num_labels: int, rng: np.random.Generator, levels: int | None = None) -> Tensor:
    """A random symmetric matrix in [0, 1], with ties if `levels` are given."""
    matrix = (
        rng.random((num_labels, num_labels)) if levels is None else rng.integers(levels, size=(num_labels, num_labels)) / levels
    )
    upper = np.triu(matrix, 1)
    return torch.from_numpy(upper + upper.T)


def upper(matrix: Tensor) -> Array:
    return matrix.numpy()[np.triu_indices(len(matrix), 1)]


seeds = st.integers(0, 10_000).map(np.random.default_rng)


class TestTopPairAuroc:
    @given(rng=seeds, levels=st.sampled_from([None, 4, 50]), share=st.sampled_from([0.05, 0.2]))
    def test_is_the_chance_that_a_top_pair_is_more_similar(
        self, rng: np.random.Generator, levels: int | None, share: float
    ) -> None:
        s, o = symmetric(30, rng, levels), symmetric(30, rng)
        value = top_pair_auroc(s, o, share=share).item()
        assert value == pytest.approx(reference.top_pair_auroc(s.numpy(), o.numpy(), share), abs=1e-12)
        top = upper(o) >= np.sort(upper(o))[-math.ceil(share * 435)]
        assert value == pytest.approx(roc_auc_score(top, upper(s).round(6)), abs=1e-12)

    def test_chance_is_a_half(self) -> None:
        rng = np.random.default_rng(0)
        values = [top_pair_auroc(symmetric(30, rng), symmetric(30, rng)).item() for _ in range(300)]
        assert np.mean(values) == pytest.approx(0.5, abs=0.02)

    @pytest.mark.parametrize(("num_labels", "defined"), [(28, False), (29, True)])
    def test_fewer_than_twenty_positives_are_too_few(self, num_labels: int, defined: bool) -> None:
        """5 % of 378 pairs are 19, of 406 pairs 21."""
        rng = np.random.default_rng(0)
        assert top_pair_auroc(symmetric(num_labels, rng), symmetric(num_labels, rng)).isfinite().item() is defined

    def test_too_many_ties_at_the_cut_are_undefined(self) -> None:
        """With three levels of overlap, a third of the pairs are at the top, not the 5 % asked for."""
        rng = np.random.default_rng(0)
        assert top_pair_auroc(symmetric(30, rng), symmetric(30, rng, 3)).isnan()

    def test_without_negatives_it_is_undefined(self) -> None:
        """Asked for nearly all pairs, and the rest are tied with them."""
        rng = np.random.default_rng(0)
        o = symmetric(30, rng).clamp(min=0.3)
        assert top_pair_auroc(symmetric(30, rng), o, share=0.9).isnan()

    @pytest.mark.parametrize("share", [0, 1, -0.1, math.nan])
    def test_share_out_of_range(self, share: float) -> None:
        text = f"Expected `share` to be above 0 and below 1, got {share}. It is the share of pairs to find."
        with pytest.raises(InputError, match=re.escape(text)):
            top_pair_auroc(torch.eye(3), torch.eye(3), share=share)


class TestNeighborJaccard:
    @given(rng=seeds, levels=st.sampled_from([None, 3, 30]), k=st.sampled_from([1, 3, 5]))
    def test_is_the_overlap_of_two_neighborhoods(self, rng: np.random.Generator, levels: int | None, k: int) -> None:
        s, o = symmetric(22, rng, levels), symmetric(22, rng, levels)
        value = neighbor_jaccard(s, o, k=k).item()
        assert value == pytest.approx(reference.neighbor_jaccard(s.numpy(), o.numpy(), k), abs=1e-12)

    @pytest.mark.parametrize("k", [2, 5])
    def test_neighbors_at_random_agree_by_chance(self, k: int) -> None:
        """Up to the curvature of E / (2k - E), the chance level is what random matrices give."""
        rng = np.random.default_rng(0)
        values = [neighbor_jaccard(symmetric(40, rng), symmetric(40, rng), k=k).item() for _ in range(60)]
        assert np.mean(values) == pytest.approx(neighbor_jaccard_chance(40, k=k), abs=0.02)

    def test_ties_share_the_seats(self) -> None:
        """A similarity that knows one neighbor of five: the other four seats go to all others alike."""
        o = torch.zeros(21, 21, dtype=torch.float64)
        s = torch.zeros(21, 21, dtype=torch.float64)
        for i in range(21):
            for step in (1, 2):
                o[i, (i + step) % 21] = o[(i + step) % 21, i] = 1
        for i in range(0, 20, 2):
            s[i, i + 1] = s[i + 1, i] = 1
        value = neighbor_jaccard(s, o, k=4).item()
        shared = {"paired": 1 + 3 * 3 / 19, "single": 4 * 4 / 20}
        wanted = (20 * shared["paired"] / (8 - shared["paired"]) + shared["single"] / (8 - shared["single"])) / 21
        assert value == pytest.approx(wanted, abs=1e-12)

    @pytest.mark.parametrize(("num_labels", "defined"), [(20, False), (21, True)])
    def test_needs_four_times_as_many_labels_as_neighbors(self, num_labels: int, defined: bool) -> None:
        rng = np.random.default_rng(0)
        assert neighbor_jaccard(symmetric(num_labels, rng), symmetric(num_labels, rng)).isfinite().item() is defined

    def test_labels_without_neighbors_do_not_count(self) -> None:
        """A label whose pairs are all unknown leaves the value of the others as it is."""
        rng = np.random.default_rng(0)
        s, o = symmetric(25, rng), symmetric(25, rng)
        part = neighbor_jaccard(s[:22, :22], o[:22, :22])
        s[22:], s[:, 22:] = torch.nan, torch.nan
        assert neighbor_jaccard(s, o).item() == part.item()

    def test_k_out_of_range(self) -> None:
        text = "Expected `k` to be at least 1, got 0. It counts the neighbors of a label."
        with pytest.raises(InputError, match=re.escape(text)):
            neighbor_jaccard(torch.eye(3), torch.eye(3), k=0)


class TestReliability:
    @given(rng=seeds, levels=st.sampled_from([None, 4]), noise=st.sampled_from([0.1, 1.0, 10.0]))
    def test_is_the_stepped_up_correlation_of_the_halves(
        self, rng: np.random.Generator, levels: int | None, noise: float
    ) -> None:
        common = symmetric(12, rng, levels)
        a, b = common + noise * symmetric(12, rng, levels), common + noise * symmetric(12, rng, levels)
        assert reliability(a, b).item() == pytest.approx(reference.reliability(a.numpy(), b.numpy()), abs=1e-12)

    def test_equal_halves_are_wholly_reliable_and_opposite_ones_not_at_all(self) -> None:
        a = symmetric(12, np.random.default_rng(0), 3)
        assert reliability(a, a).item() == pytest.approx(1, abs=1e-12)
        assert reliability(a, 1 - a).item() == 0

    def test_tiny_overlaps_are_ranked_too(self) -> None:
        """Of a saturated model all overlaps are small: that is no reason to take them for ties."""
        a = symmetric(12, np.random.default_rng(0))
        assert reliability(a * 1e-9, a * 1e-9).item() == pytest.approx(1, abs=1e-12)

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (torch.rand(4, 4), torch.rand(4, 4)),
            (torch.ones(9, 9), torch.rand(9, 9)),
            (torch.rand(9, 9), torch.ones(9, 9)),
            (torch.full((9, 9), torch.nan), torch.rand(9, 9)),
        ],
        ids=["six pairs", "first constant", "second constant", "unknown"],
    )
    def test_is_undefined_where_nothing_can_be_ranked(self, a: Tensor, b: Tensor) -> None:
        assert reliability(a, b).isnan()


@pytest.mark.parametrize("statistic", [top_pair_auroc, neighbor_jaccard, reliability])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_keep_the_dtype_and_matrices_must_fit(statistic: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    assert statistic(symmetric(30, rng).to(dtype), symmetric(30, rng).to(dtype)).dtype == dtype
    with pytest.raises(InputError, match=re.escape("of shape (3, 3), got (4, 4)")):
        statistic(torch.rand(3, 3), torch.rand(4, 4))
