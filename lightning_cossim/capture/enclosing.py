"""Enclosing: what the modules that contain a head give, seen for one batch.

Hooks on these modules exist only while armed, so that other batches run as without them. Modules inside a compiled graph have
none: its outermost module stands for all of them.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_cossim.capture.head import num_writes
from lightning_cossim.capture.layers import plain_name
from lightning_cossim.capture.model_outputs import tensors_in
from lightning_cossim.capture.taps import Call, Tap

__all__ = ["EnclosingOutputs"]


class EnclosingOutputs:
    """Outputs of the modules around a module, each of a forward pass in which that one was called.

    Args:
        model: the outermost module.
        tap: sees the calls of the inner module.
        module: the inner module.
    """

    def __init__(self, model: nn.Module, tap: Tap, module: nn.Module) -> None:
        around = {name: outer for name, outer in model.named_modules() if outer is not module and _contains(outer, module)}
        inside = [outer for outer in around.values() if _is_compiled_in_place(outer)]
        inside = [part for graph in inside for part in graph.children()]
        wrapped: list[Any] = [getattr(outer, "_orig_mod", None) for outer in around.values()]
        inside += [part for part in wrapped if part is not None]
        self._modules = {name: outer for name, outer in around.items() if not any(_contains(part, outer) for part in inside)}
        self._tap = tap
        self._passages: dict[str, _Passage] = {}
        self._taps: dict[str, Tap] = {}
        """Of a LightningModule that is compiled: its steps are graphs, which take in only hooks that were there before."""
        if getattr(model, "_compiler_ctx", None) is not None:
            self._modules, self._taps = {}, {name: Tap(outer) for name, outer in around.items()}

    def arm(self, *, is_first: bool) -> None:
        """See the outputs that come next, until `disarm`.

        Args:
            is_first: whether the observation is the first of its window. Later ones arm only the hooks within a graph, which go
                together with the head's, so that there are two graphs and not three.
        """
        for tap in self._taps.values():
            tap.arm()
        if is_first and not self._passages:
            self._passages = {name: _Passage(module, self._tap) for name, module in self._modules.items()}

    def outputs(self) -> dict[str, dict[str, Tensor]]:
        """Path to the tensors in its output, the outermost module first; without those that were written into since."""
        outputs = {plain_name(name): passage.outputs() for name, passage in self._passages.items()}
        outputs |= {plain_name(name): tensors_in(tap.call[2]) for name, tap in self._taps.items() if tap.call is not None}
        return {name: tensors for name, tensors in outputs.items() if tensors}

    def disarm(self) -> None:
        """Remove the hooks, and forget what was seen; a second call does nothing."""
        for passage in self._passages.values():
            passage.detach()
        self._passages = {}
        for tap in self._taps.values():
            tap.disarm()

    def detach(self) -> None:
        """Remove all hooks; a second call does nothing."""
        self.disarm()
        for tap in self._taps.values():
            tap.detach()


class _Passage:
    """The last forward pass of a module in which another one was called."""

    def __init__(self, module: nn.Module, inner: Tap) -> None:
        self._inner: Tap | None = inner
        self._before: list[Call | None] = []
        """The last call of the other one before each pass of this module that has not ended."""
        self._recorded: Call | None = None
        """The call of the other one to which the output belongs."""
        self._seen: dict[str, tuple[Tensor, int]] = {}
        """Tensors in its output, and how often each had been written into."""
        # Hooks of a module that is compiled in place run beside its graph, and what they call would be compiled too.
        plain: Any = torch.compiler.disable if _is_compiled_in_place(module) else lambda hook: hook
        self._handles: list[RemovableHandle] = [
            module.register_forward_pre_hook(plain(self._enter)),
            module.register_forward_hook(plain(self._leave)),
        ]

    @override
    def __getstate__(self) -> dict[str, Any]:
        """A copy of the model takes its hooks along: those of a copy see nothing, and hold nothing."""
        return {"_inner": None, "_before": [], "_recorded": None, "_seen": {}, "_handles": []}

    def outputs(self) -> dict[str, Tensor]:
        """The tensors in its output that are still what they were."""
        return {name: tensor for name, (tensor, writes) in self._seen.items() if num_writes(tensor) == writes}

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._seen, self._before, self._recorded = {}, [], None

    def _enter(self, *_: Any) -> None:
        if not torch.compiler.is_compiling() and self._inner is not None:
            self._before.append(self._inner.call)

    def _leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or self._inner is None or not self._before:
            return
        call, before = self._inner.call, self._before.pop()
        # A pass around one that was seen is a step, which a strategy runs in the place of `forward`.
        if call is before or call is self._recorded:
            return
        self._recorded = call
        with contextlib.suppress(Exception):  # somebody else's class may do anything when asked, and memory may be short
            tensors = tensors_in(output)
            # One made under inference mode keeps no count of what is written into it later.
            kept = {name: tensor.clone() if tensor.is_inference() else tensor for name, tensor in tensors.items()}
            self._seen = {name: (tensor, num_writes(tensor)) for name, tensor in kept.items()}


def _is_compiled_in_place(module: nn.Module) -> bool:
    """Whether `module.compile()` was called."""
    return getattr(module, "_compiled_call_impl", None) is not None


def _contains(outer: nn.Module, inner: nn.Module) -> bool:
    return any(part is inner for part in outer.modules())
