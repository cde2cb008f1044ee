"""The README's table of where the monitor runs, made from the cells that are tested: `python -m tests.compatibility.table`."""

from dataclasses import dataclass
from typing import Final

from tests.compatibility.cells import Outcome
from tests.compatibility.execution import EXECUTION
from tests.compatibility.heads import HEADS, THIRD_PARTY

__all__ = ["ELSEWHERE", "Row", "rows", "table"]

IN_WORDS: Final[dict[Outcome, str]] = {
    "every rung": "every rung",
    "every rung but the centered": "every rung but the centered cosine, which would be false there",
    "overlap and weights": "overlap, and the rungs of the weights; said once",
    "weights only": "the rungs of the weights; said once, with the remedy",
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


def rows() -> dict[str, list[tuple[str, Outcome]]]:
    """Heading to ways and outcomes."""
    return {
        "way to run": [(cell.what, cell.outcome) for cell in EXECUTION],
        "head": [(cell.what, cell.outcome) for cell in (*HEADS, *THIRD_PARTY)],
        "and with a test of its own": [(row.what, row.outcome) for row in ELSEWHERE],
    }


def table() -> str:
    """Markdown: a row for each."""
    tables = []
    for heading, ways in rows().items():
        lines = [f"| {heading} | what you get |", "|---|---|", *(f"| {what} | {IN_WORDS[outcome]} |" for what, outcome in ways)]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


if __name__ == "__main__":
    print(table())
