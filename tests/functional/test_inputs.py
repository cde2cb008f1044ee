"""What every function asks of its arguments, and the exact words in which it asks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_cossim.errors import InputError, LabelSimilarityError
from lightning_cossim.functional import (
    center_labels,
    common_mode_ratio,
    expected_overlap,
    explained_overlap,
    label_cosine_similarity,
    log_odds_variance,
    logit_correlation,
    probability_overlap,
    rank_agreement,
    witness_translation,
)
from lightning_cossim.functional.agreement import undefined_reason
from lightning_cossim.functional.inputs import check_unembedding, live_labels
from lightning_cossim.functional.logit_geometry import embedding_moments

W = torch.tensor([[1.0, 0.5], [0.5, 1.0], [-1.0, 0.4], [-0.8, -0.8], [0.9, -1.2]])
EYE = torch.eye(2)

WITH_LIVE: dict[str, Callable[[Tensor, Tensor | None], object]] = {
    "live_labels": live_labels,
    "center_labels": lambda unembedding, live: center_labels(unembedding, live=live),
    "common_mode_ratio": lambda unembedding, live: common_mode_ratio(unembedding, live=live),
    "raw_cosine": lambda unembedding, live: label_cosine_similarity(unembedding, centered=False, live=live),
    "centered_cosine": lambda unembedding, live: label_cosine_similarity(unembedding, live=live),
    "logit_correlation": lambda unembedding, live: logit_correlation(unembedding, embedding_covariance=EYE, live=live),
    "uncentered": lambda unembedding, live: logit_correlation(unembedding, embedding_covariance=EYE, centered=False, live=live),
}


def without_mask(call: Callable[[Tensor, Tensor | None], object]) -> Callable[[Tensor], object]:
    return lambda unembedding: call(unembedding, None)


OF_UNEMBEDDING: dict[str, Callable[[Tensor], object]] = {
    **{name: without_mask(call) for name, call in WITH_LIVE.items()},
    "check_unembedding": check_unembedding,
    "log_odds_variance": lambda unembedding: log_odds_variance(unembedding, embedding_covariance=EYE),
    "witness_translation": lambda unembedding: witness_translation(unembedding, 0, 1, cosine=1),
}
OF_COVARIANCE: dict[str, Callable[[Tensor], object]] = {
    "logit_correlation": lambda covariance: logit_correlation(W, embedding_covariance=covariance),
    "log_odds_variance": lambda covariance: log_odds_variance(W, embedding_covariance=covariance),
}
OF_MATRICES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "expected_overlap": expected_overlap,
    "explained_overlap": explained_overlap,
    "rank_agreement": rank_agreement,
    "undefined_reason": undefined_reason,
}

HEAD_REMEDY = "Pass the head's weight, for example `model.head.weight`."
DTYPE_REMEDY = "Convert it with `.float()`."
COVARIANCE_REMEDY = "Pass the (D, D) covariance of the embeddings that enter the head."


def assert_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(InputError) as refusal:
        call()
    assert str(refusal.value) == text


def test_an_input_error_is_a_value_error_and_one_of_ours() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, LabelSimilarityError)


@pytest.mark.parametrize("function", OF_UNEMBEDDING)
@pytest.mark.parametrize("shape", [(3,), (), (2, 3, 4)])
def test_an_unembedding_is_a_matrix(function: str, shape: tuple[int, ...]) -> None:
    text = f"Expected `unembedding` of shape (K, D), got {shape}. {HEAD_REMEDY}"
    assert_refused(lambda: OF_UNEMBEDDING[function](torch.ones(shape)), text)


@pytest.mark.parametrize("function", OF_UNEMBEDDING)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_an_unembedding_is_floating(function: str, dtype: torch.dtype) -> None:
    text = f"Expected `unembedding` with a floating-point dtype, got {dtype}. {DTYPE_REMEDY}"
    assert_refused(lambda: OF_UNEMBEDDING[function](torch.ones(3, 2, dtype=dtype)), text)


@pytest.mark.parametrize("function", WITH_LIVE)
@pytest.mark.parametrize(
    ("live", "got"),
    [
        (torch.ones(4, dtype=torch.bool), "torch.bool of shape (4,)"),
        (torch.ones(5, 1, dtype=torch.bool), "torch.bool of shape (5, 1)"),
        (torch.ones(5), "torch.float32 of shape (5,)"),
        (torch.tensor([0, 1, 2, 3, 4]), "torch.int64 of shape (5,)"),
    ],
)
def test_live_is_a_boolean_mask_over_labels(function: str, live: Tensor, got: str) -> None:
    text = f"Expected `live` to be a boolean mask of shape (5,), got {got}. Pass one entry per label."
    assert_refused(lambda: WITH_LIVE[function](W, live), text)


def test_live_labels_are_finite_and_not_ruled_out() -> None:
    rows = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [0.0, torch.inf], [0.0, -torch.inf], [0.0, 0.0], [3.0, 4.0]])
    ruled_out = torch.tensor([True, True, True, True, True, False])
    assert live_labels(rows, None).tolist() == [True, False, False, False, True, True]
    assert live_labels(rows, ruled_out).tolist() == [True, False, False, False, True, False]


@pytest.mark.parametrize("function", OF_COVARIANCE)
@pytest.mark.parametrize(
    ("covariance", "text"),
    [
        (torch.ones(2), "Expected `embedding_covariance` of shape (D, D), got (2,)."),
        (
            torch.ones(2, 2, dtype=torch.int64),
            f"Expected `embedding_covariance` with a floating-point dtype, got torch.int64. {DTYPE_REMEDY}",
        ),
        (torch.eye(3), f"Expected `embedding_covariance` of shape (2, 2), got (3, 3). {COVARIANCE_REMEDY}"),
        (torch.ones(2, 3), f"Expected `embedding_covariance` of shape (2, 2), got (2, 3). {COVARIANCE_REMEDY}"),
        (torch.ones(3, 2), f"Expected `embedding_covariance` of shape (2, 2), got (3, 2). {COVARIANCE_REMEDY}"),
    ],
)
def test_a_covariance_fits_the_unembedding(function: str, covariance: Tensor, text: str) -> None:
    assert_refused(lambda: OF_COVARIANCE[function](covariance), text)


@pytest.mark.parametrize(
    ("embedding", "text"),
    [
        (
            torch.ones(2, 3, 4),
            "Expected `embedding` of shape (N, D), got (2, 3, 4). Pass the embeddings that enter the head, one row per input.",
        ),
        (
            torch.ones(2, 3, dtype=torch.int32),
            f"Expected `embedding` with a floating-point dtype, got torch.int32. {DTYPE_REMEDY}",
        ),
    ],
)
def test_embeddings_are_a_floating_matrix(embedding: Tensor, text: str) -> None:
    assert_refused(lambda: embedding_moments(embedding), text)


RANGE_REMEDY = "Pass probabilities, for example `logits.softmax(-1)`."


@pytest.mark.parametrize(
    ("probs", "text"),
    [
        (torch.ones(3), "Expected `probs` of shape (N, K), got (3,). Pass probabilities, one row per input."),
        (
            torch.ones(2, 3, dtype=torch.int64),
            f"Expected `probs` with a floating-point dtype, got torch.int64. {DTYPE_REMEDY}",
        ),
        (torch.tensor([[-0.5, 1.0]]), f"Expected `probs` in [0, 1], got values from -0.5 to 1. {RANGE_REMEDY}"),
        (torch.tensor([[0.0, 1.25]]), f"Expected `probs` in [0, 1], got values from 0 to 1.25. {RANGE_REMEDY}"),
    ],
)
def test_probabilities_are_a_matrix_between_0_and_1(probs: Tensor, text: str) -> None:
    assert_refused(lambda: probability_overlap(probs), text)


def test_unknown_words_are_refused_with_those_known() -> None:
    kind = "Expected `kind` to be 'bhattacharyya', 'product', 'coactivation' or 'topk', got 'jaccard'."
    assert_refused(lambda: probability_overlap(torch.ones(1, 1), kind="jaccard"), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", OF_MATRICES)
@pytest.mark.parametrize(
    ("similarity", "overlap", "text"),
    [
        (torch.ones(5), torch.ones(5, 5), "Expected `similarity` of shape (K, K), got (5,)."),
        (torch.ones(5, 5), torch.ones(1, 5, 5), "Expected `overlap` of shape (K, K), got (1, 5, 5)."),
        (
            torch.ones(5, 5, dtype=torch.int64),
            torch.ones(5, 5),
            f"Expected `similarity` with a floating-point dtype, got torch.int64. {DTYPE_REMEDY}",
        ),
        (
            torch.ones(5, 5),
            torch.ones(5, 5, dtype=torch.bool),
            f"Expected `overlap` with a floating-point dtype, got torch.bool. {DTYPE_REMEDY}",
        ),
        (
            torch.ones(5, 4),
            torch.ones(5, 5),
            "Expected `similarity` of shape (K, K), got (5, 4). Pass one row and one column per label.",
        ),
        (
            torch.ones(5, 5),
            torch.ones(4, 5),
            "Expected `overlap` of shape (K, K), got (4, 5). Pass one row and one column per label.",
        ),
        (
            torch.ones(5, 5),
            torch.ones(4, 4),
            "Expected `overlap` of shape (5, 5), got (4, 4). Compare matrices over the same labels.",
        ),
    ],
)
def test_compared_matrices_are_over_the_same_labels(function: str, similarity: Tensor, overlap: Tensor, text: str) -> None:
    assert_refused(lambda: OF_MATRICES[function](similarity, overlap), text)


@pytest.mark.parametrize(
    ("i", "j", "cosine", "text"),
    [
        (-1, 1, 1, "Expected `i` to be a label from 0 to 4, got -1."),
        (5, 1, 1, "Expected `i` to be a label from 0 to 4, got 5."),
        (0, -1, 1, "Expected `j` to be a label from 0 to 4, got -1."),
        (0, 5, -1, "Expected `j` to be a label from 0 to 4, got 5."),
        (0, 1, 0, "Expected `cosine` to be 1 or -1, got 0. The formula gives these two cosines only."),
        (2, 2, 1, "Expected `j` to be a label whose row differs from that of label 2, got 2 with an equal row."),
    ],
)
def test_a_witness_needs_two_labels_and_a_reachable_cosine(i: int, j: int, cosine: int, text: str) -> None:
    assert_refused(lambda: witness_translation(W, i, j, cosine=cosine), text)


def test_equal_rows_have_no_witness() -> None:
    text = "Expected `j` to be a label whose row differs from that of label 0, got 2 with an equal row."
    assert_refused(lambda: witness_translation(W[[0, 1, 0]], 0, 2, cosine=-1), text)


TENSOR_RESULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "center_labels": center_labels,
    "common_mode_ratio": common_mode_ratio,
    "raw_cosine": lambda x: label_cosine_similarity(x, centered=False),
    "centered_cosine": label_cosine_similarity,
    "logit_correlation": lambda x: logit_correlation(x, embedding_covariance=x),
    "uncentered": lambda x: logit_correlation(x, embedding_covariance=x, centered=False),
    "log_odds_variance": lambda x: log_odds_variance(x, embedding_covariance=x),
    "witness_translation": lambda x: witness_translation(x, 0, 1, cosine=1),
    "embedding_moments": lambda x: embedding_moments(x).outer,
    "probability_overlap": probability_overlap,
    "expected_overlap": lambda x: expected_overlap(x, x),
    "explained_overlap": lambda x: explained_overlap(x, x),
    "rank_agreement": lambda x: rank_agreement(x, x),
}


@pytest.mark.parametrize("function", TENSOR_RESULTS)
def test_arguments_are_left_alone_and_results_carry_no_graph(function: str) -> None:
    """A weight that trains can be passed as it is: it is neither written to nor differentiated through."""
    values = torch.rand(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    argument = values.clone().requires_grad_()
    result = TENSOR_RESULTS[function](argument)
    assert not result.requires_grad
    assert torch.equal(argument.detach(), values)
    assert result.data_ptr() != argument.data_ptr()


@pytest.mark.parametrize("function", [name for name in TENSOR_RESULTS if name != "embedding_moments"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_float64_stays_and_everything_else_becomes_float32(function: str, dtype: torch.dtype) -> None:
    """Also where the result is NaN for want of pairs."""
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    for num_labels in (6, 3):
        values = torch.rand(num_labels, num_labels, generator=torch.Generator().manual_seed(0)).to(dtype)
        assert TENSOR_RESULTS[function](values).dtype == wanted


def test_the_dtype_of_a_comparison_is_that_of_the_overlap() -> None:
    similarity, overlap = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    for function in (expected_overlap, explained_overlap, rank_agreement):
        assert function(similarity.double(), overlap).dtype == torch.float32
        assert function(similarity, overlap.double()).dtype == torch.float64


def test_the_dtype_of_a_logit_geometry_is_that_of_the_unembedding() -> None:
    for function in (logit_correlation, log_odds_variance):
        assert function(W, embedding_covariance=EYE.double()).dtype == torch.float32
        assert function(W.double(), embedding_covariance=EYE).dtype == torch.float64
