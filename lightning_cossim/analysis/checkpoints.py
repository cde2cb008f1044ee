"""Checkpoints: read the head of a trained model and arrays of inputs from files. Reading runs no code from the files.

Shapes: K labels, D embedding dimensions, N inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.analysis.final_logits import logit_settings, unknown_settings
from lightning_cossim.analysis.layer_names import matrix_shape
from lightning_cossim.analysis.saved_heads import bias_name, is_vector, unused_scales, unused_vectors, weight_name
from lightning_cossim.analysis.saved_layers import effective_bias, effective_weight
from lightning_cossim.analysis.saved_models import SavedModel, model_beside, weights_in
from lightning_cossim.analysis.saved_tensors import SavedTensors, guarded, listed, open_tensors
from lightning_cossim.capture.head import Weights
from lightning_cossim.capture.logit_changes import NO_SETTINGS, LogitSettings
from lightning_cossim.errors import CheckpointError
from lightning_cossim.functional.links import Link, Response

__all__ = ["SavedHead", "is_whole", "read_array", "read_head", "read_targets"]

_EITHER: Final = ("W", "kernel", "w", "_w", "_W")
"""Names of weights that hold labels either in rows or in columns."""


@dataclass(frozen=True, eq=False)
class SavedHead:
    """The weights of a saved final linear layer, and the settings of its logits from the model's configuration."""

    name: str
    """The name of the weight in its file; empty for a file of one array."""
    unembedding: Tensor
    """(K, D), float32 or float64."""
    bias: Tensor | None
    """(K,)."""
    step: int
    """The optimizer step of a Lightning checkpoint, else 0."""
    link: Link | None = None
    """The link that the configuration implies; None if it implies none."""
    settings: LogitSettings = NO_SETTINGS
    """The cap and the scale of the logits from the configuration."""
    names: tuple[str, ...] | None = None
    """(K,), the names of the labels in the saved model."""
    unused: tuple[str, ...] = ()
    """Names of unused vectors of length K near the head that may be a bias."""
    scales: tuple[str, ...] = ()
    """Names of unused single numbers near the head that may scale its logits."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Remarks on files beside the weights that could not be read, by kind."""

    def weights(self, response: Response) -> Weights:
        """The weights of the head under a link, times the scale of the logits. A cosine head has neither bias nor scale."""
        if response.link == "cosine":
            return Weights(self.unembedding, None, response)
        scale = self.settings.scale
        W_KD = self.unembedding if scale == 1 else scale * self.unembedding
        return Weights(W_KD, None if self.bias is None else scale * self.bias.to(W_KD), response)


def read_head(
    path: str | PathLike[str],
    head: str | None = None,
    bias: str | None = None,
    *,
    transposed: bool | None = None,
    link: Link | None = None,
) -> SavedHead:
    """The final linear layer in a file, or in the folder of a saved transformers model.

    Args:
        path: a file or a folder. A `config.json` of transformers in the folder, or beside the file, is read too.
        head: the layer's dotted path ("model.fc"), or the name of its weight. Default: the head that the configuration gives,
            else the only layer with a common head name.
        bias: the name of the bias; "none" if the head has no bias. Default: the bias beside the weight, else the one that the
            configuration gives.
        transposed: whether the weight holds each label in a column; False means in a row. Default: found from the length of the
            bias, else False. If that does not decide it for a `kernel`, or under "cosine" for a `W`, this argument is needed.
        link: the link that the caller chooses; None leaves the choice to the configuration.

    Returns:
        The head. Its unembedding is (K, D), float64 if the file has float64, else float32; all its values are finite.

    Raises:
        CheckpointError: the file cannot be read without running code, or does not hold such a layer.
    """
    path = Path(path)
    is_folder = _is_folder(path)
    model, remarks = _model(path, is_folder=is_folder)
    saved = open_tensors(weights_in(path) if is_folder else path)
    name = _weight_name(saved, head, model)
    stored = _checked(saved.path, name, guarded(saved.path, lambda: effective_weight(saved, name)), dims=2)
    is_turned = _is_turned(saved, name, stored, transposed, bias, link)
    W_KD = stored.T.contiguous() if is_turned else stored
    num_labels, embedding_dim = W_KD.shape
    beside = bias_name(saved, name, num_labels, bias)
    if beside is None and bias is None and model is not None:
        beside = model.bias_name(saved, num_labels)
    b_K = (
        None
        if beside is None
        else _checked(saved.path, beside, guarded(saved.path, lambda: effective_bias(saved, beside)), dims=1)
    )
    if b_K is not None and len(b_K) != num_labels:
        raise CheckpointError(f"{path}: expected {beside} to hold {num_labels} biases, one for each label, got {len(b_K)}.")
    is_known = bias is not None or (beside is not None and model is not None and model.is_known)
    unused = [] if is_known else unused_vectors(saved, name, beside, num_labels, embedding_dim)
    scales = () if model is not None and model.is_known else tuple(unused_scales(saved, name))
    found = SavedHead(name, W_KD, b_K, saved.step, unused=tuple(unused), scales=scales, remarks=remarks)
    return found if model is None else _with_model(found, model)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no permission, or not a valid file name: opening the path raises the precise error
        return False


def _model(path: Path, *, is_folder: bool) -> tuple[SavedModel | None, dict[str, str]]:
    """The saved model in a folder or beside a file. Beside a file, an unreadable configuration is only a remark, not an error."""
    try:
        return model_beside(path), {}
    except CheckpointError as error:
        if is_folder:
            raise
        return None, {"config": f"the configuration beside the file is not used: {str(error).rstrip('.')}"}
    except OSError:
        return None, {}


