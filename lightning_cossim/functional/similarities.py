"""The table of similarities: one row holds everything that the package knows about a similarity.

Metrics, scalars, alerts, tables, pages and figures read this table. The TensorBoard tab gets it through the header of the wire
format. To add a similarity, write a pure function and a row here; CONTRIBUTING.md shows how.

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
    "LOCAL_LOG_ODDS",
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
"""Pairs per chunk."""
_CHUNK_OF_MATRIX: Final = 256
"""Pairs per chunk of a similarity that has only a matrix function. A chunk has at most twice as many labels."""


@dataclass(frozen=True)
class HeadRows:
    """The rows of some labels of a head, and the data of the whole head that similarities need."""

    unembedding: Tensor
    """(K, D)."""
    label_subset: Tensor
    """(L,), the rows to compare."""
    covariance: Tensor | LogitCovariance
    """(D, D), the covariance of the embeddings, or the `LogitCovariance` of all labels. NaN if no embeddings are known."""
    live: Tensor
    """Boolean (K,), whether a label is live."""
    is_centered: bool
    """Whether the origin of the rows is arbitrary under the link. If so, rows are centered over the live labels."""
    origin: Origin = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", origin_of(self.unembedding, self.live))

    @cached_property
    def rows(self) -> Tensor:
        """(L, D), uncentered."""
        return self.unembedding[self.label_subset]

    @cached_property
    def centered(self) -> Tensor:
        """(L, D), minus the mean row over all live labels."""
        return self.origin.center(self.rows).to(result_dtype(self.unembedding))

    @property
    def aligned(self) -> Tensor:
        """(L, D), centered if the origin is arbitrary under the link."""
        return self.centered if self.is_centered else self.rows

    @cached_property
    def live_subset(self) -> Tensor:
        """Boolean (L,), whether a compared label is live."""
        return self.live[self.label_subset]


@dataclass(frozen=True)
class PairRows:
    """The two rows of each pair of labels, in the working dtype."""

    first: Tensor
    """(P, D)."""
    second: Tensor
    """(P, D)."""
    along: tuple[Tensor, Tensor]
    """Both rows times the covariance of the embeddings, (P, D) each. Rows are centered if `is_centered` is true."""
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
    """A number about a pair of labels, and how tables, figures and the tab show it."""

    key: str
    """Its name in tags, columns and dictionaries."""
    title: str
    """Its name in sentences and titles."""
    column: str
    """Its column heading in a table."""
    short: str
    """Its column heading if there is little space."""
    form: str
    """Its format specification in tables. Empty: three decimals, or scientific notation if all three would be zero."""
    low: float = -math.inf
    high: float = math.inf
    """Its range is from `low` to `high`; infinite if there is no bound."""
    direction: int = 1
    """1 if larger means more alike, -1 if smaller means more alike."""
    about: tuple[str, ...] = ()
    """Its explanation, one paragraph per item."""
    about_uncentered: tuple[str, ...] = ()
    """Its explanation under links without centering. Empty: `about` applies there too."""
    about_link: Mapping[Link, str] = field(default_factory=dict)
    """An additional paragraph under a link without centering."""

    def explained(self, link: Link) -> tuple[str, ...]:
        """Its explanation under a link, one paragraph per item."""
        if link == "softmax" or not self.about_uncentered:
            return self.about
        return (*self.about_uncentered, *([self.about_link[link]] if link in self.about_link else []))


@dataclass(frozen=True, kw_only=True)
class Similarity(Quantity):
    """A similarity that is compared with the probability overlap."""

    links: frozenset[Link]
    """The links under which it is meaningful."""
    of_itself: float
    """Its value between a label and itself."""
    unchanged_by: frozenset[Symmetry]
    """The changes of a softmax head that do not change it."""
    unchanged_where_centered: frozenset[Symmetry] = frozenset()
    """Additional changes that do not change it under links with centering."""
    keeps_order_under: frozenset[Symmetry] = frozenset()
    """Changes that change its values but not their order, such as a factor."""
    needs_embeddings: bool = False
    """Whether it needs the covariance of the embeddings."""
    matrix: Callable[[HeadRows], Tensor]
    """Computes its values between all compared labels, (L, L). NaN if a label is not live."""
    pairwise: Callable[[PairRows], Tensor] | None = None
    """Computes its values for pairs, (P,), without a matrix. None: `matrix` is called for a few labels at a time."""

    def of_pairs(self, rows: PairRows, head: HeadRows, pairs: Pairs) -> Tensor:
        """Its values (P,) for pairs, by their rows in the head."""
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
    """(P,), NaN if a row is zero."""
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
                    "If you add one vector to all rows, a softmax gives the same probabilities for every input. You can choose "
                    "this vector so that the raw cosine of a pair becomes 1 or -1. So the raw cosine says nothing about what "
                    "the model does.",
                ),
                about_uncentered=_text(
                    "The cosine of the angle between two labels' rows in the final linear layer, from -1 to 1.",
                    "Rows are not centered here, because their origin is not arbitrary. The expected overlap and every gap are "
                    "computed from this similarity.",
                ),
                about_link={
                    "sigmoid": "A sigmoid uses each logit alone, so adding one vector to all rows changes probabilities.",
                    "softcap": "A soft cap bounds each logit alone before the softmax, so adding one vector to all rows changes "
                    "probabilities.",
                    "cosine": "This head multiplies cosines by a scale. It uses the directions of the rows, so adding one vector "
                    "to all rows changes probabilities.",
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
                    "The cosine of two rows minus the mean row of all live labels, from -1 to 1. Adding one vector to all rows "
                    "does not change it.",
                    "It still treats all directions of the embeddings as equally common. The expected overlap and every gap are "
                    "computed from this similarity.",
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
                    "The correlation of the two centered logits over the inputs seen, from -1 to 1. It weights each direction "
                    "by how much the embeddings vary in it.",
                    "An invertible linear map of the embeddings, with its inverse on the rows, does not change it.",
                ),
                about_uncentered=_text(
                    "The correlation of the two uncentered logits over the inputs seen, from -1 to 1. It weights each direction "
                    "by how much the embeddings vary in it.",
                ),
                about_link={
                    "softcap": "It uses the logits before the cap.",
                    "cosine": "Rows and embeddings have length 1, as in the head.",
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
                    "The variance of log p(one)/p(other) over the inputs. A small value means alike: the odds of the two "
                    "labels are similar on every input.",
                    "It does not depend on which other labels exist.",
                ),
                about_uncentered=_text(
                    "The variance of the difference of the two logits over the inputs. A small value means alike."
                ),
                about_link={
                    "softcap": "It uses the logits before the cap, so it is less informative for logits near the cap.",
                    "cosine": "For a cosine head, it is the variance of log p(one)/p(other): if it is small, the odds of the "
                    "two labels are similar on every input.",
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
"""Key to row, in display order. Each similarity removes one ambiguity of the one before."""

OVERLAP: Final = Quantity(
    "overlap",
    "Probability overlap",
    "overlap",
    "overlap",
    "",
    0,
    1,
    about=_text(
        "How far the two labels are probable on the same inputs, from 0 to 1. By default, it is the Bhattacharyya coefficient "
        "of their probabilities over the inputs.",
        "It describes what the model does. The similarities are compared with it.",
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
        "How much the overlap and the gap would vary with other inputs: the standard deviation of the overlap, from eight "
        "blocks of inputs that are left out one at a time. A range of 2.4 standard errors on each side of the overlap is an "
        "interval of about 95 %.",
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
        "The overlap of other pairs with this cosine: the best curve that never decreases, fitted without this pair. With more "
        "than 20,000 pairs, the fit uses all pairs.",
        "Figures show the curve that is fitted to all pairs.",
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
        "Overlap minus expected overlap. A pair with a gap far above 0 can be a stranger: the model confuses the labels although "
        "their rows differ. A pair with a gap far below 0 can be a look-alike: the rows are similar, but the model separates the "
        "labels.",
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
        "The number of inputs on which both labels are likely: among the eight most likely labels, and with at least a tenth of "
        "the probability of the most likely label. Under a sigmoid, both have a probability of at least 0.1 instead.",
    ),
)
LOCAL_LOG_ODDS: Final = Quantity(
    "local_log_odds",
    "Local log-odds",
    "local log-odds",
    "local",
    ".3g",
    0,
    direction=-1,
    about=_text(
        "The mean squared log-odds of the two labels' probabilities over the inputs, each divided by its sum. A small value "
        "means alike.",
        "The Bhattacharyya overlap of the pair on these inputs is at least exp(-d/8), where d is this number.",
    ),
)
QUANTITIES: Final[Mapping[str, Quantity]] = MappingProxyType(
    {
        **SIMILARITIES,
        **{row.key: row for row in (OVERLAP, OVERLAP_ERROR, EXPECTED_OVERLAP, GAP, MASS, JOINT_INPUTS, LOCAL_LOG_ODDS)},
    }
)
"""Every quantity of a pair that a table can show, key to row."""
