"""SummedMetric: a metric whose states keep their dtypes wherever it goes, and are never taken for those of other settings.

Sums over inputs stall where their dtype is too narrow, so no cast of the model around a metric may narrow them.
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
"""With this begins the name of the state that says which settings a metric has."""


class SummedMetric(Metric):
    """A metric of tensors that are sums: they move with it from device to device, and their dtypes stay.

    Where a device has no float64, what is summed in float64 stays on the CPU.
    """

    is_differentiable = False
    higher_is_better = None
    quantity: str = ""
    """Its key in the table of similarities, where it is one number a pair."""

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep TorchScript from compiling the properties: `torch.jit.script` takes a model that holds the metric."""
        super().__init_subclass__(**kwargs)
        own = [name for name, _ in inspect.getmembers(cls, _is_property) if not hasattr(Metric, name)]
        cls.__jit_unused_properties__ = [*Metric.__jit_unused_properties__, *own]

    @property
    def plot_title(self) -> str:
        """Over its plot."""
        return QUANTITIES[self.quantity].title if self.quantity else ""

    @property
    @abstractmethod
    def invariances(self) -> frozenset[Symmetry]:
        """The changes of a head (`lightning_cossim.functional.symmetries`) that leave what `compute` returns unchanged."""

    def add_settings(self, *settings: object) -> None:
        """Tell the metric from those with other settings; called once the other states are there, a second call replaces a first.

        After the first batch a `MetricCollection` merges metrics whose states have equal names and values, and then updates only
        one of them. Metrics with other settings may have equal states then by chance. So the name of one more state, a zero, is
        made of the settings and of the `update` that uses them. torchmetrics 1.4 compares all names, but only the first value.

        Args:
            settings: values whose `repr` tells them apart.
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
        """Bring the states of all processes together, until `unsync`. Every process has to call it, at the same time.

        Args:
            dist_sync_fn: gathers a state; default the one that the metric was built with, as in `compute`.
            process_group: those that take part; default the one that the metric was built with, else all.
            should_sync: whether to do anything.
            distributed_available: tells whether there are other processes; default the one that the metric was built with.

        Raises:
            TorchMetricsUserError: the states are synced already.
        """
        super().sync(dist_sync_fn or self.dist_sync_fn, process_group, should_sync, distributed_available)

    @override
    def plot(
        self,
        val: Tensor | Sequence[Tensor] | None = None,
        ax: "Axes | None" = None,
        names: Sequence[str] | None = None,
    ) -> tuple["Figure", "Axes"]:
        """A heatmap of the value, red above zero and blue below.

        Args:
            val: (L, L), as `compute` or `forward` return it; default what `compute` returns now. Of several, a sequence or
                (S, L, L), one a step, the last is drawn, and the title says so.
            ax: what to draw on; default a new figure of pyplot.
            names: (L,), what the labels are called; default their numbers.

        Raises:
            InputError: `val` is no square matrix and no sequence of such, or there are more or fewer names than it has rows.
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
                wanted, got = "to put metrics with equal settings together", f"a {type(self).__name__} with the states of another"
                raise InputError(expected("compute_groups", wanted, got, "Leave the groups to MetricCollection."))
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
    """The state and what a batch adds to it, in the state's dtype and on its device.

    A new tensor: a state that was reset under inference mode refuses in-place updates outside it.
    """
    return state + batch.to(state)


def writable(state: Tensor) -> Tensor:
    """The state, for updates in place: itself, but for one that was reset under inference mode and is used outside it."""
    return state.clone() if state.is_inference() and not torch.is_inference_mode_enabled() else state


def _on_the_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, in which tensors that name no device are on the CPU, whatever device the user has made the default."""

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
    stays = state.dtype == torch.float64 and not has_float64(device)
    return state.to("cpu" if stays else device)
