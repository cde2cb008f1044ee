r"""A sample of the pairs of very many labels, in which the probability of every pair is known.

Some pairs are there for certain. The others are drawn in two phases:

1. Candidates are the pairs that overlap most (q = 1), and of all others an even sample, with probability q. Their similarities
   are worked out.
2. A candidate stays, independently of all others, with probability π / q. Its π grows with the size

   .. math:: \frac{n_0}{N} + \sum_k \frac{c_k}{r_k}, \qquad \pi = \min(q, size)

   with N pairs that are not certain and the rank r_k of the pair by the overlap and by every similarity, 1 for the most alike.

A size of c / r draws as many pairs, c · ln 2, from every octave of ranks: those from 1 to 2, 2 to 4, 4 to 8, ... So the few pairs
at the top of every similarity are there beside those that were chosen for their overlap. Without them, a fit of overlap on
similarity sees only high overlaps there. The term n_0 / N covers all other pairs evenly.

An estimate that weights pairs by 1/π has the expectation of the sum over all pairs, whatever the ranks are: they move its error
only. Errors: `Pairs.sampling_error`.

Source: Särndal, Swensson, Wretman, Model Assisted Survey Sampling (1992), 3.5 (Poisson sampling) and 9.3 (two phases).

Shapes: L labels, P pairs, C candidates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cossim.functional.pairs import Pairs

__all__ = ["Sizes", "stratified_pairs"]

_DECIMALS = 6
"""Similarities that agree to 1e-6 have one rank."""


@dataclass(frozen=True)
class Sizes:
    """How many pairs are drawn."""

    candidates: int
    """Pairs of the even sample in the first phase, at most."""
    even: float
    """n_0, the number of pairs that are drawn evenly from all."""
    by_overlap: float
    """c of the overlap."""
    by_similarity: Mapping[str, float]
    """c of every similarity."""


def stratified_pairs(
    certain: Sequence[Pairs],
    *,
    overlapping: Pairs,
    labels: Tensor,
    similarities: Callable[[Pairs], Mapping[str, Tensor]],
    sizes: Sizes,
    generator: torch.Generator,
) -> Pairs:
    """Pairs that are in the sample for certain, and others that are drawn.

    Args:
        certain: pairs of the labels; a pair that is given several times counts once.
        overlapping: the pairs that overlap most, the first of them first.
        labels: (L,), ascending: those whose pairs there are.
        similarities: gives the similarities of pairs, (P,) each, larger for more alike; a NaN is least alike.
        sizes: how many pairs are drawn.
        generator: of the draw, on the CPU.

    Returns:
        (P,), rows before columns, in order, with weights 1/π. All pairs, without weights, where so many would be drawn.
    """
    num_labels = len(labels)
    keys = _Keys(labels)
    certain_keys = torch.unique(torch.cat([torch.empty(0, dtype=torch.int64), *map(keys.of, certain)]))
    others = math.comb(num_labels, 2) - len(certain_keys)
    if others <= sizes.even + sizes.by_overlap + sum(sizes.by_similarity.values()):
        every = Pairs.of_all(num_labels)
        return Pairs(labels[every.row], labels[every.column])
    first_keys = keys.of(overlapping)
    known_keys = torch.unique(torch.cat([certain_keys, first_keys]))
    even_keys, q = _even_sample(known_keys, num_labels, sizes.candidates, generator)
    keys_C, order_C = torch.cat([known_keys, even_keys]).sort()
    q_C = torch.ones(len(keys_C), dtype=torch.float64)
    q_C[order_C >= len(known_keys)] = q
    size_C = torch.full_like(q_C, sizes.even / others)
    size_C[torch.searchsorted(keys_C, first_keys)] += sizes.by_overlap / torch.arange(1, len(first_keys) + 1, dtype=torch.float64)
    candidates = keys.pairs(keys_C)
    for key, similarity_C in similarities(candidates).items():
        size_C += sizes.by_similarity[key] / _ranks(similarity_C, 1 / q_C)
    probability_C = torch.minimum(q_C, size_C)
    probability_C[torch.searchsorted(keys_C, certain_keys)] = 1
    stays_C = torch.rand(len(keys_C), generator=generator, dtype=torch.float64) * q_C < probability_C
    return Pairs(candidates.row[stays_C], candidates.column[stays_C], 1 / probability_C[stays_C])


class _Keys:
    """A number for every pair of the labels, in their order."""

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels
        self._place = torch.zeros(int(labels.max()) + 1 if len(labels) else 0, dtype=torch.int64)
        self._place[labels] = torch.arange(len(labels))

    def of(self, pairs: Pairs) -> Tensor:
        row, column = self._place[pairs.row], self._place[pairs.column]
        return torch.minimum(row, column) * len(self._labels) + torch.maximum(row, column)

    def pairs(self, keys: Tensor) -> Pairs:
        return Pairs(self._labels[keys // len(self._labels)], self._labels[keys % len(self._labels)])


def _even_sample(known: Tensor, num_labels: int, num: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Keys of pairs that are not among those known, drawn without replacement, and the probability that one of them is drawn."""
    others = math.comb(num_labels, 2) - len(known)
    if others <= 2 * num:
        every = Pairs.of_all(num_labels)
        keys = every.row * num_labels + every.column
        keys = keys[~torch.isin(keys, known)]
        return keys[torch.randperm(others, generator=generator)[:num]], min(1.0, num / max(others, 1))
    drawn = torch.empty(0, dtype=torch.int64)
    while len(drawn) < num:  # at least every second is new, of so many
        one, other = torch.randint(num_labels, (2, 2 * num), generator=generator)
        keys = (torch.minimum(one, other) * num_labels + torch.maximum(one, other))[one != other]
        keys = torch.unique(keys[~torch.isin(keys, torch.cat([known, drawn]))])
        drawn = torch.cat([drawn, keys[torch.randperm(len(keys), generator=generator)]])[:num]
    return drawn, num / others


def _ranks(similarity: Tensor, stands_for: Tensor) -> Tensor:
    """(C,), how many of all pairs are at least as alike, the pair itself included; estimated from the candidates."""
    _, level_C = torch.unique(similarity.double().round(decimals=_DECIMALS).nan_to_num(-torch.inf), return_inverse=True)
    up_to = torch.bincount(level_C, weights=stands_for).flip(0).cumsum(0).flip(0)
    return up_to[level_C]
