"""Analyze: compute the report of a trained head from files or tensors, without a training run.

`analyze` uses the same windows, the same check of the logits and the same analyses as the callback.

Shapes: K labels, D embedding dimensions, N inputs.
"""

import warnings
from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor

from lightning_cossim.analysis.checkpoints import SavedHead, is_whole, read_array, read_head, read_targets
from lightning_cossim.analysis.saved_inputs import SavedRows, read_inputs
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

_FINAL = "the argument `logits`"
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
    inputs: File | Sequence[str] | None = None,
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
    """The report of a trained head, with the same numbers as a report of the monitor on the same inputs.

    - From the weights alone, the report has the raw cosine and, where the link allows it, the label-centered cosine.
    - With `embeddings` or `logits`, it also has the overlap and the gaps.
    - With `embeddings`, it also has logit correlation and log-odds variance.

    If there are more than `max_tracked` labels, the report compares a sample of the pairs. For standard errors and `reliability`,
    up to 32 consecutive rows go to one block. The monitor keeps a whole sequence or image in one block instead, so these numbers
    can differ.

    Args:
        checkpoint: a Lightning checkpoint, a state dict, a safetensors file or its index, an `.npy` or `.npz` file, or the folder
            of a saved transformers model. If a `config.json` of transformers is in the folder, or beside the file, it gives the
            head, its cap, its scale and the names of the labels. Reading runs no code from any file.
        head: dotted path of the final linear layer, or the name of its weight. For a layer in a nested dictionary, start with the
            key: "ema.head". Default: the head that the configuration gives, else the only layer with a common head name.
        bias: the name of the bias; "none" if the head has no bias. Default: the bias beside the weight, else the one that the
            configuration gives.
        logits: the model's final logits, a tensor (N, K) or a file of it. Default: computed from `embeddings`. If the rows are
            probabilities, the report leaves them out and a remark gives the reason.
        embeddings: the input of the head, a tensor (N, D) or a file of it.
        targets: the true label of each input, an integer tensor (N,) or a file of it; needs `logits` or `embeddings`. A value
            outside 0 to K - 1 means that the input has no target. For every pair, the report then counts the inputs of one label
            that are predicted as the other.
        inputs: an identifier, a path or a text for each row of `embeddings` or `logits`, or a file with one on each line. Where
            the report shows inputs of a pair, it shows these. Default: the numbers of the rows.
        names: a name for every label, or a file with one name on each line. Default: the names of the saved model (the tokens of
            its tokenizer, or its `id2label`), else numbers.
        ignore: labels that do not count at all, for example padding; from 0 to K - 1.
        min_probability: pairs leave out labels with a mean probability below this multiple of 1/K; at least 0.
        max_tracked: the largest number of labels of which all pairs are compared; at least 2.
        labels_per_input: above `max_tracked` labels, the number of most likely labels that are kept of each input; at least 2.
        link: from the head's output to probabilities: "softmax", "softcap", "cosine" or "sigmoid", as for the monitor. Default:
            the link that the configuration implies, else "softmax".
        link_cap: the cap of the link "softcap", which bounds the absolute value of every logit; above 0. Needed with
            `embeddings`, unless the configuration gives it.
        link_scale: the scale of the link "cosine", which multiplies the cosines; above 0. Needed with `embeddings`.
        overlap: the kind of probability overlap: "bhattacharyya", "product", "coactivation" or "topk".
        overlap_threshold: the probability threshold of "coactivation"; above 0, and below 0.5 (below 1 under a sigmoid).
            Default: 0.1.
        overlap_k: the k of "topk", from 2 to K - 1. Default: max(2, min(5, K // 5)).
        transposed: whether the weight holds each label in a column; False means in a row. Default: found from the length of the
            bias, else False. If that does not decide it for a `kernel`, or under "cosine" for a `W`, this argument is needed.
        thresholds: the thresholds that flag pairs.
        neighbors: whether to search all labels for those whose rows are most alike, if there are more than `max_tracked` labels.
        reachability: whether to decide which labels any input can make the most likely one and, under a sigmoid, which labels and
            pairs can be on with all others off; takes up to four minutes.
        progress: whether to show a progress bar for long work.

    Returns:
        The report, already judged by `thresholds`. Values that need inputs are NaN without them.

    Raises:
        CheckpointError: a file cannot be read, or a file or a tensor does not fit the head.
        ConfigError: names or labels do not fit the head, `thresholds` is no `Thresholds`, or a number is out of range.
        InputError: the link or the overlap is unknown, or one of their numbers is missing, out of range, or of another kind.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"head.weight": torch.eye(12)}, Path(folder) / "model.pt")
        ...     report = analyze(Path(folder) / "model.pt", embeddings=torch.eye(12))
        >>> report.num_live, report.num_inputs
        (12, 12)

    Source: `docs/numbers.md`; Nielsen, arXiv 2603.29488.
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
    ids = _ids(inputs, f_ND if z_NK is None else z_NK)
    odd_rows = {} if z_NK is None else odd_logits(z_NK, response.link)
    z_NK = None if REFUSED in odd_rows else z_NK
    context = Context(step=saved.step, names=selection.read_names(num_labels))
    thresholds.check_known(context.names)
    weights = saved.weights(response)
    consistency = Consistency(response, final=None if z_NK is None else _FINAL)
    window, problem = open_window(weights.spec, selection, chosen, saved.step), None
    rows = SavedRows(num_labels, response.link, ids, warn=_warn, is_vocabulary=num_labels > max_tracked)
    for seen in consistency.read_rows(weights, f_ND, z_NK, target_N):
        problem = problem or seen.problem
        window.add(seen)
        rows.add(seen)
    collected = window.close(ALONE, lambda: weights)
    summary = collected.vocabulary
    if summary is not None and neighbors:
        statistics = summary.statistics(search_neighbors(summary, _CPU, shown=progress))
    else:
        statistics = collected.statistics()
    statistics = statistics.with_errors()
    uses_bias = f_ND is not None or reachability
    if target_N is not None and statistics.table.num_inputs and statistics.table.errors is None:
        none = f"no target of a counted input is a label from 0 to {num_labels - 1}; the report counts no errors"
        statistics = statistics.with_remark("targets", none)
    told = _remarks(saved, response, link_is_given=link is not None, uses_bias=uses_bias)
    for kind, text in {**told, **odd_rows}.items():
        statistics = statistics.with_remark(kind, text)
    if problem is not None:
        statistics = statistics.with_remark("logits", problem)
    report = rows.with_evidence(GapReport(statistics, context, judge(statistics, thresholds, context.name_of)))
    if not reachability or not consistency.explains:  # the weights do not describe changes after the head
        return report
    shown = None if f_ND is None else f_ND[:256]
    return report.with_reachability(decide_reachability([report], weights, shown, selection.ignore, shown=progress))


def _check(thresholds: object, link: Link | None, link_cap: float | None, link_scale: float | None) -> None:
    """Raise if a setting is wrong. This check needs no files."""
    if not isinstance(thresholds, Thresholds):
        remedy = "To read them from a file, call `Thresholds.from_yaml(path)`."
        raise ConfigError(expected("thresholds", "to be Thresholds", type(thresholds).__name__, remedy), "thresholds")
    if link is not None:
        Response.of(link, link_cap=link_cap, link_scale=link_scale)


def _response(saved: SavedHead, link: Link | None, link_cap: float | None, link_scale: float | None) -> Response:
    """The response that the caller chooses. The saved model's configuration gives what the caller leaves out."""
    link = link or saved.link or "softmax"
    if link == "softcap" and link_cap is None:
        link_cap = saved.settings.cap
    return Response.of(link, link_cap=link_cap, link_scale=link_scale)


