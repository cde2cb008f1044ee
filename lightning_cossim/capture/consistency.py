"""Consistency: are these the model's logits? Compares logits that were seen with what a head's weights make of its embeddings.

Where they agree, embeddings tell about the logits, and logits may be worked out where they cannot be seen. Where they do not, the
user is warned, and what would be false is left out. A model at work and a trained model's files are checked by the same code.

Shapes: K labels, D embedding dimensions, N inputs; `f_ND` embeddings, `z_NK` logits.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from lightning_cossim.capture.head import Observation, Weights
from lightning_cossim.capture.layers import is_adapted
from lightning_cossim.capture.sampling import spread
from lightning_cossim.functional.links import PLAIN, Response
from lightning_cossim.functional.similarities import SIMILARITIES

__all__ = ["LEFT_OUT", "Consistency", "agree", "multiple_of_cosines"]

CHECKED: Final = 64
"""Inputs on which logits are held against weights."""
_BATCH: Final = 1024
"""Rows of files that are read at a time."""
_HALF: Final = {torch.float16, torch.bfloat16}
_SAME_COSINE: Final = 1e-2
"""Cosines in half precision are no finer; a margin, or another head, is far coarser."""
_SAME_SCALE: Final = 5e-3
_ENOUGH: Final = 4
"""Labels from which on all but one of them tell by themselves."""
LEFT_OUT = f"{' and '.join(key for key, row in SIMILARITIES.items() if row.needs_embeddings)} would be false and are left out"


class Consistency:
    """What is known of whether a head's weights give its model's logits.

    Args:
        response: from the weights to the model's logits.
        final: in words, who gives the logits that are seen, where they are the model's final ones; None: the head gives them.
        module: the head's, where there is one at work.
    """

    def __init__(self, response: Response, *, final: str | None, module: nn.Module | None = None) -> None:
        self._link, self._final, self._module = response.link, final, module
        self._explained: dict[bool, bool] = {}
        """Whether weights explain the logits, in training and in evaluation, as far as that could be checked."""
        self._is_unchecked = True
        self._caps_itself = False

    @property
    def _is_final(self) -> bool:
        return self._final is not None

    @property
    def _training(self) -> bool:
        return self._module is not None and self._module.training

    @property
    def _is_adapted(self) -> bool:
        return self._module is not None and is_adapted(self._module)

    def check_again(self) -> None:
        """Hold the next logits against the weights once more: what did not show when training began may show now."""
        self._is_unchecked = True

    @property
    def explains(self) -> bool:
        """Whether the weights give the logits, as far as is known; not if they differed in evaluation or, else, in training."""
        return self._explained.get(False, self._explained.get(True, True))

    def read(
        self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, *, was_written: bool, in_half: bool
    ) -> Observation:
        """What some rows show, held against the weights.

        Args:
            weights: of the same moment.
            f_ND: embeddings, if seen.
            z_NK: logits, if seen; one of the two was.
            was_written: whether something wrote into the logits after the call.
            in_half: whether they were rounded to half precision before they came in another.
        """
        if weights.response.link == "cosine":
            seen = self._read_cosines(weights, f_ND, z_NK)
        elif self._is_final or self._is_capped(weights, f_ND, z_NK, in_half=in_half):
            seen = self._read(weights, f_ND, z_NK, was_written=was_written and not self._is_final, in_half=in_half)
        else:  # linear as yet
            seen = self._read(replace(weights, response=PLAIN), f_ND, z_NK, was_written=was_written, in_half=in_half)
            seen = replace(seen, logits=None if seen.logits is None else weights.response.of_output(seen.logits))
        return replace(seen, bias=weights.bias, response=weights.response)

    def read_rows(
        self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, targets: Tensor | None = None
    ) -> Iterator[Observation]:
        """What all the rows of a trained model's files show, a batch at a time, as a head at work would show it.

        Args:
            weights: of the model.
            f_ND: embeddings, if there are any.
            z_NK: its final logits, if there are any.
            targets: int64 (N,), the label that each input really has, if known.
        """
        yield Observation(weights.unembedding, bias=weights.bias, response=weights.response)
        num_inputs = max(0 if rows is None else len(rows) for rows in (f_ND, z_NK))
        for start in range(0, num_inputs, _BATCH):
            f_BD, z_BK, target_B = (None if rows is None else rows[start : start + _BATCH] for rows in (f_ND, z_NK, targets))
            in_half = z_BK is not None and is_rounded(_telling(z_BK, z_BK)[1])
            yield replace(self.read(weights, f_BD, z_BK, was_written=False, in_half=in_half), targets=target_B)

    def _is_capped(self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, *, in_half: bool) -> bool:
        """Whether a head caps its logits itself, and so shows the final ones."""
        if weights.response.link == "softcap" and self._is_unchecked and f_ND is not None and z_NK is not None:
            some = _telling(f_ND, z_NK)
            is_linear = agree(replace(weights, response=PLAIN), *some, in_half=in_half)
            self._caps_itself = not is_linear and agree(weights, *some, in_half=in_half)
        return self._caps_itself

    def _read(
        self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, *, was_written: bool, in_half: bool
    ) -> Observation:
        if f_ND is None:
            return Observation(weights.unembedding, z_NK)
        if z_NK is None:  # nothing shows them, which is why the user says where embeddings come from
            return Observation(weights.unembedding, weights.logits(f_ND), f_ND)
        # Written into is not yet changed: what a compiled graph gives out may have been written from within.
        if was_written and not agree_in_part(weights, f_ND, z_NK):
            return self._worked_out(weights, f_ND)
        problem, training = None, self._training
        if self._is_unchecked or training not in self._explained:
            problem = self._mismatch(weights, *_telling(f_ND, z_NK), in_half=in_half)
        explained = self._explained.get(training) is not False
        return Observation(weights.unembedding, z_NK, f_ND if explained else None, problem=problem)

    def _worked_out(self, weights: Weights, f_ND: Tensor) -> Observation:
        """Where something behind the head wrote into its output: the logits that its weights give."""
        problem, known = None, {*self._explained.values()}
        explained = self._explained.get(self._training, True in known or None)
        if explained is False:
            problem = "its weights do not explain its output, which is then changed in place: its logits cannot be seen"
            return Observation(weights.unembedding, problem=problem)
        if explained is None:
            problem = (
                "its output is changed in place by what comes after it; the logits are worked out from its weights, unchecked"
            )
        return Observation(weights.unembedding, weights.logits(f_ND), f_ND, problem=problem)

    def _mismatch(self, weights: Weights, f_ND: Tensor, z_NK: Tensor, *, in_half: bool) -> str | None:
        error, training = largest_error(weights, f_ND, z_NK), self._training
        if error is None:
            return None
        self._is_unchecked = False
        self._explained[training] = agree(weights, f_ND, z_NK, in_half=in_half)
        if self._explained[training]:
            return None
        output = self._final or "its output"
        is_capped = self._link == "softcap" and not self._is_final
        believed = "; overlaps are those of its output, capped" if is_capped else ""
        return (
            f"{output} differs from `{weights.response.formula}` by up to {error:.3g} ({self._likely(training=training)}); "
            f"{LEFT_OUT}{believed}"
        )

    def _likely(self, *, training: bool) -> str:
        if not self._is_final:
            likely = "an adapter that is not merged, a parametrization or another hook are likely"
            return f"{likely}; in training, an adapter's dropout too" if training and self._is_adapted else likely
        if self._link == "softcap":
            return "another cap or a scale after it are likely"
        return "likely causes: soft-capping, then pass `link='softcap'`; a scale after the head; embeddings of other inputs"

    def _read_cosines(self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None) -> Observation:
        """Logits as they are without a margin: worked out, and held against those seen, of which one label's may have one."""
        if f_ND is None:
            return Observation(weights.unembedding, z_NK)
        problem = None
        if z_NK is not None and (self._is_unchecked or self._training not in self._explained):
            problem = self._unlike_cosines(weights, *_telling(f_ND, z_NK))
        if False in self._explained.values():
            return Observation(weights.unembedding, z_NK if self._is_final else None, problem=problem)
        logits_NK = weights.logits(f_ND)
        if z_NK is not None:  # what came out undefined counts as nothing, whatever went in
            logits_NK = logits_NK.masked_fill(z_NK.isnan(), math.nan)
        return Observation(weights.unembedding, logits_NK, f_ND, problem=problem)

    def _unlike_cosines(self, weights: Weights, f_ND: Tensor, z_NK: Tensor) -> str | None:
        """What is odd about logits seen: they are no multiple of the cosines, or not the one that they should be."""
        multiple, scale = multiple_of_cosines(weights, f_ND, z_NK), weights.response.link_scale or 0.0
        if multiple is None:
            return None
        output, left_out = "its output", "only its weights are compared"
        if self._is_final:
            output, left_out = self._final or output, LEFT_OUT
        is_scale = is_same_scale(multiple, scale)
        # A head may leave the scale to the loss, and give the cosines alone.
        is_explained = is_scale or (multiple > 0 and not self._is_final)
        self._is_unchecked, self._explained[self._training] = False, is_explained
        if is_scale or (is_explained and is_same_scale(multiple, 1)):
            return None
        if multiple <= 0:
            likely = "several rows a label, or a head that is none of cosines are likely"
            likely += "" if self._is_final else "; if something behind it makes them cosines, pass `embeddings_from=`"
            return f"{output} is no multiple of the cosines of embeddings and rows ({likely}); {left_out}"
        believed = f"; {left_out}" if self._is_final else ": probabilities are those of the latter"
        return f"{output} is {multiple:.4g} times the cosines, and `link_scale` is {scale:g}{believed}"


