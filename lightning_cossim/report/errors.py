"""Standard errors and intervals of a report's scalars, from the same scalars without one block of the inputs at a time.

What comes from the weights alone has none. Shapes: G blocks, P pairs.
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
    counts_P = rungs["overlap"].isfinite() & replicates.overlap.isfinite().all(dim=0)
    found: dict[str, Floats] = {}
    similarities = replicates.similarities()
    if int(counts_P.sum()) >= MIN_PAIRS:
        found |= _repeated_agreements(rungs, similarities, replicates, pairs, counts_P)
        if f"rank_agreement_{ladder.cosine}" in found:
            found["gap_behavior"] = 1 - found[f"rank_agreement_{ladder.cosine}"].clip(min=0)
    o_GP, weight = _chosen(replicates.overlap, counts_P), _weight(pairs, counts_P)
    if o_GP.size:
        found["overlap_mean"] = np.average(o_GP, axis=1, weights=weight)
        found["residual_scale"] = SIGMA * medians(abs(o_GP - _chosen(expected.double(), counts_P)), weight)
    for gap, (one, other) in ladder.gaps.items():
        if other in similarities:
            found[gap] = _repeated_gap(rungs[one], similarities[other], pairs)
    wanted = [name for name in found if not math.isnan(scalars.get(name, math.nan))]
    if not wanted:
        return ScalarErrors()
    whole = torch.tensor([scalars[name] for name in wanted], dtype=torch.float64)
    values_GS = torch.from_numpy(np.stack([found[name] for name in wanted], axis=1))
    error_S, middle_S = jackknife(whole, values_GS, replicates.sizes)
    known = [place for place in range(len(wanted)) if error_S[place].isfinite()]
    return ScalarErrors(
        {wanted[place]: error_S[place].item() for place in known}, {wanted[place]: middle_S[place].item() for place in known}
    )


def intervals_of(
    scalars: Mapping[str, float], errors: Mapping[str, float], corrected: Mapping[str, float], ladder: Ladder
) -> dict[str, tuple[float, float]]:
    r"""Scalar to its interval of 95 %: 2.365 standard errors on either side of it, and further to where few inputs bias it from.

    - A rank agreement r with a similarity that does not see the inputs: their noise makes it smaller. By Spearman's correction
      for attenuation :math:`r / \sqrt{reliability}` is its value without noise, and the middle. A quarter of the correction
      counts as one more standard error, since Spearman and Brown's formula holds only nearly for ranks.
    - Every other scalar: from the smaller of its value and the jackknife's to the larger one, and the errors beyond. The value is
      biased where labels have few inputs, the jackknife's is restless where there are few pairs.

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
    found = {}
    for name, middle in corrected.items():
        low, high = sorted((scalars[name], middle))
        found[name] = low - _T7 * errors[name], high + _T7 * errors[name]
    reliability = scalars["reliability"]
    for key in ladder.similarities:
        name = f"rank_agreement_{key}"
        if name not in found or SIMILARITIES[key].needs_embeddings:
            continue
        if not reliability > 0:  # all is noise, or nothing is known of it
            del found[name]
            continue
        middle = min(1.0, max(-1.0, scalars[name] / math.sqrt(reliability)))
        error = math.hypot(errors[name] / math.sqrt(reliability), _DOUBT * (middle - scalars[name]))
        found[name] = max(-1.0, middle - _T7 * error), min(1.0, middle + _T7 * error)
    agreement = found.get(f"rank_agreement_{ladder.cosine}")
    if agreement is None:
        found.pop("gap_behavior", None)
    else:
        found["gap_behavior"] = 1 - max(0.0, agreement[1]), 1 - max(0.0, agreement[0])
    return found


def _repeated_agreements(
    rungs: Mapping[str, Tensor], similarities: Mapping[str, Tensor], replicates: Replicates, pairs: Pairs, counts: Tensor
) -> dict[str, Floats]:
    """Rank agreement and explained share (G,) of every similarity."""
    found: dict[str, Floats] = {}
    known_before: Tensor | None = None
    for key in (key for key in rungs if key != "overlap"):
        similarity = similarities.get(key, rungs[key][None]).double() * SIMILARITIES[key].direction
        known_P = counts & similarity.isfinite().all(dim=0)
        if int(known_P.sum()) < MIN_PAIRS:
            continue
        if known_before is None or not torch.equal(known_P, known_before):
            weight, o_GP = _weight(pairs, known_P), _chosen(replicates.overlap, known_P)
            overlap_ranks, known_before = SortedRows.of(o_GP).ranks(weight), known_P
        rows = SortedRows.of(_chosen(similarity, known_P).round(_DECIMALS))
        found[f"rank_agreement_{key}"] = rank_agreements(rows.ranks(weight), overlap_ranks, weight)
        found[f"explained_{key}"] = explained_shares(rows if len(similarity) > 1 else rows.repeated(len(o_GP)), o_GP, weight)
    return found


def _repeated_gap(one: Tensor, others: Tensor, pairs: Pairs) -> Floats:
    """Mean |one - other| (G,) of similarities (P,) and (G, P)."""
    difference_GP = (one - others).abs()
    known_P = difference_GP.isfinite().all(dim=0)
    if not known_P.any():
        return np.full(len(others), np.nan)
    means: Floats = np.average(_chosen(difference_GP.double(), known_P), axis=1, weights=_weight(pairs, known_P))
    return means


def _chosen(values: Tensor, which: Tensor) -> Floats:
    """Some columns of values (..., P)."""
    return (values if which.all() else values[..., which]).numpy()


def _weight(pairs: Pairs, which: Tensor) -> Floats | None:
    return None if pairs.weight is None else pairs.weight[which].numpy()
