"""The ladder as a whole: its rungs, computed together, and the mean gaps between them."""

from dataclasses import FrozenInstanceError, replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.functional import explained_overlap, probability_overlap
from lightning_cossim.functional.comparison import mean_over_pairs
from lightning_cossim.functional.ladder import RUNGS, pair_rungs, weight_rungs
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.similarities import SIMILARITIES, HeadRows
from tests import reference, strategies
from tests.strategies import Array

NAN = torch.nan


def generic(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wanted_rungs(W: Array, S: Array, live: strategies.Array | None = None) -> dict[str, Array]:
    mask = None if live is None else live.astype(bool)
    return {
        "raw_cosine": reference.cosine(W, centered=False, live=mask),
        "centered_cosine": reference.cosine(W, centered=True, live=mask),
        "logit_correlation": reference.logit_correlation(W, S, live=mask),
        "log_odds_variance": reference.log_odds_variance(W, S),
    }


# ---- the rungs


def test_the_ladder_has_five_rungs_in_this_order() -> None:
    """THEORY §3; of the similarities only log-odds variance is small for labels that are alike."""
    assert RUNGS == ("raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance", "overlap")
    assert RUNGS[:-1] == tuple(SIMILARITIES)
    assert {key: row.direction for key, row in SIMILARITIES.items()} == {
        "raw_cosine": 1,
        "centered_cosine": 1,
        "logit_correlation": 1,
        "log_odds_variance": -1,
    }


def test_the_table_of_similarities_cannot_be_written_to() -> None:
    with pytest.raises(TypeError):
        SIMILARITIES["raw_cosine"] = SIMILARITIES["centered_cosine"]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        SIMILARITIES["raw_cosine"].direction = -1  # type: ignore[misc]


@pytest.mark.parametrize("key", SIMILARITIES)
@given(head=strategies.heads(scale=1))
def test_a_similarity_without_a_form_for_pairs_is_read_off_matrices(key: str, head: strategies.Head) -> None:
    """Whoever adds a similarity writes one function: what a vocabulary's pairs get from it is what all pairs get."""
    W, S = torch.from_numpy(head.W), torch.from_numpy(reference.covariance(head.f))
    live = torch.ones(len(W), dtype=torch.bool)
    pairs = Pairs.of_all(len(W))
    rows = HeadRows(W, torch.arange(len(W)), S, live, is_centered=True)
    row = replace(SIMILARITIES[key], pairwise=None)
    np.testing.assert_array_equal(row.of_pairs(None, rows, pairs), pairs.values(row.matrix(rows)))  # type: ignore[arg-type]


@given(head=strategies.heads())
def test_over_all_labels_the_rungs_are_those_of_the_formulas(head: strategies.Head) -> None:
    W, S = head.W, reference.covariance(head.f)
    rungs = weight_rungs(
        torch.from_numpy(W),
        label_subset=torch.arange(len(W)),
        covariance=torch.from_numpy(S),
        live=torch.ones(len(W), dtype=torch.bool),
    )
    assert tuple(rungs) == tuple(SIMILARITIES)
    for name, wanted in wanted_rungs(W, S).items():
        np.testing.assert_allclose(rungs[name], wanted, rtol=0, atol=1e-9 * np.abs(wanted).max(), err_msg=name)


@given(data=st.data())
def test_chosen_labels_are_seen_against_the_mean_of_all_live_ones(data: st.DataObject) -> None:
    """Their order is that asked for; a label that is not live is NaN, chosen or not outside the mean."""
    head = data.draw(strategies.heads(scale=1))
    W, S = head.W, reference.covariance(head.f)
    live = np.arange(len(W)) >= 1
    others = 1 + data.draw(strategies.permutations(len(W) - 1))[:3]
    labels = np.array([others[0], 0, *others[1:]])
    rungs = weight_rungs(
        torch.from_numpy(W),
        label_subset=torch.from_numpy(labels),
        covariance=torch.from_numpy(S),
        live=torch.from_numpy(live),
    )
    for name, wanted in wanted_rungs(W, S, live.astype(np.float64)).items():
        wanted[0] = wanted[:, 0] = np.nan
        np.testing.assert_allclose(rungs[name], wanted[np.ix_(labels, labels)], rtol=0, atol=1e-9, err_msg=name)


def test_without_embeddings_only_the_cosines_are_known() -> None:
    """A covariance of NaN: rungs 3 and 3' say nothing about any pair."""
    W, every = generic(5, 3), torch.ones(5, dtype=torch.bool)
    rungs = weight_rungs(W, label_subset=torch.arange(5), covariance=torch.full((3, 3), NAN), live=every)
    off_diagonal = ~torch.eye(5, dtype=torch.bool)
    assert {name: rung[off_diagonal].isnan().all().item() for name, rung in rungs.items()} == {
        "raw_cosine": False,
        "centered_cosine": False,
        "logit_correlation": True,
        "log_odds_variance": True,
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_rungs_are_float32_unless_the_head_is_float64(dtype: torch.dtype) -> None:
    """And halves with a large common mode lose nothing on the way."""
    W, S = (generic(6, 3) + 50).to(dtype), reference.covariance(generic(30, 3, seed=1).numpy())
    rungs = weight_rungs(W, label_subset=torch.arange(6), covariance=torch.from_numpy(S), live=torch.ones(6, dtype=torch.bool))
    for name, wanted in wanted_rungs(W.double().numpy(), S).items():
        assert rungs[name].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        np.testing.assert_allclose(rungs[name], wanted, rtol=0, atol=1e-6 * np.abs(wanted).max(), err_msg=name)


def test_near_initialization_log_odds_variance_explains_the_overlap() -> None:
    """THEORY §3: BC is about exp(-V/8) for small logits of Gaussian embeddings."""
    W, f = generic(6, 4) * 0.1, generic(20_000, 4, seed=1)
    overlap = probability_overlap((f @ W.T).softmax(dim=1))
    variance = torch.from_numpy(reference.log_odds_variance(W.numpy(), np.eye(4)))
    torch.testing.assert_close(-8 * overlap.log(), variance, rtol=0.05, atol=1e-12)
    assert explained_overlap(-variance, overlap) > 0.99


@given(data=st.data())
def test_rungs_of_some_pairs_are_those_of_the_matrices(data: st.DataObject) -> None:
    """Also where a label is not live, or its row is zero."""
    head = data.draw(strategies.heads(scale=1))
    W, S = torch.from_numpy(head.W).clone(), torch.from_numpy(reference.covariance(head.f))
    W[1] = 0
    live = torch.arange(len(W)) != 2
    all_pairs = Pairs.of_all(len(W))
    some = all_pairs[torch.from_numpy(data.draw(strategies.generators()).permutation(len(all_pairs)))]
    whole = weight_rungs(W, label_subset=torch.arange(len(W)), covariance=S, live=live)
    for name, found in pair_rungs(W, pairs=some, embedding_covariance=S, live=live).items():
        wanted = some.values(whole[name])
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9, equal_nan=True, msg=name)


def test_of_embeddings_that_differ_in_one_direction_pairs_correlate_wholly() -> None:
    W, pairs = generic(7, 3), Pairs.of_all(7)
    S = torch.outer(generic(3, seed=1), generic(3, seed=1))
    found = pair_rungs(W, pairs=pairs, embedding_covariance=S, live=torch.ones(7, dtype=torch.bool))["logit_correlation"]
    assert {*found.tolist()} == {-1.0, 1.0}


# ---- mean gaps


def mean_gap(similarity: Tensor, other: Tensor) -> Tensor:
    """Over the pairs of two matrices."""
    pairs = Pairs.of_all(len(similarity))
    return mean_over_pairs((pairs.values(similarity) - pairs.values(other)).abs(), pairs, "both").value


@given(data=st.data())
def test_a_mean_gap_is_the_mean_over_pairs_of_absolute_differences(data: st.DataObject) -> None:
    K = data.draw(st.integers(2, 9))
    s, t = (data.draw(strategies.generators()).normal(size=(K, K)) for _ in range(2))
    wanted = np.mean([abs(s[i, j] - t[i, j]) for i, j in combinations(range(K), 2)])
    assert mean_gap(torch.from_numpy(s), torch.from_numpy(t)).item() == pytest.approx(wanted, abs=1e-12)


def test_pairs_where_either_is_unknown_do_not_count() -> None:
    """Neither does the diagonal, known or not."""
    s = torch.tensor([[9.0, 0.5, NAN], [0.5, 9.0, 0.25], [NAN, 0.25, 9.0]])
    t = torch.tensor([[NAN, 0.25, 0.0], [0.25, NAN, NAN], [0.0, NAN, NAN]])
    assert mean_gap(s, t).item() == 0.25


@pytest.mark.parametrize("num_labels", [0, 1, 3])
def test_without_pairs_there_is_no_gap(num_labels: int) -> None:
    unknown = torch.full((num_labels, num_labels), NAN)
    assert mean_gap(unknown, unknown).isnan()


def test_each_gap_is_what_one_ambiguity_did() -> None:
    """No translation gap where rows are centered, no geometry gap where embeddings are isotropic; else there is one."""

    def gaps(W: Tensor, S: Tensor) -> list[float]:
        rungs = weight_rungs(W, label_subset=torch.arange(6), covariance=S, live=torch.ones(6, dtype=torch.bool))
        return [mean_gap(rungs[lower], rungs[upper]).item() for lower, upper in pairwise([*SIMILARITIES][:3])]

    W = generic(6, 3)
    centered, isotropic, stretched = W - W.mean(dim=0), torch.eye(3), torch.diag(torch.tensor([9.0, 1.0, 0.1]))
    assert gaps(centered, isotropic) == pytest.approx([0, 0], abs=1e-12)
    translation, geometry = gaps(centered + 1, isotropic)
    assert translation > 0.3
    assert geometry == pytest.approx(0, abs=1e-12)
    translation, geometry = gaps(centered, stretched)
    assert translation == pytest.approx(0, abs=1e-12)
    assert geometry > 0.1
