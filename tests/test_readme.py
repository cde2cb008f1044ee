"""The README is true: its code runs, its commands are those of CI, and its tables name what there is."""

import re
from pathlib import Path

import pytest

from lightning_cossim.functional.ladder import RUNGS, SIMILARITIES
from lightning_cossim.reporting.tags import EXPLAINED, SCALARS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python block, one after the other."""
    monkeypatch.chdir(tmp_path)
    assert len(blocks("python")) == 4
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert "| label" in capsys.readouterr().out


def test_there_are_two_commands_and_ci_runs_the_second() -> None:
    main_job, checks = (block.strip() for block in blocks("bash"))
    assert "examples/quickstart.py" in main_job
    assert checks in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_commands_pin_what_they_install() -> None:
    """Both commands install under the constraints, which pin torch."""
    assert all("-c constraints.txt" in block for block in blocks("bash"))
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_tables_name_every_rung_and_every_scalar() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", README, flags=re.MULTILINE))
    scalars = {"explained_<rung>", *SCALARS} - set(EXPLAINED)
    assert named == {*RUNGS, *scalars}
    assert set(EXPLAINED) == {f"explained_{rung}" for rung in SIMILARITIES}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
