"""How processes come to one snapshot; real ones do in `tests/callback/test_processes.py`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_cossim.metrics import snapshot


def gathering(others: list[Tensor]) -> Callable[[Tensor, Any], list[Tensor]]:
    """Stands for the collective: this process's tensor before those of the others, each asked for the same thing."""

    def gather(tensor: Tensor, group: Any = None) -> list[Tensor]:
        if tensor.ndim == 0:
            return [tensor, *(torch.tensor(int(other.dtype == torch.float64)) for other in others)]
        return [tensor, *(other.to(tensor.dtype) for other in others)]

    return gather


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(0, 0), (5, 3)])
def test_a_process_that_saw_nothing_takes_shape_and_dtype_from_the_others(
    dtype: torch.dtype, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has float32, and where the shape is not given beforehand an empty tensor; the snapshot comes out as it was taken."""
    taken = torch.randn(5, 3, dtype=dtype)
    unseen = torch.full(shape, torch.nan)
    for mine, other in ((unseen, taken), (taken, unseen)):
        monkeypatch.setattr(snapshot, "gather_all_tensors", gathering([other]))
        gathered = snapshot.gather_snapshots(mine)
        assert all(one.shape == (5, 3) and one.dtype == dtype for one in gathered)
        assert torch.equal(snapshot.first_seen(torch.stack(gathered)), taken)


def test_other_states_are_gathered_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "gather_all_tensors", lambda tensor, group: [tensor, tensor + 1])
    for state in (torch.tensor(3), torch.tensor([1, 2]), torch.tensor([[1, 2]]), torch.tensor([1.5], dtype=torch.float64)):
        mine, other = snapshot.gather_snapshots(state)
        assert torch.equal(mine, state)
        assert torch.equal(other, state + 1)
        assert mine.dtype == state.dtype
