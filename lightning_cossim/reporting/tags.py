"""Every tag, once."""

from typing import Final

from lightning_cossim.functional.ladder import SIMILARITIES

__all__ = ["EXPLAINED", "GAPS", "SCALARS", "group"]

EXPLAINED: Final = tuple(f"explained_{rung}" for rung in SIMILARITIES)
GAPS: Final = ("gap_translation", "gap_geometry", "gap_behaviour")
SCALARS: Final = (*EXPLAINED, *GAPS, "overlap_mean", "common_mode_ratio", "overhead_fraction")


def group(stage: str, name: str | None = None) -> str:
    """The group that a stage's tags stand in.

    Example:
        >>> group("val"), group("train", "aux")
        ('cossim_val', 'cossim_aux_train')
    """
    return f"cossim_{stage}" if name is None else f"cossim_{name}_{stage}"
