"""The command: the commented default, and files that are checked."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from lightning_cossim.analysis.cli import commented_default, main
from lightning_cossim.config.reader import parse_dataclass
from lightning_cossim.config.thresholds import Action, Alert, Scalar, Stage, Thresholds


def test_the_commented_default_reads_back_as_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """What the command prints is the file to start from."""
    assert main(["config"]) == 0
    printed = capsys.readouterr().out
    assert printed == commented_default()
    assert parse_dataclass(Thresholds, printed, "default") == Thresholds(alerts=[])


def test_every_field_has_its_help_above_it() -> None:
    lines = commented_default().splitlines()
    for field in fields(Thresholds):
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{field.name}: "))
        assert lines[place - 1].startswith("# ")
        assert lines[place - 1].endswith((".", "none."))
    for field in fields(Alert):
        assert any(line.startswith(f"# {field.name}: ") for line in lines)
    text = " ".join(line.removeprefix("#").strip() for line in lines)
    for words in (Scalar, Stage, Action):
        assert f"One of {', '.join(get_args(words))}." in text
    assert "# Flag a pair that overlaps this much more than pairs with its cosine, from 0 to 1." in lines
    assert max(map(len, lines)) <= 102


def test_the_example_of_an_alert_is_one() -> None:
    lines = commented_default().splitlines()
    start = lines.index("# alerts:")
    example = "\n".join(line.removeprefix("# ") for line in lines[start : lines.index("#", start)])
    assert parse_dataclass(Thresholds, example, "example").alerts == (
        Alert("rank_agreement_centered_cosine", below=0.2, patience=3),
    )


def test_files_are_checked_each_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 as soon as one of them is wrong; what is wrong goes to standard error."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("stranger: 0.2\n", encoding="utf-8")
    bad.write_text("# mine\nstranger: 0.2\nlookalke: 0.2\n", encoding="utf-8")
    assert main(["config", "--check", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: no errors.\n"
    assert main(["config", "--check", str(bad), str(good), str(tmp_path / "none.yaml")]) == 2
    said = capsys.readouterr()
    assert said.out == f"{good}: no errors.\n"
    assert said.err.splitlines() == [
        f"{bad}:3: unknown key `lookalke`. Did you mean `lookalike`?",
        f"{tmp_path / 'none.yaml'}: expected a readable file, got No such file or directory.",
    ]


def test_the_command_is_installed() -> None:
    """As users call it, from the folder of the interpreter."""
    command = Path(sys.executable).with_name("lightning-cossim")
    ran = subprocess.run([command, "config"], capture_output=True, text=True, encoding="utf-8", check=True)
    assert ran.stdout == commented_default()
    ran = subprocess.run([command], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "lightning-cossim" in ran.stderr


def test_the_demo_trains_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The quickstart from wherever the package is installed."""
    assert main(["demo", "--epochs", "1", "--folder", str(tmp_path / "logs")]) == 0
    printed = capsys.readouterr().out
    assert "on 600 digits of the validation set" in printed
    assert "open the tab Label similarity" in printed
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))


def test_the_demo_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "The demo needs scikit-learn: pip install 'lightning-cossim[demo]'.\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("analyze x.pt --labels a", "unrecognized arguments: --labels a. Did you mean `--names`?"),
        ("analyze x.pt --embedding a", "unrecognized arguments: --embedding a. Did you mean `--embeddings`?"),
        ("compare a b --embeddings x", "argument --embeddings: expected 2 arguments. {help}"),
        ("analyze x.pt --overlap-k three", "argument --overlap-k: invalid int value: 'three'. {help}"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(command: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    called = f"lightning-cossim {command.split(maxsplit=1)[0]}"
    assert capsys.readouterr().err == f"{called}: {said.format(help=f'`{called} --help` lists the options.')}\n"
