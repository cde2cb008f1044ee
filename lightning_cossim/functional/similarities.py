"""The table of similarities: everything the package knows of each similarity, in one row.

Metrics, scalars, alerts, tables, pages, figures and, through the header on the wire, the tab read this table. To add a
similarity, write a pure function and a row here; CONTRIBUTING.md shows how.

Shapes: K labels of the head, L of them compared, D embedding dimensions, P pairs; `W_KD` unembedding, `S_DD` covariance of the
embeddings, `g_PD` and `h_PD` the rows of the first and the second label of each pair.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.centering import Origin, origin_of
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.logit_covariance import LogitCovariance
from lightning_cossim.functional.logit_geometry import log_odds_variance, logit_correlation, logit_geometry_of
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import result_dtype
from lightning_cossim.functional.symmetries import ALWAYS_UNSEEN, Symmetry

__all__ = [
    "EXPECTED_OVERLAP",
    "GAP",
    "MASS",
    "OVERLAP",
    "QUANTITIES",
    "SIMILARITIES",
    "HeadRows",
    "PairRows",
    "Quantity",
    "Similarity",
]

_ALL_LINKS: Final[frozenset[Link]] = frozenset({"softmax", "sigmoid", "softcap", "cosine"})
_CHUNK: Final = 4096
"""Pairs compared at a time."""
_CHUNK_OF_MATRIX: Final = 256
"""The same for a similarity that is written for matrices only: a chunk has at most twice as many labels."""


@dataclass(frozen=True)
class HeadRows:
    """The rows of some labels of a head, and what similarities need to know of the whole head."""

    unembedding: Tensor
    """(K, D)."""
    label_subset: Tensor
    """(L,), the rows to compare."""
    covariance: Tensor | LogitCovariance
    """(D, D), of the embeddings, or that of the logits of all labels; NaN where no embeddings are known."""
    live: Tensor
    """Boolean (K,)."""
    is_centered: bool
    """Whether the link makes the origin of the rows arbitrary, so that rows are centered over the live labels."""
    origin: Origin = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", origin_of(self.unembedding, self.live))

    @cached_property
    def rows(self) -> Tensor:
        """(L, D), as they are."""
        return self.unembedding[self.label_subset]

    @cached_property
    def centered(self) -> Tensor:
        """(L, D), minus the mean row over all live labels."""
        return self.origin.center(self.rows).to(result_dtype(self.unembedding))

    @property
    def aligned(self) -> Tensor:
        """(L, D), centered where the link's origin is arbitrary."""
        return self.centered if self.is_centered else self.rows

    @cached_property
    def live_subset(self) -> Tensor:
        """Boolean (L,)."""
        return self.live[self.label_subset]


@dataclass(frozen=True)
class PairRows:
    """The two rows of each of some pairs of labels, in the working dtype."""

    first: Tensor
    """(P, D)."""
    second: Tensor
    """(P, D)."""
    along: tuple[Tensor, Tensor]
    """Both rows, centered where the link's origin is arbitrary, times the covariance of the embeddings, (P, D) each."""
    origin: Origin
    embedding_covariance: Tensor
    """(D, D)."""
    resolution: float
    """The relative size below which a number is rounding."""
    is_centered: bool

    @cached_property
    def centered(self) -> tuple[Tensor, Tensor]:
        """Both rows minus the mean row, (P, D) each."""
        return self.origin.center(self.first), self.origin.center(self.second)

    @cached_property
    def logit_geometry(self) -> tuple[Tensor, Tensor]:
        """The logit correlation and the log-odds variance, (P,) each."""
        g_PD, h_PD = self.centered if self.is_centered else (self.first, self.second)
        along_PD, across_PD = self.along
        covariance_DD, resolution = self.embedding_covariance, self.resolution
        return logit_geometry_of(
            g_PD, h_PD, along=along_PD, across=across_PD, embedding_covariance=covariance_DD, resolution=resolution
        )


@dataclass(frozen=True)
class Quantity:
    """A number about a pair of labels, as tables, pictures and the tab show it."""

    key: str
    """Its name in tags, columns and dictionaries."""
    title: str
    """Its name in sentences and over pictures."""
    column: str
    """Heading of its column in a table."""
    short: str
    """The same where room is little."""
    form: str
    """How a table formats it, as a format specification; empty: three decimals, or a power of ten where all would be zero."""
    low: float = -math.inf
    high: float = math.inf
    """Its range; infinite where there is no bound."""
    direction: int = 1
    """1 if larger means more alike, -1 if smaller does."""
    about: tuple[str, ...] = ()
    """What it is, in sentences, one paragraph each."""
    about_uncentered: tuple[str, ...] = ()
    """The same under links that leave rows uncentered; empty: `about` holds there too."""
    about_link: Mapping[Link, str] = field(default_factory=dict)
    """One more paragraph under a link that leaves rows uncentered."""

    def explained(self, link: Link) -> tuple[str, ...]:
        """What it is under a link, one paragraph each."""
        if link == "softmax" or not self.about_uncentered:
            return self.about
        return (*self.about_uncentered, *([self.about_link[link]] if link in self.about_link else []))


