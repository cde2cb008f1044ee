"""The names of a report's scalars. They follow from the similarities that are meaningful under a link."""

from typing import Final

from lightning_cossim.functional.ladder import LADDERS, MEASURES
from lightning_cossim.functional.links import Link

__all__ = ["SHARES", "alert_scalars", "scalars"]

SHARES: Final = ("share_lookalikes", "share_strangers")
"""Flagged pairs as a share of the eligible pairs."""
_OVERHEAD: Final = "overhead_fraction"


def scalars(link: Link) -> tuple[str, ...]:
    """The tags of a link's scalars, without their group. If rows are not centered, the scalars that need centering are absent.

    Example:
        >>> set(scalars("softmax")) - set(scalars("sigmoid")) == {
        ...     "rank_agreement_centered_cosine", "explained_centered_cosine", "gap_translation", "common_mode_ratio"
        ... }
        True
    """
    ladder = LADDERS[link]
    origin = ("common_mode_ratio",) if ladder.is_centered else ()
    measured = (f"{measure}_{key}" for measure in MEASURES for key in ladder.similarities)
    trust = ("reliability", "residual_scale")
    return (*measured, *ladder.gaps, "gap_behavior", *trust, *SHARES, "overlap_mean", *origin, _OVERHEAD)


def alert_scalars() -> tuple[str, ...]:
    """The scalars that an alert can watch: all except the overhead of the monitor."""
    return tuple(name for name in scalars("softmax") if name != _OVERHEAD)
