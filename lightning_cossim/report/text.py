"""Reports as text and tables, for a terminal and for Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from lightning_cossim.functional.similarities import QUANTITIES, SIMILARITIES
from lightning_cossim.report.data import ReportData
from lightning_cossim.report.pair import Pair, Side
from lightning_cossim.report.references import foremost, has_loaders, listed
from lightning_cossim.report.tables import as_markdown_text, markdown_table, shortened, text_table

__all__ = ["absent_in_words", "as_markdown", "as_page", "as_text", "counted"]

_HEADINGS: Final[dict[Side, str]] = {
    "strangers": "Towards strangers: pairs with more overlap than expected from their cosine",
    "lookalikes": "Towards look-alikes: pairs with less overlap than expected from their cosine",
}
_MARKS: Final = {"flag": "flag", "on_top": "reachable", "on_alone": "on alone"}
"""Columns of text, and their headings."""

_SCALE: Final = "1: same order of pairs, 0: unrelated orders, -1: reversed order"
"""The meaning of a rank agreement."""
_ERRORS: Final = "Errors: how many inputs of the first label were predicted as the second, and the reverse."
_NAMED: Final = 20
"""Maximum number of unreachable labels that are listed."""
_REFERENCES: Final = 3
"""Number of inputs that are named for a flagged pair."""
_TELLING: Final = 0.005
"""Least truncation of an overlap that shows in a table with two decimals."""


def as_markdown(report: ReportData, top: int) -> str:
    """The pairs with the largest gaps as Markdown tables, `top` rows for each sign of the gap."""
    columns = _columns(report)
    tables = [(title, [[_cell(pair, field) for field in columns] for pair in pairs]) for title, pairs in _sides(report, top)]
    return "\n\n".join(f"**{title}**\n\n{markdown_table(list(columns.values()), rows)}" for title, rows in tables)


def as_page(report: ReportData, top: int) -> str:
    """A report as Markdown for a text page of TensorBoard, with `top` pairs for each sign of the gap.

    Names of flagged pairs are bold. Names are cut and columns are few, since TensorBoard breaks words in wide tables.
    """
    fields = ["gap", "overlap_error", "overlap", "expected_overlap", *report.ladder.similarities]
    shown = []
    for title, pairs in _sides(report, top):
        names = [f"{shortened(pair.label)} / {shortened(pair.other)}" for pair in pairs]
        rows = [[name, *(_cell(pair, field) for field in fields)] for name, pair in zip(names, pairs, strict=True)]
        bold = {number for number, pair in enumerate(pairs) if pair.flag}
        shown.append(f"**{title}**\n\n{markdown_table(['pair', *(QUANTITIES[field].short for field in fields)], rows, bold)}")
    flagged = [f"{line.replace('Flagged:', 'Flagged (bold):')}." for line in _flagged(report)]
    alerts = [f"Alert: {as_markdown_text(alert)}." for alert in report.alerts]
    reached = [f"{as_markdown_text(line)}." for line in (*_reached(report), *_combined(report))]
    cosines = " and ".join(f"*{QUANTITIES[field].short}*" for field in ("raw_cosine", "centered_cosine") if field in fields)
    meanings = [
        "*gap*: overlap minus *expected*, the overlap of other pairs with this cosine",
        f"*{QUANTITIES['overlap_error'].short}*: standard error of the overlap and of the gap",
        f"{cosines}: cosine{'s' * (' ' in cosines)}",
    ]
    legend = "; ".join(meanings)
    sampled = [f"{line}." for line in (*_sampled(report), absent_in_words(report)) if line]
    seen = " ".join([f"{_seen(report)}.", *flagged])
    return "\n\n".join([_headline(report), seen, *sampled, *alerts, *reached, *shown, f"{legend}."])


def as_text(report: ReportData, top: int) -> str:
    """A report for a terminal: inputs, alerts, remarks, rank agreements, and `top` pairs for each sign of the gap.

    Flagged pairs have the references of three inputs.
    """
    columns = _columns(report)
    return "\n\n".join(
        [
            _seen(report),
            *(f"{line}." for line in (*_sampled(report), absent_in_words(report)) if line),
            *(f"Alert: {alert}." for alert in report.alerts),
            *(f"Note: {remark}." for remark in report.remarks.values()),
            _agreements(report),
            *(f"{line}." for line in _held_fixed(report)),
            *_flagged(report),
            *(f"{line}." for line in (*_reached(report), *_combined(report), *_drifted(report))),
            *(f"{title}\n{_with_references(report, columns, pairs)}" for title, pairs in _sides(report, top)),
            *([_ERRORS] if "errors" in columns else []),
        ]
    )


def _with_references(report: ReportData, columns: Mapping[str, str], pairs: Sequence[Pair]) -> str:
    """A table of pairs for a terminal, with a line below each flagged pair that says where three of its inputs are."""
    header, *lines = text_table(
        list(columns.values()), [[_cell(pair, field) for field in columns] for pair in pairs]
    ).splitlines()
    with_loader = has_loaders(report.evidence)
    shown = [header]
    for line, pair in zip(lines, pairs, strict=bool(pairs)):
        shown.append(line)
        found = report.evidence.get((pair.label, pair.other)) if pair.flag and _is_unique(report, pair) else None
        some = foremost(found, _REFERENCES) if found else ()
        if some:
            shown.append(f"  e.g. {listed(some, with_loader=with_loader)}")
    return "\n".join(shown)


def _is_unique(report: ReportData, pair: Pair) -> bool:
    """Whether no other label of the report has a name of the pair."""
    return report.names.count(pair.label) == report.names.count(pair.other) == 1


def _headline(report: ReportData) -> str:
    """The rank agreement of the cosine and its share explained as Markdown, or the reason why they are undefined."""
    cosine = report.ladder.cosine
    name = f"rank_agreement_{cosine}"
    value, error = report.scalars[name], report.standard_errors.get(name)
    of_it = f"Rank agreement of the {QUANTITIES[cosine].title.lower()} with the overlap"
    if math.isnan(value):
        return f"**{of_it}: undefined** ({as_markdown_text(report.undefined[name])})."
    known = "" if error is None else f", standard error {error:#.2g}"
    share = _number(report.scalars[f"explained_{cosine}"], ".2f")
    return f"**{of_it}: {value:.2f}**{known} ({_SCALE}). Share explained: {share}."


def _agreements(report: ReportData) -> str:
    """Rank agreement, standard error and share explained of every similarity, as a table with a title."""
    similarities, errors = report.ladder.similarities, report.standard_errors
    columns = {"rank agreement": {key: _number(value, ".2f") for key, value in report.rank_agreement.items()}}
    if any(f"rank_agreement_{key}" in errors for key in similarities):
        found = {key: errors.get(f"rank_agreement_{key}", math.nan) for key in similarities}
        columns["standard error"] = {key: _number(error, "#.2g") for key, error in found.items()}
    columns["explained"] = {key: _number(report.scalars[f"explained_{key}"], ".2f") for key in similarities}
    rows = [["", *columns], *([key, *(cells[key] for cells in columns.values())] for key in similarities)]
    lines = [f"  {first:<18}" + "".join(f"{cell:>16}" for cell in cells) for first, *cells in rows]
    return "\n".join([f"Rank agreement with the overlap ({_SCALE}), and the share explained", *lines])


def _held_fixed(report: ReportData) -> list[str]:
    """A line on standard errors that are too small, since they ignore the error of the embedding covariance; empty if none."""
    if report.statistics.replicates.similarities:
        return []
    keys = [key for key in report.ladder.similarities if SIMILARITIES[key].needs_embeddings]
    held = [QUANTITIES[key].title.lower() for key in keys if f"rank_agreement_{key}" in report.standard_errors]
    return [f"Standard errors of {' and '.join(held)} treat the covariance of the embeddings as exact"] if held else []


def absent_in_words(report: ReportData) -> str:
    """The quantities that are meaningless under the link, and the reason; empty if there are none."""
    if not report.ladder.absent:
        return ""
    absent = f"Label-centered cosine, translation gap and common mode ratio are not computed: {report.ladder.why_uncentered}"
    return f"{absent}. {report.ladder.note}" if report.ladder.note else absent


def _flagged(report: ReportData) -> list[str]:
    """A line with the number of flagged pairs, or the reason why there is no verdict; empty if the report is not judged."""
    if not report.flags:
        return []
    why = report.undefined.get("share_strangers")
    if why is not None:
        return [f"No pair is flagged: {why}"]
    strangers, lookalikes = (int(report.flags[side].sum()) for side in _HEADINGS)
    above, below = (report.verdict.limits[side] for side in _HEADINGS)
    beyond = f"gaps above {above:.3f} or below -{below:.3f} by more than their error"
    return [f"Flagged: {counted(strangers, 'stranger')}, {counted(lookalikes, 'look-alike')} ({beyond})"]


def _reached(report: ReportData) -> list[str]:
    """A line with the labels that no input can make the most likely one; empty if reachability was not requested."""
    if report.unreachable is None:
        return []
    undecided = _undecided(report.num_undecided)
    if not report.unreachable:
        return [f"Every {'decided ' if undecided else ''}label can be the most likely one for some input{undecided}"]
    labels = counted(len(report.unreachable), "label")
    return [f"{labels} can never be the most likely one: {_listed(report.unreachable)}{undecided}"]


def _combined(report: ReportData) -> list[str]:
    """Lines on the combinations of labels that can happen under a sigmoid; empty if they were not requested."""
    found, never = report.combinations, report.never_alone
    if found is None or never is None:
        return []
    undecided, alone = _undecided(found.num_undecided), "with all other labels that count off"
    if never:
        lines = [f"{counted(len(never), 'label')} can never be on {alone}: {_listed(never)}{undecided}"]
    else:
        lines = [f"Every {'decided ' if undecided else ''}label can be on {alone}{undecided}"]
    verdicts = [verdict for *_, verdict in found.pairs]
    if verdicts:
        unknown = _undecided(verdicts.count("undecided"))
        lines.append(f"{verdicts.count('no')} of {counted(len(verdicts), 'pair')} can never be on {alone}{unknown}")
    if found.num_contradicted:
        wrong = f"{found.num_contradicted} of {found.num_observed} observed combinations of labels are impossible for the head"
        lines.append(f"{wrong}, which contradicts the inputs: please report this error of lightning_cossim")
    elif found.num_observed:
        lines.append(f"The head allows all {found.num_observed} observed combinations of labels that were checked")
    return lines


def _undecided(number: int) -> str:
    return f"; {number} could not be decided" if number else ""


def _listed(names: Sequence[str]) -> str:
    """Names, the first ones if there are many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shortened(name) or "''" for name in names[:_NAMED]) + more


