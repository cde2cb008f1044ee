"""Slips: what a person mistypes is told in one line by every entry that can see it, before any training.

The entries: `Thresholds.from_yaml`, `lightning-cossim config --check`, Python, LightningCLI with the thresholds written out or in
a file, and the start of the fit.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim import Alert, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.analysis.cli import main
from lightning_cossim.errors import ConfigError, LabelSimilarityError
from tests.config.test_reader import KEYS, KNOWN, SCALARS
from tests.toys import EMBEDDING_DIM, Toy, loader, trainer

ALERT_KEYS = "keys of alert (scalar, stage, above, below, patience, action)"
RANGE = "number from 0 to 1"
LABELS = "Expected `labels` to be a list of names or a LabelSelection"


@dataclass(frozen=True)
class Slip:
    """A slip in a value, and what is said of it."""

    what: str
    text: str
    """The YAML, in one line."""
    said: str
    """By a reader of files, after `file:line: `."""
    python: bool = True
    """Whether Python can make it; the same is said."""
    parser: tuple[str, str] | None = None
    """What LightningCLI's parser says: the key and what it expected; None: it cannot see it, and the same is raised."""


SLIPS = [
    Slip("an unknown key", "color: 1", f"unknown key `color`. {KNOWN}", python=False, parser=("color", "does not accept option")),
    Slip(
        "a misspelled key",
        "strangr: 0.2",
        "unknown key `strangr`. Did you mean `stranger`?",
        python=False,
        parser=("strangr", "does not accept option"),
    ),
    Slip(
        "a word for a number", "stranger: high", f"Expected `stranger` to be a {RANGE}, got 'high'.", parser=("stranger", RANGE)
    ),
    Slip("a list for a number", "lookalike: [1]", f"Expected `lookalike` to be a {RANGE}, got [1].", parser=("lookalike", RANGE)),
    Slip("nothing for a number", "stranger: null", f"Expected `stranger` to be a {RANGE}, got None."),
    Slip(
        "a boolean for a number", "stranger: true", f"Expected `stranger` to be a {RANGE}, got True.", parser=("stranger", RANGE)
    ),
    Slip(
        "a boolean for a whole number",
        "min_inputs: false",
        "Expected `min_inputs` to be a whole number of at least 0, got False.",
        parser=("min_inputs", "whole number of at least 0"),
    ),
    Slip(
        "a word of YAML 1.1 for a number",
        "stranger: on",
        f"Expected `stranger` to be a {RANGE}, got True.",
        parser=("stranger", RANGE),
    ),
    Slip("out of range", "lookalike: 1.5", f"Expected `lookalike` to be a {RANGE}, got 1.5.", parser=("lookalike", RANGE)),
    Slip("below the range", "stranger: -1e-1", f"Expected `stranger` to be a {RANGE}, got -0.1.", parser=("stranger", RANGE)),
    Slip(
        "NaN",
        "min_reliability: .nan",
        f"Expected `min_reliability` to be a {RANGE}, got nan.",
        parser=("min_reliability", RANGE),
    ),
    Slip(
        "infinity",
        "outlier: .inf",
        "Expected `outlier` to be a number of at least 0, got inf.",
        parser=("outlier", "number of at least 0"),
    ),
    Slip(
        "a fraction for a count",
        "min_inputs: 2.5",
        "Expected `min_inputs` to be a whole number of at least 0, got 2.5.",
        parser=("min_inputs", "whole number of at least 0"),
    ),
    Slip(
        "no list of alerts",
        "alerts: gap_behavior",
        "Expected `alerts` to be a list of alerts, got 'gap_behavior'.",
        python=False,
        parser=("alerts", "Sequence"),
    ),
    Slip(
        "an alert that is a word",
        "alerts: [gap]",
        f"expected {ALERT_KEYS}, got 'gap'.",
        python=False,
        parser=("alerts", "import path"),
    ),
    Slip(
        "an alert without a scalar",
        "alerts: [{above: 1}]",
        "expected the key `scalar` of alert, got none.",
        python=False,
        parser=("scalar", "required"),
    ),
    Slip(
        "an unknown key of an alert",
        "alerts: [{scalar: reliability, abov: 1}]",
        "unknown key `abov`. Did you mean `above`?",
        python=False,
        parser=("abov", "not accepted"),
    ),
    Slip(
        "an unknown scalar",
        "alerts: [{scalar: gap_behaviors, above: 1}]",
        f"Expected `scalar` to be {SCALARS}, got 'gap_behaviors'. Did you mean `gap_behavior`?",
        parser=("scalar", "'gap_behavior'"),
    ),
    Slip(
        "an unknown action",
        "alerts: [{scalar: reliability, below: 1, action: halt}]",
        "Expected `action` to be 'warn', 'stop' or 'raise', got 'halt'.",
        parser=("action", "Literal['warn', 'stop', 'raise']"),
    ),
    Slip(
        "a wrong stage",
        "alerts: [{scalar: reliability, below: 1, stage: validation}]",
        "Expected `stage` to be 'train', 'val' or 'test', got 'validation'.",
        parser=("stage", "Literal['train', 'val', 'test']"),
    ),
    Slip(
        "negative patience",
        "alerts: [{scalar: reliability, below: 1, patience: -1}]",
        "Expected `patience` to be a whole number of at least 1, got -1.",
        parser=("patience", "whole number of at least 1"),
    ),
    Slip(
        "a boolean for patience",
        "alerts: [{scalar: reliability, below: 1, patience: true}]",
        "Expected `patience` to be a whole number of at least 1, got True.",
        parser=("patience", "whole number of at least 1"),
    ),
    Slip(
        "a bound that is NaN",
        "alerts: [{scalar: reliability, below: .nan}]",
        "Expected `below` to be a number, got nan.",
        parser=("below", "number"),
    ),
    Slip(
        "crossed bounds",
        "alerts: [{scalar: reliability, below: 0.8, above: 0.2}]",
        "Expected `below` to be at most `above`, got below 0.8 and above 0.2. Otherwise every value is a breach.",
    ),
    Slip(
        "no bounds",
        "alerts: [{scalar: reliability}]",
        "Expected `above` or `below` to be given, got neither. An alert needs a bound.",
    ),
]
FILES: dict[str, tuple[bytes | None, str]] = {
    "a key that stands twice": (
        b"stranger: 0.1\noutlier: 0\nstranger: 0.2\n",
        "t.yaml:3: key `stranger` occurs twice, first in line 1. Remove one.",
    ),
    "a list at the top": (b"- stranger: 0.1\n", f"t.yaml:1: expected {KEYS}, got a list."),
    "a word at the top": (b"stranger\n", f"t.yaml:1: expected {KEYS}, got 'stranger'."),
    "empty": (b"", f"t.yaml: expected {KEYS}, got an empty file."),
    "nothing but comments": (b"# stranger: 0.1\n", f"t.yaml: expected {KEYS}, got an empty file."),
    "not UTF-8": (b"stranger: 0.1 # \xff\n", "t.yaml: expected a file in UTF-8, got bytes that are not UTF-8."),
    "tabs": (
        b"stranger: 0.1\n\toutlier: 0\n",
        "t.yaml:2: expected valid YAML, got an error: found character '\\t' that cannot start any token.",
    ),
    "an unknown tag": (
        b"stranger: !high 1\n",
        "t.yaml:1: expected plain YAML, got the tag '!high'.",
    ),
    "broken off": (
        b"stranger: [0.1\n",
        "t.yaml:2: expected valid YAML, got an error: expected ',' or ']', but got '<stream end>'.",
    ),
    "a number beyond all numbers": (
        b"stranger: " + b"1" * 400,
        f"t.yaml:1: Expected `stranger` to be a {RANGE}, got inf.",
    ),
    "a count beyond all numbers": (
        b"min_inputs: " + b"1" * 5001,
        "t.yaml:1: Expected `min_inputs` to be a whole number of at least 0, got inf.",
    ),
    "a date that is none": (b"stranger: 2001-13-45\n", "t.yaml:1: expected plain YAML, got '2001-13-45' (ValueError)."),
    "a tag that does not hold": (
        b"\nstranger: !!bool abc\n",
        "t.yaml:2: expected plain YAML, got the tag 'tag:yaml.org,2002:bool'.",
    ),
    "digits of another script": (
        "stranger: ٣".encode(),
        f"t.yaml:1: Expected `stranger` to be a {RANGE}, got '٣'.",
    ),
    "a key over two lines": (b'"a\\nb": 1\n', f"t.yaml:1: unknown key `a\\nb`. {KNOWN}"),
    "a key of several parts": (b"? [a, b]\n: 1\n", f"t.yaml:1: expected {KEYS}, got a list or a mapping as a key."),
    "a merge key": (b"<<: {stranger: 0.1}\n", f"t.yaml:1: expected {KEYS}, got the merge key <<, as a key."),
    "two documents": (
        b"stranger: 0.1\n---\nstranger: 0.2\n",
        "t.yaml:2: expected valid YAML, got an error: but found another document.",
    ),
    "too deep": (
        b"stranger: " + b"[" * 900,
        "t.yaml:1: expected plain YAML, got more than 10 lists and mappings within one another.",
    ),
    "missing": (None, "t.yaml: expected a readable file, got No such file or directory."),
}
FOLDER = "t.yaml: expected a readable file, got Is a directory."