def agree(weights: Weights, f_ND: Tensor, z_NK: Tensor, *, in_half: bool = False) -> bool:
    """Whether weights give these logits, up to the rounding of bf16 or TF32; what is not finite does not count.

    Args:
        weights: of the head.
        f_ND: embeddings.
        z_NK: logits.
        in_half: whether logits were rounded to half precision before they came in another.
    """
    inputs_ND, W_KD = weights.response.inputs(f_ND), weights.response.rows(weights.unembedding)
    size_NK = inputs_ND.float().abs() @ W_KD.float().abs().T
    size_NK = size_NK if weights.bias is None else size_NK + weights.bias.float().abs()
    error_NK = (z_NK.float() - weights.logits(f_ND)).abs()
    tolerance = 1e-2 if in_half or z_NK.dtype in _HALF else 1e-3
    return bool((error_NK <= tolerance * size_NK).logical_or(~error_NK.isfinite()).all())


def agree_in_part(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> bool:
    """Whether weights give these logits: those of all labels in some inputs, and those of some labels in all inputs."""
    rows, labels = (spread(size, CHECKED, z_NK.device) for size in z_NK.shape)
    bias = None if weights.bias is None else weights.bias[labels]
    some = replace(weights, unembedding=weights.unembedding[labels], bias=bias)
    return agree(weights, f_ND[rows], z_NK[rows]) and agree(some, f_ND, z_NK[:, labels])


def largest_error(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> float | None:
    """By how much logits differ from what weights give; None where nothing is finite."""
    error_NK = (z_NK.float() - weights.logits(f_ND)).abs()
    known_NK = error_NK.isfinite()
    return error_NK[known_NK].max().item() if known_NK.any() else None


def is_rounded(z_NK: Tensor) -> bool:
    """Whether logits, whatever their dtype, have no more digits than half precision holds; what is not finite does not count."""
    known = z_NK[z_NK.isfinite()]
    return len(known) > 0 and any(torch.equal(known, known.to(half).to(known.dtype)) for half in _HALF)


def multiple_of_cosines(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> float | None:
    """What the cosines of a head have been multiplied with: 0 where that is no one number, None where nothing tells.

    One label of each input may be apart from the others: its own, which may have a margin.
    """
    known_N = f_ND.isfinite().all(dim=1) & z_NK.isfinite().all(dim=1)
    unscaled = replace(weights, response=replace(weights.response, link_scale=1.0))
    cosine_NK, seen_NK = unscaled.logits(f_ND[known_N]).float(), z_NK[known_N].float()
    if not cosine_NK.any():
        return None
    large_NK = cosine_NK.abs() >= cosine_NK.abs().median()
    found = float((seen_NK[large_NK] / cosine_NK[large_NK]).median())
    # Where all labels but one are one label or two, only a multiple that is known can be told from chance.
    known = [weights.response.link_scale or 1.0, 1.0]
    for multiple in (*known, found) if z_NK.shape[1] >= _ENOUGH else known:
        if multiple and math.isfinite(multiple):
            wrong_NK = (seen_NK / multiple - cosine_NK).abs() > _SAME_COSINE
            if (wrong_NK.sum(dim=1) <= (z_NK.shape[1] > 1)).all():
                telling_NK = large_NK & ~wrong_NK
                return float((seen_NK[telling_NK] / cosine_NK[telling_NK]).median()) if telling_NK.any() else multiple
    whole = found != 0 and math.isfinite(found) and bool(((seen_NK / found - cosine_NK).abs() <= _SAME_COSINE).all())
    return found if whole else 0.0


def is_same_scale(one: float, other: float) -> bool:
    """To half a per cent."""
    return abs(one - other) <= _SAME_SCALE * abs(other)


def _telling(f_ND: Tensor, z_NK: Tensor) -> tuple[Tensor, Tensor]:
    """The first `CHECKED` rows that tell anything: padding comes first in some batches, and is not finite in some."""
    for start in range(0, len(z_NK), CHECKED):
        f_CD, z_CK = (rows[start : start + CHECKED] for rows in (f_ND, z_NK))
        if (f_CD.isfinite().all(dim=1) & z_CK.isfinite().any(dim=1)).any():
            return f_CD, z_CK
    return f_ND[:CHECKED], z_NK[:CHECKED]
