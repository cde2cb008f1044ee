"""SummedMetric: a metric whose states keep their dtypes wherever it goes.

Sums over inputs stall where their dtype is too narrow, so no cast of the model around a metric may narrow them.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.precision import has_float64
from lightning_cossim.functional.similarities import QUANTITIES
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.report.plots import axes_for, draw_heatmap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SummedMetric", "add_to", "writable"]


class SummedMetric(Metric):
    """A metric of tensors that are sums: they move with it from device to device, and their dtypes stay.

    Where a device has no float64, what is summed in float64 stays on the CPU.
    """

    is_differentiable = False
    higher_is_better = None
    quantity: str = ""
    """Its key in the table of similarities, where it is one number a pair."""

    @property
    def plot_title(self) -> str:
        """Over its plot."""
        return QUANTITIES[self.quantity].title if self.quantity else ""

    @property
    @abstractmethod
    def invariances(self) -> frozenset[Symmetry]:
        """The changes of a head (`lightning_cossim.functional.symmetries`) that leave what `compute` returns unchanged."""

    @override
    def plot(
        self, val: Tensor | None = None, ax: "Axes | None" = None, names: Sequence[str] | None = None
    ) -> tuple["Figure", "Axes"]:
        """A heatmap of the value, red above zero and blue below.

        Args:
            val: (L, L), as `compute` or `forward` return it; default what `compute` returns now.
            ax: what to draw on; default a new figure of pyplot.
            names: (L,), what the labels are called; default their numbers.

        Raises:
            InputError: `val` is no square matrix, or there are more or fewer names than it has rows.
        """
        matrix = self.compute() if val is None else val
        if not isinstance(matrix, Tensor) or matrix.ndim != 2 or len(matrix) != matrix.shape[1]:
            got = tuple(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
            raise InputError(expected("val", "of shape (L, L)", got, "Pass what `compute` returns."))
        shown = list(map(str, range(len(matrix)))) if names is None else list(names)
        if len(shown) != len(matrix):
            raise InputError(expected("names", f"to name the {len(matrix)} rows", f"{len(shown)} names"))
        figure, ax = axes_for(ax)
        figure.colorbar(draw_heatmap(ax, matrix, shown, title=self.plot_title), ax=ax)
        return figure, ax

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


def writable(state: Tensor) -> Tensor:
    """The state, for updates in place: itself, but for one that was reset under inference mode and is used outside it."""
    return state.clone() if state.is_inference() and not torch.is_inference_mode_enabled() else state


def _moved(state: Any, device: torch.device) -> Any:
    stays = state.dtype == torch.float64 and not has_float64(device)
    return state.to("cpu" if stays else device)
