"""Export of a report: as builtins for JSON, and as a pandas DataFrame."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lightning_cossim.errors import LabelSimilarityError
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.pair import OF_TARGETS, Pair

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_dict", "as_frame", "columns_of", "harmless", "record_of"]


_STARTS_OF_FORMULAS: Final = frozenset({"=", "+", "-", "@", "\t", "\r", "\n"})


def as_dict(report: ReportData) -> dict[str, Any]:
    """All values of a report as builtins for JSON.

    Undefined values are None. Similarities that are meaningless under the link are absent.
    """
    labels = zip(report.labels, report.names, report.mean_probs.tolist(), report.kept.tolist(), strict=True)
    return {
        "stage": report.stage,
        "step": report.step,
        "dataloader_idx": report.dataloader_idx,
        "link": report.link,
        "num_live": report.num_live,
        "num_inputs": report.num_inputs,
        "num_skipped": report.num_skipped,
        "num_pairs": report.num_pairs,
        "sampling": report.sampling,
        "standard_errors": dict(report.standard_errors),
        "scalars": _without_nan(report.scalars),
        "top_pair_auroc": _without_nan(report.top_pair_auroc),
        "neighbor_jaccard": _without_nan({**report.neighbor_jaccard, "chance": report.neighbor_jaccard_chance}),
        "undefined": report.undefined,
        "absent": report.why_absent,
        "remarks": dict(report.remarks),
        "alerts": list(report.alerts),
        "ranking_drift": None if math.isnan(report.ranking_drift) else report.ranking_drift,
        "unreachable": None if report.unreachable is None else list(report.unreachable),
        "num_undecided": report.num_undecided,
        "combinations": _combinations(report),
        "labels": [
            _without_nan({"label": label, "name": name, "mean_prob": mean_prob, "kept": kept})
            for label, name, mean_prob, kept in labels
        ],
        "pairs": [_without_nan(record_of(report, pair)) for pair in report.pairs()],
    }


def as_frame(report: ReportData) -> "pd.DataFrame":
    """All pairs of kept labels, one row for each; raises `LabelSimilarityError` if pandas is not installed."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise LabelSimilarityError("`to_pandas` needs pandas: pip install 'lightning-cossim[pandas]'.") from None
    return pd.DataFrame([record_of(report, pair) for pair in report.pairs()], columns=columns_of(report))


def columns_of(report: ReportData) -> list[str]:
    """The columns of a table of all pairs of the report."""
    numbers = (*report.ladder.similarities, "overlap", "overlap_error", "expected_overlap", "gap", "mass", "joint_inputs")
    names = ("label", "other", *numbers, *OF_TARGETS, "flag", "why_unflagged", "on_top", "on_alone")
    return [name for name in names if name not in report.absent]


def record_of(report: ReportData, pair: Pair) -> dict[str, Any]:
    """The values of one pair, keyed by column."""
    marks = {"flag": pair.flag, "why_unflagged": pair.why_unflagged, "on_top": pair.on_top, "on_alone": pair.on_alone}
    record = {"label": pair.label, "other": pair.other, **pair.numbers, **marks}
    return {name: value for name, value in record.items() if name not in report.absent}


def _combinations(report: ReportData) -> dict[str, Any] | None:
    """What is known about combinations of labels; the verdicts on pairs are in the records of the pairs."""
    found = report.combinations
    if found is None:
        return None
    return {
        "never_alone": list(report.never_alone or ()),
        "num_undecided": found.num_undecided,
        "num_labels": found.num_labels,
        "num_pairs": len(found.pairs),
        "num_observed": found.num_observed,
        "num_contradicted": found.num_contradicted,
    }


def harmless(value: Any) -> Any:
    """A cell of a CSV file. A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in _STARTS_OF_FORMULAS else value


def _without_nan(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in record.items()}
