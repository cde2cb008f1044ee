"""Taps: record the calls of a module, or call a user's function, to get logits and embeddings."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_cossim.capture.head import num_writes
from lightning_cossim.capture.hooks import hooked
from lightning_cossim.capture.layers import plain_name
from lightning_cossim.errors import HeadError, InputError, did_you_mean, expected, in_one_line

__all__ = ["OWN_FORWARD", "Call", "FunctionTap", "Source", "Tap", "first_input", "in_words", "taps_of"]

Call = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Positional arguments, keyword arguments, and output of a call."""
Source = str | Callable[[Any], Any]
"""The dotted path of a module whose output is used, `OWN_FORWARD`, or a function that takes the LightningModule and returns a
tensor. The function is called after the forward pass."""
OWN_FORWARD: Final = "forward"
"""The path that means the output of the LightningModule's own `forward`."""


class NoRoomForACopy:
    """Replaces an output that a tap cannot copy."""


def _nothing() -> int:
    return 0


def first_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The input of a torch layer: the first positional argument, else the keyword argument `input`, else None."""
    return args[0] if args else kwargs.get("input")


class Tap:
    """Records the last call of a module while armed. It never changes the call.

    The hook is cheap: it tests a flag and assigns attributes, so `torch.compile` can include it in a graph. The hook returns
    None, because any other value would replace the output of the module.

    Args:
        module: the module.
        count: returns the number of in-place writes to other tensors, for example to the weights.
        pick: returns the input from the positional and keyword arguments of a call.
    """

    def __init__(
        self,
        module: nn.Module,
        count: Callable[[], int] = _nothing,
        pick: Callable[[tuple[Any, ...], Mapping[str, Any]], Any] = first_input,
    ) -> None:
        self.module, self._count, self.pick = module, count, pick
        self.armed = False
        self.call: Call | None = None
        self.writes: tuple[int, int] | None = None
        """The numbers of in-place writes to the input and to the other tensors at the call; None inside a compiled graph."""
        self.in_half = False
        """Whether autocast rounded the call to half precision, for any output dtype; False inside a compiled graph."""
        self.num_calls = 0
        """The number of calls since the tap was armed; 0 inside a compiled graph."""
        self.call_before: Call | None = None
        """The second-to-last call since the tap was armed."""
        self.failure: Exception | None = None
        """The exception that ended the recording since the tap was armed. It must not reach the user's forward pass."""
        self._handle: RemovableHandle = hooked(module.register_forward_hook, self._hook, with_kwargs=True)

    @override
    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy. A copied or pickled model includes its hooks, so the copy records nothing and holds nothing."""
        return {**self.__dict__, "armed": False, "call": None, "call_before": None, "_count": _nothing}

    def arm(self) -> None:
        """Record the calls from now on."""
        self.armed, self.num_calls, self.failure = True, 0, None

    def disarm(self) -> None:
        """Record nothing until armed again, and discard the recorded calls."""
        self.armed, self.call, self.call_before = False, None, None

    def detach(self) -> None:
        """Remove the hook. A second call does nothing."""
        self._handle.remove()
        self.disarm()

    # torch passes the module to the hook, which does not need it.
    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:  # noqa: ARG002
        if self.armed:
            self.writes, self.in_half = None, False
            if not torch.compiler.is_compiling():
                try:
                    output = self._examined(args, kwargs, output)
                except Exception as error:  # noqa: BLE001 - see `failure`
                    self.disarm()
                    self.failure = error.with_traceback(None)
                    return
            self.call = (args, kwargs, output)

    def _examined(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The output to record, after everything that is known of the call outside a compiled graph is set."""
        given = self.pick(args, kwargs)
        self.writes = num_writes(given), self._count()
        self.in_half = isinstance(given, Tensor) and _is_rounding(given.device.type)
        self.num_calls, self.call_before = self.num_calls + 1, self.call
        is_inference = isinstance(output, Tensor) and output.is_inference()
        return _copied(output) if is_inference else output  # inference tensors do not count in-place writes


