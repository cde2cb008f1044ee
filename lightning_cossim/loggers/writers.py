"""What loggers show beside curves: images, tables, histograms, texts, and a layout of curves.

A logger is asked what it can do, never what it is: one whose `experiment` is a TensorBoard writer gets everything; one with
`log_image` and `log_table`, as those of Weights & Biases, gets images and tables; others get none.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_cossim.functional.scalars import SHARES
from lightning_cossim.loggers.wire import PLUGIN, Step, pack
from lightning_cossim.report.tables import as_markdown_text, printable

__all__ = [
    "log_folder",
    "shows_layouts",
    "shows_pictures",
    "shows_steps",
    "takes_images",
    "write_alerts",
    "write_files",
    "write_histogram",
    "write_image",
    "write_layout",
    "write_projection",
    "write_step",
    "write_table",
]

_NUM_BINS = 30


def shows_pictures(logger: Any) -> bool:
    """Whether a logger takes anything but numbers."""
    return callable(getattr(logger, "log_image", None)) or takes_images(logger)


def takes_images(logger: Any) -> bool:
    """Whether a logger has a writer like TensorBoard's."""
    return _writer(logger, "add_image") is not None


def write_image(logger: Any, tag: str, pixels: Any, step: int) -> None:
    """Write pixels (H, W, 3), uint8."""
    add_image, log_image = _writer(logger, "add_image"), getattr(logger, "log_image", None)
    if add_image is not None:
        add_image(_prefixed(logger, tag), pixels, step, dataformats="HWC")
    elif callable(log_image):
        log_image(key=tag, images=[pixels], step=step)