class Model(Toy):
    """As LightningCLI wants it: without arguments."""

    def __init__(self) -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of our own, and a command line without arguments of pytest's, at which LightningCLI would wonder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["cli"])


def cli(arguments: dict[str, Any], *more: str) -> LabelSimilarityMonitor:
    """The monitor that LightningCLI makes of a configuration with these arguments of it."""
    callback = {"class_path": "lightning_cossim.LabelSimilarityMonitor", "init_args": arguments}
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "callbacks": [callback]}
    path = Path("config/config.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"seed_everything": 0, "trainer": settings}), encoding="utf-8")
    made = LightningCLI(Model, run=False, save_config_callback=None, args=["--config", str(path), *more])
    callbacks: list[Any] = made.trainer.callbacks  # type: ignore[attr-defined]
    (monitor,) = (callback for callback in callbacks if isinstance(callback, LabelSimilarityMonitor))
    return monitor


def thresholds_of(settings: dict[str, Any]) -> Thresholds:
    """The same from Python."""
    alerts = [Alert(**alert) for alert in settings.get("alerts", [])]
    return Thresholds(**{**settings, "alerts": alerts})


def parser_said(capsys: pytest.CaptureFixture[str], arguments: dict[str, Any]) -> str:
    """What the parser prints behind its usage; the exit status is 2."""
    with pytest.raises(SystemExit) as ended:
        cli(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.partition("\nerror: ")[2]


# Values


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.what)
def test_a_slip_in_a_file(slip: Slip, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with file and line, from Python, from the command and from a monitor that is given the file."""
    Path("t.yaml").write_text(f"# mine\n{slip.text}\n", encoding="utf-8")
    for read in (Thresholds.from_yaml, lambda path: LabelSimilarityMonitor(thresholds_file=path)):
        with pytest.raises(ConfigError) as caught:
            read("t.yaml")
        assert str(caught.value) == f"t.yaml:2: {slip.said}"
    assert main(["config", "--check", "t.yaml"]) == 2
    assert capsys.readouterr().err == f"t.yaml:2: {slip.said}\n"


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.what)
def test_a_slip_in_a_file_that_a_configuration_names(slip: Slip, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser reads it strictly: exit status 2, the key, and the line that the file's own reader says."""
    Path("config").mkdir()
    Path("config/t.yaml").write_text(f"# mine\n{slip.text}\n", encoding="utf-8")
    said = parser_said(capsys, {"thresholds_file": "t.yaml"})
    assert 'Parser key "thresholds_file"' in said
    assert "YAML file of thresholds" in said
    assert f"config/t.yaml:2: {slip.said}" in said


@pytest.mark.parametrize("slip", [slip for slip in SLIPS if slip.python], ids=lambda slip: slip.what)
def test_a_slip_in_python(slip: Slip) -> None:
    with pytest.raises(ConfigError) as caught:
        thresholds_of(yaml.safe_load(slip.text.replace("-1e-1", "-0.1")))
    assert str(caught.value) == slip.said


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.what)
def test_a_slip_in_the_configuration(slip: Slip, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser ends with status 2, key and expected type; what it cannot see is raised when the monitor is made."""
    arguments = {"thresholds": yaml.safe_load(slip.text.replace("-1e-1", "-0.1"))}
    if slip.parser is None:
        with pytest.raises(ValueError, match=re.escape(slip.said)):
            cli(arguments)
        return
    key, expected = slip.parser
    said = parser_said(capsys, arguments)
    assert key in said
    assert expected in said


# Files


@pytest.mark.parametrize("what", [*FILES, "a directory"])
def test_a_file_that_holds_no_thresholds(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = FILES.get(what, (None, FOLDER))
    Path("config").mkdir()
    for path in (Path("t.yaml"), Path("config/t.yaml")):
        if content is not None:
            path.write_bytes(content)
        elif what == "a directory":
            path.mkdir()
    for read in (Thresholds.from_yaml, lambda path: LabelSimilarityMonitor(thresholds_file=path)):
        with pytest.raises(ConfigError) as caught:
            read("t.yaml")
        assert str(caught.value) == said
    assert main(["config", "--check", "t.yaml"]) == 2
    assert capsys.readouterr().err == f"{said}\n"
    parsed = parser_said(capsys, {"thresholds_file": "t.yaml"})
    assert 'Parser key "thresholds_file"' in parsed
    assert said in parsed


# The monitor's other arguments

ARGUMENTS: list[tuple[dict[str, Any], str, tuple[str, ...] | None]] = [
    (
        {"schedule": {"train_every_n_steps": 0}},
        "Expected `train_every_n_steps` to be a whole number of at least 1, got 0.",
        ("schedule.train_every_n_steps", "whole number of at least 1"),
    ),
    (
        {"schedule": {"train_batches": 65}},
        "Expected `train_batches` to be a whole number from 1 to 64, got 65.",
        ("schedule.train_batches", "whole number from 1 to 64"),
    ),
    (
        {"schedule": {"validation": "perhaps"}},
        "Expected `validation` to be true or false, got 'perhaps'.",
        ("validation", "bool"),
    ),
    (
        {"labels": {"max_tracked": True}},
        "Expected `max_tracked` to be a whole number of at least 2, got True.",
        ('Parser key "labels"', "max_tracked", "whole number of at least 2"),
    ),
    (
        {"labels": {"ignore": [-1]}},
        "Expected `ignore` to be a whole number of at least 0, got -1.",
        ('Parser key "labels"', "ignore", "whole number"),
    ),
    (
        {"labels": ["cat", 2]},
        "Expected `names` to be a list of strings or the path of a file, got ['cat', 2].",
        ('Parser key "labels"', "LabelSelection", "Sequence[str]", "Got value: 2"),
    ),
    (
        {"labels": "names.txt"},
        f"{LABELS}, got 'names.txt'. To read names from a file, pass LabelSelection(names=path).",
        ('Parser key "labels"', "LabelSelection", "Sequence[str]", "names.txt"),
    ),
    (
        {"labels": 3},
        f"{LABELS}, got int. To read names from a file, pass LabelSelection(names=path).",
        ('Parser key "labels"', "LabelSelection", "Sequence[str]", "3"),
    ),
    ({"overlap_threshold": "high"}, "Expected `overlap_threshold` to be a number, got 'high'.", ("overlap_threshold", "number")),
    (
        {"overlap_k": 1},
        "Expected `overlap_k` to be a whole number of at least 2, got 1.",
        ("overlap_k", "whole number of at least 2"),
    ),
    ({"overlap": "cosine"}, "Expected `overlap` to be 'bhattacharyya', 'product', ", ("overlap", "'bhattacharyya'")),
    (
        {"thresholds": {"stranger": 0.2}, "thresholds_file": "good.yaml"},
        "Expected `thresholds` or `thresholds_file`, got both. Leave one of them out.",
        None,
    ),
]


ARGUMENTS += [
    ({"embeddings_from": ""}, "Expected `embeddings_from` to be a dotted path, a function or None, got ''.", None),
    ({"logits_from": ""}, "Expected `logits_from` to be a dotted path, a function or None, got ''.", None),
]


@pytest.mark.parametrize(("arguments", "said", "parser"), ARGUMENTS, ids=lambda value: value if isinstance(value, str) else None)
def test_an_argument_that_is_wrong(
    arguments: dict[str, Any], said: str, parser: tuple[str, ...] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Python when it is made, from a configuration when that is parsed; what needs more than one key, when it is made."""
    Path("config").mkdir()
    for path in ("good.yaml", "config/good.yaml"):
        Path(path).write_text("stranger: 0.3\n", encoding="utf-8")
    made: dict[str, Callable[[Any], Any]] = {
        "schedule": lambda given: Schedule(**given),
        "labels": lambda given: LabelSelection(**given) if isinstance(given, dict) else given,
        "thresholds": thresholds_of,
    }
    with pytest.raises(LabelSimilarityError) as caught:
        LabelSimilarityMonitor(**{name: made.get(name, lambda given: given)(value) for name, value in arguments.items()})
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    if parser is None:
        with pytest.raises(ValueError, match=re.escape(said)):
            cli(arguments)
    else:
        printed = parser_said(capsys, arguments)
        assert all(part in printed for part in parser)


@pytest.mark.parametrize("value", [["a.yaml"], 3, {"stranger": 0.1}])
def test_a_file_of_thresholds_is_a_path(value: Any) -> None:
    text = f"Expected `thresholds_file` to be the path of a YAML file or None, got {type(value).__name__}."
    with pytest.raises(ConfigError, match=re.escape(text)):
        LabelSimilarityMonitor(thresholds_file=value)


def test_a_mapping_is_no_thresholds() -> None:
    with pytest.raises(ConfigError, match=re.escape("Expected `thresholds` to be Thresholds, got dict.")):
        LabelSimilarityMonitor(thresholds={"stranger": 0.1})  # type: ignore[arg-type]


# What only the model can tell


class TwoHeads(Toy):
    """Two heads that are equally good."""

    def __init__(self) -> None:
        super().__init__()
        self.aux_head = nn.Linear(EMBEDDING_DIM, 4)
        self.main_head = self.head
        del self.head

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.main_head(self.body(inputs))
        return logits


AT_START: list[tuple[str, type[Toy], dict[str, Any], str]] = [
    (
        "τ of a half under a softmax",
        Toy,
        {"overlap": "coactivation", "overlap_threshold": 0.5},
        (
            "Expected `overlap_threshold` to be above 0 and below 0.5, got 0.5. Two probabilities of a softmax cannot both be "
            "above it."
        ),
    ),
    ("k as large as K", Toy, {"overlap": "topk", "overlap_k": 8}, "Expected `overlap_k` to be from 2 to 7, got 8."),
    (
        "too few names",
        Toy,
        {"labels": {"names": ["a", "b"]}},
        "Expected `names` to name the 8 rows of the head, got 2 names.",
    ),
    (
        "too few names by themselves",
        Toy,
        {"labels": ["a", "b"]},
        "Expected `names` to name the 8 rows of the head, got 2 names.",
    ),
    (
        "too many names in a file",
        Toy,
        {"labels": {"names": "names.txt"}},
        "Expected `names` to name the 8 rows of the head, got 9 names in {names}, one per line.",
    ),
    ("a row that is not there", Toy, {"labels": {"ignore": [8]}}, "Expected `ignore` to hold labels from 0 to 7, got 8."),
    (
        "a path that leads nowhere",
        Toy,
        {"head": "model.fc"},
        "Expected `head` to be the dotted path of a linear layer, got 'model.fc', which does not exist. Linear layers: 'body.0'.",
    ),
    (
        "two heads that are equally good",
        TwoHeads,
        {},
        "Expected one final linear layer, got 2 that are equally good. Pass one of head='aux_head' (Linear 5→4), ",
    ),
]


@pytest.mark.parametrize(("what", "toy", "arguments", "said"), AT_START, ids=[row[0] for row in AT_START])
@pytest.mark.parametrize("entry", ["python", "cli"])
def test_what_does_not_fit_the_model_is_told_at_the_start_of_the_fit(
    what: str, toy: type[Toy], arguments: dict[str, Any], said: str, entry: str
) -> None:
    """One line, and not one batch has been trained on."""
    Path("config").mkdir()
    for path in ("names.txt", "config/names.txt"):
        Path(path).write_text("a\nb\nc\nd\ne\nf\ng\nh\ni\n", encoding="utf-8")
    if entry == "cli":
        monitor = cli(arguments)
    else:
        given = arguments.get("labels")
        labels = {"labels": LabelSelection(**given)} if isinstance(given, dict) else {}
        monitor = LabelSimilarityMonitor(**{**arguments, **labels})
    model = toy()
    said = said.replace("{names}", str(Path("config/names.txt").absolute()) if entry == "cli" else "names.txt")
    with pytest.raises(LabelSimilarityError) as caught:
        trainer(callbacks=[monitor]).fit(model, loader(), loader(60))
    assert str(caught.value).startswith(said), what
    assert "\n" not in str(caught.value)
    assert model.batches_seen == 0


# Alerts that could never act


@pytest.mark.parametrize(
    ("alert", "arguments", "why"),
    [
        (Alert("gap_translation", above=1), {"link": "sigmoid"}, "a sigmoid head has no such scalar"),
        (Alert("overlap_mean", above=1), {"schedule": Schedule(validation=False)}, "the schedule turns off reports on such runs"),
        (
            Alert("overlap_mean", "test", above=1),
            {"schedule": Schedule(test=False)},
            "the schedule turns off reports on such runs",
        ),
        (
            Alert("overlap_mean", "test", above=1, patience=2),
            {},
            "a test run makes one report, and the patience of the alert is 2",
        ),
        (Alert("reliability", below=0.5), {}, "if the reliability is below min_reliability, 0.5, there are no verdicts"),
        (Alert("overlap_mean", above=1), {"toy": 9}, "9 labels have 36 pairs, and verdicts need 45"),
        (Alert("overlap_mean", above=1), {"toy": 2}, "2 labels have 1 pair, and verdicts need 45"),
        (Alert("reliability", below=0.51), {}, None),
        (Alert("reliability", above=0.9, below=0.4), {}, None),
        (Alert("overlap_mean", "train", above=1, patience=9), {"schedule": Schedule(validation=False, test=False)}, None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.filterwarnings("ignore:LabelSimilarityMonitor. cossim_")  # two labels have no gaps
def test_an_alert_that_can_never_act_is_told_of_at_the_start(alert: Alert, arguments: dict[str, Any], why: str | None) -> None:
    """Once, and it is no error: thresholds may be shared by several models."""
    num_labels = arguments.pop("toy", 10)
    monitor = LabelSimilarityMonitor(thresholds=Thresholds(alerts=[alert]), **arguments)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        trainer(callbacks=[monitor]).fit(Toy(num_labels), loader(num_labels=num_labels), loader(60, num_labels=num_labels))
    told = [str(warning.message) for warning in record if "can never act" in str(warning.message)]
    text = f"LabelSimilarityMonitor: the alert on {alert.scalar} of {alert.stage} can never act: {why}"
    assert told == ([] if why is None else [text])


def test_there_are_more_than_twenty_slips() -> None:
    assert len(SLIPS) + len(FILES) + len(ARGUMENTS) + len(AT_START) > 50
