"""Enclosing: record the outputs of the modules that contain a head, for one batch.

Hooks on these modules exist only while armed, so other batches run without hooks. Modules inside a compiled graph get no hooks:
only the outermost module of the graph is recorded.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_cossim.capture.head import num_writes
from lightning_cossim.capture.hooks import hooked
from lightning_cossim.capture.layers import plain_name
from lightning_cossim.capture.model_outputs import tensors_in
from lightning_cossim.capture.taps import Call, Tap

__all__ = ["EnclosingOutputs"]


class EnclosingOutputs:
    """Records the outputs of the modules that contain an inner module, for forward passes that call the inner module.

    Args:
        model: the outermost module.
        tap: the tap that records the calls of the inner module.
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
        """Permanent taps, used only for a compiled LightningModule. Its steps are graphs, which include only hooks that exist at
        compilation."""
        if getattr(model, "_compiler_ctx", None) is not None:
            self._modules, self._taps = {}, {name: Tap(outer) for name, outer in around.items()}

    def arm(self, *, is_first: bool) -> None:
        """Record the next outputs, until `disarm`.

        Args:
            is_first: whether the observation is the first of its window. Later observations arm only the hooks inside a compiled
                graph. These hooks are armed together with the hook of the head, so there are two graphs instead of three.
        """
        for tap in self._taps.values():
            tap.arm()
        if is_first and not self._passages:
            self._passages = {name: _Passage(module, self._tap) for name, module in self._modules.items()}

    def outputs(self) -> dict[str, dict[str, Tensor]]:
        """The output tensors of each module by its path, the outermost module first.

        Tensors that were written in place since the call are left out.
        """
        outputs = {plain_name(name): passage.outputs() for name, passage in self._passages.items()}
        outputs |= {plain_name(name): tensors_in(tap.call[2]) for name, tap in self._taps.items() if tap.call is not None}
        return {name: tensors for name, tensors in outputs.items() if tensors}

    def disarm(self) -> None:
        """Remove the temporary hooks and discard the recorded outputs. A second call does nothing."""
        for passage in self._passages.values():
            passage.detach()
        self._passages = {}
        for tap in self._taps.values():
            tap.disarm()

    def detach(self) -> None:
        """Remove all hooks. A second call does nothing."""
        self.disarm()
        for tap in self._taps.values():
            tap.detach()


class _Passage:
    """Records the last forward pass of a module during which an inner module was called."""

    def __init__(self, module: nn.Module, inner: Tap) -> None:
        self._inner: Tap | None = inner
        self._before: list[Call | None] = []
        """For each unfinished pass of this module: the last call of the inner module before the pass."""
        self._recorded: Call | None = None
        """The call of the inner module that belongs to the recorded output."""
        self._seen: dict[str, tuple[Tensor, int]] = {}
        """The tensors in the output, each with the number of its in-place writes at that time."""
        # Hooks of a module that is compiled in place run outside its graph. Without `disable`, the hooks would be compiled too.
        plain: Any = torch.compiler.disable if _is_compiled_in_place(module) else lambda hook: hook
        self._handles: list[RemovableHandle] = [
            hooked(module.register_forward_pre_hook, plain(self._enter)),
            hooked(module.register_forward_hook, plain(self._leave)),
        ]

    @override
    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy. A copy of the model includes its hooks, so the copied hooks record nothing and hold nothing."""
        return {"_inner": None, "_before": [], "_recorded": None, "_seen": {}, "_handles": []}

    def outputs(self) -> dict[str, Tensor]:
        """The tensors in the output that were not written in place since the call."""
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
        # A pass that contains a recorded pass of the same module is a training step: a strategy runs it in place of `forward`.
        if call is before or call is self._recorded:
            return
        self._recorded = call
        with contextlib.suppress(Exception):  # attributes of a third-party class may raise, and memory may run out
            tensors = tensors_in(output)
            # Inference tensors do not count in-place writes, so they are copied.
            kept = {name: tensor.clone() if tensor.is_inference() else tensor for name, tensor in tensors.items()}
            self._seen = {name: (tensor, num_writes(tensor)) for name, tensor in kept.items()}


def _is_compiled_in_place(module: nn.Module) -> bool:
    """Whether `module.compile()` was called."""
    return getattr(module, "_compiled_call_impl", None) is not None


def _contains(outer: nn.Module, inner: nn.Module) -> bool:
    return any(part is inner for part in outer.modules())
