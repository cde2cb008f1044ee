"""Nearest neighbors: those that the whole matrix of cosines has, found without it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_cossim.errors import InputError
from lightning_cossim.functional import neighbors
from lightning_cossim.functional.neighbors import nearest_neighbors, seconds_of_search
from tests import reference, strategies


def generic(num_labels: int, embedding_dim: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(num_labels, embedding_dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def wanted(W: Tensor, k: int, *, centered: bool = True, live: Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    cosine = reference.cosine(W.double().numpy(), centered=centered, live=None if live is None else live.numpy())
    np.fill_diagonal(cosine, np.nan)
    cosine = np.where(np.isnan(cosine), -np.inf, cosine)
    labels = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return labels, np.take_along_axis(cosine, labels, axis=1)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("centered", [True, False])
def test_they_are_those_of_the_whole_matrix(chunk: int, centered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are cut into chunks."""
    monkeypatch.setattr(neighbors, "_CHUNK", chunk)
    W = generic(50)
    labels, cosines = wanted(W, 5, centered=centered)
    found = nearest_neighbors(W, k=5, centered=centered)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.cosines, cosines, atol=1e-12)


@given(data=st.data())
def test_of_any_head_the_cosines_are_the_largest(data: st.DataObject) -> None:
    W = torch.from_numpy(data.draw(strategies.unembeddings()))
    k = data.draw(st.integers(1, len(W) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "_CHUNK", data.draw(st.integers(1, 8)))
        found = nearest_neighbors(W, k=k)
    np.testing.assert_allclose(found.cosines, wanted(W, k)[1], atol=1e-9)


def test_labels_that_do_not_count_have_none_and_are_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither do rows that are not finite, or zero after centering."""
    monkeypatch.setattr(neighbors, "_CHUNK", 4)
    W = generic(20)
    live = torch.ones(20, dtype=torch.bool)
    live[3] = False
    W[8, 2] = torch.nan
    W[5] = W[[i for i in range(20) if i not in (3, 5, 8)]].mean(dim=0)
    found = nearest_neighbors(W, k=4, live=live)
    for label in (3, 5, 8):
        assert (found.labels[label] == -1).all()
        assert found.cosines[label].isnan().all()
        assert not (found.labels == label).any()
    labels, _ = wanted(W, 4, live=live & W.isfinite().all(dim=1))
    others = [i for i in range(20) if i not in (3, 5, 8)]
    np.testing.assert_array_equal(found.labels[others], labels[others])


def test_of_few_labels_there_are_fewer() -> None:
    found = nearest_neighbors(generic(3), k=5)
    assert found.labels.shape == (3, 5)
    assert (found.labels[:, 2:] == -1).all()
    assert found.cosines[:, 2:].isnan().all()
    assert {*found.labels[0, :2].tolist()} == {1, 2}


@pytest.mark.parametrize("num_labels", [1, 0])
def test_a_label_alone_has_none(num_labels: int) -> None:
    found = nearest_neighbors(generic(num_labels), k=2)
    assert (found.labels == -1).all()
    assert found.cosines.isnan().all()


def test_many_equal_rows_are_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "_CHUNK", 8)
    W = torch.cat([generic(1).expand(40, 6), generic(3, seed=1)])
    found = nearest_neighbors(W, k=10, centered=False)
    assert (found.cosines[:40] > 1 - 1e-9).all()
    assert (found.cosines <= 1).all()
    assert all(label not in row for label, row in enumerate(found.labels.tolist()))
    assert all(len(set(row)) == 10 for row in found.labels.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_results_have_the_dtypes_of_cosines(dtype: torch.dtype) -> None:
    found = nearest_neighbors(generic(9).to(dtype), k=2)
    assert found.cosines.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.labels.dtype == torch.int64


def test_progress_goes_from_the_first_chunk_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "_CHUNK", 5)
    told: list[float] = []
    nearest_neighbors(generic(23), k=2, progress=told.append)
    assert all(one <= other for one, other in pairwise(told))
    assert told[0] > 0
    assert told[-1] == 1


def test_a_search_that_is_short_is_not_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_of_search(generic(50)) == 0
    monkeypatch.setattr(neighbors, "_CHUNK", 5)
    assert 0 < seconds_of_search(generic(50)) < 60


def test_there_is_at_least_one_neighbor() -> None:
    with pytest.raises(InputError, match="Expected `k` to be at least 1, got 0"):
        nearest_neighbors(generic(4), k=0)
