"""Enclosing: what the modules that contain a head give, seen for one batch.

Hooks on these modules exist only while armed, so that other batches run as without them. A module that is compiled in place takes
in only hooks that were there before: it has one from the start, which is armed together with the head's.
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
        compiled = [name for name, outer in around.items() if getattr(outer, "_compiled_call_impl", None) is not None][:1]
        if (
            getattr(model, "_compiler_ctx", None) is not None
        ):  # the steps of a compiled LightningModule are graphs: all lies inside
            compiled = list(around)
        wrapped: list[Any] = [getattr(outer, "_orig_mod", None) for outer in around.values()]
        graphs = [around[name] for name in compiled] + [outer for outer in wrapped if outer is not None]
        self._tap = tap
        self._order = list(around)
        # Hooks inside a graph see nothing, so its outermost module stands for all of them.
        self._modules = {name: outer for name, outer in around.items() if not any(_contains(graph, outer) for graph in graphs)}
        self._compiled = {name: Tap(around[name]) for name in compiled}
        self._passages: dict[str, _Passage] = {}

    def arm(self, *, all_of_them: bool) -> None:
        """See the outputs that come next, until `disarm`.

        Args:
            all_of_them: whether to put hooks on all modules. If not, only the hook of a compiled module is armed: it goes
                together with the head's, so that there are two graphs and not three.
        """
        if all_of_them and not self._passages:
            self._passages = {name: _Passage(module, self._tap) for name, module in self._modules.items()}
        for tap in self._compiled.values():
            tap.arm()

    def outputs(self) -> dict[str, dict[str, Tensor]]:
        """Path to the tensors in its output, the outermost module first; without those that were written into since."""
        outputs = {name: passage.outputs() for name, passage in self._passages.items()}
        outputs |= {name: tensors_in(tap.call[2]) for name, tap in self._compiled.items() if tap.call is not None}
        return {plain_name(name): outputs[name] for name in self._order if outputs.get(name)}

    def disarm(self) -> None:
        """Remove the hooks, and forget what was seen."""
        for passage in self._passages.values():
            passage.detach()
        self._passages = {}
        for tap in self._compiled.values():
            tap.disarm()

    def detach(self) -> None:
        """Remove all hooks; a second call does nothing."""
        self.disarm()
        for tap in self._compiled.values():
            tap.detach()


class _Passage:
    """The last forward pass of a module in which another one was called."""

    def __init__(self, module: nn.Module, inner: Tap) -> None:
        self._inner: Tap | None = inner
        self._call_before: Call | None = None
        self._seen: dict[str, tuple[Tensor, int]] = {}
        """Tensors in its output, and how often each had been written into."""
        self._handles: list[RemovableHandle] = [
            module.register_forward_pre_hook(self._enter),
            module.register_forward_hook(self._leave),
        ]

    @override
    def __getstate__(self) -> dict[str, Any]:
        """A copy of the model takes its hooks along: those of a copy see nothing, and hold nothing."""
        return {"_inner": None, "_call_before": None, "_seen": {}, "_handles": []}

    def outputs(self) -> dict[str, Tensor]:
        """The tensors in its output that are still what they were."""
        return {name: tensor for name, (tensor, writes) in self._seen.items() if num_writes(tensor) == writes}

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._seen, self._call_before = {}, None

    def _enter(self, module: nn.Module, args: Any) -> None:  # noqa: ARG002 - torch passes both
        if not torch.compiler.is_compiling() and self._inner is not None:
            self._call_before = self._inner.call

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002 - torch passes them
        if torch.compiler.is_compiling() or self._inner is None or self._inner.call is self._call_before:
            return
        with contextlib.suppress(Exception):  # somebody else's class may do anything when asked, and memory may be short
            tensors = tensors_in(output)
            # One made under inference mode keeps no count of what is written into it later.
            kept = {name: tensor.clone() if tensor.is_inference() else tensor for name, tensor in tensors.items()}
            self._seen = {name: (tensor, num_writes(tensor)) for name, tensor in kept.items()}


def _contains(outer: nn.Module, inner: nn.Module) -> bool:
    return any(part is inner for part in outer.modules())
