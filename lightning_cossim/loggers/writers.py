"""Write images, tables, histograms, texts, layouts of curves, steps and files to loggers.

The functions check a logger's methods, not its type. A logger whose `experiment` has the methods of a TensorBoard writer gets
everything. A logger with `log_image` and `log_table`, such as that of Weights & Biases, gets images and tables. Other loggers
get nothing.
"""

import contextlib
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
    """Whether a logger can show images."""
    return callable(getattr(logger, "log_image", None)) or takes_images(logger)


def takes_images(logger: Any) -> bool:
    """Whether a logger has a writer with TensorBoard's method for images."""
    return _writer(logger, "add_image") is not None


def write_image(logger: Any, tag: str, pixels: Any, step: int) -> None:
    """Write an image.

    Args:
        logger: a logger that cannot show images gets nothing.
        tag: the image's tag.
        pixels: (H, W, 3), uint8.
        step: the step of the logger's curves.
    """
    add_image, log_image = _writer(logger, "add_image"), getattr(logger, "log_image", None)
    if add_image is not None:
        add_image(_prefixed(logger, tag), pixels, step, dataformats="HWC")
    elif callable(log_image):
        log_image(key=tag, images=[pixels], step=step)


def write_table(logger: Any, tag: str, markdown: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
    """Write a table.

    Args:
        logger: a TensorBoard writer gets `markdown`; a logger with `log_table` gets `columns` and `rows`; others get nothing.
        tag: the table's tag.
        markdown: the table as Markdown.
        columns: headings of the columns.
        rows: cells of each row.
        step: the step of the logger's curves.
    """
    add_text, log_table = _writer(logger, "add_text"), getattr(logger, "log_table", None)
    if add_text is not None:
        add_text(_prefixed(logger, tag), markdown, step)
    elif callable(log_table):
        log_table(key=tag, columns=list(columns), data=[list(row) for row in rows], step=step)


def write_histogram(logger: Any, tag: str, values: Tensor, step: int, weights: Tensor | None = None) -> None:
    """Write a histogram of 30 bins. It is computed here, because TensorBoard's own `add_histogram` takes 40 ms.

    Args:
        logger: a logger that cannot show histograms gets nothing.
        tag: the histogram's tag.
        values: (P,), finite. If there are none, nothing is written.
        step: the step of the logger's curves.
        weights: (P,), how often each value counts; None: once.
    """
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
    """Write the alerts that act at a step as a Markdown list. A logger that cannot show texts gets nothing."""
    add_text = _writer(logger, "add_text")
    if add_text is not None:
        add_text(_prefixed(logger, tag), "\n".join(f"* {as_markdown_text(alert)}" for alert in alerts), step)


def shows_layouts(logger: Any) -> bool:
    """Whether a logger accepts a layout that groups several curves in one chart."""
    return _writer(logger, "add_custom_scalars") is not None


def write_layout(logger: Any, groups: Sequence[str], scalars: Sequence[str], bounded: str | None) -> None:
    """Write the layout of TensorBoard's page "Custom Scalars": which curves share a chart.

    Args:
        logger: a logger that accepts no layout gets nothing.
        groups: groups of tags; each gets a section with all charts.
        scalars: names of the scalars of a group.
        bounded: the scalar whose bounds are the curves `<group>_band/<scalar>_low` and `_high`; None: none. The chart shows
            them as curves: TensorBoard's margin chart shows an error if one of the three curves lacks a step.
    """
    add_layout = _writer(logger, "add_custom_scalars")
    if add_layout is None:
        return

    def those(prefix: str) -> list[str]:
        return [f"/{name}" for name in scalars if name.startswith(prefix)]

    charts = {
        "Rank agreement of each similarity with the overlap": those("rank_agreement_"),
        "Rank agreement of the cosine, with its 95 % interval": [f"/{bounded}", f"_band/{bounded}_low", f"_band/{bounded}_high"],
        "Share of the overlap explained by each similarity": those("explained_"),
        "Gaps": those("gap_"),
        "Share of flagged pairs": [f"/{name}" for name in SHARES],
        "Reliability, residual scale, mean overlap": ["/reliability", "/residual_scale", "/overlap_mean"],
    }
    if bounded is None:
        del charts["Rank agreement of the cosine, with its 95 % interval"]
    layout = {
        group: {title: ["Multiline", [_pattern(logger, f"{group}{end}") for end in ends]] for title, ends in charts.items()}
        for group in groups
    }
    add_layout(layout)


def write_projection(logger: Any, tag: str, rows: Tensor, names: Sequence[str], step: int) -> None:
    """Write rows (L, D) with their names for TensorBoard's projector: about 10 MB for 1000 labels."""
    add_embedding = _writer(logger, "add_embedding")
    if add_embedding is not None:
        add_embedding(rows.float().cpu(), metadata=[printable(name) or "-" for name in names], global_step=step, tag=tag)


def shows_steps(logger: Any) -> bool:
    """Whether a logger can write steps of the tab: it writes with `torch.utils.tensorboard`. tensorboardX cannot write blobs."""
    from torch.utils.tensorboard import SummaryWriter

    return isinstance(getattr(logger, "experiment", None), SummaryWriter)


def log_folder(logger: Any) -> str | None:
    """The folder of a logger's events; None if the logger has no folder on this machine.

    The folder must exist, because a writer creates it. This rejects the answers of mocked loggers.
    """
    folder = getattr(getattr(logger, "experiment", None), "log_dir", None)
    try:
        path = os.fspath(folder)  # type: ignore[arg-type]
    except TypeError:
        return None
    return path if isinstance(path, str) and Path(path).is_dir() else None


def write_step(logger: Any, tag: str, step: Step, evidence: bytes | None = None) -> None:
    """Write a step for TensorBoard's tab, as a sequence of one or two blobs.

    The tensor has rank 1, because TensorBoard silently drops other ranks.

    Args:
        logger: a logger that writes with `torch.utils.tensorboard`.
        tag: the tag of the steps.
        step: the first blob.
        evidence: the second blob, packed; None: none.
    """
    from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2

    blobs = [pack(step)] if evidence is None else [pack(step), evidence]
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=len(blobs))])
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=blobs, tensor_shape=shape)
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=PLUGIN), data_class=summary_pb2.DATA_CLASS_BLOB_SEQUENCE
    )
    value = summary_pb2.Summary.Value(tag=_prefixed(logger, tag), metadata=metadata, tensor=tensor)
    writer = logger.experiment._get_file_writer()  # noqa: SLF001 - no public method gives the file, or reopens a closed one
    writer.add_summary(summary_pb2.Summary(value=[value]), step.step, walltime=step.time)


def write_files(logger: Any, texts: Mapping[str, str]) -> None:
    """Write texts into files in the folder of a logger's events.

    A file is written completely or not at all, and replaces an older one. Line ends stay as they are.

    Args:
        logger: a logger without a folder gets nothing.
        texts: file name to text.
    """
    folder = log_folder(logger)
    if folder is None:
        return
    for name, text in texts.items():
        path = Path(folder, name)
        unfinished = path.with_name(f"{path.name}.part")
        try:
            unfinished.write_text(text, encoding="utf-8", newline="")
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise


def _pattern(logger: Any, tag: str) -> str:
    """A regular expression that matches the tag, with or without the index of a data loader."""
    return rf"^{re.escape(_prefixed(logger, tag))}(/dataloader_idx_\d+)?$"


def _writer(logger: Any, method: str) -> Any | None:
    """A method of the logger's experiment; None if the experiment does not have it."""
    found = getattr(getattr(logger, "experiment", None), method, None)
    return found if callable(found) else None


def _prefixed(logger: Any, tag: str) -> str:
    """The tag with the logger's prefix. The logger itself adds the prefix to scalars only."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{getattr(logger, 'LOGGER_JOIN_CHAR', '-')}{tag}" if prefix else tag
