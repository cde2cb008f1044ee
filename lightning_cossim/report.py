"""GapReport: what one snapshot of a head says about its labels, in numbers that no longer change.

K labels of the head, L of them looked at; matrices are (L, L) on the CPU, NaN where a pair does not count.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, LabelSimilarityError, expected
from lightning_cossim.functional.comparison import Comparison
from lightning_cossim.functional.ladder import RUNGS, TOWARDS_ALIKE, mean_gap
from lightning_cossim.tables import markdown_table, text_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GapReport", "Pair", "Side"]

Side = Literal["strangers", "lookalikes"]
_HEADINGS: Final[dict[Side, str]] = {
    "strangers": "Towards strangers: more overlap than pairs with their cosine usually have",
    "lookalikes": "Towards look-alikes: less overlap than pairs with their cosine usually have",
}


@dataclass(frozen=True)
class Pair:
    """Two labels, the five rungs between them, and how far their overlap is from what pairs with their cosine have."""

    label: str
    other: str
    raw_cosine: float
    centered_cosine: float
    logit_correlation: float
    log_odds_variance: float
    overlap: float
    expected_overlap: float
    gap: float
    """`overlap - expected_overlap`: positive towards strangers, negative towards look-alikes."""
    mass: float
    """Joint mass in units of 1/K_live: a gap between labels that are never predicted is nobody's problem."""


