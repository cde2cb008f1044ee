"""LightningCLI: every setting in YAML, there and back again, with its help."""

import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from lightning.pytorch.cli import LightningCLI
from typing_extensions import override

from lightning_cossim import Alert, Display, Evidence, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.config.thresholds import Action, Scalar, Stage
from tests.test_docs import THRESHOLDS, blocks, text
from tests.toys import Toy, loader

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


class Model(Toy):
    """As LightningCLI wants it, without arguments; it brings its data."""

    def __init__(self) -> None:
        super().__init__()

    @override
    def train_dataloader(self) -> Any:
        return loader()

    @override
    def val_dataloader(self) -> Any:
        return loader(60, seed=2)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of our own, and a command line without arguments of pytest's, at which LightningCLI would wonder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["cli"])


def configuration(arguments: dict[str, Any], folder: str = ".") -> Path:
    """A configuration that saves itself into `logs` when it is run."""
    callback = {"class_path": "lightning_cossim.LabelSimilarityMonitor", "init_args": arguments}
    logger = {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": "logs", "name": None, "version": ""},
    }
    quiet = {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1, "enable_progress_bar": False}
    path = Path(folder, "config.yaml")
    path.parent.mkdir(exist_ok=True)
    settings = {"enable_checkpointing": False, "enable_model_summary": False, "logger": [logger], "callbacks": [callback]}
    path.write_text(yaml.safe_dump({"seed_everything": 0, "trainer": quiet | settings}), encoding="utf-8")
    return path


def monitor_of(*arguments: str, run: bool = False) -> LabelSimilarityMonitor:
    """The monitor that LightningCLI makes of its arguments, and fits with if it is to run."""
    command = ["fit"] if run else []
    save = {} if run else {"save_config_callback": None}
    made = LightningCLI(Model, run=run, args=[*command, *arguments], save_config_kwargs={"overwrite": True}, **save)  # type: ignore[arg-type]
    callbacks: list[Any] = made.trainer.callbacks  # type: ignore[attr-defined]
    (monitor,) = (callback for callback in callbacks if isinstance(callback, LabelSimilarityMonitor))
    return monitor


def settings_of(monitor: LabelSimilarityMonitor) -> dict[str, Any]:
    """Every argument of a monitor by its name; sequences as lists, whoever made them."""
    given = {name: getattr(monitor, name) for name in ARGUMENTS}
    return {name: parts(value) if is_dataclass(value) else value for name, value in given.items()}


def parts(settings: Any) -> dict[str, Any]:
    return {field.name: plain(getattr(settings, field.name)) for field in fields(settings)}


def plain(value: Any) -> Any:
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


ARGUMENTS = (
    *("head", "link", "overlap", "overlap_threshold", "overlap_k", "link_cap", "link_scale"),
    *("embeddings_from", "logits_from"),
    *("labels", "schedule", "thresholds", "display", "name"),
)
SETTINGS = (Schedule, LabelSelection, Thresholds, Display, Alert, Evidence)
DEFAULT = LabelSimilarityMonitor()
WHOLE: dict[str, Any] = {
    "head": "head",
    "link": "softcap",
    "overlap": "topk",
    "overlap_threshold": 0.25,
    "overlap_k": 3,
    "link_cap": 30.5,
    "link_scale": 12.5,
    "embeddings_from": "body",
    "logits_from": "head",
    "labels": {
        "names": ["a|b", "*", "<b>", "ü", "null", "1", "true", "h: i"],
        "ignore": [0, 3],
        "max_tracked": 5,
        "labels_per_input": 7,
        "min_probability": 1e-3,
        "ignore_index": -7,
        "targets_key": 1,
        "shift_targets": True,
    },
    "schedule": {
        "train_every_n_steps": 3,
        "train_batches": 2,
        "max_inputs_per_batch": 12,
        "validation": False,
        "test": False,
        "neighbors": "never",
        "reachability": "fit_end",
    },
    "thresholds": {
        "stranger": 0.05,
        "lookalike": 0.2,
        "outlier": 0.5,
        "min_joint_inputs": 3,
        "known": [["a|b", "ü"], ["1", "true"]],
        "min_inputs": 7,
        "min_reliability": 0.25,
        "alerts": [
            {"scalar": "overlap_mean", "stage": "train", "above": 2.5, "below": -1.5, "patience": 3, "action": "stop"},
            {"scalar": "gap_geometry", "stage": "train", "above": 3, "below": -1e-3, "patience": 2, "action": "raise"},
        ],
    },
    "display": {
        "max_overhead": None,
        "max_pairs": 5,
        "heatmaps": False,
        "scatter": False,
        "tables": False,
        "histograms": False,
        "tab": False,
        "evidence": "references",
        "projector": True,
        "per_dataloader": True,
    },
    "name": "aux",
}
"""Every field with another value than its default."""
ALLOWED = [
    {**WHOLE, "overlap_threshold": None, "link_scale": None},
    {**WHOLE, "overlap": "coactivation", "overlap_k": None, "link": "cosine", "link_cap": None},
]
"""No overlap has both a threshold and a k, and no link a cap and a scale."""


