"""A report in words and tables, for a terminal and for Markdown."""

import math
from typing import TYPE_CHECKING, Final

from lightning_cossim.tables import markdown_table, text_table

if TYPE_CHECKING:
    from lightning_cossim.report.gap_report import GapReport, Side
    from lightning_cossim.report.pair import Pair

__all__ = ["as_markdown", "as_text"]

_HEADINGS: Final[dict["Side", str]] = {
    "strangers": "Towards strangers: more overlap than pairs with their cosine usually have",
    "lookalikes": "Towards look-alikes: less overlap than pairs with their cosine usually have",
}
_COLUMNS: Final = {
    "label": "label",
    "other": "other",
    "gap": "gap",
    "overlap": "overlap",
    "expected_overlap": "expected",
    "raw_cosine": "raw cos",
    "centered_cosine": "centered cos",
    "logit_correlation": "logit corr",
    "log_odds_variance": "log-odds var",
    "mass": "mass",
    "flag": "flag",
}
"""Field of a pair to the heading of its column."""
_FORMS: Final = {"raw_cosine": "+.2f", "centered_cosine": "+.2f", "logit_correlation": "+.2f", "log_odds_variance": ".3g"}


def as_markdown(report: "GapReport", top: int) -> str:
    """The pairs furthest from expectation as Markdown tables, `top` rows each way."""
    columns, tables = _tables(report, top)
    return "\n\n".join(f"**{title}**\n\n{markdown_table(columns, rows)}" for title, rows in tables)


def as_text(report: "GapReport", top: int) -> str:
    """What was seen, the shares explained, what is odd, and `top` pairs each way."""
    where = f"{report.stage} at step {report.step}: " if report.stage else ""
    shares = "\n".join(f"  {rung:<18}{report.scalars[f'explained_{rung}']:6.2f}" for rung in report.ladder.similarities)
    reliability = _number(report.reliability, ".2f")
    columns, tables = _tables(report, top)
    return "\n\n".join(
        [
            f"{where}{report.num_inputs} inputs, {report.num_pairs} pairs of labels, reliability {reliability}",
            *(f"Alert: {alert}." for alert in report.alerts),
            *(f"Note: {remark}." for remark in report.remarks.values()),
            f"Share of the probability overlap that each similarity explains (1: all, 0: none)\n{shares}",
            *_flagged(report),
            *(f"{title}\n{text_table(columns, rows)}" for title, rows in tables),
        ]
    )


def _flagged(report: "GapReport") -> list[str]:
    """A line on how many pairs are flagged, or why none is; no line where no thresholds were applied."""
    if not report.flags:
        return []
    why = report.undefined.get("share_strangers")
    if why is not None:
        return [f"No pair is flagged: {why}"]
    strangers, lookalikes = (int(report.flags[side].triu(diagonal=1).sum()) for side in _HEADINGS)
    return [f"Flagged: {_counted(strangers, 'stranger')}, {_counted(lookalikes, 'look-alike')}"]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _tables(report: "GapReport", top: int) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """The headings of columns, and titled rows for either side."""
    if report.gap.isfinite().any():
        tables = [(title, report.pairs(side, top=top)) for side, title in _HEADINGS.items()]
    else:
        why = report.undefined.get("gap_behaviour", "")
        tables = [(f"Pairs by overlap; what to expect of their cosine is unknown ({why})", report.pairs(top=top))]
    flagged = any(flags_LL.any() for flags_LL in report.flags.values())
    left_out = report.absent if flagged else report.absent | {"flag"}
    shown = {field: heading for field, heading in _COLUMNS.items() if field not in left_out}
    return list(shown.values()), [(title, [[_cell(pair, field) for field in shown] for pair in pairs]) for title, pairs in tables]


def _cell(pair: "Pair", field: str) -> str:
    value = getattr(pair, field)
    if value is None or isinstance(value, str):
        return value or ""
    if field in _FORMS:
        return _number(value, _FORMS[field])
    return _small(value, "+" if field == "gap" else "")


def _small(value: float, sign: str = "") -> str:
    """Three decimals, and a power of ten where they would all be zero: a saturated model overlaps little, but not nowhere."""
    return _number(value, f"{sign}.3f" if abs(value) >= 5e-4 or value == 0 else f"{sign}.0e")


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
