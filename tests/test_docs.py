"""README and docs are true: their code runs, their generated parts are those of the code, and their links lead somewhere."""

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from lightning_cossim import Thresholds
from lightning_cossim.analysis.cli import main
from lightning_cossim.functional.ladder import RUNGS
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.loggers.tags import AGREEMENTS, EXPLAINED, SCALARS
from tests.documentation import DOCS, PARTS, ROOT, parts_of, written

PAGES: Final = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
NOT_RUN: Final = re.compile(r"<!-- not run: .+ -->\n```python\n.*?^```", flags=re.MULTILINE | re.DOTALL)


def text(page: Path | str) -> str:
    return (DOCS / page if isinstance(page, str) else page).read_text(encoding="utf-8")


README: Final = text(ROOT / "README.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", NOT_RUN.sub("", page), flags=re.MULTILINE | re.DOTALL)


def run(page: Path) -> None:
    """Every Python block of a page, one after the other, as in one session."""
    session: dict[str, Any] = {}
    for code in blocks(text(page), "python"):
        exec(compile(code, page.name, "exec"), session)  # noqa: S102 - our own pages


THRESHOLDS: Final = blocks(text("thresholds.md"), "yaml")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the file of thresholds that the docs show."""
    monkeypatch.chdir(tmp_path)
    Path("thresholds.yaml").write_text(THRESHOLDS, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of training batches")  # a short fit, on purpose
        run(page)


def test_there_is_code_to_run() -> None:
    assert sum(len(blocks(text(page), "python")) for page in PAGES) >= 14


def test_code_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\none = 1\n```\n\n```python\nassert one == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        run(page)


def test_start_ends_with_named_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run(DOCS / "index.md")
    printed = capsys.readouterr().out
    assert re.search(r"^(ant|bee|cat|dog|eel|fox|gnu|hen|ibis|jay) +\w+ ", printed, flags=re.MULTILINE)
    assert "cat and dog" in printed, "the audit"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    """`python -m tests.documentation` writes them again."""
    assert written(text(page)) == text(page)


def test_every_generated_part_has_a_place() -> None:
    assert sorted(part for page in PAGES for part in parts_of(text(page))) == sorted(PARTS)


def test_the_readme_is_one_page() -> None:
    assert len(README.encode()) <= 8192


def test_the_file_of_thresholds_says_what_holds_by_default(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(THRESHOLDS, encoding="utf-8")
    given = Thresholds.from_yaml(path)
    assert replace(given, alerts=()) == Thresholds()
    assert [alert.action for alert in given.alerts] == ["warn", "raise"]


def test_the_mistake_that_is_shown_is_reported_like_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (command, said) = next(block for block in blocks(text("thresholds.md"), "console") if "--check" in block).strip().splitlines()
    Path("thresholds.yaml").write_text(THRESHOLDS.replace("lookalike:", "lookalke:"), encoding="utf-8")
    assert main(command.removeprefix("$ lightning-cossim ").split()) == 2
    assert capsys.readouterr().err.strip() == said


def test_there_are_two_commands_and_ci_runs_the_second() -> None:
    main_job, checks = (block.strip() for block in blocks(README, "bash"))
    assert "examples/quickstart.py" in main_job
    assert checks in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_commands_pin_what_they_install() -> None:
    """Both commands install under the constraints, which pin torch."""
    assert all("-c constraints.txt" in block for block in blocks(README, "bash"))
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_tables_name_every_similarity_and_every_scalar() -> None:
    named = set(re.findall(r"^\| `([^`]+)`(?:, `([^`]+)`)? \|", text("numbers.md"), flags=re.MULTILINE))
    scalars = {"rank_agreement_<similarity>", "explained_<similarity>", *SCALARS} - {*AGREEMENTS, *EXPLAINED}
    assert {name for names in named for name in names if name} == {*RUNGS, *scalars}
    assert set(AGREEMENTS) == {f"rank_agreement_{key}" for key in SIMILARITIES}
    assert set(EXPLAINED) == {f"explained_{key}" for key in SIMILARITIES}


TARGET = re.compile(r"(EarlyStopping|ModelCheckpoint)\b[^\n]*(\n[^\n]*)?/gap_")
"""A callback of Lightning's that watches a gap, in Python, in YAML or in a sentence."""


@pytest.mark.parametrize(
    "text",
    [
        'ModelCheckpoint(monitor="cossim_val/gap_behavior")',
        "class_path: lightning.pytorch.callbacks.ModelCheckpoint\n  init_args: {monitor: cossim_val/gap_behavior, mode: min}",
        "so that EarlyStopping can watch `cossim_val/gap_geometry`",
    ],
)
def test_a_gap_as_a_target_would_be_found(text: str) -> None:
    assert TARGET.search(text)


@pytest.mark.parametrize("folder", [".", "docs", "examples", "lightning_cossim", "tests"])
def test_no_gap_is_a_target(folder: str) -> None:
    """Selecting by one kept the worst checkpoints: neither pages, examples and docstrings nor tests show how to."""
    found = ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*")
    files = [path for path in found if path.suffix in {".md", ".py", ".yaml", ".js"} and path != Path(__file__)]
    assert files
    changelog = ROOT / "CHANGELOG.md"  # tells of what there was
    assert [path.name for path in files if path != changelog and TARGET.search(path.read_text(encoding="utf-8"))] == []


def links() -> list[tuple[str, str]]:
    """Page and link, of the pages outside docs/, whose links `mkdocs build --strict` checks."""
    pages = sorted(ROOT.glob("*.md"))
    return [(page.name, link) for page in pages for link in sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", text(page))))]


@pytest.mark.parametrize(("page", "link"), links())
def test_links_lead_somewhere(page: str, link: str) -> None:
    path, _, heading = link.partition("#")
    target = text(ROOT / (path or page)) if (path or page).endswith(".md") else ""
    assert (ROOT / path).exists()
    assert not heading or heading in {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", target, flags=re.MULTILINE)
    }
