"""Statistics of many vectors at once are those of each alone."""

import pytest
import torch
from torch import Tensor

from lightning_cossim.functional.comparison import Comparison
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.repeated import SortedRows, explained_shares, rank_agreements

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
    weight = torch.ones(len(pairs), dtype=torch.float64) if pairs.weight is None else pairs.weight
    similarity, overlap = vectors(ties=ties, seed=0), vectors(ties=ties, seed=1)
    similarity = similarity[:1] if is_fixed else similarity
    overlap = 0.5 * overlap + 0.5 * similarity
    alone = [Comparison(s_P, o_P, pairs) for s_P, o_P in zip(similarity.expand_as(overlap), overlap, strict=True)]
    of_similarity, of_overlap = SortedRows.of(similarity), SortedRows.of(overlap)
    agreement = rank_agreements(of_similarity.ranks(weight), of_overlap.ranks(weight), weight)
    torch.testing.assert_close(agreement, torch.stack([one.rank_agreement.value for one in alone]))
    explained = explained_shares(of_similarity.expand(ROWS), overlap, weight)
    torch.testing.assert_close(explained, torch.stack([one.explained.value for one in alone]))


def test_an_increasing_function_is_explained_whole() -> None:
    similarity = vectors(ties=False, seed=0)
    weight = torch.ones(similarity.shape[1], dtype=torch.float64)
    assert explained_shares(SortedRows.of(similarity), similarity**3, weight).tolist() == [1.0] * ROWS