def _drifted(report: ReportData) -> list[str]:
    """A line with the ranking drift, from the second report on."""
    if report.rankings is None or math.isnan(report.ranking_drift):
        return []
    what = f"the cosines between row differences of the {len(report.rankings.labels)} most probable labels"
    return [f"Ranking drift: {what} changed by {report.ranking_drift:.2g} on average since the last report"]


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural unless the number is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _columns(report: ReportData) -> dict[str, str]:
    """The heading of each column of a table, by its field."""
    marks = {field: heading for field, heading in _MARKS.items() if report.verdict.why is not None or field == "on_alone"}
    numbers = ("gap", "overlap_error", "overlap", "expected_overlap", *report.ladder.similarities, "joint_inputs")
    headings = {"label": "label", "other": "other", **{key: QUANTITIES[key].column for key in numbers}}
    headings |= {"errors": "errors"} if "errors" not in report.absent else {}
    return headings | {field: heading for field, heading in marks.items() if field not in report.absent}


def _seen(report: ReportData) -> str:
    """Stage, data loader, step, number of inputs and pairs, and reliability of a report."""
    loader = "" if report.dataloader_idx is None else f", data loader {report.dataloader_idx},"
    where = f"{report.stage}{loader} at step {report.step}: " if report.stage else ""
    reliability = _number(report.reliability, ".2f")
    return f"{where}{report.num_inputs} inputs, {report.num_pairs} pairs of labels, reliability {reliability}"