def _weight_name(saved: SavedTensors, head: str | None, model: SavedModel | None) -> str:
    found = model.weight_name(saved) if model is not None and head is None and not saved.loose and saved.names else None
    return weight_name(saved, head) if found is None else found


def _with_model(head: SavedHead, model: SavedModel) -> SavedHead:
    """The head with the link, the scale and cap, and the label names of the configuration."""
    num_labels = len(head.unembedding)
    changes_logits = model.changes_logits(num_labels)
    settings = logit_settings(model.settings) if changes_logits else NO_SETTINGS
    unknown = unknown_settings(model.settings) if changes_logits else []
    names, why = model.names(num_labels)
    remarks = dict(head.remarks)
    if why is not None:
        remarks["names"] = why
    if model.is_regression:
        remarks["config"] = "the model's config has problem_type='regression', so its outputs are not logits"
    if unknown:
        remarks["config"] = (
            f"the model's config has {listed(unknown)}: if that changes its logits after the head, pass the final `logits`"
        )
    link: Link | None = "softcap" if settings.cap is not None else "sigmoid" if model.is_multi_label else None
    return replace(head, link=link, settings=settings, names=names, remarks=remarks)


def _is_turned(
    saved: SavedTensors, name: str, stored: Tensor, transposed: bool | None, bias: str | None, link: Link | None
) -> bool:
    """Whether the stored weight holds each label in a column."""
    last = name.replace("/", ".").rpartition(".")[2]
    if transposed is not None or last.endswith("weight"):
        return bool(transposed)
    num_rows, num_columns = stored.shape
    if num_rows != num_columns and link != "cosine":
        for size, is_turned in ((num_rows, False), (num_columns, True)):
            beside = bias_name(saved, name, size, bias)
            if beside is not None and is_vector(saved.shape(beside), size):
                return is_turned
    if last in _EITHER and (link == "cosine" or last == "kernel"):
        remedy = "If each label is a column, pass `transposed=True` (`--transposed`), else False (`--no-transposed`)"
        raise CheckpointError(f"{saved.path}: expected `transposed` for {name}, {tuple(stored.shape)}, got none. {remedy}.")
    return False


def read_array(path: str | PathLike[str], what: str, width: int, of: str) -> Tensor:
    """Logits or embeddings with one row for each input, float32 or float64 (N, width).

    Args:
        path: a file with one array.
        what: the noun for errors, "logits" or "embeddings".
        width: the number of columns, K or D.
        of: the noun for one column, for errors: "label" or "embedding dimension".

    Raises:
        CheckpointError: the file cannot be read, or does not hold one floating-point array of this width.
    """
    path = Path(path)
    saved = _of_one_array(path, what)
    values = _checked(path, saved.names[0], saved.read(saved.names[0]), dims=2, finite=False)
    if values.shape[1] != width:
        wanted = f"{what} of shape (N, {width}), one column for each {of}"
        raise CheckpointError(f"{path}: expected {wanted}, got {tuple(values.shape)}.")
    return values


def read_targets(path: str | PathLike[str]) -> Tensor:
    """The true label of each input, int64 (N,).

    Args:
        path: a file with one array.

    Raises:
        CheckpointError: the file cannot be read, or does not hold one array of integers.
    """
    path = Path(path)
    saved = _of_one_array(path, "targets")
    targets = saved.read(saved.names[0])
    if not is_whole(targets):
        got = f"{str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}"
        raise CheckpointError(f"{path}: expected targets to be integers of shape (N,), got {got}.")
    return targets.long()


def is_whole(tensor: Tensor) -> bool:
    """Whether a tensor is dense, one-dimensional and of an integer type."""
    is_other = tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
    return tensor.ndim == 1 and not is_other and tensor.layout == torch.strided


def _of_one_array(path: Path, what: str) -> SavedTensors:
    """The tensors of a file that holds exactly one tensor."""
    if _is_folder(path):
        raise CheckpointError(f"{path}: expected a file with one array of {what}, got a folder.")
    saved = open_tensors(path)
    if len(saved.names) != 1:
        raise CheckpointError(f"{path}: expected one array of {what}, got {len(saved.names)}: {listed(saved.names)}.")
    return saved


def _checked(path: Path, name: str, tensor: Tensor, *, dims: int, finite: bool = True) -> Tensor:
    called = name or "its array"
    if not tensor.is_floating_point():
        raise CheckpointError(f"{path}: expected {called} to be floating-point, got {str(tensor.dtype).removeprefix('torch.')}.")
    if tensor.layout != torch.strided:
        raise CheckpointError(f"{path}: expected {called} to be dense, got {str(tensor.layout).removeprefix('torch.')}.")
    if dims == 2 and matrix_shape(tuple(tensor.shape)) is not None:
        tensor = tensor.flatten(1)  # a convolution with kernel size 1 is a matrix
    if tensor.ndim != dims or 0 in tensor.shape:
        wanted = "of shape (K, D), one row for each label" if dims == 2 else "of shape (K,)"
        raise CheckpointError(f"{path}: expected {called} {wanted}, got {tuple(tensor.shape)}.")
    tensor = tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    if finite and not tensor.isfinite().all():
        rows = (~tensor.isfinite().reshape(len(tensor), -1).all(dim=1)).nonzero().flatten().tolist()
        raise CheckpointError(f"{path}: expected {called} to be finite, got NaN or infinity in {len(rows)} rows: {listed(rows)}.")
    return tensor
