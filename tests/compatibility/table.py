"""The table of docs/where_it_runs.md, made from the cells that are tested; `python -m tests.documentation` writes it."""

from dataclasses import dataclass
from typing import Final

from tests.compatibility.cells import Outcome
from tests.compatibility.execution import EXECUTION
from tests.compatibility.heads import HEADS, THIRD_PARTY
from tests.compatibility.sweep import SWEEP, WITHOUT_REMEDY
from tests.compatibility.swept import Swept

__all__ = ["ELSEWHERE", "Row", "rows", "table"]

IN_WORDS: Final[dict[Outcome, str]] = {
    "every rung": "every number",
    "every rung but the centered": "every number but the centered cosine, which would be wrong there",
    "overlap and weights": "overlap, and the cosines; one warning",
    "weights only": "the cosines only; one warning, with the remedy",
    "refused": "an error at the start, with the remedy",
}


@dataclass(frozen=True)
class Row:
    """A way to run that a test of its own stands behind."""

    what: str
    outcome: Outcome
    test: str
    """File and function."""


ELSEWHERE: Final[list[Row]] = [
    Row(
        "`ddp`: two and three processes, uneven batches",
        "every rung",
        "tests/callback/test_processes.py::test_a_fit_of_several_processes_reports_as_one_does",
    ),
    Row(
        "a process that sees no input",
        "every rung",
        "tests/callback/test_processes.py::test_a_watched_head_gives_every_process_the_report_of_one",
    ),
    Row(
        "processes that Lightning starts (forkserver)",
        "every rung",
        "tests/callback/test_processes.py::test_processes_that_lightning_starts_bring_the_scalars_back",
    ),
    Row(
        "`ModelParallelStrategy` with `fully_shard` (FSDP2)",
        "every rung",
        "tests/compatibility/test_sharded.py::test_a_sharded_head_is_gathered",
    ),
    Row(
        "a head split by its labels (tensor parallelism)",
        "refused",
        "tests/compatibility/test_sharded.py::test_a_head_that_is_split_by_labels_is_refused",
    ),
    Row(
        "a vocabulary with padding, its rows in `ignore`",
        "every rung",
        "tests/metrics/test_hostile_tensors.py::test_padding_that_is_ignored_leaves_the_cosines_of_the_others_as_they_were",
    ),
    Row(
        "several validation loaders, pooled",
        "every rung",
        "tests/callback/test_runs.py::test_several_validation_loaders_are_pooled",
    ),
    Row(
        "resume in the middle of an epoch or a window, also after `kill -9`",
        "every rung",
        "tests/compatibility/test_killed.py::test_a_run_that_goes_on_writes_the_curves_of_an_uninterrupted_one",
    ),
    Row(
        "`validate` and `test` without a fit",
        "every rung",
        "tests/callback/test_monitor.py::test_validate_and_test_work_without_a_fit",
    ),
    Row(
        "several fits with one monitor",
        "every rung",
        "tests/callback/test_monitor.py::test_a_monitor_can_be_used_again_with_a_new_trainer",
    ),
    Row(
        "several heads, a monitor with a `name` for each",
        "every rung",
        "tests/callback/test_monitor.py::test_two_named_monitors_watch_two_heads",
    ),
]


def rows() -> dict[str, list[tuple[str, str]]]:
    """Heading to ways and outcomes, in words."""
    return {
        "way to run": [(cell.what, IN_WORDS[cell.outcome]) for cell in EXECUTION],
        "head": [(cell.what, IN_WORDS[cell.outcome]) for cell in (*HEADS, *THIRD_PARTY)],
        "and with a test of its own": [(row.what, IN_WORDS[row.outcome]) for row in ELSEWHERE],
        "small random models of transformers, by what they do after their head": sweep_rows(),
    }


def sweep_rows() -> list[tuple[str, str]]:
    """One row for each outcome of the sweep, with the names of its models."""
    as_they_are = [model for model in SWEEP if not model.behind]
    with_remedy = [model for model in SWEEP if model.behind and model.behind not in WITHOUT_REMEDY]
    without = [model for model in SWEEP if model.behind in WITHOUT_REMEDY]
    return [
        (f"nothing. {named(as_they_are, by='group')}", "the overlaps of the final logits, and no warning"),
        (named(with_remedy, by="behind"), "a warning, and with the setting that it names the overlaps of the final logits"),
        (named(without, by="behind"), "a warning; no setting gives the overlaps of the final logits"),
    ]


def named(models: list[Swept], *, by: str) -> str:
    """The names of models, grouped by a field of theirs."""
    groups: dict[str, list[str]] = {}
    for model in models:
        groups.setdefault(str(getattr(model, by)), []).append(model.name)
    return "; ".join(f"{group}: {', '.join(sorted(names, key=str.lower))}" for group, names in groups.items())


def table() -> str:
    """Markdown: a row for each."""
    tables = []
    for heading, ways in rows().items():
        lines = [f"| {heading} | what you get |", "|---|---|", *(f"| {what} | {outcome} |" for what, outcome in ways)]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)
