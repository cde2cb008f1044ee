"""What the configuration of a saved model says of changes to its logits after the head: a cap, a scale."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lightning_cossim.functional.inputs import is_number

__all__ = ["LogitChanges", "logit_changes"]

_CAPS: Final = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_MULTIPLIERS: Final = ("lm_head_multiplier", "logit_scale", "output_multiplier")
_DIVISORS: Final = ("logits_scaling",)
_MULTIPLIES: Final = "hyperclovax"
"""The models that multiply with `logits_scaling`; others divide by it."""
_DEFAULTS: Final[Mapping[str, tuple[str, float]]] = {
    "cohere": ("logit_scale", 0.0625),
    "cohere2": ("logit_scale", 0.0625),
    "gemma2": ("final_logit_softcapping", 30.0),
    "recurrent_gemma": ("logits_soft_cap", 30.0),
    "xlstm": ("output_logit_soft_cap", 30.0),
}
"""What models use where their configuration does not say, by `model_type`."""
_BEFORE: Final = "logits_mup_width_multiplier"
"""What divides the input of the head, in spite of its name."""
_UNKNOWN: Final = re.compile(
    r"(?!.*(_init|router|attn))(final_)?(logits?|lm_head|output|output_logits?)_(\w+_)?(scal|multipl|soft_?cap|cap$|temperature)\w*"
)
"""Names of settings that may change logits after the head."""


@dataclass(frozen=True)
class LogitChanges:
    r"""From the output of a head to the final logits: :math:`c \tanh(s z / c)`, without a cap :math:`s z`."""

    cap: float | None = None
    scale: float = 1.0
    unknown: tuple[str, ...] = ()
    """Settings that may change logits too, and that nothing is known of."""


def logit_changes(settings: Mapping[str, Any]) -> LogitChanges:
    """The cap and the scale of the logits that a configuration tells."""
    kind = str(settings.get("model_type") or "")
    name, default = _DEFAULTS.get(kind, ("", 0.0))
    given = {name: default, **settings} if name else settings
    numbers = {str(key): float(value) for key, value in given.items() if is_number(value) and value > 0}
    cap = next((numbers[key] for key in _CAPS if key in numbers), None)
    scale = 1.0
    for key in _MULTIPLIERS:
        scale *= numbers.get(key, 1.0)
    for key in _DIVISORS:
        scale *= numbers.get(key, 1.0) if kind.startswith(_MULTIPLIES) else 1 / numbers.get(key, 1.0)
    known = {*_CAPS, *_MULTIPLIERS, *_DIVISORS, _BEFORE}
    unknown = [
        f"{key}={value:g}" for key, value in numbers.items() if key not in known and _UNKNOWN.fullmatch(key) and value != 1
    ]
    return LogitChanges(cap, scale, tuple(unknown))
