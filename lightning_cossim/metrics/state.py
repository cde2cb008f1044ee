"""SummedMetric: a metric whose states keep their dtypes, and are never shared with a metric of other settings.

A sum over many inputs stops growing if its dtype has too few bits. So a cast of the model that contains the metric must not cast
the states.
"""

import functools
import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.precision import has_float64
from lightning_cossim.functional.similarities import QUANTITIES
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.report.plots import axes_for, draw_heatmap, last_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SummedMetric", "add_to", "writable"]

_SETTINGS: Final = "settings_"
"""Prefix of the name of the state that identifies the settings of a metric."""


class SummedMetric(Metric):
    """Base of all metrics here. Its states move between devices with the metric and keep their dtypes.

    If a device has no float64, the float64 states stay on the CPU.
    """

    is_differentiable = False
    higher_is_better = None
    quantity: str = ""
    """Its key in the table of similarities; empty if the metric gives more than one number per pair."""

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Exclude the properties from TorchScript, so that `torch.jit.script` accepts a model that contains the metric."""
        super().__init_subclass__(**kwargs)
        own = [name for name, _ in inspect.getmembers(cls, _is_property) if not hasattr(Metric, name)]
        cls.__jit_unused_properties__ = [*Metric.__jit_unused_properties__, *own]

    @property
    def plot_title(self) -> str:
        """The title of the plot; empty if the metric has no `quantity`."""
        return QUANTITIES[self.quantity].title if self.quantity else ""

    @property
    @abstractmethod
    def invariances(self) -> frozenset[Symmetry]:
        """The changes of a head (`lightning_cossim.functional.symmetries`) that leave what `compute` returns unchanged."""

    def add_settings(self, *settings: object) -> None:
        """Add a state whose name identifies the settings. Call this method last; a second call replaces the first.

        After the first batch, a `MetricCollection` groups metrics whose states have equal names and values, and from then on
        updates only one of each group. Metrics with different settings can have equal values by chance. So this method adds one
        more state, a zero, and derives its name from the settings and from the `update` method that uses them. torchmetrics 1.4
        compares all names, but only the value of the first state.

        Args:
            settings: values; different settings must have different `repr` texts.
        """
        for before in [name for name in self._defaults if name.startswith(_SETTINGS)]:
            for names in (self._defaults, self._persistent, self._reductions, vars(self)):
                del names[before]
        owner = next(kind for kind in type(self).__mro__ if "update" in vars(kind))
        told = repr((owner.__module__, owner.__qualname__, *settings))
        name = f"{_SETTINGS}{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")

    @override
    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[..., Any] | None = None,
    ) -> None:
        """Replace the states by their reduction over all processes, until `unsync`. All processes must call it together.

        Args:
            dist_sync_fn: a function that gathers a state from all processes; default the metric's own, as in `compute`.
            process_group: the processes to gather from; default the metric's own group, or all processes if it has none.
            should_sync: whether to synchronize; if False, this method does nothing.
            distributed_available: a function that returns whether other processes exist; default the metric's own.

        Raises:
            TorchMetricsUserError: the states are already synchronized.
        """
        super().sync(dist_sync_fn or self.dist_sync_fn, process_group, should_sync, distributed_available)

    @override
    def plot(
        self,
        val: Tensor | Sequence[Tensor] | None = None,
        ax: "Axes | None" = None,
        names: Sequence[str] | None = None,
    ) -> tuple["Figure", "Axes"]:
        """Plot the matrix as a heatmap, red above zero and blue below.

        Args:
            val: (L, L), as `compute` or `forward` return it; default the current result of `compute`. If you pass a sequence of
                matrices or (S, L, L), one per step, the last one is plotted, and the title states that.
            ax: the axes to draw on; default a new pyplot figure.
            names: L names of the labels; default their numbers.

        Returns:
            The figure and the axes.

        Raises:
            InputError: `val` is not a square matrix or a sequence of square matrices, or the number of names differs from L.
        """
        matrix, step = last_matrix(self.compute() if val is None else val)
        shown = list(map(str, range(len(matrix)))) if names is None else list(names)
        if len(shown) != len(matrix):
            raise InputError(expected("names", f"to name the {len(matrix)} rows", f"{len(shown)} names"))
        figure, ax = axes_for(ax)
        figure.colorbar(draw_heatmap(ax, matrix, shown, title=f"{self.plot_title}{step}"), ax=ax)
        return figure, ax

    @override
    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        return super()._wrap_update(_on_the_cpu(update))

    @override
    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(compute)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if [name for name in vars(self) if name.startswith(_SETTINGS) and name not in self._defaults]:
                wanted, got = "to group metrics with equal settings", f"a {type(self).__name__} with the states of another metric"
                remedy = "Remove `compute_groups`: MetricCollection finds the groups itself."
                raise InputError(expected("compute_groups", wanted, got, remedy))
            return compute(*args, **kwargs)

        return super()._wrap_compute(_on_the_cpu(checked))

    @override
    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> "SummedMetric":
        super()._apply(fn, exclude_state=[*exclude_state, *self._defaults])
        device = fn(torch.empty(1, device=self.device)).device
        for name in self._defaults.keys() - set(exclude_state):
            self._defaults[name] = _moved(self._defaults[name], device)
            setattr(self, name, _moved(getattr(self, name), device))
        return self


def add_to(state: Tensor, batch: Tensor) -> Tensor:
    """The state plus the sums of a batch, in the dtype and on the device of the state.

    The result is a new tensor, because a state that was reset in inference mode does not allow in-place updates outside of it.
    """
    return state + batch.to(state)


def writable(state: Tensor) -> Tensor:
    """A tensor for in-place updates: the state itself, or a copy if it was reset in inference mode and is used outside of it."""
    return state.clone() if state.is_inference() and not torch.is_inference_mode_enabled() else state


def _on_the_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that tensors without an explicit device are created on the CPU, for any default device of the user."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if torch.get_default_device().type == "cpu":
            return function(*args, **kwargs)
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return run


def _is_property(member: object) -> bool:
    return isinstance(member, property)


def _moved(state: Any, device: torch.device) -> Any:
    """The state on a device; float64 states stay on the CPU if the device has no float64."""
    stays = state.dtype == torch.float64 and not has_float64(device)
    return state.to("cpu" if stays else device)
