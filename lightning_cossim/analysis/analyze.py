"""Analyze: the report of a head that is already trained, from files or tensors, without a training run.

The same windows, the same check of the logits and the same analyses as in the callback. Shapes: K labels, D embedding dimensions,
N inputs.
"""

from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor

from lightning_cossim.analysis.checkpoints import SavedHead, is_whole, read_array, read_head, read_targets
from lightning_cossim.analysis.saved_logits import REFUSED, odd_logits
from lightning_cossim.analysis.saved_tensors import listed
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
    targets: File | Tensor | None = None,
    names: File | Sequence[str] | None = None,
    ignore: Sequence[int] = (),
    min_probability: float = LabelSelection.min_probability,
    max_tracked: int = LabelSelection.max_tracked,
    labels_per_input: int = LabelSelection.labels_per_input,
    link: Link | None = None,
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
    Errors and `reliability` keep up to 32 consecutive rows together, where the monitor keeps a whole sequence or image together.

    Args:
        checkpoint: a Lightning checkpoint, a state dict, safetensors or their index, `.npy` or `.npz`; or the folder of a saved
            transformers model. A `config.json` of transformers in the folder, or beside the file, tells the head, its cap, its
            scale and the names of labels. No code in any file is run.
        head: dotted path of the final linear layer, or the name of its weight; below a key of a nested dictionary with the key in
            front ("ema.head"). Default: the one that the configuration tells, else the only one with a usual name.
        bias: the name of the bias, "none" for none; default: the one beside the weight, or the one that the configuration tells.
        logits: (N, K), the model's final ones, or a file of them; default: worked out from the embeddings. If the rows
            are probabilities, they are left out, and a remark says so.
        embeddings: (N, D), what goes into the head, or a file of it.
        targets: (N,), the labels that the inputs really have, whole numbers, or a file of them; what is no label from 0 to K - 1
            stands for none. With them, beside logits or embeddings, the report counts for every pair how many inputs of one label
            are predicted as the other.
        names: a name for every label, or a file with one a line; default: those of the saved model (its tokenizer's tokens, its
            `id2label`), else numbers.
        ignore: labels that do not count at all, padding for example.
        min_probability: labels with a smaller mean probability, as a share of 1/K, are left out of pairs; at least 0.
        max_tracked: labels all of whose pairs are compared, at least 2.
        labels_per_input: of more labels, how many of each input are kept, the most likely ones; at least 2.
        link: from the head to probabilities: "softmax", "softcap", "cosine" or "sigmoid", as for the monitor; default: what the
            configuration tells, else "softmax".
        link_cap: of "softcap", the number that no logit gets beyond; needed with `embeddings` unless the configuration tells it.
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
    _check(thresholds, link, link_cap, link_scale)
    saved = read_head(checkpoint, head, bias, transposed=transposed, link=link)
    response = _response(saved, link, link_cap, link_scale)
    if embeddings is not None:
        response.check_complete("and embeddings")
    num_labels, embedding_dim = saved.unembedding.shape
    chosen = Overlap.of(
        num_labels, kind=overlap, link=response.link, threshold=overlap_threshold, k=overlap_k, arguments=OVERLAP_ARGUMENTS
    )
    selection = LabelSelection(
        names=saved.names if names is None else names,
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
    target_N = _targets(targets, response.link, f_ND if z_NK is None else z_NK)
    odd_rows = {} if z_NK is None else odd_logits(z_NK, response.link)
    z_NK = None if REFUSED in odd_rows else z_NK
    context = Context(step=saved.step, names=selection.read_names(num_labels))
    thresholds.check_known(context.names)
    weights = saved.weights(response)
    consistency = Consistency(response, final=None if z_NK is None else _FINAL)
    window, problem = open_window(weights.spec, selection, chosen, saved.step), None
    for seen in consistency.read_rows(weights, f_ND, z_NK, target_N):
        problem = problem or seen.problem
        window.add(seen)
    collected = window.close(ALONE, lambda: weights)
    summary = collected.vocabulary
    if summary is not None and neighbors:
        statistics = summary.statistics(search_neighbors(summary, _CPU, shown=progress))
    else:
        statistics = collected.statistics()
    statistics = statistics.with_errors()
    uses_bias = f_ND is not None or reachability
    if target_N is not None and statistics.table.num_inputs and statistics.table.errors is None:
        none = f"none of the targets is a label from 0 to {num_labels - 1} of an input that counts: errors are not known"
        statistics = statistics.with_remark("targets", none)
    told = _remarks(saved, response, link_is_given=link is not None, uses_bias=uses_bias)
    for kind, text in {**told, **odd_rows}.items():
        statistics = statistics.with_remark(kind, text)
    if problem is not None:
        statistics = statistics.with_remark("logits", problem)
    report = GapReport(statistics, context, judge(statistics, thresholds, context.name_of))
    if not reachability or not consistency.explains:  # of what comes behind the head, the weights do not tell
        return report
    shown = None if f_ND is None else f_ND[:256]
    return report.with_reachability(decide_reachability([report], weights, shown, selection.ignore, shown=progress))


def _check(thresholds: object, link: Link | None, link_cap: float | None, link_scale: float | None) -> None:
    """Raise if settings are wrong, whatever the files hold."""
    if not isinstance(thresholds, Thresholds):
        remedy = "Of a file: `Thresholds.from_yaml(path)`."
        raise ConfigError(expected("thresholds", "to be Thresholds", type(thresholds).__name__, remedy), "thresholds")
    if link is not None:
        Response.of(link, link_cap=link_cap, link_scale=link_scale)


def _response(saved: SavedHead, link: Link | None, link_cap: float | None, link_scale: float | None) -> Response:
    """The response that is asked for; what is not given is that of the saved model's configuration."""
    link = link or saved.link or "softmax"
    if link == "softcap" and link_cap is None:
        link_cap = saved.settings.cap
    return Response.of(link, link_cap=link_cap, link_scale=link_scale)


def _remarks(saved: SavedHead, response: Response, *, link_is_given: bool, uses_bias: bool) -> dict[str, str]:
    """What the reader should know about the files, kind to text."""
    found = dict(saved.remarks)
    if saved.unused and uses_bias and response.link != "cosine":
        which = f"{listed(saved.unused)}, a vector with a number for each label, is not used"
        taken = "no bias is" if saved.bias is None else "another bias is"
        found["bias"] = f'{which}, and {taken}: if it is part of the logits, pass its name as `bias`, or "none" if it is not'
    if saved.scales and uses_bias and response.link != "cosine":
        found["scale"] = f"{listed(saved.scales)} is not used: if logits are scaled with it, pass the final ones as `logits`"
    cap, said = saved.settings.cap, response.link_cap
    if cap is not None and said is not None and said != cap:
        found["link"] = f"`link_cap` is {said:g}, and the model's config says {cap:g}: the former is used"
    if saved.link is not None and saved.link != response.link and link_is_given:
        found["link"] = f"the link is {response.link!r} as asked for, and the model's config tells of {saved.link!r}"
    return found


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


def _targets(given: File | Tensor | None, link: Link, inputs: Tensor | None) -> Tensor | None:
    """int64 (N,), the label that each of the inputs really has."""
    if given is None:
        return None
    if inputs is None:
        raise CheckpointError(expected("targets", "beside `logits` or `embeddings`", "neither", "Targets are those of inputs."))
    if link == "sigmoid":
        why = "An input may have several labels there."
        raise CheckpointError(expected("targets", "only of labels that exclude one another", "link='sigmoid'", why))
    if isinstance(given, str | PathLike):
        target_N = read_targets(given)
    elif isinstance(given, Tensor) and is_whole(given):
        target_N = given.detach().cpu().long()
    else:
        got = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise CheckpointError(expected("targets", "to be a file or a tensor of whole numbers (N,)", got))
    if len(target_N) != len(inputs):
        raise CheckpointError(f"Expected as many targets as inputs, got {len(target_N)} and {len(inputs)}.")
    return target_N
