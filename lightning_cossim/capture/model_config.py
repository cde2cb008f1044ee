"""How a model's logits come about: what the user says of it, and what the model's own settings say."""

from dataclasses import replace

from torch import nn

from lightning_cossim.capture.cosine_heads import name_of_scale
from lightning_cossim.capture.head import Head
from lightning_cossim.capture.layers import number_in
from lightning_cossim.functional.inputs import is_number
from lightning_cossim.functional.links import Link, Response

__all__ = ["odd_in", "probabilities_in_words", "with_response"]

_SOFTCAP = "final_logit_softcapping"
_IDLE = {_SOFTCAP: None, "logit_scale": 1, "logits_scaling": 1}
"""Settings of models of transformers that change logits after the head, and what each is where it does nothing."""


def with_response(model: nn.Module, head: Head, link: Link, *, link_cap: float | None, link_scale: float | None) -> Head:
    """The head with its response: a cap or a scale that was not given is looked up in the model's settings, or in the head.

    Raises:
        InputError: it is not there either.
    """
    scale_name = name_of_scale(head.module) if link == "cosine" and link_scale is None else None
    if scale_name is not None:  # one that is learned may begin anywhere
        Response.of(link, link_cap=link_cap)
        return replace(head, response=Response(link, None, number_in(head.module, scale_name)), scale_name=scale_name)
    if link == "softcap" and link_cap is None:
        link_cap = _settings(model).get(_SOFTCAP)
    response = Response.of(link, link_cap=link_cap, link_scale=link_scale)
    where = {"link_cap": f"or `{_SOFTCAP}` in the model's config", "link_scale": "or a number `scale` or `s` of the head"}
    response.check_complete(where.get(response.lacks or "", ""))
    return replace(head, response=response)


def odd_in(model: nn.Module, response: Response, *, sees_final: bool) -> str | None:
    """What the model's settings say of its logits and the user does not, as a warning; None if nothing.

    Args:
        model: the LightningModule.
        response: as the user says.
        sees_final: whether the user says where the final logits are.
    """
    settings = _settings(model)
    cap = settings.pop(_SOFTCAP, None)
    if cap is not None and response.link_cap not in {None, cap}:
        return f"`link_cap` is {response.link_cap:g}, and the model's config says {_SOFTCAP}={cap:g}: the former is believed."
    if cap is not None and response.link in {"softmax", "sigmoid"}:
        return (
            f"the model soft-caps its logits ({_SOFTCAP}={cap:g}), so the origin of its rows is not arbitrary, and what is "
            "centered would be false. Pass `link='softcap'`."
        )
    if not settings or sees_final or response.link == "cosine":
        return None
    name, value = next(iter(settings.items()))
    return (
        f"the model changes its logits after its head ({name}={value:g}), where they cannot be seen: overlaps are those of the "
        "head's own output. Pass `logits_from=`, the path of the module whose output holds the final ones."
    )


def probabilities_in_words(head: Head, output: str, *, is_final: bool) -> str:
    """What probabilities are made of.

    Args:
        head: with its response.
        output: what is seen, in words.
        is_final: whether that is the model's final logits.
    """
    response = head.response
    if is_final or response.link in {"softmax", "sigmoid"}:
        return f"{'sigmoid' if response.link == 'sigmoid' else 'softmax'} of {output}"
    if response.link == "cosine":
        origin = "" if head.scale_name is None else f", its `{head.scale_name}`"
        return f"softmax of its cosines times {response.link_scale:g}{origin}"
    return f"softmax of {output}, capped at {response.link_cap:g}"


def _settings(model: nn.Module) -> dict[str, float]:
    """What a model's configuration says of changes of its logits after the head."""
    found: dict[str, float] = {}
    for part in model.modules():
        config = getattr(part, "config", None)
        for setting, idle in _IDLE.items():
            value = getattr(config, setting, idle)
            if is_number(value) and value != idle:
                found.setdefault(setting, float(value))
    return found