def write_table(logger: Any, tag: str, markdown: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
    """Write a table, as Markdown or by its cells."""
    add_text, log_table = _writer(logger, "add_text"), getattr(logger, "log_table", None)
    if add_text is not None:
        add_text(_prefixed(logger, tag), markdown, step)
    elif callable(log_table):
        log_table(key=tag, columns=list(columns), data=[list(row) for row in rows], step=step)


def write_histogram(logger: Any, tag: str, values: Tensor, step: int, weights: Tensor | None = None) -> None:
    """Write how values (P,) are distributed, each as often as its weight says. TensorBoard's own way takes forty milliseconds."""
    add_histogram = _writer(logger, "add_histogram_raw")
    if add_histogram is None or not values.numel():
        return
    values = values.double()
    low, high = values.min().item(), values.max().item()
    high = high if high > low else low + 1e-6
    weights = torch.ones_like(values) if weights is None else weights
    bins = ((values - low) / (high - low) * _NUM_BINS).long().clamp(max=_NUM_BINS - 1)
    counts = torch.bincount(bins, weights=weights, minlength=_NUM_BINS)
    limits = torch.linspace(low, high, _NUM_BINS + 1, dtype=torch.float64)[1:]
    total, squares = (weights * values).sum().item(), (weights * values.square()).sum().item()
    number = round(weights.sum().item())
    add_histogram(_prefixed(logger, tag), low, high, number, total, squares, limits.tolist(), counts.tolist(), global_step=step)


def write_alerts(logger: Any, tag: str, alerts: Sequence[str], step: int) -> None:
    """Write the alerts that act at a step as a list in Markdown; a logger without texts gets none."""
    add_text = _writer(logger, "add_text")
    if add_text is not None:
        add_text(_prefixed(logger, tag), "\n".join(f"* {as_markdown_text(alert)}" for alert in alerts), step)


def shows_layouts(logger: Any) -> bool:
    """Whether a logger draws several curves in one chart as a layout says."""
    return _writer(logger, "add_custom_scalars") is not None


def write_layout(logger: Any, groups: Sequence[str], scalars: Sequence[str], bounded: str | None) -> None:
    """Write which curves stand in one chart, for the page of custom scalars.

    Args:
        logger: one without such a page gets nothing.
        groups: of curves, a page each.
        scalars: of a group.
        bounded: a scalar with bounds, whose curves are `<group>_band/<scalar>_low` and `_high`, or None. They are drawn as
            curves, since TensorBoard's margin chart shows an error where one of the three lacks a step of another.
    """
    add_layout = _writer(logger, "add_custom_scalars")
    if add_layout is None:
        return

    def those(prefix: str) -> list[str]:
        return [f"/{name}" for name in scalars if name.startswith(prefix)]

    charts = {
        "Rank agreement of each similarity with the overlap": those("rank_agreement_"),
        "Rank agreement of the cosine, with its error": [f"/{bounded}", f"_band/{bounded}_low", f"_band/{bounded}_high"],
        "Share of the overlap that each similarity explains": those("explained_"),
        "Gaps": those("gap_"),
        "Flagged pairs, as a share": [f"/{name}" for name in SHARES],
        "How far to trust it, and how much overlap there is": ["/reliability", "/residual_scale", "/overlap_mean"],
    }
    if bounded is None:
        del charts["Rank agreement of the cosine, with its error"]
    layout = {
        group: {title: ["Multiline", [_pattern(logger, f"{group}{end}") for end in ends]] for title, ends in charts.items()}
        for group in groups
    }
    add_layout(layout)


def write_projection(logger: Any, tag: str, rows: Tensor, names: Sequence[str], step: int) -> None:
    """Write rows (L, D) with their names, for the page of projections: some ten megabytes for a thousand labels."""
    add_embedding = _writer(logger, "add_embedding")
    if add_embedding is not None:
        add_embedding(rows.float().cpu(), metadata=[printable(name) or "-" for name in names], global_step=step, tag=tag)


def shows_steps(logger: Any) -> bool:
    """Whether a logger writes events in TensorBoard's own format; tensorboardX, in its place, knows no sequences of blobs."""
    from torch.utils.tensorboard import SummaryWriter

    return isinstance(getattr(logger, "experiment", None), SummaryWriter)


def log_folder(logger: Any) -> str | None:
    """Where a logger's events are, if they are in a folder of this machine.

    It is there already, for a writer makes it: what a mocked logger says is no folder.
    """
    folder = getattr(getattr(logger, "experiment", None), "log_dir", None)
    try:
        path = os.fspath(folder)  # type: ignore[arg-type]
    except TypeError:
        return None
    return path if isinstance(path, str) and Path(path).is_dir() else None


def write_step(logger: Any, tag: str, step: Step) -> None:
    """Write a step for TensorBoard's tab, as a sequence of one blob: of rank 1, or TensorBoard drops it without a word."""
    from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2

    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[pack(step)], tensor_shape=shape)
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=PLUGIN), data_class=summary_pb2.DATA_CLASS_BLOB_SEQUENCE
    )
    value = summary_pb2.Summary.Value(tag=_prefixed(logger, tag), metadata=metadata, tensor=tensor)
    writer = logger.experiment._get_file_writer()  # noqa: SLF001 - the only way to the file, which may have been closed
    writer.add_summary(summary_pb2.Summary(value=[value]), step.step, walltime=step.time)


def write_files(logger: Any, texts: Mapping[str, str]) -> None:
    """Write texts into files of these names beside a logger's events, in place of those there: whole or not at all."""
    folder = log_folder(logger)
    if folder is None:
        return
    for name, text in texts.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)


def _pattern(logger: Any, tag: str) -> str:
    """Matches the tag, also of one of several loaders."""
    return rf"^{re.escape(_prefixed(logger, tag))}(/dataloader_idx_\d+)?$"


def _writer(logger: Any, method: str) -> Any | None:
    """A method of the logger's experiment, if it has it."""
    found = getattr(getattr(logger, "experiment", None), method, None)
    return found if callable(found) else None


def _prefixed(logger: Any, tag: str) -> str:
    """The tag with the logger's prefix, which it puts in front of scalars by itself."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{getattr(logger, 'LOGGER_JOIN_CHAR', '-')}{tag}" if prefix else tag
