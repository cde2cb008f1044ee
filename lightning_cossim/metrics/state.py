"""SummedMetric: a metric whose states keep their dtypes wherever it goes.

Sums over inputs stall where their dtype is too narrow, so no cast of the model around a metric may narrow them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from lightning_cossim.functional.precision import has_float64

__all__ = ["SummedMetric", "add_to"]


class SummedMetric(Metric):
    """A metric of tensors that are sums: they move with it from device to device, and their dtypes stay.

    Where a device has no float64, what is summed in float64 stays on the CPU.
    """

    is_differentiable = False
    higher_is_better = None

    @override
    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> "SummedMetric":
        super()._apply(fn, exclude_state=[*exclude_state, *self._defaults])
        device = fn(torch.empty(1, device=self.device)).device
        for name in self._defaults.keys() - set(exclude_state):
            self._defaults[name] = _moved(self._defaults[name], device)
            setattr(self, name, _moved(getattr(self, name), device))
        return self


def add_to(state: Tensor, batch: Tensor) -> Tensor:
    """The state and what a batch adds to it, in the state's dtype and on its device.

    A new tensor: a state that was reset under inference mode refuses in-place updates outside it.
    """
    return state + batch.to(state)


def _moved(state: Any, device: torch.device) -> Any:
    stays = state.dtype == torch.float64 and not has_float64(device)
    return state.to("cpu" if stays else device)
