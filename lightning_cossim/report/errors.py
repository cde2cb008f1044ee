"""Standard errors and intervals of a report's scalars, by recomputing the scalars without one block of inputs at a time.

Scalars that depend on the weights alone have no errors. Shapes: G blocks, P pairs, S scalars, R = 1 + G rows. The first row is
from all inputs; each other row leaves out one block.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.functional.blocks import jackknife
from lightning_cossim.functional.comparison import MIN_PAIRS, SIGMA
from lightning_cossim.functional.ladder import Ladder
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.repeated import Floats, SortedRows, explained_shares, medians, rank_agreements
from lightning_cossim.functional.replicates import Replicates
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.report.pair_table import PairTable

__all__ = ["MAX_PAIRS", "ScalarErrors", "intervals_of", "scalar_errors"]

_T7: Final = 2.365
"""Half the width of an interval, in standard errors: Student's t with seven degrees of freedom at 95 %, two-sided."""
_DOUBT: Final = 0.25
"""Share of the correction for noise that counts as an extra standard error, since the reliability is an estimate too."""
_DOUBT_OF_JACKKNIFE: Final = 0.5
"""Share of the jackknife's correction that counts as an extra standard error."""

MAX_PAIRS: Final = 20_000
"""Reports of up to this many pairs (200 labels) compute the errors of scalars at once; for larger ones they follow at the end."""
_DECIMALS: Final = 6
"""Similarities that are equal to this many decimals are ties."""


@dataclass(frozen=True)
class ScalarErrors:
    """Standard errors of scalars from inputs, and their values corrected for the bias of few inputs."""

    errors: Mapping[str, float] = field(default_factory=dict)
    """The standard error of each scalar, at least 0."""
    corrected: Mapping[str, float] = field(default_factory=dict)
    """The jackknife's value of each scalar, corrected for the bias of few inputs."""


def scalar_errors(scalars: Mapping[str, float], table: PairTable, replicates: Replicates, expected: Tensor) -> ScalarErrors:
    """Standard errors of the defined scalars, from the inputs.

    Args:
        scalars: scalars of the report, NaN where undefined.
        table: the pairs and their similarities.
        replicates: overlaps, and similarities that depend on the inputs, recomputed without each block.
        expected: (P,), the expected overlap, which is held fixed.

    Returns:
        Errors and corrected values; both empty if fewer than eight blocks have inputs.
    """
    rungs, pairs, ladder = table.rungs, table.compared, table.ladder
    if replicates.too_few:
        return ScalarErrors()
    # A pair that is NaN without some block is left out of all rows, so that every row has the same pairs.
    overlap_RP = _with_whole(rungs["overlap"], replicates.overlap)
    without = replicates.similarities() if replicates.similarities else {}
    similarities = {key: _with_whole(rungs[key], values_GP) for key, values_GP in without.items()}
    counts_P = overlap_RP.isfinite().all(dim=0)
    found: dict[str, Floats] = {}
    if int(counts_P.sum()) >= MIN_PAIRS:
        found |= _repeated_agreements(rungs, similarities, overlap_RP, pairs, counts_P)
        if f"rank_agreement_{ladder.cosine}" in found:
            found["gap_behavior"] = 1 - found[f"rank_agreement_{ladder.cosine}"].clip(min=0)
    o_RP, weight = _chosen(overlap_RP, counts_P), _weight(pairs, counts_P)
    if o_RP.size:
        found["overlap_mean"] = np.average(o_RP, axis=1, weights=weight)
        found["residual_scale"] = SIGMA * medians(abs(o_RP - _chosen(expected.double(), counts_P)), weight)
    for gap, (one, other) in ladder.gaps.items():
        if other in similarities:
            found[gap] = _repeated_gap(rungs[one], similarities[other], pairs)
    wanted = [name for name in found if not math.isnan(scalars.get(name, math.nan))]
    if not wanted:
        return ScalarErrors()
    values_RS = torch.from_numpy(np.stack([found[name] for name in wanted], axis=1))
    error_S, middle_S = jackknife(values_RS[0], values_RS[1:], replicates.sizes)
    known = [(name, place) for place, name in enumerate(wanted) if error_S[place].isfinite()]
    moved_S = middle_S - values_RS[0]
    return ScalarErrors(
        {name: error_S[place].item() for name, place in known},
        {name: scalars[name] + moved_S[place].item() for name, place in known},
    )


