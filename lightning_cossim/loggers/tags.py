"""The names of all tags."""

from typing import Final

from lightning_cossim.functional.scalars import scalars
from lightning_cossim.report.context import WindowKey

__all__ = ["AGREEMENTS", "EXPLAINED", "GAPS", "SCALARS", "group", "picture_group", "window_tag"]

SCALARS: Final = scalars("softmax")
AGREEMENTS: Final = tuple(name for name in SCALARS if name.startswith("rank_agreement_"))
EXPLAINED: Final = tuple(name for name in SCALARS if name.startswith("explained_"))
GAPS: Final = tuple(name for name in SCALARS if name.startswith("gap_"))


def picture_group(stage: str, kind: str, name: str | None = None) -> str:
    """The group of a stage's pictures of one kind. It is not `group`, so that loggers show curves before pictures.

    Example:
        >>> picture_group("val", "heatmap")
        'cossim_val_heatmap'
    """
    return f"{group(stage, name)}_{kind}"


def group(stage: str, name: str | None = None) -> str:
    """The group of a stage's tags.

    Example:
        >>> group("val"), group("train", "aux")
        ('cossim_val', 'cossim_aux_train')
    """
    return f"cossim_{stage}" if name is None else f"cossim_{name}_{stage}"


def window_tag(window: WindowKey, name: str | None = None) -> str:
    """The tag of a window: its group and, if each data loader has its own reports, the index of the data loader.

    Example:
        >>> window_tag(WindowKey("val", 1))
        'cossim_val/dataloader_idx_1'
    """
    return f"{group(window.stage, name)}{window.suffix}"
