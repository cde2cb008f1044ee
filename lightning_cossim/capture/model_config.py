"""The response of a head (from weights to logits), from the user's settings and from the model's config."""

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from lightning_cossim.capture.cosine_heads import name_of_scale
from lightning_cossim.capture.head import Head
from lightning_cossim.capture.layers import number_in
from lightning_cossim.capture.logit_changes import CAPS, NO_SETTINGS, LogitSettings, settings_in
from lightning_cossim.functional.links import Link, Response

__all__ = ["probabilities_in_words", "settings_around", "with_response"]


def with_response(model: nn.Module, head: Head, link: Link, *, link_cap: float | None, link_scale: float | None) -> Head:
    """The head with its response. A missing cap is read from the model's config, a missing scale from the head.

    Args:
        model: the LightningModule.
        head: the head that `find_head` found.
        link: how probabilities follow from the head.
        link_cap: the cap of link "softcap", above 0; None: `final_logit_softcapping`, `logits_soft_cap` or
            `output_logit_soft_cap` in the config of a module that contains the head, else of any module.
        link_scale: the scale of link "cosine", above 0; None: the attribute `scale` or `s` of the head.

    Raises:
        InputError: the link is unknown, the cap or the scale is not a positive number or does not belong to the link, or it is
            missing and the model does not have it either.
    """
    scale_name = name_of_scale(head.module) if link == "cosine" and link_scale is None else None
    if scale_name is not None:  # not checked to be positive: a learned scale may start at any value
        Response.of(link, link_cap=link_cap)
        return replace(head, response=Response(link, None, number_in(head.module, scale_name)), scale_name=scale_name)
    if link == "softcap" and link_cap is None:
        link_cap = settings_around(model, head.module).cap or _settings_anywhere(model).cap
    response = Response.of(link, link_cap=link_cap, link_scale=link_scale)
    where = {"link_cap": f"or `{CAPS[0]}` in the model's config", "link_scale": "or a number as `scale` or `s` of the head"}
    response.check_complete(where.get(response.lacks or "", ""))
    return replace(head, response=response)


def probabilities_in_words(head: Head, output: str, *, is_final: bool) -> str:
    """How the probabilities are computed, in words.

    Args:
        head: the head with its response.
        output: the name of the output that is read, in words.
        is_final: whether this output is the model's final logits.
    """
    response = head.response
    if is_final or response.link in {"softmax", "sigmoid"}:
        return f"{'sigmoid' if response.link == 'sigmoid' else 'softmax'} of {output}"
    if response.link == "cosine":
        origin = "" if head.scale_name is None else f" (from its `{head.scale_name}`)"
        return f"softmax of its cosines times {response.link_scale:g}{origin}"
    return f"softmax of {output}, capped at {response.link_cap:g}"


def settings_around(model: nn.Module, module: nn.Module) -> LogitSettings:
    """The logit settings in the config of a layer or of a module that contains it. The innermost config with settings counts."""
    around = [part for part in model.modules() if any(inner is module for inner in part.modules())]
    return _first_of(reversed(around))


def _settings_anywhere(model: nn.Module) -> LogitSettings:
    return _first_of(model.modules())


def _first_of(parts: Iterable[nn.Module]) -> LogitSettings:
    found = (settings_in(getattr(part, "config", None)) for part in parts)
    return next((settings for settings in found if settings != NO_SETTINGS), NO_SETTINGS)
