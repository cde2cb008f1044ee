"""Statistics of many vectors at once are those of each alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim.functional.comparison import Comparison
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.repeated import SortedRows, explained_shares, medians, rank_agreements

NUM_LABELS = 9
ROWS = 5


def vectors(*, ties: bool, seed: int) -> Tensor:
    values = torch.rand(ROWS, len(Pairs.of_all(NUM_LABELS)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (values * 8).round() / 8 if ties else values.round(decimals=5)


def pairs_of(*, weighted: bool) -> Pairs:
    pairs = Pairs.of_all(NUM_LABELS)
    weight = torch.randint(1, 5, (len(pairs),), generator=torch.Generator().manual_seed(2)).double()
    return Pairs(pairs.row, pairs.column, weight if weighted else None)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("is_fixed", [False, True])
def test_every_row_has_the_statistics_that_it_has_alone(*, weighted: bool, ties: bool, is_fixed: bool) -> None:
    """Similarities that are the same for all rows, or differ from row to row."""
    pairs = pairs_of(weighted=weighted)
    weight = None if pairs.weight is None else pairs.weight.numpy()
    similarity, overlap = vectors(ties=ties, seed=0), vectors(ties=ties, seed=1)
    similarity = similarity[:1] if is_fixed else similarity
    overlap = 0.5 * overlap + 0.5 * similarity
    alone = [Comparison(s_P, o_P, pairs) for s_P, o_P in zip(similarity.expand_as(overlap), overlap, strict=True)]
    of_similarity, of_overlap = SortedRows.of(similarity.numpy()), SortedRows.of(overlap.numpy())
    agreement = rank_agreements(of_similarity.ranks(weight), of_overlap.ranks(weight), weight)
    np.testing.assert_allclose(agreement, [one.rank_agreement.value for one in alone])
    of_every_row = of_similarity.repeated(ROWS) if is_fixed else of_similarity
    explained = explained_shares(of_every_row, overlap.numpy(), weight)
    np.testing.assert_allclose(explained, [one.explained.value for one in alone])


@pytest.mark.parametrize("num_values", [35, 36])
def test_medians_count_pairs_by_what_they_stand_for(num_values: int) -> None:
    """Against NumPy's, of as many copies."""
    values = vectors(ties=False, seed=0)[:, :num_values].numpy()
    counts = np.arange(num_values) % 4 + 1
    np.testing.assert_allclose(medians(values, counts.astype(float)), np.median(np.repeat(values, counts, axis=1), axis=1))
    np.testing.assert_allclose(medians(values, None), np.median(values, axis=1))


def test_an_increasing_function_is_explained_whole() -> None:
    similarity = vectors(ties=False, seed=0)
    assert explained_shares(SortedRows.of(similarity.numpy()), similarity.numpy() ** 3, None).tolist() == [1.0] * ROWS
