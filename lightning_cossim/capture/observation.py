"""Observation: what one call of a head showed.

Shapes: K labels, D embedding dimensions, N inputs.
"""

from dataclasses import dataclass

from torch import Tensor

from lightning_cossim.functional.links import Response

__all__ = ["Observation"]


@dataclass(frozen=True)
class Observation:
    """What one call of the head showed, and the weights of the same moment."""

    unembedding: Tensor
    """(K, D), detached: it shares memory with the model."""
    logits: Tensor | None = None
    """(N, K), the model's final ones, or None where they could not be read."""
    embedding: Tensor | None = None
    """(N, D), or None where it could not be read or does not explain the logits."""
    groups: Tensor | None = None
    """(N,), which sequence or image an input is of; None where each stands for itself."""
    bias: Tensor | None = None
    """(K,), detached, or None."""
    response: Response | None = None
    """From these to logits; None: the head's own."""
    problem: str | None = None
    """What the user should know about it."""
