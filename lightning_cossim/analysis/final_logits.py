"""Changes to logits after the head (cap, scale), from the configuration of a saved model."""

import re
from collections.abc import Mapping
from typing import Any, Final

from lightning_cossim.capture.logit_changes import CAPS, DIVISORS, LARGEST, MULTIPLIERS, LogitSettings, settings_in
from lightning_cossim.functional.inputs import is_number

__all__ = ["logit_settings", "unknown_settings"]

_DEFAULTS: Final[Mapping[str, tuple[str, float]]] = {
    "cohere": ("logit_scale", 0.0625),
    "cohere2": ("logit_scale", 0.0625),
    "gemma2": ("final_logit_softcapping", 30.0),
    "recurrent_gemma": ("logits_soft_cap", 30.0),
    "xlstm": ("output_logit_soft_cap", 30.0),
}
"""Settings and their defaults, by `model_type`: files of older versions leave defaults out."""
_KNOWN: Final = {*CAPS, *MULTIPLIERS, *DIVISORS, "logits_mup_width_multiplier"}
"""Settings that `settings_in` reads, and one that divides the input of the head."""
_UNKNOWN: Final = re.compile(
    r"(?!.*(_init|router|attn))(final_)?(logits?|lm_head|output|output_logits?)_(\w+_)?(scal|multipl|soft_?cap|cap$|temperature)\w*"
)
"""Names of settings that may change logits after the head."""


def logit_settings(config: Mapping[str, Any]) -> LogitSettings:
    """The cap and the scale of the logits from a configuration, else the defaults of its `model_type`."""
    name, default = _DEFAULTS.get(kind if isinstance(kind := config.get("model_type"), str) else "", ("", 0.0))
    return settings_in({name: default, **config} if name else config)


def unknown_settings(config: Mapping[str, Any]) -> list[str]:
    """Settings that may change logits but that this package does not know, as `name=value`. Values 0 and 1 are left out."""
    return [
        f"{key}={value:g}"
        for key, value in config.items()
        if is_number(value) and abs(value) < LARGEST and value not in {0, 1} and key not in _KNOWN and _UNKNOWN.fullmatch(key)
    ]
