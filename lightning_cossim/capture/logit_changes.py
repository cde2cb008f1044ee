"""Logit changes: finds how a model computes its final logits from its head's, by their values or by the model's configuration.

Shapes: K labels, N inputs; `z_NK` logits of the head, `y_NK` final logits of the model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from lightning_cossim.functional.inputs import is_number
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.precision import working_dtype

__all__ = [
    "CAPS",
    "DIVISORS",
    "LARGEST",
    "MULTIPLIERS",
    "NO_SETTINGS",
    "Change",
    "LogitSettings",
    "cap_in_settings",
    "change_of",
    "same_probabilities",
    "settings_in",
]

CAPS: Final = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Configuration names of c in c * tanh(z / c): Gemma, RecurrentGemma, xLSTM and related models of transformers."""
MULTIPLIERS: Final = ("logit_scale", "lm_head_multiplier", "output_multiplier")
"""Configuration names of c in c * z: Cohere, Falcon-H1, MuseSpark and related models."""
DIVISORS: Final = ("logits_scaling",)
"""Configuration names of c in z / c: Granite and related models."""
_MULTIPLIES: Final = {"hyperclovax", "hyperclovax_vision_v2"}
"""Model types that multiply by the number in `DIVISORS`."""
_IGNORES: Final = {"mpt"}
"""Model types whose configuration has such a name, but whose code does not use it."""
_NESTED: Final = ("text_config", "decoder")
_MASK: Final = -1e4
"""Logits at or below this value count as masked."""
_HALF: Final = {torch.float16, torch.bfloat16}


@dataclass(frozen=True)
class LogitSettings:
    """Changes of the logits after the head, from a configuration: they are multiplied by `scale`, then soft-capped at `cap`."""

    cap: float | None = None
    cap_name: str = ""
    scale: float = 1.0
    scale_name: str = ""

    @property
    def in_words(self) -> str:
        """The settings as `name=value`, for a message; empty if there are none."""
        return " and ".join(text for text in (self.scale_name, self.cap_name) if text)


NO_SETTINGS: Final = LogitSettings()
LARGEST: Final = 1e30
"""A cap or a scale has an effect below this number, and above one divided by it; integers of a file have any length."""


@dataclass(frozen=True)
class Change:
    """What a module does to the head's logits."""

    what: str
    """The end of a sentence that begins with the module."""
    remedy: str = ""
    """What the user should do; empty: pass `logits_from=`."""
    is_known: bool = True
    """Whether the change is a known function of the head's logits, such as a scale or a mask."""


def settings_in(config: Any) -> LogitSettings:
    """The changes of the logits after the head that a configuration of transformers sets.

    Args:
        config: a configuration object, or a mapping such as the content of `config.json`. If it has no such settings, those of a
            nested language model (`text_config`, `decoder`) count.

    Returns:
        The settings; `NO_SETTINGS` if there are none.
    """
    found = _settings_of(config)
    for name in _NESTED:
        nested = _entry(config, name)
        if found == NO_SETTINGS and nested is not None and not isinstance(nested, str | int | float):
            found = _settings_of(nested)
    return found


def _settings_of(config: Any) -> LogitSettings:
    given = _entry(config, "model_type")
    kind = given if isinstance(given, str) else ""
    if kind in _IGNORES:
        return NO_SETTINGS
    cap_name, cap = _first(config, CAPS)
    scale_name, scale = _first(config, MULTIPLIERS)
    if scale is None:
        scale_name, scale = _first(config, DIVISORS)
        scale = scale if scale is None or kind in _MULTIPLIES else 1 / scale
    return LogitSettings(cap, cap_name, 1.0 if scale is None else scale, scale_name)


def _first(config: Any, names: tuple[str, ...]) -> tuple[str, float | None]:
    """The first setting in `names` that has an effect, as `name=value`, and its value; `("", None)` if there is none."""
    for name in names:
        value = _entry(config, name)
        if is_number(value) and 1 / LARGEST < value < LARGEST and (value != 1 or name in CAPS):
            return f"{name}={value:g}", float(value)
    return "", None


