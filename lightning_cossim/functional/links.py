"""Links: what lies between a head's weights and the probabilities of its labels (THEORY §2).

Shapes: K labels, D embedding dimensions, N inputs; `W_KD` unembedding, `b_K` bias, `f_ND` embeddings, `z_NK` logits.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_one_of, is_number
from lightning_cossim.functional.precision import full_precision, result_dtype, working_dtype

__all__ = ["PLAIN", "Link", "Response", "unit_rows"]

Link = Literal["softmax", "sigmoid", "softcap", "cosine"]


@dataclass(frozen=True)
class Response:
    r"""From inputs to the logits of a model, of which the softmax (under "sigmoid": the sigmoid) gives probabilities.

    - "softmax", "sigmoid": :math:`z = f W^\top + b`;
    - "softcap": :math:`c \tanh((f W^\top + b) / c)`, with c the `link_cap`;
    - "cosine": :math:`s \cos(f, g_k)`, with s the `link_scale`: both at length 1, no bias. ArcFace, CosFace and the like train it
      with margins, which are no part of it.
    """

    link: Link = "softmax"
    link_cap: float | None = None
    link_scale: float | None = None

    @classmethod
    def of(cls, link: Link, *, link_cap: float | None = None, link_scale: float | None = None) -> "Response":
        """The response of a link; without its cap or its scale, no logits can be worked out (`lacks`).

        Raises:
            InputError: an unknown link, or a number that is not positive or not its own.
        """
        check_one_of(link, "link", get_args(Link))
        for argument, value, its_link in (("link_cap", link_cap, "softcap"), ("link_scale", link_scale, "cosine")):
            if value is not None and link != its_link:
                raise InputError(expected(argument, f"only with link {its_link!r}", f"{value} with {link!r}"))
            if value is not None and not (is_number(value) and 0 < value < math.inf):
                raise InputError(expected(argument, "to be a positive number", repr(value)))
        return cls(link, *(None if number is None else float(number) for number in (link_cap, link_scale)))

    @property
    def lacks(self) -> str | None:
        """The argument without which logits cannot be worked out; None if there is none."""
        if self.link == "softcap" and self.link_cap is None:
            return "link_cap"
        return "link_scale" if self.link == "cosine" and self.link_scale is None else None

    def check_complete(self, wanted: str) -> None:
        """Raise `InputError` if a number is lacking.

        Args:
            wanted: what cannot be done without it, in words.
        """
        if self.lacks is not None:
            meaning = {
                "link_cap": "the number that no logit gets beyond, 30.0",
                "link_scale": "what cosines are multiplied with, 64.0",
            }
            remedy = f"Pass {meaning[self.lacks]} for example."
            raise InputError(expected(self.lacks, f"with link {self.link!r} {wanted}", None, remedy))

    @property
    def formula(self) -> str:
        """How logits come about, in code."""
        if self.link == "cosine":
            return f"{self.link_scale:g} * cosine(embedding, weight)"
        linear = "embedding @ weight.T + bias"
        return f"{self.link_cap:g} * tanh(({linear}) / {self.link_cap:g})" if self.link == "softcap" else linear

    def rows(self, unembedding: Tensor) -> Tensor:
        """The rows (K, D) as the link sees them: to a cosine, all are as long as its scale (1, if that is not known)."""
        if self.link != "cosine":
            return unembedding
        scale = abs(self.link_scale or 1.0)  # one that is learned may be anything
        return unit_rows(unembedding).mul_(scale if math.isfinite(scale) else 1.0)

    def inputs(self, embedding: Tensor) -> Tensor:
        """The embeddings (N, D) as the link sees them."""
        return unit_rows(embedding) if self.link == "cosine" else embedding

    def of_output(self, output: Tensor) -> Tensor:
        """The logits (N, K) from what a linear layer gives out."""
        if self.link_cap is None:
            return output
        return (output.to(result_dtype(output)) / self.link_cap).tanh_().mul_(self.link_cap)

    def logits(self, embedding: Tensor, unembedding: Tensor, bias: Tensor | None) -> Tensor:
        """The logits (N, K) of embeddings (N, D), in float32 or better."""
        self.check_complete("to work out logits")
        f_ND, W_KD = self.inputs(embedding.to(result_dtype(embedding))), unembedding.to(result_dtype(embedding))
        b_K = None if bias is None or self.link == "cosine" else bias.to(f_ND)
        with full_precision(f_ND):
            z_NK = nn.functional.linear(f_ND, W_KD, b_K)
        if self.link_scale is None:
            return self.of_output(z_NK)
        # Rows at length 1 would be a copy of the largest thing here.
        length_K = torch.linalg.vector_norm(W_KD, dim=1, dtype=working_dtype(W_KD))
        return z_NK.mul_((self.link_scale / length_K).masked_fill_(length_K < _SHORTEST, 0).to(z_NK))


_SHORTEST: Final = 1e-30
"""A row that is shorter has no direction that float32 could tell."""
PLAIN: Final = Response()
"""Of an ordinary linear layer."""


def unit_rows(rows: Tensor) -> Tensor:
    """Rows at length 1, zero where they are zero, in float32 or better: however large or small, they do not overflow."""
    rows = rows.detach().to(result_dtype(rows))
    size = rows.abs().amax(dim=1, keepdim=True) if rows.shape[1] else rows
    return nn.functional.normalize(rows / size.clamp(min=_SHORTEST), dim=1)