def _remarks(saved: SavedHead, response: Response, *, link_is_given: bool, uses_bias: bool) -> dict[str, str]:
    """Remarks about the files for the reader of the report, by kind."""
    found = dict(saved.remarks)
    if saved.unused and uses_bias and response.link != "cosine":
        which = f"{listed(saved.unused)}: the report does not use this vector of length K"
        used = "and uses no bias" if saved.bias is None else "but uses another bias"
        found["bias"] = f'{which} {used}. If it is part of the logits, pass its name as `bias`, else pass bias="none"'
    if saved.scales and uses_bias and response.link != "cosine":
        found["scale"] = f"{listed(saved.scales)}: the report does not use this scale. If the model does, pass its final `logits`"
    cap, said = saved.settings.cap, response.link_cap
    if cap is not None and said is not None and said != cap:
        found["link"] = f"the report uses `link_cap={said:g}`, although the model's config has the cap {cap:g}"
    if saved.link is not None and saved.link != response.link and link_is_given:
        found["link"] = f"the report uses link={response.link!r}, although the model's config implies {saved.link!r}"
    return found


def _array(given: File | Tensor | None, what: str, width: int, of: str) -> Tensor | None:
    if given is None:
        return None
    if isinstance(given, str | PathLike):
        return read_array(given, what, width, of)
    if not isinstance(given, Tensor):
        remedy = "Pass a tensor, for example `torch.from_numpy(array)`, or a file."
        raise CheckpointError(expected(what, f"to be a file or a tensor (N, {width})", type(given).__name__, remedy))
    if given.ndim != 2 or given.shape[1] != width or not given.is_floating_point():
        got = f"{given.dtype} {tuple(given.shape)}"
        raise CheckpointError(expected(what, f"to be floating-point of shape (N, {width})", got))
    return given.detach().cpu()


def _ids(given: File | Sequence[str] | None, inputs: Tensor | None) -> list[str] | None:
    """An identifier for each input (N,)."""
    if given is None:
        return None
    if inputs is None:
        remedy = "Pass one of them too."
        raise CheckpointError(expected("inputs", "together with `logits` or `embeddings`", "neither", remedy))
    return read_inputs(given, len(inputs))


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def _targets(given: File | Tensor | None, link: Link, inputs: Tensor | None) -> Tensor | None:
    """The true label of each input, int64 (N,)."""
    if given is None:
        return None
    if inputs is None:
        remedy = "Pass one of them too."
        raise CheckpointError(expected("targets", "together with `logits` or `embeddings`", "neither", remedy))
    if link == "sigmoid":
        why = "Under a sigmoid, an input may have several labels. Leave `targets` out."
        raise CheckpointError(expected("targets", "only with labels that exclude one another", "link='sigmoid'", why))
    if isinstance(given, str | PathLike):
        target_N = read_targets(given)
    elif isinstance(given, Tensor) and is_whole(given):
        target_N = given.detach().cpu().long()
    else:
        got = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise CheckpointError(expected("targets", "to be a file or an integer tensor of shape (N,)", got))
    if len(target_N) != len(inputs):
        raise CheckpointError(f"Expected as many targets as inputs, got {len(target_N)} and {len(inputs)}.")
    return target_N