@dataclass(frozen=True, kw_only=True)
class Similarity(Quantity):
    """A similarity that is held against the probability overlap."""

    links: frozenset[Link]
    """The links under which it means something."""
    of_itself: float
    """Its value between a label and itself."""
    unchanged_by: frozenset[Symmetry]
    """The changes of a softmax head that leave it unchanged."""
    unchanged_where_centered: frozenset[Symmetry] = frozenset()
    """More of them, that leave it unchanged only under links that center rows."""
    keeps_order_under: frozenset[Symmetry] = frozenset()
    """Changes that move its values and not their order, as a factor does."""
    needs_embeddings: bool = False
    """Whether it is computed through the covariance of the embeddings."""
    matrix: Callable[[HeadRows], Tensor]
    """Its values between all labels compared, (L, L), NaN where a label is not live."""
    pairwise: Callable[[PairRows], Tensor] | None = None
    """Its values of pairs, (P,), without a matrix; None: read off matrices of a few labels at a time."""

    def of_pairs(self, rows: PairRows, head: HeadRows, pairs: Pairs) -> Tensor:
        """Its values of some pairs (P,), by their rows in the head."""
        if self.pairwise is not None:
            return self.pairwise(rows)
        chunks = zip(torch.split(pairs.row, _CHUNK_OF_MATRIX), torch.split(pairs.column, _CHUNK_OF_MATRIX), strict=True)
        return torch.cat([self._of_chunk(head, Pairs(row, column)) for row, column in chunks])

    def _of_chunk(self, head: HeadRows, pairs: Pairs) -> Tensor:
        labels = pairs.labels
        subset = HeadRows(head.unembedding, labels.to(head.live.device), head.covariance, head.live, head.is_centered)
        return pairs.among(labels).values(self.matrix(subset))


def _text(*paragraphs: str) -> tuple[str, ...]:
    return paragraphs


def _cosine(g_PD: Tensor, h_PD: Tensor) -> Tensor:
    """(P,), NaN where a row is zero."""
    lengths_P = g_PD.norm(dim=1) * h_PD.norm(dim=1)
    cosine_P: Tensor = (g_PD * h_PD).sum(dim=1) / lengths_P
    return cosine_P.clamp(-1, 1)


def _logit_correlation(head: HeadRows) -> Tensor:
    if isinstance(head.covariance, LogitCovariance):
        labels, live, centered = head.label_subset, head.live, head.is_centered
        return head.covariance.logit_correlation(head.aligned, labels=labels, live=live, centered=centered)
    return logit_correlation(head.aligned, embedding_covariance=head.covariance, centered=False, live=head.live_subset)


def _log_odds_variance(head: HeadRows) -> Tensor:
    if isinstance(head.covariance, LogitCovariance):
        variance_LL = head.covariance.log_odds_variance(head.rows, labels=head.label_subset)
    else:
        variance_LL = log_odds_variance(head.rows, embedding_covariance=head.covariance)
    return variance_LL.masked_fill(~(head.live_subset[:, None] & head.live_subset), torch.nan)