def _entry(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def same_probabilities(y_NK: Tensor, z_NK: Tensor, link: Link) -> bool:
    """Whether an output has the same probabilities as logits. The output may be logits, probabilities or log-probabilities.

    The square roots of the probabilities may differ by 1e-4; by 4e-3 if the output is in half precision.

    Args:
        y_NK: the output.
        z_NK: the logits.
        link: maps logits to probabilities.
    """
    y, z, tolerance = _comparable(y_NK, z_NK)
    root_p = _probabilities(z, link).sqrt()
    return any(_is_close(q.sqrt(), root_p, tolerance) for q in _readings(y, link))


def change_of(y_NK: Tensor, z_NK: Tensor, link: Link, settings: LogitSettings = NO_SETTINGS) -> Change | None:
    """How a model computes its output from its head's logits; None if the probabilities are the same.

    A soft cap of the configuration is a change even if the probabilities are the same up to rounding.

    Args:
        y_NK: the model's output: logits, probabilities or log-probabilities.
        z_NK: the head's logits, for the same inputs.
        link: maps logits to probabilities.
        settings: changes after the head, from the model's configuration.
    """
    if torch.equal(y_NK, z_NK.to(y_NK.dtype)):
        return None
    capped = cap_in_settings(y_NK, z_NK, link, settings)
    if capped is not None:
        return capped
    if same_probabilities(y_NK, z_NK, link):
        return None
    other: Link = "softmax" if link == "sigmoid" else "sigmoid"
    y, z, _ = _comparable(y_NK, z_NK)
    is_probability = bool((y >= 0).all() and (y <= 1).all())
    if link != "cosine" and is_probability and same_probabilities(y_NK, z_NK, other):
        return Change(f"returns the {other} of the logits, but `link` is {link!r}", f"Pass `link={other!r}`.")
    return _known_change(y, z, settings) or Change(f"changes the logits by up to {_largest(y - z):.3g}", is_known=False)


def _known_change(y: Tensor, z: Tensor, settings: LogitSettings) -> Change | None:
    """The change if it is a mask, a scale, a constant vector or a soft cap; else None."""
    is_masked = (y <= _MASK) & (z > _MASK)
    known = y.isfinite() & z.isfinite() & ~is_masked
    if not known.any():
        return None
    y_known, z_known = torch.where(known, y, 0), torch.where(known, z, 0)
    size = 2e-3 * float(y_known.abs().max()) + 1e-12
    if is_masked.any() and _is_close(y_known, z_known, size):
        return Change(f"masks {int(is_masked.any(dim=0).sum())} of {y.shape[1]} labels")
    scale = float((y_known * z_known).sum() / (z_known * z_known).sum().clamp(min=1e-30))
    if _is_close(y_known, scale * z_known, size):
        name = settings.scale_name if abs(scale - settings.scale) <= 1e-2 * abs(scale) else ""
        return Change(f"multiplies the logits by {scale:.4g}" + (f" (`{name}` in the model's config)" if name else ""))
    shift_K = (y_known - z_known).mean(dim=0)
    if len(y) > 1 and _is_close(y_known, z_known + shift_K, size):
        return Change("adds a constant vector to the logits")
    cap = _cap_of(y_known, z_known)
    if cap is not None and _is_close(y_known, cap * (z_known / cap).tanh(), size):
        return Change(f"soft-caps the logits at {cap:.4g}", f"Pass `link='softcap', link_cap={cap:.4g}`.")
    return None


def cap_in_settings(y_NK: Tensor, z_NK: Tensor, link: Link, settings: LogitSettings) -> Change | None:
    """The cap of the configuration as a change, if the output has it. Even a cap too weak to matter shows in the last digits."""
    if settings.cap is None or link in {"softcap", "cosine"}:
        return None
    y, z, _ = _comparable(y_NK, z_NK)
    scaled = settings.scale * z
    capped = Response.of("softcap", link_cap=settings.cap).of_output(scaled)
    if _largest(y - scaled) <= 4 * _largest(y - capped):
        return None
    remedy = "Pass `link='softcap'`." if settings.scale == 1 else ""
    return Change(f"soft-caps the logits (`{settings.cap_name}` in the model's config), so centering would be wrong", remedy)


def _cap_of(y: Tensor, z: Tensor) -> float | None:
    """The c of y = c * tanh(z / c), from the largest logit; None if no c fits it."""
    place = z.abs().argmax()
    small, large = abs(float(y.flatten()[place])), abs(float(z.flatten()[place]))
    if not 0 < small < large:
        return None
    low, high = small, 1e4 * large
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if middle * math.tanh(large / middle) < small else (low, middle)
    return high


def _comparable(y_NK: Tensor, z_NK: Tensor) -> tuple[Tensor, Tensor, float]:
    """Both tensors, rounded to half precision if the output is, and the tolerance of the roots of their probabilities."""
    is_half = y_NK.dtype in _HALF
    z_NK = z_NK.to(y_NK.dtype) if is_half else z_NK
    wide = working_dtype(z_NK)
    return y_NK.to(wide), z_NK.to(wide), 4e-3 if is_half else 1e-4


def _probabilities(z: Tensor, link: Link) -> Tensor:
    return z.sigmoid() if link == "sigmoid" else z.softmax(dim=1)


def _readings(y: Tensor, link: Link) -> list[Tensor]:
    """The probabilities that an output can mean: as logits, as probabilities, under a sigmoid also as log-probabilities."""
    readings = [_probabilities(y, link)]
    if (y >= 0).all() and (y <= 1).all():
        readings.append(y)
    if link == "sigmoid" and (y <= 0).all():
        readings.append(y.exp())
    return readings


def _is_close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether two tensors are equal up to an absolute tolerance; entries that are NaN in both are equal."""
    return bool((((one - other).abs() <= tolerance) | (one == other) | (one.isnan() & other.isnan())).all())


def _largest(error: Tensor) -> float:
    known = error[error.isfinite()].abs()
    return float(known.max()) if len(known) else 0.0
