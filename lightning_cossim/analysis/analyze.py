"""Analysis: the report of a head that is already trained, from files or tensors, without a training run.

Shapes: K labels, D embedding dimensions, N inputs.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cossim.analysis.checkpoints import CheckpointError, SavedHead, read_array, read_head, read_names
from lightning_cossim.capture.consistency import CHECKED, agree, is_rounded
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.head import Head, Observation, Weights
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.capture.window import Window
from lightning_cossim.config.settings import Display, LabelSelection
from lightning_cossim.config.thresholds import Thresholds, judged
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.overlap import Overlap, OverlapKind
from lightning_cossim.functional.rankings import ranking_drift
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.progress import bar
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.report import GapReport
from lightning_cossim.report.reachability import reach_of, with_reach

__all__ = ["Moved", "analyze", "compared", "write_analysis"]

_BATCH = 1024
_LOGITS = "logits"
_CHANGED = (
    "the logits are not what the weights make of the embeddings, so something changes them behind the head: logit_correlation "
    "and log_odds_variance would be false and are left out"
)
_MANY = 20_000
"""Labels from which on a search for neighbors takes seconds."""

File = str | PathLike[str]


def analyze(
    checkpoint: File,
    *,
    head: str | None = None,
    bias: str | None = None,
    logits: File | Tensor | None = None,
    embeddings: File | Tensor | None = None,
    labels: File | Sequence[str] | None = None,
    ignore: Sequence[int] = (),
    link: Link = "softmax",
    overlap: OverlapKind = "bhattacharyya",
    link_cap: float | None = None,
    link_scale: float | None = None,
    transposed: bool | None = None,
    thresholds: Thresholds = Thresholds(),
    reachability: bool = False,
    progress: bool = False,
) -> GapReport:
    """The report of a head that is already trained: what the monitor would have said of it.

    The rungs of the weights always; logit correlation and log-odds variance with `embeddings`, the overlap and the gaps with
    either. Of more than 512 labels, a sample of the pairs is looked at, as in a vocabulary. `reliability` takes every input for
    one of its own, where the monitor keeps the positions of a sequence together.

    Args:
        checkpoint: a Lightning checkpoint, a state dict, safetensors or their index, `.npy` or `.npz`. No code in it is run.
        head: dotted path of the final linear layer, or the name of its weight; default: the only one with a usual name.
        bias: the name of the bias, "none" for none; default: the one beside the weight.
        logits: (N, K), the model's final ones, or a file of them; default: worked out from the embeddings.
        embeddings: (N, D), what goes into the head, or a file of it.
        labels: a name for every label, or a file with one a line.
        ignore: labels that do not count at all, padding for example.
        link: from the head to probabilities: "softmax", "softcap", "cosine" or "sigmoid", as for the monitor.
        overlap: which probability overlap.
        link_cap: of "softcap", the number that no logit gets beyond; needed with `embeddings`.
        link_scale: of "cosine", what cosines are multiplied with; needed with `embeddings`.
        transposed: whether a label has a column of the weight, rather than a row; to be told of cosine heads' `W` and `kernel`.
        thresholds: from which gap on a pair is flagged.
        reachability: whether to decide which labels any input can make the most likely one; up to four minutes.
        progress: whether to show how far long work is.

    Raises:
        CheckpointError: a file that cannot be read or does not fit, in one line.
        InputError: an unknown link or overlap, a cap or a scale that is missing, no positive number, or of another link.

    Source: THEORY §3 to §6; Nielsen, arXiv 2603.29488.
    """
    response = Response.of(link, link_cap=link_cap, link_scale=link_scale)
    if embeddings is not None:
        response.check_complete("and embeddings")
    saved = read_head(checkpoint, head, bias, transposed=transposed if link == "cosine" else bool(transposed))
    num_labels, embedding_dim = saved.unembedding.shape
    f_ND = _array(embeddings, "embeddings", embedding_dim, "embedding dimension")
    z_NK = _array(logits, "logits", num_labels, "label")
    if f_ND is not None and z_NK is not None and len(f_ND) != len(z_NK):
        raise CheckpointError(f"{checkpoint}: expected as many logits as embeddings, got {len(z_NK)} and {len(f_ND)}.")
    names = _names(labels, num_labels)
    if len(names) != num_labels:
        raise CheckpointError(f"{checkpoint}: expected a name for each of {num_labels} labels, got {len(names)}.")
    selection = LabelSelection(ignore=tuple(ignore))
    selection.check_labels(num_labels)
    weights = Weights(
        saved.unembedding,
        None if saved.bias is None or link == "cosine" else saved.bias.to(saved.unembedding),
        response,
    )
    report = _report(saved, weights, f_ND, z_NK, selection, Overlap.of(num_labels, kind=overlap, link=link), progress=progress)
    report = replace(report, step=saved.step, names=tuple(names[label] for label in report.labels))
    report = judged(report, thresholds)
    if not reachability or _LOGITS in report.remarks:  # of what comes behind the head, the weights do not tell
        return report
    shown = None if f_ND is None else f_ND[:256]
    with bar("reachability", shown=progress) as told:
        rows_KD = response.rows(saved.unembedding)
        reach = reach_of([report], rows_KD, weights.bias, shown, ignore=selection.ignore, time_limit=120.0, progress=told)
    return with_reach(report, reach, names)


def _names(labels: File | Sequence[str] | None, num_labels: int) -> tuple[str, ...]:
    if labels is None:
        return tuple(map(str, range(num_labels)))
    return read_names(labels, num_labels) if isinstance(labels, str | PathLike) else tuple(labels)


def _array(given: File | Tensor | None, what: str, width: int, of: str) -> Tensor | None:
    if given is None:
        return None
    if not isinstance(given, Tensor):
        return read_array(given, what, width, of)
    if given.ndim != 2 or given.shape[1] != width or not given.is_floating_point():
        raise CheckpointError(f"Expected `{what}` to be floating, of shape (N, {width}), got {given.dtype} {tuple(given.shape)}.")
    return given.detach().cpu()


def _report(
    saved: SavedHead,
    weights: Weights,
    f_ND: Tensor | None,
    z_NK: Tensor | None,
    selection: LabelSelection,
    overlap: Overlap,
    *,
    progress: bool,
) -> GapReport:
    """As a window of the monitor that has seen all inputs."""
    num_labels, embedding_dim = saved.unembedding.shape
    layer = nn.Linear(embedding_dim, num_labels, bias=weights.bias is not None, device="meta")
    layer.weight = nn.Parameter(weights.unembedding, requires_grad=False)
    if weights.bias is not None:
        layer.bias = nn.Parameter(weights.bias, requires_grad=False)
    head = Head(saved.name, layer, "its file", weights.response)
    changed = f_ND is not None and z_NK is not None and not _explains(weights, f_ND, z_NK)
    if changed:
        f_ND = None  # as the monitor does: rungs that would be false are left out
    is_vocabulary = num_labels > selection.max_tracked
    window = (VocabularyWindow if is_vocabulary else Window)(head, selection, overlap, saved.step)
    window.add(Observation(weights.unembedding, bias=weights.bias))
    num_inputs = len(f_ND) if f_ND is not None else 0 if z_NK is None else len(z_NK)
    for start in range(0, num_inputs, _BATCH):
        batch = slice(start, start + _BATCH)
        embedding = None if f_ND is None else f_ND[batch]
        logits = z_NK[batch] if z_NK is not None else head.logits(embedding) if embedding is not None else None
        window.add(Observation(weights.unembedding, logits, embedding, bias=weights.bias))
    report = _closed(window, head, progress=progress)
    return replace(report, remarks={**report.remarks, _LOGITS: _CHANGED}) if changed else report


def _explains(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> bool:
    """Whether weights give the logits, on the first inputs that are finite."""
    finite = (f_ND.isfinite().all(dim=1) & z_NK.isfinite().all(dim=1)).nonzero().flatten()[:CHECKED]
    return agree(weights, f_ND[finite], z_NK[finite], in_half=is_rounded(z_NK[finite]))


def _closed(window: Window | VocabularyWindow, head: Head, *, progress: bool) -> GapReport:
    if not isinstance(window, VocabularyWindow):
        return window.close(ALONE)
    summary = window.close(ALONE)
    with bar("nearest neighbors", shown=progress and head.num_labels >= _MANY) as told:
        return summary.report(summary.nearest(torch.device("cpu"), told))


@dataclass(frozen=True)
class Moved:
    """A pair of labels in two reports."""

    label: str
    other: str
    before: dict[str, float]
    """Rung, "expected_overlap" or "gap" to its value."""
    after: dict[str, float]


def compared(before: GapReport, after: GapReport, *, top: int = 10) -> tuple[float, list[Moved]]:
    """How far rankings have moved between two reports, and the pairs whose gap, or else whose cosine, moved most.

    Args:
        before: of one checkpoint.
        after: of another one, on the same labels.
        top: pairs, at the most.

    Raises:
        CheckpointError: they are of different labels.
    """
    names = dict(zip(before.labels, before.names, strict=True))
    others = zip(after.labels, after.names, strict=True)
    if before.num_live != after.num_live or any(names.get(label, name) != name for label, name in others):
        got = f"{before.num_live} and {after.num_live} labels, or labels of other names"
        raise CheckpointError(f"Expected two heads of the same labels, got {got}. Compare checkpoints of one model.")
    drift = math.nan
    if before.rankings is not None and after.rankings is not None:
        drift = ranking_drift(before.rankings, after.rankings)
    what = "gap" if before.gap.isfinite().any() and after.gap.isfinite().any() else before.ladder.cosine
    ours, theirs = (_by_pair(report) for report in (before, after))
    common = [pair for pair in ours if pair in theirs and not math.isnan(theirs[pair][what] - ours[pair][what])]
    common.sort(key=lambda pair: -abs(theirs[pair][what] - ours[pair][what]))
    return drift, [Moved(names[pair[0]], names[pair[1]], ours[pair], theirs[pair]) for pair in common[:top]]


def _by_pair(report: GapReport) -> dict[tuple[int, int], dict[str, float]]:
    """Rows of two labels in the head to what there is between them."""
    values = {**report.rungs, "expected_overlap": report.expected_overlap, "gap": report.gap}
    columns = {name: of.tolist() for name, of in values.items()}
    rows, others = report.compared.row.tolist(), report.compared.column.tolist()
    return {
        (report.labels[row], report.labels[other]): {name: column[place] for name, column in columns.items()}
        for place, (row, other) in enumerate(zip(rows, others, strict=True))
    }


class _Events:
    """A logger of one run of TensorBoard."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.experiment = SummaryWriter(str(folder))

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write values at a step."""
        for tag, value in metrics.items():
            self.experiment.add_scalar(tag, value, step)


def write_analysis(report: GapReport, folder: File, thresholds: Thresholds, *, warn: Callable[[str], None]) -> list[Path]:
    """Write a report as Markdown, JSON and CSV, and as a run of TensorBoard that its pages and the tab show.

    All of it is made beside the folder first, so nothing is left half-written.

    Args:
        report: judged already.
        folder: made if it is not there; files of the same names in it are replaced.
        thresholds: by which it was judged.
        warn: told what could not be written.

    Returns:
        The files.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
            made = Path(name)
            _write(report, made, thresholds, warn)
            for earlier in folder.glob("events.out.tfevents.*"):  # TensorBoard would show both
                earlier.unlink()
            return [Path(shutil.move(str(path), str(folder / path.name))) for path in sorted(made.iterdir())]
    except OSError as error:
        raise CheckpointError(f"{folder}: expected a folder that can be written, got {error.strerror or error}.") from error


def _write(report: GapReport, folder: Path, thresholds: Thresholds, warn: Callable[[str], None]) -> None:
    logger = _Events(folder)
    stamped = replace(report, stage="analysis", scalars={"overhead_fraction": math.nan, **report.scalars})
    publisher = Publisher(report.link, None, Pages(Display(), thresholds, None, _ignore), warn=warn, inform=_ignore_text)
    publisher.publish(stamped, [logger], {})
    publisher.publish_steps([stamped], [logger])
    publisher.publish_pictures(stamped, [logger])
    publisher.publish_files([stamped], [logger])
    logger.experiment.close()
    (folder / "report.md").write_text(f"{report.to_markdown()}\n", encoding="utf-8")
    (folder / "report.txt").write_text(f"{report}\n", encoding="utf-8")


def _ignore() -> None:
    pass


def _ignore_text(_: str) -> None:
    pass
