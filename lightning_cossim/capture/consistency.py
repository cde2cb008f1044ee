"""Consistency: checks whether a head's weights give the logits that were seen.

It compares these logits with those that the weights give for the embeddings. If they agree, similarities that need embeddings are
valid, and logits that cannot be seen are computed from the embeddings. If they differ, the user is warned, and similarities that
would be wrong are left out. The same code checks a running model and the files of a trained model.

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
"""The number of inputs on which logits are compared with weights."""
_BATCH: Final = 1024
"""The number of rows of a file that are read at a time."""
_HALF: Final = {torch.float16, torch.bfloat16}
_SAME_COSINE: Final = 1e-2
"""Tolerance of a cosine: the error of half precision is smaller, that of a margin or of another head is far larger."""
_SAME_SCALE: Final = 5e-3
"""Relative tolerance of a scale."""
_ENOUGH: Final = 4
"""From this number of labels on, a multiple that fits all labels but one is no coincidence."""
LEFT_OUT = f"{' and '.join(key for key, row in SIMILARITIES.items() if row.needs_embeddings)} would be wrong and are left out"


class Consistency:
    """Remembers whether a head's weights give its model's logits.

    Args:
        response: maps the weights to the model's logits.
        final: the source of the logits, in words for a message, if they are the model's final logits; None: the head gives them.
        module: the head's module, if the model runs; None for files.
    """

    def __init__(self, response: Response, *, final: str | None, module: nn.Module | None = None) -> None:
        self._link, self._final, self._module = response.link, final, module
        self._explained: dict[bool, bool] = {}
        """Whether the weights give the logits, by training mode (False: evaluation). A mode that was not checked is missing."""
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
        """Compare the next logits with the weights again: a difference may only appear later in training."""
        self._is_unchecked = True

    @property
    def explains(self) -> bool:
        """Whether the weights give the logits in evaluation or, if that is unchecked, in training; True if both are unchecked."""
        return self._explained.get(False, self._explained.get(True, True))

    def read(
        self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, *, was_written: bool, in_half: bool
    ) -> Observation:
        """The observation of some rows, after they are compared with the weights.

        Args:
            weights: the head's weights at the same moment.
            f_ND: embeddings, or None if they were not seen.
            z_NK: logits, or None if they were not seen. At least one of the two must be given.
            was_written: whether another operation wrote into the logits after the call.
            in_half: whether the logits were rounded to half precision before they were converted to another dtype.

        Returns:
            An observation whose `logits` or `embedding` is None where it would be wrong; `problem` gives the reason.
        """
        if weights.response.link == "cosine":
            seen = self._read_cosines(weights, f_ND, z_NK)
        elif self._is_final or self._is_capped(weights, f_ND, z_NK, in_half=in_half):
            seen = self._read(weights, f_ND, z_NK, was_written=was_written and not self._is_final, in_half=in_half)
        else:  # the head's output is linear, and the response is applied to it
            seen = self._read(replace(weights, response=PLAIN), f_ND, z_NK, was_written=was_written, in_half=in_half)
            seen = replace(seen, logits=None if seen.logits is None else weights.response.of_output(seen.logits))
        return replace(seen, bias=weights.bias, response=weights.response)

    def read_rows(
        self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, targets: Tensor | None = None
    ) -> Iterator[Observation]:
        """Observations of all rows of a trained model's files, in batches of 1 024 rows.

        The first observation has the weights only. The others are like those of a running model.

        Args:
            weights: the head's weights.
            f_ND: embeddings, or None.
            z_NK: the model's final logits, or None.
            targets: int64 (N,), the true label of each input, or None if unknown.
        """
        yield Observation(weights.unembedding, bias=weights.bias, response=weights.response)
        num_inputs = max(0 if rows is None else len(rows) for rows in (f_ND, z_NK))
        for start in range(0, num_inputs, _BATCH):
            f_BD, z_BK, target_B = (None if rows is None else rows[start : start + _BATCH] for rows in (f_ND, z_NK, targets))
            in_half = z_BK is not None and is_rounded(_telling(z_BK, z_BK)[1])
            yield replace(self.read(weights, f_BD, z_BK, was_written=False, in_half=in_half), targets=target_B)

    def _is_capped(self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None, *, in_half: bool) -> bool:
        """Whether the head caps its logits itself, so that its output is the model's final logits."""
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
        if z_NK is None:  # they cannot be seen, so the user passed `embeddings_from=`
            return Observation(weights.unembedding, weights.logits(f_ND), f_ND)
        # A write may leave the values unchanged: a compiled graph may write into its own output.
        if was_written and not agree_in_part(weights, f_ND, z_NK):
            return self._worked_out(weights, f_ND)
        problem, training = None, self._training
        if self._is_unchecked or training not in self._explained:
            problem = self._mismatch(weights, *_telling(f_ND, z_NK), in_half=in_half)
        explained = self._explained.get(training) is not False
        return Observation(weights.unembedding, z_NK, f_ND if explained else None, problem=problem)

    def _worked_out(self, weights: Weights, f_ND: Tensor) -> Observation:
        """The observation if another operation wrote into the head's output: the logits come from the weights."""
        problem, known = None, {*self._explained.values()}
        explained = self._explained.get(self._training, True in known or None)
        if explained is False:
            problem = "the head's output does not match its weights and is then changed in place, so its logits cannot be seen"
            return Observation(weights.unembedding, problem=problem)
        if explained is None:
            problem = (
                "the head's output is changed in place after the call; the logits are computed from its weights, without a check"
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
        output = self._final or "the head's output"
        is_capped = self._link == "softcap" and not self._is_final
        believed = "; the overlaps are computed from the capped output" if is_capped else ""
        return (
            f"{output} differs from `{weights.response.formula}` by up to {error:.3g} ({self._likely(training=training)}); "
            f"{LEFT_OUT}{believed}"
        )

    def _likely(self, *, training: bool) -> str:
        if not self._is_final:
            likely = "likely causes: an adapter that is not merged, a parametrization, another hook"
            return f"{likely}, the adapter's dropout in training" if training and self._is_adapted else likely
        if self._link == "softcap":
            return "likely causes: another cap, a scale after the cap"
        return "likely causes: soft-capping, which needs `link='softcap'`; a scale after the head; embeddings of other inputs"

    def _read_cosines(self, weights: Weights, f_ND: Tensor | None, z_NK: Tensor | None) -> Observation:
        """The observation of a cosine head, with logits that are computed from the weights and so have no margins.

        They are compared with the logits that were seen, where one label of each input may have a margin.
        """
        if f_ND is None:
            return Observation(weights.unembedding, z_NK)
        problem = None
        if z_NK is not None and (self._is_unchecked or self._training not in self._explained):
            problem = self._unlike_cosines(weights, *_telling(f_ND, z_NK))
        if False in self._explained.values():
            return Observation(weights.unembedding, z_NK if self._is_final else None, problem=problem)
        logits_NK = weights.logits(f_ND)
        if z_NK is not None:  # a logit that was NaN stays NaN
            logits_NK = logits_NK.masked_fill(z_NK.isnan(), math.nan)
        return Observation(weights.unembedding, logits_NK, f_ND, problem=problem)

    def _unlike_cosines(self, weights: Weights, f_ND: Tensor, z_NK: Tensor) -> str | None:
        """A warning if the logits are not a multiple of the cosines, or not `link_scale` times the cosines; else None."""
        multiple, scale = multiple_of_cosines(weights, f_ND, z_NK), weights.response.link_scale or 0.0
        if multiple is None:
            return None
        output, left_out = "the head's output", "only its weights are compared"
        if self._is_final:
            output, left_out = self._final or output, LEFT_OUT
        is_scale = is_same_scale(multiple, scale)
        # A head may return the cosines and leave the scale to the loss.
        is_explained = is_scale or (multiple > 0 and not self._is_final)
        self._is_unchecked, self._explained[self._training] = False, is_explained
        if is_scale or (is_explained and is_same_scale(multiple, 1)):
            return None
        if multiple <= 0:
            likely = "likely causes: several rows per label, a head that does not compute cosines"
            likely += "" if self._is_final else "; if a later module turns its output into cosines, pass `embeddings_from=`"
            return f"{output} is not a multiple of the cosines of embeddings and rows ({likely}); {left_out}"
        believed = f"; {left_out}" if self._is_final else "; the probabilities are computed with `link_scale`"
        return f"{output} is {multiple:.4g} times the cosines, but `link_scale` is {scale:g}{believed}"


def agree(weights: Weights, f_ND: Tensor, z_NK: Tensor, *, in_half: bool = False) -> bool:
    r"""Whether weights give these logits, up to rounding in bfloat16 or TF32. Errors that are not finite are ignored.

    Each error may be up to :math:`t\,(|f| |W|^\top + |b|)`, with t = 1e-2 in half precision, else 1e-3.

    Args:
        weights: the head's weights.
        f_ND: embeddings.
        z_NK: logits.
        in_half: whether the logits were rounded to half precision before they were converted to another dtype.
    """
    inputs_ND, W_KD = weights.response.inputs(f_ND), weights.response.rows(weights.unembedding)
    size_NK = inputs_ND.float().abs() @ W_KD.float().abs().T
    size_NK = size_NK if weights.bias is None else size_NK + weights.bias.float().abs()
    error_NK = (z_NK.float() - weights.logits(f_ND)).abs()
    tolerance = 1e-2 if in_half or z_NK.dtype in _HALF else 1e-3
    return bool((error_NK <= tolerance * size_NK).logical_or(~error_NK.isfinite()).all())


def agree_in_part(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> bool:
    """Whether weights give these logits, for all labels of up to 64 inputs and for up to 64 labels of all inputs."""
    rows, labels = (spread(size, CHECKED, z_NK.device) for size in z_NK.shape)
    bias = None if weights.bias is None else weights.bias[labels]
    some = replace(weights, unembedding=weights.unembedding[labels], bias=bias)
    return agree(weights, f_ND[rows], z_NK[rows]) and agree(some, f_ND, z_NK[:, labels])


def largest_error(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> float | None:
    """The largest absolute error of the logits that weights give; None if no error is finite."""
    error_NK = (z_NK.float() - weights.logits(f_ND)).abs()
    known_NK = error_NK.isfinite()
    return error_NK[known_NK].max().item() if known_NK.any() else None


def is_rounded(z_NK: Tensor) -> bool:
    """Whether all finite logits, of any dtype, are numbers that half precision can represent; False if none is finite."""
    known = z_NK[z_NK.isfinite()]
    return len(known) > 0 and any(torch.equal(known, known.to(half).to(known.dtype)) for half in _HALF)


def multiple_of_cosines(weights: Weights, f_ND: Tensor, z_NK: Tensor) -> float | None:
    """The number by which a head multiplies its cosines.

    One label of each input may differ from the others: the true label, which may have a margin.

    Args:
        weights: the weights of a cosine head.
        f_ND: embeddings.
        z_NK: logits.

    Returns:
        The number; 0 if no single number fits, None if no finite input has a nonzero cosine.
    """
    known_N = f_ND.isfinite().all(dim=1) & z_NK.isfinite().all(dim=1)
    unscaled = replace(weights, response=replace(weights.response, link_scale=1.0))
    cosine_NK, seen_NK = unscaled.logits(f_ND[known_N]).float(), z_NK[known_N].float()
    if not cosine_NK.any():
        return None
    large_NK = cosine_NK.abs() >= cosine_NK.abs().median()
    found = float((seen_NK[large_NK] / cosine_NK[large_NK]).median())
    # With fewer than four labels, an estimated multiple may fit by chance, so only known ones are tried.
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
    """Whether two scales agree to 0.5 %."""
    return abs(one - other) <= _SAME_SCALE * abs(other)


def _telling(f_ND: Tensor, z_NK: Tensor) -> tuple[Tensor, Tensor]:
    """The first `CHECKED` rows with a usable input: some batches begin with padding, which may not be finite."""
    for start in range(0, len(z_NK), CHECKED):
        f_CD, z_CK = (rows[start : start + CHECKED] for rows in (f_ND, z_NK))
        if (f_CD.isfinite().all(dim=1) & z_CK.isfinite().any(dim=1)).any():
            return f_CD, z_CK
    return f_ND[:CHECKED], z_NK[:CHECKED]