def as_made(arguments: dict[str, Any]) -> dict[str, Any]:
    """What `settings_of` gives for a monitor with these arguments."""
    thresholds = {**arguments["thresholds"], "alerts": [Alert(**alert) for alert in arguments["thresholds"]["alerts"]]}
    return {**arguments, "thresholds": thresholds}


def test_the_whole_configuration_leaves_no_field_at_its_default() -> None:
    """Else the next test would show less than it says."""
    wanted, default = as_made(WHOLE), settings_of(DEFAULT)
    assert wanted.keys() == default.keys()
    for name, value in wanted.items():
        given = value if isinstance(value, dict) else {name: value}
        of_default = default[name] if isinstance(value, dict) else {name: default[name]}
        assert given.keys() == of_default.keys()
        assert all(given[part] != of_default[part] for part in given)
    for alert in WHOLE["thresholds"]["alerts"]:
        assert set(alert) == {field.name for field in fields(Alert)}
        assert all(alert[field.name] != field.default for field in fields(Alert))


@pytest.mark.parametrize("arguments", ALLOWED, ids=lambda arguments: arguments["overlap"])
def test_a_configuration_with_every_field_comes_back_from_what_lightning_saves(arguments: dict[str, Any]) -> None:
    """Written by hand, run, saved by Lightning beside the logs, read and run again: the same monitor."""
    first = monitor_of("--config", str(configuration(arguments)), run=True)
    assert settings_of(first) == as_made(arguments)
    assert first.last_report.keys() == {"train"}
    saved = Path("logs/config.yaml")
    text = saved.read_text(encoding="utf-8")
    assert settings_of(monitor_of("--config", str(saved), run=True)) == as_made(arguments)
    assert saved.read_text(encoding="utf-8") == text


def test_names_alone_are_labels_and_come_back_too() -> None:
    """Whatever YAML would take them for if they were not quoted."""
    names = WHOLE["labels"]["names"]
    for read in (configuration({"labels": names}), Path("logs/config.yaml")):
        monitor = monitor_of("--config", str(read), run=True)
        assert monitor.labels == LabelSelection(names=names)
        assert monitor.last_report["val"].names == tuple(names)


@pytest.mark.parametrize("where", ["beside it", "below it", "elsewhere"])
def test_files_come_back_too_relative_to_the_configuration_that_names_them(where: str, tmp_path: Path) -> None:
    """Thresholds and names in files of their own; saved with whole paths, since it is saved in another folder."""
    folder = {"beside it": "conf", "below it": "conf/more", "elsewhere": "other"}[where]
    Path(folder).mkdir(parents=True)
    Path(folder, "thresholds.yaml").write_text("stranger: 0.3\nalerts: [{scalar: reliability, below: 0.1}]\n", encoding="utf-8")
    names = [f"label {number}" for number in range(8)]
    Path(folder, "names.txt").write_text("\n".join(names), encoding="utf-8")
    way = {"beside it": "", "below it": "more/", "elsewhere": f"{tmp_path}/other/"}[where]
    given = {"thresholds_file": f"{way}thresholds.yaml", "labels": {"names": f"{way}names.txt"}}
    path = configuration(given, "conf")
    for read in (path, Path("logs/config.yaml")):
        monitor = monitor_of("--config", str(read), run=True)
        assert monitor.thresholds == Thresholds(stranger=0.3, alerts=[Alert("reliability", below=0.1)])
        assert monitor.last_report["val"].names == tuple(names)


