"""A sample of pairs of labels: those that matter for certain, others by chance. Shapes: L labels, P pairs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_cossim.functional.pairs import Pairs

__all__ = ["stratified_pairs"]


def stratified_pairs(certain: Sequence[Pairs], *, labels: Tensor, num_random: int, generator: torch.Generator) -> Pairs:
    """Pairs that are wanted for certain, and others drawn at random, which stand for all the rest.

    Args:
        certain: pairs of the labels; what is in several counts once.
        labels: (L,), ascending: those whose pairs there are.
        num_random: how many are drawn, without replacement, from the pairs that are not wanted for certain.
        generator: of the draw.

    Returns:
        (P,), rows before columns, in order: weights are 1 for those wanted, and the number of all others over that of those drawn
        for these. Without weights if these are all pairs there are.
    """
    num_labels, place = len(labels), torch.zeros(int(labels.max()) + 1 if len(labels) else 0, dtype=torch.int64)
    place[labels] = torch.arange(num_labels)
    total = math.comb(num_labels, 2)
    keys = [
        torch.minimum(place[one.row], place[one.column]) * num_labels + torch.maximum(place[one.row], place[one.column])
        for one in certain
    ]
    wanted = torch.unique(torch.cat([torch.empty(0, dtype=torch.int64), *keys]))
    if total <= len(wanted) + num_random:
        every = Pairs.of_all(num_labels)
        return Pairs(labels[every.row], labels[every.column])
    drawn = torch.empty(0, dtype=torch.int64)
    while len(drawn) < num_random:  # most are new, of so many
        one, other = torch.randint(num_labels, (2, 2 * num_random), generator=generator)
        keys_C = (torch.minimum(one, other) * num_labels + torch.maximum(one, other))[one != other]
        keys_C = torch.unique(keys_C[~torch.isin(keys_C, torch.cat([wanted, drawn]))])
        drawn = torch.cat([drawn, keys_C[torch.randperm(len(keys_C), generator=generator)]])[:num_random]
    keys_P, order = torch.cat([wanted, drawn]).sort()
    weight = torch.ones(len(keys_P), dtype=torch.float64)
    weight[order >= len(wanted)] = (total - len(wanted)) / num_random
    return Pairs(labels[keys_P // num_labels], labels[keys_P % num_labels], weight)
