"""Analyze: the report of a head that is already trained, from files or tensors, without a training run.

The same windows, the same check of the logits and the same analyses as in the callback. Shapes: K labels, D embedding dimensions,
N inputs.
"""

from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor

from lightning_cossim.analysis.checkpoints import read_array, read_head
from lightning_cossim.callback.deferred import decide_reachability, search_neighbors
from lightning_cossim.capture.collector import open_window
from lightning_cossim.capture.consistency import Consistency
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.errors import CheckpointError, ConfigError, expected
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.overlap import OVERLAP_ARGUMENTS, Overlap, OverlapKind
from lightning_cossim.report import Context, GapReport
from lightning_cossim.report.verdicts import judge

__all__ = ["File", "analyze"]

_FINAL = "the file of logits"
_CPU = torch.device("cpu")

File = str | PathLike[str]


def analyze(
    checkpoint: File,
    *,
    head: str | None = None,
    bias: str | None = None,
    logits: File | Tensor | None = None,
    embeddings: File | Tensor | None = None,
    names: File | Sequence[str] | None = None,
    ignore: Sequence[int] = (),
    min_probability: float = LabelSelection.min_probability,
    max_tracked: int = LabelSelection.max_tracked,
    labels_per_input: int = LabelSelection.labels_per_input,
    link: Link = "softmax",
    link_cap: float | None = None,
    link_scale: float | None = None,
    overlap: OverlapKind = "bhattacharyya",
    overlap_threshold: float | None = None,
    overlap_k: int | None = None,
    transposed: bool | None = None,
    thresholds: Thresholds = Thresholds(),
    neighbors: bool = True,
    reachability: bool = False,
    progress: bool = False,
) -> GapReport:
    """The report of a head that is already trained: the one that the monitor would have made of it.

    It always has the similarities of the weights. With `embeddings` it has logit correlation and log-odds variance too, with
    `embeddings` or `logits` the overlap and the gaps. Of more than `max_tracked` labels, a sample of the pairs is compared.
    `reliability` takes every input for one of its own, where the monitor keeps the positions of a sequence together.

    Args:
        checkpoint: a Lightning checkpoint, a state dict, safetensors or their index, `.npy` or `.npz`. No code in it is run.
        head: dotted path of the final linear layer, or the name of its weight; default: the only one with a usual name.
        bias: the name of the bias, "none" for none; default: the one beside the weight.
        logits: (N, K), the model's final ones, or a file of them; default: worked out from the embeddings.
        embeddings: (N, D), what goes into the head, or a file of it.
        names: a name for every label, or a file with one a line.
        ignore: labels that do not count at all, padding for example.
        min_probability: labels with a smaller mean probability, as a share of 1/K, are left out of pairs; at least 0.
        max_tracked: labels all of whose pairs are compared, at least 2.
        labels_per_input: of more labels, how many of each input are kept, the most likely ones; at least 2.
        link: from the head to probabilities: "softmax", "softcap", "cosine" or "sigmoid", as for the monitor.
        link_cap: of "softcap", the number that no logit gets beyond; needed with `embeddings`.
        link_scale: of "cosine", what cosines are multiplied with; needed with `embeddings`.
        overlap: which probability overlap.
        overlap_threshold: for "coactivation", above 0 and, unless under a sigmoid, below 0.5; default 0.1.
        overlap_k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        transposed: whether a label has a column of the weight, rather than a row; cosine heads' `W` and `kernel` need it.
        thresholds: from which gap on a pair is flagged.
        neighbors: whether to search, of more than `max_tracked` labels, for those whose rows are most alike.
        reachability: whether to decide which labels any input can make the most likely one; up to four minutes.
        progress: whether to show a progress bar for long work.

    Raises:
        CheckpointError: a file that cannot be read or does not fit, in one line.
        ConfigError: names or labels that do not fit the head, or a number out of range.
        InputError: an unknown link or overlap, a cap or a scale that is missing, no positive number, or of another link.

    Source: THEORY §3 to §6; Nielsen, arXiv 2603.29488.
    """
    if not isinstance(thresholds, Thresholds):
        remedy = "Of a file: `Thresholds.from_yaml(path)`."
        raise ConfigError(expected("thresholds", "to be Thresholds", type(thresholds).__name__, remedy), "thresholds")
    response = Response.of(link, link_cap=link_cap, link_scale=link_scale)
    if embeddings is not None:
        response.check_complete("and embeddings")
    saved = read_head(checkpoint, head, bias, transposed=transposed if link == "cosine" else bool(transposed))
    num_labels, embedding_dim = saved.unembedding.shape
    chosen = Overlap.of(
        num_labels, kind=overlap, link=link, threshold=overlap_threshold, k=overlap_k, arguments=OVERLAP_ARGUMENTS
    )
    selection = LabelSelection(
        names=names,
        ignore=ignore,
        max_tracked=max_tracked,
        labels_per_input=labels_per_input,
        min_probability=min_probability,
    )
    selection.check_labels(num_labels)
    f_ND = _array(embeddings, "embeddings", embedding_dim, "embedding dimension")
    z_NK = _array(logits, "logits", num_labels, "label")
    if f_ND is not None and z_NK is not None and len(f_ND) != len(z_NK):
        raise CheckpointError(f"{checkpoint}: expected as many logits as embeddings, got {len(z_NK)} and {len(f_ND)}.")
    context = Context(step=saved.step, names=selection.read_names(num_labels))
    weights = saved.weights(response)
    consistency = Consistency(response, final=None if z_NK is None else _FINAL)
    window, problem = open_window(weights.spec, selection, chosen, saved.step), None
    for seen in consistency.read_rows(weights, f_ND, z_NK):
        problem = problem or seen.problem
        window.add(seen)
    collected = window.close(ALONE, lambda: weights)
    summary = collected.vocabulary
    if summary is not None and neighbors:
        statistics = summary.statistics(search_neighbors(summary, _CPU, shown=progress))
    else:
        statistics = collected.statistics()
    if problem is not None:
        statistics = statistics.with_remark("logits", problem)
    report = GapReport(statistics, context, judge(statistics, thresholds))
    if not reachability or not consistency.explains:  # of what comes behind the head, the weights do not tell
        return report
    shown = None if f_ND is None else f_ND[:256]
    return report.with_reachability(decide_reachability([report], weights, shown, selection.ignore, shown=progress))


def _array(given: File | Tensor | None, what: str, width: int, of: str) -> Tensor | None:
    if given is None:
        return None
    if isinstance(given, str | PathLike):
        return read_array(given, what, width, of)
    if not isinstance(given, Tensor):
        remedy = "Pass a tensor, `torch.from_numpy(array)` for example, or a file."
        raise CheckpointError(expected(what, f"to be a file or a tensor (N, {width})", type(given).__name__, remedy))
    if given.ndim != 2 or given.shape[1] != width or not given.is_floating_point():
        raise CheckpointError(f"Expected `{what}` to be floating, of shape (N, {width}), got {given.dtype} {tuple(given.shape)}.")
    return given.detach().cpu()