def test_a_value_can_be_overridden_on_the_command_line() -> None:
    """Into any depth; numbers as YAML would not read them, lists as JSON."""
    path = configuration({"schedule": {"train_every_n_steps": 500}, "thresholds": {"stranger": 0.3}})
    monitor = monitor_of(
        f"--config={path}",
        "--trainer.callbacks.thresholds.lookalike=2e-1",
        "--trainer.callbacks.thresholds.min_inputs=0",
        "--trainer.callbacks.schedule.train_batches=4",
        "--trainer.callbacks.schedule.validation=false",
        '--trainer.callbacks.thresholds.alerts=[{"scalar": "reliability", "stage": "train", "below": 0.1}]',
        "--trainer.callbacks.labels.ignore=[1, 2]",
        "--trainer.callbacks.labels.targets_key=1",
        "--trainer.callbacks.labels.shift_targets=false",
    )
    alerts = [Alert("reliability", "train", below=0.1)]
    assert monitor.thresholds == Thresholds(stranger=0.3, lookalike=0.2, min_inputs=0, alerts=alerts)
    assert monitor.schedule == Schedule(train_every_n_steps=500, train_batches=4, validation=False)
    assert list(monitor.labels.ignore) == [1, 2]
    assert monitor.labels.targets_key == 1
    assert monitor.labels.shift_targets is False


def test_what_the_readme_shows_is_read() -> None:
    """Its configuration beside its thresholds."""
    block = next(block for block in blocks(text("thresholds.md"), "yaml") if "class_path" in block)
    Path("conf").mkdir()
    Path("conf/thresholds.yaml").write_text(THRESHOLDS, encoding="utf-8")
    Path("conf/config.yaml").write_text(f"seed_everything: 0\n{block}", encoding="utf-8")
    monitor = monitor_of("--config=conf/config.yaml", "--trainer.accelerator=cpu", "--trainer.logger=false")
    assert (monitor.head, monitor.schedule.train_every_n_steps) == ("model.fc", 500)
    assert monitor.thresholds == Thresholds.from_yaml("conf/thresholds.yaml")


# Help