def _sampled(report: ReportData) -> list[str]:
    """A line on the sample of pairs, if they are one, and a line on overlaps that may be too small."""
    lines = []
    if report.sampling:
        counted = "the inputs and the sample of pairs" if report.statistics.has_errors else "the sample of pairs, not the inputs"
        lines.append(f"Compared {len(report.compared)} of the pairs: {report.sampling}. Standard errors cover {counted}")
    if report.truncation is not None and report.truncation.numel() and report.truncation.max() >= _TELLING:
        middle, most = report.truncation.median().item(), report.truncation.max().item()
        lines.append(
            "Overlaps count only the most likely labels of each input, so they may be too small: half of them by at most "
            f"{middle:.2f}, none by more than {most:.2f}. A look-alike is flagged only if this cannot explain its gap"
        )
    return lines


def _sides(report: ReportData, top: int) -> list[tuple[str, list[Pair]]]:
    """Title and pairs for each side, or for all pairs if gaps are unknown."""
    if report.gap.isfinite().any():
        return [(title, report.pairs(side, top=top)) for side, title in _HEADINGS.items()]
    why = report.undefined.get("gap_behavior", "")
    by = "overlap" if report.rungs["overlap"].isfinite().any() else "cosine"
    return [(f"Pairs by {by}; the expected overlap is unknown ({why})", report.pairs(top=top))]


def _cell(pair: Pair, field: str) -> str:
    if field == "flag":
        return pair.flag or pair.why_unflagged or ""
    if field == "errors":
        return "" if pair.errors is None else "/".join(map(str, pair.errors))
    if field not in QUANTITIES:
        return getattr(pair, field) or ""
    value, form = pair.numbers[field], QUANTITIES[field].form
    return _small(value, form) if form in {"", "+"} else _number(value, form)


def _small(value: float, sign: str = "") -> str:
    """Three decimals, or scientific notation if they would all be 0: overlaps of a saturated model are tiny but not 0."""
    return _number(value, f"{sign}.3f" if abs(value) >= 5e-4 or value == 0 else f"{sign}.0e")


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
