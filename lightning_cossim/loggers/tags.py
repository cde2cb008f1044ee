"""Every tag, once."""

from typing import Final

from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.links import Link

__all__ = ["EXPLAINED", "GAPS", "SCALARS", "SHARES", "group", "picture_group", "scalars", "suffix"]

SHARES: Final = ("share_lookalikes", "share_strangers")
"""Flagged pairs as a share of the eligible ones."""


def scalars(link: Link) -> tuple[str, ...]:
    """The tags of a link, without their group: where nothing is centered, what centering would tell is absent.

    Example:
        >>> set(scalars("softmax")) - set(scalars("sigmoid")) == {
        ...     "explained_centered_cosine", "gap_translation", "common_mode_ratio"
        ... }
        True
    """
    ladder = LADDERS[link]
    origin = ("common_mode_ratio",) if "gap_translation" in ladder.gaps else ()
    explained = (f"explained_{rung}" for rung in ladder.similarities)
    gaps = (*ladder.gaps, "gap_behavior")
    return (*explained, *gaps, "reliability", *SHARES, "overlap_mean", *origin, "overhead_fraction")


SCALARS: Final = scalars("softmax")
EXPLAINED: Final = tuple(name for name in SCALARS if name.startswith("explained_"))
GAPS: Final = tuple(name for name in SCALARS if name.startswith("gap_"))


def suffix(dataloader_idx: int | None) -> str:
    """What tags of one of several validation or test loaders end in, as Lightning's own do.

    Example:
        >>> suffix(1), suffix(None)
        ('/dataloader_idx_1', '')
    """
    return "" if dataloader_idx is None else f"/dataloader_idx_{dataloader_idx}"


def picture_group(stage: str, kind: str, name: str | None = None) -> str:
    """The group of a stage's pictures of one kind: one of their own, so that curves stay on top.

    Example:
        >>> picture_group("val", "heatmap")
        'cossim_val_heatmap'
    """
    return f"{group(stage, name)}_{kind}"


def group(stage: str, name: str | None = None) -> str:
    """The group that a stage's tags stand in.

    Example:
        >>> group("val"), group("train", "aux")
        ('cossim_val', 'cossim_aux_train')
    """
    return f"cossim_{stage}" if name is None else f"cossim_{name}_{stage}"