def help_of(kind: type[Any]) -> dict[str, str]:
    """Field to the first line of its help, read off the docstring as it stands there, without white space."""
    section = (kind.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    return {field: bare(line) for field, line in re.findall(r"^ +(\w+): (.+)$", section, flags=re.MULTILINE)}


def bare(text: str) -> str:
    """Without white space, marks of comments and the last full stop: help is wrapped anywhere."""
    return re.sub(r"\n *#|\s", "", text).removesuffix(".")


def test_every_field_has_its_help_in_its_docstring() -> None:
    assert set(help_of(LabelSimilarityMonitor)) == {*ARGUMENTS, "thresholds_file", "evidence"}
    for kind in SETTINGS:
        assert list(help_of(kind)) == [field.name for field in fields(kind)]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What LightningCLI prints instead of running, without white space."""
    with pytest.raises(SystemExit) as ended:
        monitor_of(*arguments)
    assert ended.value.code == 0
    return bare(capsys.readouterr().out)


def test_a_configuration_printed_with_comments_shows_every_field_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Of alerts, too, where there are any."""
    text = printed(capsys, f"--config={configuration(WHOLE)}", "--print_config=comments")
    for kind in (LabelSimilarityMonitor, *SETTINGS):
        for field, line in help_of(kind).items():
            assert line in text, f"{kind.__name__}.{field}"
    for words in (Scalar, Stage, Action):
        assert f"Literal[{','.join(map(repr, get_args(words)))}]" in text


def test_the_help_of_the_class_shows_every_field_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--trainer.callbacks.help=lightning_cossim.LabelSimilarityMonitor")
    for kind in (LabelSimilarityMonitor, Schedule, Thresholds, Display):
        for field, line in help_of(kind).items():
            nested = kind is LabelSimilarityMonitor and field in {"labels", "schedule", "thresholds", "display"}
            assert nested or f".{field}" in text, f"{kind.__name__}.{field}"
            assert line in text, f"{kind.__name__}.{field}"
    # What is an item of a list, or may be a list instead, has no options of its own: its fields are named where it is.
    of_alerts, of_labels = (
        text.partition(first)[2] for first in ("scalarsthatmuststaywithinbounds", "anameforeveryrowofthehead")
    )
    assert all(f"`{field.name}`" in of_alerts for field in fields(Alert))
    assert all(f"`{field.name}`" in of_labels for field in fields(LabelSelection))


def test_a_printed_configuration_is_one() -> None:
    """What is printed with comments reads back as what it was printed from."""
    command = "from tests.callback.test_lightning_cli import *; import sys; LightningCLI(Model, run=False)"
    path = configuration(ALLOWED[0])
    ran = subprocess.run(
        [sys.executable, "-c", command, f"--config={path}", "--print_config=comments"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"},
        check=True,
    )
    Path("printed.yaml").write_text(ran.stdout, encoding="utf-8")
    assert settings_of(monitor_of("--config=printed.yaml")) == as_made(ALLOWED[0])


# The example


def run_example(*arguments: str) -> tuple[str, str]:
    """What `python examples/cli.py` prints, and what it logs."""
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "cli.py"), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, ran.stderr


def test_the_example_runs_and_what_it_saves_runs_again() -> None:
    """`python examples/cli.py fit --config examples/config.yaml`, from anywhere; the second time a few epochs will do.

    The training is a healthy one, and no alert acts. With a bound that every model breaches, it acts after three validations.
    """
    printed, logged = run_example("fit", "--config", str(EXAMPLES / "config.yaml"))
    assert "val at step 759: 600 inputs, 45 pairs of labels" in printed
    assert "Flagged: 1 stranger, 0 look-alikes (" in printed
    assert re.search(r"^one +eight .* stranger$", printed, flags=re.MULTILINE)
    assert "alert of" not in logged
    saved = Path("lightning_logs/cli/version_0/config.yaml")
    thresholds = (EXAMPLES / "thresholds.yaml").read_text(encoding="utf-8").replace("below: 0.2", "below: 0.999")
    Path("lightning_logs/cli/strict.yaml").write_text(thresholds, encoding="utf-8")
    named = r"^( +thresholds_file: ).*$"
    text, count = re.subn(named, r"\1../strict.yaml", saved.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count == 1
    saved.write_text(text, encoding="utf-8")
    printed, logged = run_example("fit", "--config", str(saved), "--trainer.max_epochs", "3")
    alert = r"alert of cossim_val at step 113: rank_agreement_centered_cosine is 0\.\d+, below 0\.999, for 3 reports in a row"
    assert len(re.findall(rf"{alert} \(warn\)", logged)) == 1
    assert "val at step 113: 600 inputs, 45 pairs of labels" in printed
    assert "zero" in printed
    assert Path("lightning_logs/cli/version_1").is_dir()


def test_the_thresholds_of_the_example_are_all_right(capsys: pytest.CaptureFixture[str]) -> None:
    """They are the defaults, with two alerts."""
    given = Thresholds.from_yaml(EXAMPLES / "thresholds.yaml")
    assert [alert.scalar for alert in given.alerts] == ["rank_agreement_centered_cosine", "common_mode_ratio"]
    assert given == Thresholds(alerts=given.alerts)
