"""Links: the functions between the weights of a head and the probabilities of its labels.

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
    r"""Computes the logits of a head. Their softmax gives the probabilities; under "sigmoid", their sigmoid does.

    - "softmax", "sigmoid": :math:`z = f W^\top + b`;
    - "softcap": :math:`c \tanh((f W^\top + b) / c)`, where c is `link_cap`;
    - "cosine": :math:`s \cos(f, g_k)`, where s is `link_scale`, without a bias. Losses such as ArcFace and CosFace add margins in
      training. These margins are not part of the response.
    """

    link: Link = "softmax"
    link_cap: float | None = None
    link_scale: float | None = None

    @classmethod
    def of(cls, link: Link, *, link_cap: float | None = None, link_scale: float | None = None) -> "Response":
        """The response of a link. A missing cap or scale is allowed, but then no logits can be computed (`lacks`).

        Args:
            link: "softmax", "sigmoid", "softcap" or "cosine".
            link_cap: the largest absolute value of a logit, above 0 and finite; only with "softcap".
            link_scale: the factor of the cosines, above 0 and finite; only with "cosine".

        Raises:
            InputError: the link is unknown, or a number is not positive and finite or belongs to another link.
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
        """The argument that is missing to compute logits; None if none is missing."""
        if self.link == "softcap" and self.link_cap is None:
            return "link_cap"
        return "link_scale" if self.link == "cosine" and self.link_scale is None else None

    def check_complete(self, wanted: str) -> None:
        """Raise `InputError` if a number is missing.

        Args:
            wanted: what needs the number, in words.
        """
        if self.lacks is not None:
            meaning = {
                "link_cap": "the largest absolute value of a logit, for example 30.0",
                "link_scale": "the factor of the cosines, for example 64.0",
            }
            remedy = f"Pass {meaning[self.lacks]}."
            raise InputError(expected(self.lacks, f"with link {self.link!r} {wanted}", None, remedy))

    @property
    def formula(self) -> str:
        """The formula of the logits, as code."""
        if self.link == "cosine":
            return f"{self.link_scale:g} * cosine(embedding, weight)"
        linear = "embedding @ weight.T + bias"
        return f"{self.link_cap:g} * tanh(({linear}) / {self.link_cap:g})" if self.link == "softcap" else linear

    def rows(self, unembedding: Tensor) -> Tensor:
        """The rows (K, D) that the link uses. Under "cosine", the length of every row is the scale (1 if it is unknown)."""
        if self.link != "cosine":
            return unembedding
        scale = abs(self.link_scale or 1.0)  # a learned scale can be negative or not finite
        return unit_rows(unembedding).mul_(scale if math.isfinite(scale) else 1.0)

    def inputs(self, embedding: Tensor) -> Tensor:
        """The embeddings (N, D) that the link uses. Under "cosine", they have length 1."""
        return unit_rows(embedding) if self.link == "cosine" else embedding

    def of_output(self, output: Tensor) -> Tensor:
        """The logits (N, K) from the output of a linear layer."""
        if self.link_cap is None:
            return output
        return (output.to(result_dtype(output)) / self.link_cap).tanh_().mul_(self.link_cap)

    def logits(self, embedding: Tensor, unembedding: Tensor, bias: Tensor | None) -> Tensor:
        """The logits (N, K) of embeddings (N, D), in float32 or better.

        Raises:
            InputError: the cap or the scale is missing.
        """
        self.check_complete("to compute logits")
        f_ND, W_KD = self.inputs(embedding.to(result_dtype(embedding))), unembedding.to(result_dtype(embedding))
        b_K = None if bias is None or self.link == "cosine" else bias.to(f_ND)
        with full_precision(f_ND):
            z_NK = nn.functional.linear(f_ND, W_KD, b_K)
        if self.link_scale is None:
            return self.of_output(z_NK)
        # Scale the logits, not the rows: a copy of the rows would be the largest tensor here.
        length_K = torch.linalg.vector_norm(W_KD, dim=1, dtype=working_dtype(W_KD))
        return z_NK.mul_((self.link_scale / length_K).masked_fill_(length_K < _SHORTEST, 0).to(z_NK))


_SHORTEST: Final = 1e-30
"""A shorter row has no direction that float32 can represent."""
PLAIN: Final = Response()
"""The response of an ordinary linear layer."""


def unit_rows(rows: Tensor) -> Tensor:
    """Rows at length 1, in float32 or better. Zero rows remain zero.

    Very large or small rows do not overflow.
    """
    rows = rows.detach().to(result_dtype(rows))
    size = rows.abs().amax(dim=1, keepdim=True) if rows.shape[1] else rows
    return nn.functional.normalize(rows / size.clamp(min=_SHORTEST), dim=1)