@dataclass(frozen=True, eq=False)
class GapReport:
    """The ladder, the gaps and the shares explained of one window. Printing one gives its tables of pairs."""

    names: tuple[str, ...]
    """(L,), of the labels looked at."""
    labels: tuple[int, ...]
    """(L,), their rows in the head."""
    num_live: int
    """K_live, the labels that means over labels are taken over."""
    num_inputs: int
    """How many inputs were seen."""
    mean_probs: Tensor
    """(L,), in [0, 1]."""
    mass: Tensor
    """(L, L), joint mass of two labels: what their overlap sums over inputs, over the number of inputs."""
    kept: Tensor
    """Boolean (L,): live, and probable enough for its pairs to count."""
    rungs: Mapping[str, Tensor]
    """Rung to (L, L), NaN for pairs that do not count."""
    expected_overlap: Tensor
    """(L, L): what pairs with this centered cosine usually overlap."""
    scalars: Mapping[str, float]
    """Tag without its group to value; NaN where undefined."""
    rank_agreement: Mapping[str, float]
    """Similarity to its rank agreement with the overlap; NaN where undefined."""
    undefined: Mapping[str, str]
    """Scalar to the reason why it is NaN."""
    stage: str = ""
    """"train", "val" or "test"; empty for a report that no training made."""
    step: int = 0
    """The x of the loggers' curves."""

    @classmethod
    def from_rungs(
        cls,
        rungs: Mapping[str, Tensor],
        *,
        labels: Tensor,
        live: Tensor,
        mean_probs: Tensor,
        mass: Tensor,
        num_inputs: int,
        common_mode_ratio: float,
        min_probability: float,
    ) -> "GapReport":
        """The report of a ladder.

        Args:
            rungs: each of `RUNGS` to (L, L), on the CPU.
            labels: (L,), the rows that were looked at.
            live: boolean (K,).
            mean_probs: (K,), in [0, 1]; NaN where no inputs were seen.
            mass: (L, L), the sums of the overlap over the number of inputs.
            num_inputs: how many inputs were seen.
            common_mode_ratio: at least 0.
            min_probability: labels are kept from this share of 1/K_live on.
        """
        num_live = int(live.sum())
        probs_L = mean_probs[labels]
        # Without inputs nothing is known of the probabilities: the rungs of the weights are then shown for all live labels.
        probable_L = probs_L >= min_probability / max(num_live, 1) if num_inputs else torch.ones_like(labels, dtype=torch.bool)
        kept_L = live[labels] & probable_L
        left_out_LL = ~(kept_L[:, None] & kept_L)
        rungs = {rung: rungs[rung].masked_fill(left_out_LL, torch.nan) for rung in RUNGS}
        comparisons = {rung: Comparison(sign * rungs[rung], rungs["overlap"]) for rung, sign in TOWARDS_ALIKE.items()}
        scalars, undefined = _scalars(rungs, comparisons, num_inputs)
        scalars["common_mode_ratio"] = common_mode_ratio
        if math.isnan(common_mode_ratio):
            undefined["common_mode_ratio"] = "all rows of the head are equal"
        return cls(
            names=tuple(map(str, labels.tolist())),
            labels=tuple(labels.tolist()),
            num_live=num_live,
            num_inputs=num_inputs,
            mean_probs=probs_L,
            mass=mass,
            kept=kept_L,
            rungs=rungs,
            expected_overlap=comparisons["centered_cosine"].expected,
            scalars=scalars,
            rank_agreement={rung: comparison.rank_agreement.item() for rung, comparison in comparisons.items()},
            undefined=undefined,
        )

    @property
    def num_pairs(self) -> int:
        """How many pairs count."""
        return math.comb(int(self.kept.sum()), 2)

    @property
    def gap(self) -> Tensor:
        """(L, L), overlap minus expected overlap."""
        return self.rungs["overlap"] - self.expected_overlap

    def pairs(self, side: Side | None = None, *, top: int | None = None) -> list[Pair]:
        """The pairs that count.

        Args:
            side: "strangers" for those that overlap more than expected, largest gap first; "lookalikes" for those that overlap
                less, largest shortfall first; default all, from the most positive gap down. Where gaps are undefined, either
                side is empty and all pairs come by overlap.
            top: how many at the most.

        Raises:
            InputError: `side` is unknown or `top` negative.
        """
        if side is not None and side not in _HEADINGS:
            raise InputError(expected("side", "to be 'strangers', 'lookalikes' or None", repr(side)))
        if top is not None and top < 0:
            raise InputError(expected("top", "to be at least 0", top))
        row, column = torch.triu_indices(len(self.names), len(self.names), offset=1)
        gap_P = self.gap[row, column]
        if side is None:
            counts_P = self.kept[row] & self.kept[column]
            key_P = gap_P if gap_P.isfinite().any() else self.rungs["overlap"][row, column]
        else:
            key_P = gap_P if side == "strangers" else -gap_P
            counts_P = key_P > 0
        order = key_P.nan_to_num(-math.inf).argsort(descending=True, stable=True)
        order = order[counts_P[order]][:top]
        return [self._pair(i, j) for i, j in zip(row[order].tolist(), column[order].tolist(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as builtins fit for JSON; what is undefined is None."""
        labels = zip(self.labels, self.names, self.mean_probs.tolist(), self.kept.tolist(), strict=True)
        return {
            "stage": self.stage,
            "step": self.step,
            "num_live": self.num_live,
            "num_inputs": self.num_inputs,
            "num_pairs": self.num_pairs,
            "scalars": _without_nan(self.scalars),
            "rank_agreement": _without_nan(self.rank_agreement),
            "undefined": dict(self.undefined),
            "labels": [
                _without_nan({"label": label, "name": name, "mean_prob": mean_prob, "kept": kept})
                for label, name, mean_prob, kept in labels
            ],
            "pairs": [_without_nan(asdict(pair)) for pair in self.pairs()],
        }

    def to_pandas(self) -> "pd.DataFrame":
        """All pairs that count, one row a pair, columns as the fields of `Pair`, from the most positive gap down.

        Raises:
            LabelSimilarityError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise LabelSimilarityError("`to_pandas` needs pandas: pip install 'lightning-cossim[pandas]'.") from None
        return pd.DataFrame([asdict(pair) for pair in self.pairs()], columns=[field.name for field in fields(Pair)])

    def to_markdown(self, *, top: int = 12) -> str:
        """The pairs furthest from expectation as Markdown tables, `top` rows each way; names show as text."""
        return "\n\n".join(f"**{title}**\n\n{markdown_table(_COLUMNS, rows)}" for title, rows in self._tables(top))

    @override
    def __str__(self) -> str:
        where = f"{self.stage} at step {self.step}: " if self.stage else ""
        shares = "\n".join(f"  {rung:<18}{self.scalars[f'explained_{rung}']:6.2f}" for rung in TOWARDS_ALIKE)
        parts = [
            f"{where}{self.num_inputs} inputs, {self.num_pairs} pairs of labels",
            f"Share of the probability overlap that each similarity explains (1: all, 0: none)\n{shares}",
            *(f"{title}\n{text_table(_COLUMNS, rows)}" for title, rows in self._tables(5)),
        ]
        return "\n\n".join(parts)

    def _tables(self, top: int) -> list[tuple[str, list[list[str]]]]:
        if self.gap.isfinite().any():
            tables = [(title, self.pairs(side, top=top)) for side, title in _HEADINGS.items()]
        else:
            why = self.undefined.get("explained_centered_cosine", "")
            tables = [(f"Pairs by overlap; what to expect of their cosine is unknown ({why})", self.pairs(top=top))]
        return [(title, [_cells(pair) for pair in pairs]) for title, pairs in tables]

    def _pair(self, i: int, j: int) -> Pair:
        values = {rung: self.rungs[rung][i, j].item() for rung in RUNGS}
        usual = self.expected_overlap[i, j].item()
        mass = self.mass[i, j].item() * self.num_live
        gap = values["overlap"] - usual
        return Pair(self.names[i], self.names[j], **values, expected_overlap=usual, gap=gap, mass=mass)


_COLUMNS: Final = [
    "label",
    "other",
    "gap",
    "overlap",
    "expected",
    "raw cos",
    "centered cos",
    "logit corr",
    "log-odds var",
    "mass",
]


def _cells(pair: Pair) -> list[str]:
    return [
        pair.label,
        pair.other,
        _small(pair.gap, "+"),
        _small(pair.overlap),
        _small(pair.expected_overlap),
        *(_number(value, "+.2f") for value in (pair.raw_cosine, pair.centered_cosine, pair.logit_correlation)),
        _number(pair.log_odds_variance, ".3g"),
        _small(pair.mass),
    ]


def _small(value: float, sign: str = "") -> str:
    """Three decimals, and a power of ten where they would all be zero: a saturated model overlaps little, but not nowhere."""
    return _number(value, f"{sign}.3f" if abs(value) >= 5e-4 or value == 0 else f"{sign}.0e")


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _scalars(
    rungs: Mapping[str, Tensor], comparisons: Mapping[str, Comparison], num_inputs: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Shares explained, gaps and the mean overlap, and why those that are NaN are."""
    overlap_LL = rungs["overlap"]
    scalars = {f"explained_{rung}": comparison.explained.item() for rung, comparison in comparisons.items()}
    undefined = {f"explained_{rung}": comparison.undefined for rung, comparison in comparisons.items() if comparison.undefined}
    scalars["gap_translation"] = mean_gap(rungs["raw_cosine"], rungs["centered_cosine"]).item()
    scalars["gap_geometry"] = mean_gap(rungs["centered_cosine"], rungs["logit_correlation"]).item()
    scalars["gap_behaviour"] = 1 - scalars["explained_centered_cosine"]
    scalars["overlap_mean"] = mean_gap(overlap_LL, torch.zeros_like(overlap_LL)).item()
    if "explained_centered_cosine" in undefined:
        undefined["gap_behaviour"] = undefined["explained_centered_cosine"]
    for name, value in scalars.items():
        if math.isnan(value):
            undefined.setdefault(name, "no pair of kept labels has the values")
            if not num_inputs:
                undefined[name] = "no inputs"
    return scalars, undefined


def _without_nan(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in record.items()}
