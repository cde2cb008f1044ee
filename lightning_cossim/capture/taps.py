"""Where logits and embeddings come from: the calls of a module, or a function of the user's."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_cossim.capture.head import num_writes
from lightning_cossim.capture.layers import plain_name
from lightning_cossim.errors import HeadError, InputError, did_you_mean, expected, in_one_line

__all__ = ["OWN_FORWARD", "Call", "FunctionTap", "Source", "Tap", "first_input", "in_words", "taps_of"]

Call = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Arguments, arguments by name, and output."""
Source = str | Callable[[Any], Any]
"""Dotted path of a module whose output is meant, `OWN_FORWARD`, or a function of the LightningModule, asked after its
forward pass."""
OWN_FORWARD: Final = "forward"
"""The path that means the LightningModule itself."""


class NoRoomForACopy:
    """What a tap keeps of an output that it could not copy."""


def _nothing() -> int:
    return 0


def first_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What goes into a layer of torch's."""
    return args[0] if args else kwargs.get("input")


class Tap:
    """Sees the last call of a module while armed; never touches it.

    The hook tests one flag and writes one slot, so that it stays cheap and `torch.compile` takes it in. It returns None: anything
    else would replace the module's output.

    Args:
        module: which module.
        count: how often what is watched beside input and output has been written in place.
        pick: what of a call is the input.
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
        """How often input and the rest had been written at the call; None where a compiled graph does not tell."""
        self.in_half = False
        """Whether the call was rounded to half precision, whatever comes out; False where a compiled graph does not tell."""
        self.num_calls = 0
        """Calls since it was armed; 0 where a compiled graph does not tell."""
        self.call_before: Call | None = None
        """The call before the last one since it was armed."""
        self._handle: RemovableHandle = module.register_forward_hook(self._hook, with_kwargs=True)

    @override
    def __getstate__(self) -> dict[str, Any]:
        """A copy of the model, a saved one too, takes its hooks along: those of a copy see nothing, and hold nothing."""
        return {**self.__dict__, "armed": False, "call": None, "call_before": None, "_count": _nothing}

    def arm(self) -> None:
        """The calls from now on count."""
        self.armed, self.num_calls = True, 0

    def disarm(self) -> None:
        """See nothing until armed again, and forget what was seen."""
        self.armed, self.call, self.call_before = False, None, None

    def detach(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._handle.remove()
        self.disarm()

    # torch passes the module, too
    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:  # noqa: ARG002
        if self.armed:
            self.writes, self.in_half = None, False
            if not torch.compiler.is_compiling():
                given = self.pick(args, kwargs)
                self.writes = num_writes(given), self._count()
                self.in_half = isinstance(given, Tensor) and _is_rounding(given.device.type)
                if isinstance(output, Tensor) and output.is_inference():  # it keeps no count of what is written into it later
                    output = _copied(output)
                self.num_calls, self.call_before = self.num_calls + 1, self.call
            self.call = (args, kwargs, output)


def _is_rounding(device_type: str) -> bool:
    """Whether products on a kind of device are in half precision now; not every kind knows of that."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def _copied(output: Tensor) -> Any:
    """A copy; this runs within the user's forward pass, which must not fail for want of memory."""
    try:
        return output.clone()
    except Exception:  # noqa: BLE001 - whatever it is, it must not get out
        return NoRoomForACopy()


class ForwardTap(Tap):
    """Sees the LightningModule's own `forward`, and not the step that a strategy runs in its place (DDP)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._depth, self._deepest = 0, 0
        self._entering: RemovableHandle = module.register_forward_pre_hook(self._enter)

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
    """The answers of a user's function, in the form of a tap."""

    def __init__(self, argument: str, ask: Callable[[Any], Any], model: nn.Module) -> None:
        self._argument, self._ask, self._model = argument, ask, model
        self.armed = False
        self.writes: tuple[int, int] | None = None
        self.in_half = False

    @property
    def call(self) -> Call | None:
        """The answer of now, in the place of an output.

        Raises:
            InputError: the function fails.
        """
        try:
            answer = self._ask(self._model) if self.armed else None
        except Exception as error:
            wanted = "to be a function that gives a tensor of the LightningModule"
            remedy = "It is called after the forward pass."
            raise InputError(expected(self._argument, wanted, in_one_line(error), remedy)) from error
        return None if answer is None else ((), {}, answer)

    def arm(self) -> None:
        """The next call counts."""
        self.armed = True

    def disarm(self) -> None:
        """Not to be asked until armed again."""
        self.armed = False

    def detach(self) -> None:
        """The same; there is no hook."""
        self.armed = False


def module_of(model: nn.Module, path: str, argument: str) -> nn.Module:
    """The module that an argument of the monitor means.

    Raises:
        HeadError: none has this path.
    """
    if path == OWN_FORWARD:
        return model
    modules: dict[str, nn.Module] = {plain_name(name): module for name, module in model.named_modules(remove_duplicate=False)}
    if plain_name(path) not in modules:
        got = f"{path!r}, which is not there"
        raise HeadError(expected(argument, "to be the dotted path of a module", got, did_you_mean(path, modules)))
    return modules[plain_name(path)]


def taps_of(model: nn.Module, **sources: Source | None) -> "list[Tap | FunctionTap | None]":
    """What tells of each source, by the name of its argument; None where there is none. Hooks are there only if all are.

    Raises:
        HeadError: no module has the path that one says.
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
    """How a source is called."""
    return source if isinstance(source, str) else f"{getattr(source, '__name__', type(source).__name__)}()"
