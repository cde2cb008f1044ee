"""Final output: compares a head's logits with the outputs of the modules that contain the head.

A model may pool, average, scale, cap or mask the head's output. Then the head's logits are not the model's final logits, and a
warning names the module that has the final ones.

Shapes: K labels, N inputs; `z_NK` logits of the head, `y_NK` logits in the output of a module that contains it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.capture.logit_changes import NO_SETTINGS, Change, LogitSettings, change_of
from lightning_cossim.capture.model_outputs import LOGITS, is_nested
from lightning_cossim.capture.sampling import spread
from lightning_cossim.capture.taps import OWN_FORWARD
from lightning_cossim.functional.links import Link

__all__ = ["HeadOutput", "difference", "keeps_first"]

_COMPARED: Final = 64
"""Maximum number of inputs that are compared per call."""
_ENTRIES: Final = 500_000
"""Maximum number of logits that are compared; with a large vocabulary, this means fewer inputs."""
_COLUMNS: Final = 64
"""The number of labels by which an input is recognized among others."""


@dataclass(frozen=True)
class HeadOutput:
    """The output of a head's last call, and the logits of the counted inputs."""

    logits: Tensor
    """(N, K), the logits of the counted inputs, with the cap or scale of the link applied."""
    index: Tensor | None
    """(N,), the positions of these inputs in the call; None: all inputs, in order."""
    shape: Sequence[int]
    """The shape of the head's output without the dimension of labels."""
    link: Link
    output: Tensor | None = None
    """The head's output, labels last; None if another operation wrote into it later or it has no logits."""
    has_targets: bool = False
    """Whether the user's targets select the inputs that count."""

    @property
    def num_labels(self) -> int:
        """K."""
        return self.logits.shape[1]

    @property
    def num_inputs(self) -> int:
        """The number of inputs of the call, counted or not."""
        return torch.Size(self.shape).numel()

    def some(self) -> Tensor:
        """Indices of the rows of `logits` to compare, evenly spread."""
        most = max(1, min(_COMPARED, _ENTRIES // self.num_labels))
        return spread(len(self.logits), most)


def difference(
    outputs: Mapping[str, Mapping[str, Tensor]], seen: HeadOutput, settings: LogitSettings = NO_SETTINGS
) -> tuple[bool, str | None]:
    """Compare the head's logits with the outputs of the modules that contain the head.

    Args:
        outputs: path to tensors (`tensors_in`) of the modules whose forward pass contained the head's call, the outermost first.
        seen: the head's output and logits.
        settings: changes after the head, from the model's configuration.

    Returns:
        Whether any output could be compared, and a warning that describes the change; None if the logits are the final ones.
    """
    if not len(seen.logits) or not outputs:
        return False, None
    findings = {path: _finding(output, seen, settings) for path, output in outputs.items()}
    telling = {path: found for path, found in findings.items() if found is not None}
    if not telling:
        return False, None
    with_labels = [path for path, found in telling.items() if found.has_labels]
    path = (with_labels or list(telling))[0]
    found = telling[path]
    if found.change is None:
        return True, None
    # If an inner module gives the same values in any layout, name it: a step may call it without the outer module.
    same = [other for other, its in telling.items() if _has_same_values(its.tensor, found.tensor, seen.num_labels)]
    return True, _in_words(same[-1], telling[same[-1]].change or found.change)


@dataclass(frozen=True)
class _Finding:
    """The comparison of one module's output with the head's logits."""

    tensor: Tensor
    change: Change | None
    """How the output differs; None if it has the same logits."""
    has_labels: bool = True
    """Whether the output has a dimension of size K, or the first labels of K."""


def _in_words(path: str, change: Change) -> str:
    module = f"`{path}`" if path else "the LightningModule's `forward`"
    remedy = change.remedy or f"Pass `logits_from={path or OWN_FORWARD!r}`."
    return f"the overlaps are those of the head's output, but the model's final logits differ: {module} {change.what}. {remedy}"


def _finding(named: Mapping[str, Tensor], seen: HeadOutput, settings: LogitSettings) -> _Finding | None:
    fitting = {name: tensor for name, tensor in named.items() if seen.num_labels in tensor.shape}
    fitting = {name: tensor for name, tensor in fitting.items() if not is_nested(name)} or fitting
    if fitting:
        found = {name: _Finding(tensor, _change(tensor, seen, settings)) for name, tensor in fitting.items()}
        same = [finding for finding in found.values() if finding.change is None]
        made = _made_of_the_head(found) if same else None
        return made or (same[0] if same else _likeliest(found))
    # A tensor without K labels counts as logits only if its name says so or if it has none.
    other = [
        tensor
        for name, tensor in named.items()
        if tensor.ndim > 1 and (not name or name.endswith(LOGITS)) and not _is_column(tensor, seen.output)
    ]
    if not other:
        return None
    change = _fewer_labels(other[0], seen)
    return _Finding(other[0], change, has_labels=change.is_known)


def _made_of_the_head(found: Mapping[str, _Finding]) -> _Finding | None:
    """The finding for final logits that come from the head, in an output that also has the head's own logits.

    Final logits have the name `logits`. If no tensor has this name, one with another name may be final. Logits of another head do
    not count.
    """
    final = found.get(LOGITS)
    if final is None:
        where = "in {!r} and also returns the unchanged logits"
        made = {name: other for name, other in found.items() if _is_made_of_it(name, other)}
        return next((_Finding(other.tensor, _named(name, other, where.format(name))) for name, other in made.items()), None)
    if final.change is None:
        return None
    if final.change.is_known:
        return final
    heads = [other.tensor.float() for name, other in found.items() if name != LOGITS and other.tensor.shape == final.tensor.shape]
    if len(heads) < 2 or not torch.allclose(torch.stack(heads).mean(dim=0), final.tensor.float(), rtol=1e-3, atol=1e-4):
        return None
    return _Finding(final.tensor, Change(f"averages the outputs of {len(heads)} heads"))


def _likeliest(found: Mapping[str, _Finding]) -> _Finding:
    """If all tensors differ from the head's logits: the one that is computed from them, else the first."""
    first = next(iter(found))
    for name, finding in found.items():
        if name != first and LOGITS not in found and _is_made_of_it(name, finding) and not _is_made_of_it(first, found[first]):
            return _Finding(finding.tensor, _named(name, finding, f"in {name!r}"))
    return found[first]


def _is_made_of_it(name: str, finding: _Finding) -> bool:
    """Whether a named tensor is a known function of the head's logits, and is not probabilities."""
    is_probability = bool(((finding.tensor >= 0) & (finding.tensor <= 1)).all())
    return finding.change is not None and finding.change.is_known and not name.isdecimal() and not is_probability


def _named(name: str, finding: _Finding, where: str) -> Change:
    """The change in one of several tensors. `logits_from=` only finds a tensor with the name `logits`."""
    what = "" if finding.change is None else finding.change.what
    remedy = f"If {name!r} has the final logits, rename it to `logits` and pass the path of that module as `logits_from=`."
    return Change(f"{what} {where}", remedy)


def _change(tensor: Tensor, seen: HeadOutput, settings: LogitSettings) -> Change | None:
    """How the logits in an output differ from the head's; None if they are the same."""
    some = seen.some()
    z_NK = seen.logits[some.to(seen.logits.device)]
    places = some if seen.index is None else seen.index[some.to(seen.index.device)]
    candidates = [y_NK for y_NK in _rows_in(tensor, seen.num_labels) if len(y_NK) == seen.num_inputs]
    paired = [y_NK[places.to(y_NK.device)].to(z_NK.device) for y_NK in candidates]
    if not paired:
        return _other_inputs(tensor, seen)
    changes = [change_of(y_NK, z_NK, seen.link, settings) for y_NK in paired]
    if None in changes:
        return None
    if seen.output is not None and seen.link in {"cosine", "softcap"}:  # the user set a response
        raw_NK = seen.output.reshape(-1, seen.num_labels)[places.to(seen.output.device)].to(z_NK)
        changes = [change_of(y_NK, raw_NK, "softmax", settings) for y_NK in paired]
    if None in changes or any(_is_in_another_order(y_NK, seen) for y_NK in candidates):
        return None
    return changes[0]


def _is_in_another_order(y_NK: Tensor, seen: HeadOutput) -> bool:
    """Whether an output has the head's inputs in another order, for example because the model sorted them by length.

    Always False if targets select the inputs, because the order matters then.
    """
    if seen.output is None or seen.has_targets:
        return False
    z_NK, some = seen.output.reshape(-1, seen.num_labels), seen.some()
    return _all_among(z_NK[some.to(z_NK.device)], y_NK) and _all_among(y_NK[some.to(y_NK.device)], z_NK)


def _has_same_values(one: Tensor, other: Tensor, num_labels: int) -> bool:
    """Whether two outputs hold the same numbers, in any order of their dimensions."""
    if one.numel() != other.numel():
        return False
    rows = next(_rows_in(other, num_labels), other.flatten())
    arranged = [*_rows_in(one, num_labels), one.flatten()]
    return any(each.shape == rows.shape and torch.equal(each.to(rows), rows) for each in arranged)


def _rows_in(tensor: Tensor, num_labels: int) -> Iterator[Tensor]:
    """The output as rows of K logits, once for each order that its inputs may have."""
    axes = [axis for axis, size in enumerate(tensor.shape) if size == num_labels]
    for axis in sorted(axes, key=lambda axis: axis != tensor.ndim - 1):
        moved = tensor.movedim(axis, -1)
        yield moved.reshape(-1, num_labels)
        if moved.ndim == 3:
            yield moved.transpose(0, 1).reshape(-1, num_labels)


def _other_inputs(tensor: Tensor, seen: HeadOutput) -> Change | None:
    """The change of an output that has another number of inputs than the head."""
    y_MK = next(_rows_in(tensor, seen.num_labels))
    num, of = len(y_MK), seen.num_inputs
    logits_NK = seen.logits[seen.some().to(seen.logits.device)]
    if seen.has_targets and _all_among(logits_NK, y_MK):
        return None  # the model leaves out the inputs that do not count
    if num > of:
        return Change(f"returns logits of {num} inputs, but the last call of the head had {of}", is_known=False)
    if seen.output is None:
        return Change(f"pools {of} outputs of the head into {num}", is_known=False)
    z_NK = seen.output.reshape(-1, seen.num_labels)
    if _all_among(y_MK[:: max(1, num // 8)], z_NK):
        return Change(f"picks {num} of {of} outputs of the head")
    grouped = z_NK.reshape(num, -1, seen.num_labels) if num and of % num == 0 else None
    if grouped is not None and torch.allclose(grouped.float().mean(dim=1), y_MK.to(grouped.device).float(), atol=1e-4):
        return Change(f"averages {of} outputs of the head into {num}")
    return Change(f"pools {of} outputs of the head into {num}", is_known=False)


def _all_among(some_NK: Tensor, all_MK: Tensor) -> bool:
    """Whether every row of one tensor is among the rows of another; up to 64 labels are compared."""
    columns = spread(some_NK.shape[1], _COLUMNS)
    some, others = (rows[:, columns.to(rows.device)].float() for rows in (some_NK, all_MK.to(some_NK.device)))
    return len(others) > 0 and all(bool(((others - row).abs() <= 1e-5 * (1 + row.abs())).all(dim=1).any()) for row in some)


def keeps_first(tensor: Tensor, output: Tensor) -> bool:
    """Whether a tensor (…, M), M < K, is the first M columns of a head's output (…, K), as if a model drops padding labels."""
    num = tensor.shape[-1]
    if not 0 < num < output.shape[-1] or tensor.shape[:-1].numel() != output.shape[:-1].numel():
        return False
    return torch.equal(tensor.reshape(-1, num).to(output), output[..., :num].reshape(-1, num))


def _is_column(tensor: Tensor, output: Tensor | None) -> bool:
    """Whether a tensor has one label's logits: a model may return the start and the end of an answer as two tensors."""
    if output is None or tensor.shape != output.shape[:-1]:
        return False
    return any(torch.equal(tensor.to(output), output[..., label]) for label in range(min(output.shape[-1], _COLUMNS)))


def _fewer_labels(tensor: Tensor, seen: HeadOutput) -> Change:
    """The change of an output without a dimension of size K."""
    num, num_labels = tensor.shape[-1], seen.num_labels
    if seen.output is not None and keeps_first(tensor, seen.output):
        return Change(f"keeps the first {num} of {num_labels} labels")
    sizes = f"{tuple(tensor.shape)}, but the head has {num_labels} labels"
    return Change(
        f"returns an output of shape {sizes}",
        "If another layer gives the probabilities, pass it as `head=`; else pass the module of the final logits as "
        "`logits_from=`.",
        is_known=False,
    )
