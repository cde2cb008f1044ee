"""Standard errors and intervals of a report's scalars, from the same scalars without one block of the inputs at a time.

What comes from the weights alone has none. Shapes: G blocks, P pairs; R = 1 + G rows, the first from all inputs, the others
without a block each.
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
"""Standard errors on either side of an interval: Student's t of seven degrees of freedom at 95 %."""
_DOUBT: Final = 0.25
"""Share of a correction for noise that is added to the error: the reliability that it follows from is an estimate, too."""
_DOUBT_OF_JACKKNIFE: Final = 0.5
"""The same share of the jackknife's correction."""

MAX_PAIRS: Final = 20_000
"""Every report of up to this many pairs, those of 200 labels, has errors of its scalars; of more, those that nobody waits for."""
_DECIMALS: Final = 6
"""Similarities that agree to 1e-6 are ties."""


@dataclass(frozen=True)
class ScalarErrors:
    """How far scalars would differ with other inputs."""

    errors: Mapping[str, float] = field(default_factory=dict)
    """Scalar to its standard error."""
    corrected: Mapping[str, float] = field(default_factory=dict)
    """Scalar to the jackknife's value of it, without the bias that few inputs have."""


def scalar_errors(scalars: Mapping[str, float], table: PairTable, replicates: Replicates, expected: Tensor) -> ScalarErrors:
    """The errors of the scalars that are defined.

    Args:
        scalars: of the report, NaN where undefined.
        table: of the pairs.
        replicates: the overlaps, and the similarities that see the inputs, without each block.
        expected: (P,), the expected overlap, which is held fixed.
    """
    rungs, pairs, ladder = table.rungs, table.compared, table.ladder
    if replicates.too_few:
        return ScalarErrors()
    # A pair that is not known without some block counts in no row, else rows would be about different pairs.
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
    r"""Scalar to its interval of 95 %: 2.365 standard errors on either side of it, and further to where few inputs bias it from.

    - A rank agreement r with a similarity that does not see the inputs: their noise makes it smaller. By Spearman's correction
      for attenuation :math:`r / \sqrt{reliability}` is its value without noise, and the middle. A quarter of the correction
      counts as one more standard error, since Spearman and Brown's formula holds only nearly for ranks.
    - Every other scalar: the jackknife's value is the middle, and half of its correction counts as one more standard error, since
      that of a median, or of the steps of a fit, scatters more than the scalar itself. So the interval holds the scalar.

    With the jackknife's value as the middle, .75 to .88 of the intervals of a rank agreement cover at 45 pairs and 1 000 inputs,
    and none at ten inputs a label, where noise takes off more than a series in 1/n tells; these cover .92 to 1
    (`tests/benchmarks/flags.txt`).

    Args:
        scalars: of the report.
        errors: their standard errors.
        corrected: their values by the jackknife.
        ladder: of the report.

    Source: Spearman, The proof and measurement of association between two things (1904).
    """
    found = {name: _interval(scalars[name], corrected[name], errors[name], _DOUBT_OF_JACKKNIFE) for name in corrected}
    reliability = scalars["reliability"]
    for key in ladder.similarities:
        name = f"rank_agreement_{key}"
        if name not in found or SIMILARITIES[key].needs_embeddings:
            continue
        if not reliability > 0:  # all is noise, or nothing is known of it
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
    """Around the middle to which a value is corrected, in which so much of the correction is in doubt."""
    distance = _T7 * math.hypot(error, doubt * (middle - value))
    return middle - distance, middle + distance


def _within_range(name: str, low: float, high: float) -> tuple[float, float]:
    """The part of an interval that a scalar can lie in."""
    least, most = -1.0 if name.startswith("rank_agreement") else 0.0, 1.0
    if name.startswith("explained"):  # adjusted for the levels of the fit, which may take it below 0
        least = -math.inf
    if name in {"gap_geometry", "residual_scale"}:
        most = math.inf
    return min(max(least, low), most), max(min(most, high), least)


def _with_whole(whole: Tensor, without: Tensor) -> Tensor:
    """(R, P), float64, of values (P,) and (G, P)."""
    return torch.cat([whole[None].double(), without])


def _repeated_agreements(
    rungs: Mapping[str, Tensor], similarities: Mapping[str, Tensor], overlap: Tensor, pairs: Pairs, counts: Tensor
) -> dict[str, Floats]:
    """Rank agreement and explained share (R,) of every similarity, with overlaps (R, P)."""
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
    """Some columns of values (..., P)."""
    return (values if which.all() else values[..., which]).numpy()


def _weight(pairs: Pairs, which: Tensor) -> Floats | None:
    return None if pairs.weight is None else pairs.weight[which].numpy()
