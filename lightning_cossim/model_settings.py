"""How a model's logits come about: what the user says of it, and what the model's own settings say."""

from numbers import Real

from torch import nn

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.head import Head

__all__ = ["odd_in", "probabilities_in_words", "response_of"]

_SOFTCAP = "final_logit_softcapping"
_IDLE = {_SOFTCAP: None, "logit_scale": 1, "logits_scaling": 1}
"""Settings of models of transformers that change logits after the head, and what each is where it does nothing."""
_SCALES = ("scale", "s")
"""What the usual cosine heads call it."""


def response_of(model: nn.Module, head: Head, link: Link, *, link_cap: float | None, link_scale: float | None) -> Response:
    """The response of a head: a cap or a scale that was not given is looked up in the model's settings, or in the head.

    Raises:
        InputError: it is not there either.
    """
    if link == "softcap" and link_cap is None:
        link_cap = _settings(model).get(_SOFTCAP)
        if link_cap is None:
            remedy = "Pass the number that no logit gets beyond, 30.0 for example."
            raise InputError(expected("link_cap", f"or the model's `{_SOFTCAP}` with link 'softcap'", "neither", remedy))
    if link == "cosine" and link_scale is None:
        found = [vars(head.module).get(name) for name in _SCALES]
        link_scale = next((float(one) for one in found if isinstance(one, Real) and not isinstance(one, bool)), None)
    return Response.of(link, link_cap=link_cap, link_scale=link_scale)


def odd_in(model: nn.Module, link: Link, *, sees_final: bool) -> str | None:
    """What the model's settings say of its logits and the user does not, as a warning; None if nothing.

    Args:
        model: the LightningModule.
        link: the user's.
        sees_final: whether the user says where the final logits are.
    """
    settings = _settings(model)
    cap = settings.pop(_SOFTCAP, None)
    if cap is not None and link in {"softmax", "sigmoid"}:
        return (
            f"the model soft-caps its logits ({_SOFTCAP}={cap:g}), so the origin of its rows is not arbitrary, and what is "
            "centered would be false. Pass `link='softcap'`."
        )
    if not settings or sees_final or link == "cosine":
        return None
    name, value = next(iter(settings.items()))
    return (
        f"the model changes its logits after its head ({name}={value:g}), where they cannot be seen: overlaps are those of the "
        "head's own output. Pass `logits_from=`, the path of the module whose output holds the final ones."
    )


def probabilities_in_words(response: Response, output: str, *, is_final: bool) -> str:
    """What probabilities are made of.

    Args:
        response: of the head.
        output: what is seen, in words.
        is_final: whether that is the model's final logits.
    """
    if is_final or response.link in {"softmax", "sigmoid"}:
        return f"{'sigmoid' if response.link == 'sigmoid' else 'softmax'} of {output}"
    if response.link == "cosine":
        return f"softmax of its cosines times {response.link_scale:g}"
    return f"softmax of {output}, capped at {response.link_cap:g}"


def _settings(model: nn.Module) -> dict[str, float]:
    """What a model's configuration says of changes of its logits after the head."""
    found: dict[str, float] = {}
    for part in model.modules():
        config = getattr(part, "config", None)
        for setting, idle in _IDLE.items():
            value = getattr(config, setting, idle)
            if isinstance(value, Real) and not isinstance(value, bool) and value != idle:
                found.setdefault(setting, float(value))
    return found