SIMILARITIES: Final[Mapping[str, Similarity]] = MappingProxyType(
    {
        row.key: row
        for row in (
            Similarity(
                "raw_cosine",
                "Raw cosine",
                "raw cos",
                "raw",
                "+.2f",
                -1,
                1,
                about=_text(
                    "The cosine of the angle between two labels' rows in the final linear layer, from -1 to 1.",
                    "A softmax gives the same probabilities for every input when one vector is added to all rows. That vector "
                    "can be chosen so that the raw cosine of any pair becomes 1, or -1. It says nothing about what the model "
                    "does.",
                ),
                about_uncentered=_text(
                    "The cosine of the angle between two labels' rows in the final linear layer, from -1 to 1.",
                    "Rows are not centered here, since their origin is not arbitrary. The expected overlap, and with it every "
                    "gap, refers to this similarity.",
                ),
                about_link={
                    "sigmoid": "A sigmoid sees every logit by itself: one vector added to all rows changes probabilities.",
                    "softcap": "A soft cap bends every logit by itself before the softmax: one vector added to all rows changes "
                    "probabilities.",
                    "cosine": "This head gives cosines times a scale. It sees directions from zero and no lengths, so one vector "
                    "added to all rows changes probabilities.",
                },
                links=_ALL_LINKS,
                of_itself=1.0,
                unchanged_by=ALWAYS_UNSEEN | {"row_scale", "global_scale", "temperature", "embedding_scale"},
                matrix=lambda head: label_cosine_similarity(head.rows, centered=False, live=head.live_subset),
                pairwise=lambda rows: _cosine(rows.first, rows.second),
            ),
            Similarity(
                "centered_cosine",
                "Label-centered cosine",
                "centered cos",
                "centered",
                "+.2f",
                -1,
                1,
                about=_text(
                    "The cosine of two rows after the mean row of all live labels has been subtracted: adding one vector to "
                    "all rows no longer changes it.",
                    "It still takes every direction of the embeddings as equally common. The expected overlap, and with it every "
                    "gap, refers to this similarity.",
                ),
                links=frozenset({"softmax"}),
                of_itself=1.0,
                unchanged_by=ALWAYS_UNSEEN | {"translation", "global_scale", "temperature", "embedding_scale"},
                matrix=lambda head: label_cosine_similarity(head.centered, centered=False, live=head.live_subset),
                pairwise=lambda rows: _cosine(*rows.centered),
            ),
            Similarity(
                "logit_correlation",
                "Logit correlation",
                "logit corr",
                "logits",
                "+.2f",
                -1,
                1,
                about=_text(
                    "The correlation of the two centered logits over the inputs seen, from -1 to 1. It counts the directions "
                    "that the embeddings really take.",
                    "No invertible linear map between embeddings and rows can change it.",
                ),
                about_uncentered=_text(
                    "The correlation of the two logits over the inputs seen, taken from zero, from -1 to 1. It counts the "
                    "directions that the embeddings really take.",
                ),
                about_link={
                    "softcap": "The logits are those before the cap.",
                    "cosine": "Rows and embeddings are taken at length 1, as the head does.",
                },
                links=_ALL_LINKS,
                of_itself=1.0,
                unchanged_by=ALWAYS_UNSEEN | {"linear_map", "global_scale", "temperature"},
                unchanged_where_centered=frozenset({"translation"}),
                needs_embeddings=True,
                matrix=_logit_correlation,
                pairwise=lambda rows: rows.logit_geometry[0],
            ),
            Similarity(
                "log_odds_variance",
                "Log-odds variance",
                "log-odds var",
                "log-odds",
                ".3g",
                0,
                direction=-1,
                about=_text(
                    "The variance over the inputs of log p(one)/p(other). Small means alike: whatever the input, the odds "
                    "stay the same.",
                    "It does not depend on which other labels exist.",
                ),
                about_uncentered=_text("The variance over the inputs of the difference of the two logits. Small means alike."),
                about_link={
                    "softcap": "The logits are those before the cap, so that it says less where the cap bends them.",
                    "cosine": "For a cosine head that is the variance of log p(one)/p(other): whatever the input, the odds "
                    "stay the same.",
                },
                links=_ALL_LINKS,
                of_itself=0.0,
                unchanged_by=ALWAYS_UNSEEN | {"translation", "linear_map"},
                keeps_order_under=frozenset({"global_scale", "temperature"}),
                needs_embeddings=True,
                matrix=_log_odds_variance,
                pairwise=lambda rows: rows.logit_geometry[1],
            ),
        )
    }
)
"""Key to row, in the order in which they are shown: each removes one ambiguity of the one before (THEORY §3)."""

OVERLAP: Final = Quantity(
    "overlap",
    "Probability overlap",
    "overlap",
    "overlap",
    "",
    0,
    1,
    about=_text(
        "How far the two labels are probable for the same inputs, from 0 to 1: the Bhattacharyya coefficient of their "
        "probabilities over the inputs, unless the monitor was given another kind.",
        "This is what the model does. The similarities are held against it.",
    ),
)
OVERLAP_ERROR: Final = Quantity(
    "overlap_error",
    "Standard error",
    "std error",
    "±",
    "",
    0,
    about=_text(
        "How far the overlap, and with it the gap, would differ with other inputs: its standard deviation, from eight blocks of "
        "the inputs of which one is left out at a time. About 95 % of such overlaps lie within 2.4 of them.",
    ),
)
EXPECTED_OVERLAP: Final = Quantity(
    "expected_overlap",
    "Expected overlap",
    "expected",
    "expected",
    "",
    0,
    1,
    about=_text(
        "The overlap that other pairs with this cosine have: the best curve that never falls, fitted without this pair. Of more "
        "than 20,000 pairs, none is left out.",
        "Pictures draw the curve that is fitted to all pairs.",
    ),
)
GAP: Final = Quantity(
    "gap",
    "Gap",
    "gap",
    "gap",
    "+",
    -1,
    1,
    about=_text(
        "Overlap minus expected overlap. Far above zero the pair is a stranger: the model takes one for the other although "
        "their rows differ. Far below, a look-alike: their rows agree, and the model keeps them apart.",
    ),
)
MASS: Final = Quantity(
    "mass", "Joint mass", "mass", "mass", "", 0, about=_text("How probable the two labels are together, in units of 1/K.")
)
JOINT_INPUTS: Final = Quantity(
    "joint_inputs",
    "Joint inputs",
    "joint",
    "joint",
    "d",
    0,
    about=_text(
        "On how many inputs both labels are likely: among the eight most likely ones, and with at least a tenth of the "
        "probability of the most likely one.",
    ),
)
QUANTITIES: Final[Mapping[str, Quantity]] = MappingProxyType(
    {**SIMILARITIES, **{row.key: row for row in (OVERLAP, OVERLAP_ERROR, EXPECTED_OVERLAP, GAP, MASS, JOINT_INPUTS)}}
)
"""Everything a table may show of a pair, key to row."""
