"""The README is true: its code runs, its commands are those of CI, and its tables name what there is."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_cossim import Thresholds
from lightning_cossim.analysis.cli import main
from lightning_cossim.functional.ladder import RUNGS
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.loggers.tags import AGREEMENTS, EXPLAINED, SCALARS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


THRESHOLDS = blocks("yaml")[0]


def test_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python block, one after the other, beside the file of thresholds that the README has."""
    monkeypatch.chdir(tmp_path)
    Path("thresholds.yaml").write_text(THRESHOLDS, encoding="utf-8")
    assert len(blocks("python")) == 9
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert "| label" in capsys.readouterr().out


def test_the_file_of_thresholds_says_what_holds_by_default(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(THRESHOLDS, encoding="utf-8")
    given = Thresholds.from_yaml(path)
    assert replace(given, alerts=()) == Thresholds()
    assert [alert.action for alert in given.alerts] == ["warn", "stop"]


def test_the_slip_that_is_shown_is_told_like_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (command, said) = next(block for block in blocks("console") if "--check" in block).strip().splitlines()
    Path("thresholds.yaml").write_text(THRESHOLDS.replace("lookalike:", "lookalke:"), encoding="utf-8")
    assert main(command.removeprefix("$ lightning-cossim ").split()) == 2
    assert capsys.readouterr().err.strip() == said


def test_there_are_two_commands_and_ci_runs_the_second() -> None:
    main_job, checks = (block.strip() for block in blocks("bash"))
    assert "examples/quickstart.py" in main_job
    assert checks in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_commands_pin_what_they_install() -> None:
    """Both commands install under the constraints, which pin torch."""
    assert all("-c constraints.txt" in block for block in blocks("bash"))
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_tables_name_every_rung_and_every_scalar() -> None:
    numbers = README.split("## What the numbers mean")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `([^`]+)` \|", numbers, flags=re.MULTILINE))
    scalars = {"rank_agreement_<similarity>", "explained_<similarity>", *SCALARS} - {*AGREEMENTS, *EXPLAINED}
    assert named == {*RUNGS, *scalars}
    assert set(AGREEMENTS) == {f"rank_agreement_{rung}" for rung in SIMILARITIES}
    assert set(EXPLAINED) == {f"explained_{rung}" for rung in SIMILARITIES}


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


@pytest.mark.parametrize("folder", [".", "examples", "lightning_cossim", "tests"])
def test_no_gap_is_a_target(folder: str) -> None:
    """Selecting by one kept the worst checkpoints: neither pages, examples and docstrings nor tests show how to."""
    found = ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*")
    files = [path for path in found if path.suffix in {".md", ".py", ".yaml", ".js"} and path != Path(__file__)]
    assert files
    changelog = ROOT / "CHANGELOG.md"  # tells of what there was
    assert [path.name for path in files if path != changelog and TARGET.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    headings = {f"#{title.lower().replace(' ', '-')}" for title in re.findall(r"^## (.+)$", README, flags=re.MULTILINE)}
    assert link in headings if link.startswith("#") else (ROOT / link).exists()