def _is_rounding(device_type: str) -> bool:
    """Whether autocast now rounds products to half precision on a device type. Some device types have no autocast."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def _copied(output: Tensor) -> Any:
    """A copy of the output; `NoRoomForACopy` if copying fails, because an error here would stop the user's forward pass."""
    try:
        return output.clone()
    except Exception:  # noqa: BLE001 - no exception may reach the user's forward pass
        return NoRoomForACopy()


class ForwardTap(Tap):
    """Records the LightningModule's own `forward`, not the training step that a strategy (DDP) runs in place of `forward`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._depth, self._deepest = 0, 0
        self._entering: RemovableHandle = hooked(module.register_forward_pre_hook, self._enter)

    @override
    def arm(self) -> None:
        super().arm()
        self._depth, self._deepest = 0, 0

    @override
    def detach(self) -> None:
        super().detach()
        self._entering.remove()

    def _enter(self, *_: Any) -> None:
        if self.armed and not torch.compiler.is_compiling():
            self._depth += 1
            self._deepest = max(self._depth, self._deepest)

    @override
    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self.armed and not torch.compiler.is_compiling():
            self._depth -= 1
            if self._depth + 1 < self._deepest:
                return
        super()._hook(module, args, kwargs, output)


class FunctionTap:
    """Calls a user's function and has the interface of a `Tap`.

    Args:
        argument: the argument of the monitor that holds the function, for errors.
        ask: the function. It takes the LightningModule and returns a tensor, or None.
        model: the LightningModule.
    """

    def __init__(self, argument: str, ask: Callable[[Any], Any], model: nn.Module) -> None:
        self._argument, self._ask, self._model = argument, ask, model
        self.armed = False
        self.writes: tuple[int, int] | None = None
        self.in_half = False
        self.failure: Exception | None = None

    @property
    def call(self) -> Call | None:
        """A call whose output is the current result of the function; None if the tap is not armed or the function returns None.

        Raises:
            InputError: the function fails.
        """
        try:
            answer = self._ask(self._model) if self.armed else None
        except Exception as error:
            wanted = "to be a function that takes the LightningModule and returns a tensor"
            remedy = "The monitor calls it after the forward pass."
            raise InputError(expected(self._argument, wanted, in_one_line(error), remedy)) from error
        return None if answer is None else ((), {}, answer)

    def arm(self) -> None:
        """Allow calls of the function."""
        self.armed = True

    def disarm(self) -> None:
        """Do not call the function until armed again."""
        self.armed = False

    def detach(self) -> None:
        """Disarm. There is no hook to remove."""
        self.armed = False


def module_of(model: nn.Module, path: str, argument: str) -> nn.Module:
    """The module at a dotted path; the model itself for `OWN_FORWARD`.

    Args:
        model: the LightningModule.
        path: the dotted path, or `OWN_FORWARD`.
        argument: the argument of the monitor that holds the path, for errors.

    Raises:
        HeadError: no module has this path.
    """
    if path == OWN_FORWARD:
        return model
    modules: dict[str, nn.Module] = {plain_name(name): module for name, module in model.named_modules(remove_duplicate=False)}
    if plain_name(path) not in modules:
        got = f"{path!r}, which does not exist"
        raise HeadError(expected(argument, "to be the dotted path of a module", got, did_you_mean(path, modules)))
    return modules[plain_name(path)]


def taps_of(model: nn.Module, **sources: Source | None) -> "list[Tap | FunctionTap | None]":
    """A tap for each source, in the order of the arguments; None for a source that is None.

    All paths are checked before the first hook is registered.

    Args:
        model: the LightningModule.
        **sources: each source, by the name of its argument.

    Raises:
        HeadError: a path does not exist.
    """
    modules = {name: module_of(model, source, name) for name, source in sources.items() if isinstance(source, str)}
    return [
        (ForwardTap if source == OWN_FORWARD else Tap)(modules[name])
        if name in modules
        else None
        if source is None or isinstance(source, str)
        else FunctionTap(name, source, model)
        for name, source in sources.items()
    ]


def in_words(source: Source) -> str:
    """The name of a source in messages: its path, or the function's name with parentheses."""
    return source if isinstance(source, str) else f"{getattr(source, '__name__', type(source).__name__)}()"