def intervals_of(
    scalars: Mapping[str, float], errors: Mapping[str, float], corrected: Mapping[str, float], ladder: Ladder
) -> dict[str, tuple[float, float]]:
    r"""The 95 % interval of each scalar: 2.365 standard errors on either side of a value that is corrected for few inputs.

    - Rank agreement r with a similarity that does not depend on the inputs: noise in the overlaps makes r smaller. The center
      is :math:`r / \sqrt{reliability}`, Spearman's correction for attenuation. A quarter of the correction counts as an extra
      standard error, since the Spearman-Brown formula is only approximate for ranks.
    - Every other scalar: the center is the jackknife's value. Half of its correction counts as an extra standard error, since
      the correction of a median, or of the steps of a fit, scatters more than the scalar itself. So the interval contains the
      scalar.

    If the jackknife's value were the center, 75 to 88 % of the intervals of a rank agreement would cover the true value at 45
    pairs and 1 000 inputs. At ten inputs per label none would, since a series in 1/n underestimates the effect of so much noise.
    The intervals returned here cover it in 92 to 100 % (`tests/benchmarks/flags.txt`).

    Args:
        scalars: scalars of the report.
        errors: their standard errors.
        corrected: their values by the jackknife.
        ladder: the similarities of the report and the cosine of its gaps.

    Returns:
        Lower and upper bound of each scalar in `corrected`, within the range of the scalar. If the reliability is 0 or NaN,
        rank agreements that need it are absent, and so is `gap_behavior`.

    Source: Spearman, The proof and measurement of association between two things (1904).
    """
    found = {name: _interval(scalars[name], corrected[name], errors[name], _DOUBT_OF_JACKKNIFE) for name in corrected}
    reliability = scalars["reliability"]
    for key in ladder.similarities:
        name = f"rank_agreement_{key}"
        if name not in found or SIMILARITIES[key].needs_embeddings:
            continue
        if not reliability > 0:  # the overlaps are pure noise, or the reliability is unknown
            del found[name]
            continue
        middle = min(1.0, max(-1.0, scalars[name] / math.sqrt(reliability)))
        found[name] = _interval(scalars[name], middle, errors[name] / math.sqrt(reliability), _DOUBT)
    agreement = found.get(f"rank_agreement_{ladder.cosine}")
    if agreement is None:
        found.pop("gap_behavior", None)
    else:
        found["gap_behavior"] = 1 - agreement[1], 1 - agreement[0]
    return {name: _within_range(name, *bounds) for name, bounds in found.items()}


def _interval(value: float, middle: float, error: float, doubt: float) -> tuple[float, float]:
    """The interval around the corrected value `middle`. The share `doubt` of the correction counts as an extra standard error."""
    distance = _T7 * math.hypot(error, doubt * (middle - value))
    return middle - distance, middle + distance


def _within_range(name: str, low: float, high: float) -> tuple[float, float]:
    """The interval, limited to the range of the scalar."""
    least, most = -1.0 if name.startswith("rank_agreement") else 0.0, 1.0
    if name.startswith("explained"):  # an adjusted R² can be negative
        least = -math.inf
    if name in {"gap_geometry", "residual_scale"}:
        most = math.inf
    return min(max(least, low), most), max(min(most, high), least)


def _with_whole(whole: Tensor, without: Tensor) -> Tensor:
    """(R, P), float64: values (P,) from all inputs, then values (G, P) without each block."""
    return torch.cat([whole[None].double(), without])


def _repeated_agreements(
    rungs: Mapping[str, Tensor], similarities: Mapping[str, Tensor], overlap: Tensor, pairs: Pairs, counts: Tensor
) -> dict[str, Floats]:
    """Rank agreement and share explained (R,) of every similarity, from overlaps (R, P)."""
    found: dict[str, Floats] = {}
    known_before: Tensor | None = None
    for key in (key for key in rungs if key != "overlap"):
        similarity = similarities.get(key, rungs[key][None]).double() * SIMILARITIES[key].direction
        known_P = counts & similarity.isfinite().all(dim=0)
        if int(known_P.sum()) < MIN_PAIRS:
            continue
        if known_before is None or not torch.equal(known_P, known_before):
            weight, o_RP = _weight(pairs, known_P), _chosen(overlap, known_P)
            overlap_ranks, known_before = SortedRows.of(o_RP).ranks(weight), known_P
        rows = SortedRows.of(_chosen(similarity, known_P).round(_DECIMALS))
        found[f"rank_agreement_{key}"] = rank_agreements(rows.ranks(weight), overlap_ranks, weight)
        found[f"explained_{key}"] = explained_shares(rows if len(similarity) > 1 else rows.repeated(len(o_RP)), o_RP, weight)
    return found


def _repeated_gap(one: Tensor, others: Tensor, pairs: Pairs) -> Floats:
    """Mean |one - other| (R,) of similarities (P,) and (R, P)."""
    difference_RP = (one - others).abs()
    known_P = difference_RP.isfinite().all(dim=0)
    if not known_P.any():
        return np.full(len(others), np.nan)
    means: Floats = np.average(_chosen(difference_RP, known_P), axis=1, weights=_weight(pairs, known_P))
    return means


def _chosen(values: Tensor, which: Tensor) -> Floats:
    """The columns of `values` (..., P) for which `which` (P,) is True."""
    return (values if which.all() else values[..., which]).numpy()


def _weight(pairs: Pairs, which: Tensor) -> Floats | None:
    """The sampling weights of the pairs for which `which` (P,) is True; None if the pairs are not a sample."""
    return None if pairs.weight is None else pairs.weight[which].numpy()
