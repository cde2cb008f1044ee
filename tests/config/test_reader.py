"""YAML to thresholds, strictly: every slip is one line with file and line."""

from pathlib import Path

import pytest

from lightning_cossim.config.reader import parse_dataclass
from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.errors import ConfigError

WHOLE = """\
stranger: 0.2            # comments are welcome
lookalike: 1e-1
outlier: .5
min_inputs: 1000
min_reliability: 1
alerts:
  - {scalar: rank_agreement_centered_cosine, stage: val, below: 2e-1, patience: 3, action: stop}
  - scalar: reliability
    stage: train
    below: -1
"""

KNOWN = "Known keys: stranger, lookalike, outlier, min_joint_inputs, known, min_inputs, min_reliability, alerts."
SCALARS = (
    "'rank_agreement_raw_cosine', 'rank_agreement_centered_cosine', 'rank_agreement_logit_correlation' or another of 17 words"
)
KEYS = "keys of thresholds (stranger, lookalike, outlier, min_joint_inputs, known, min_inputs, min_reliability, alerts)"


def refused(path: Path) -> str:
    """The text with which a file is refused, without its folder."""
    with pytest.raises(ConfigError) as caught:
        Thresholds.from_yaml(path)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{path.parent}/", "")


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    """Every field, in both styles of YAML; numbers are numbers however they are written."""
    path = tmp_path / "thresholds.yaml"
    path.write_text(WHOLE, encoding="utf-8-sig")
    assert Thresholds.from_yaml(path) == Thresholds(
        stranger=0.2,
        lookalike=0.1,
        outlier=0.5,
        min_inputs=1000,
        min_reliability=1,
        alerts=[
            Alert("rank_agreement_centered_cosine", "val", below=0.2, patience=3, action="stop"),
            Alert("reliability", "train", below=-1),
        ],
    )


def test_what_is_not_there_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("outlier: 0\n", encoding="utf-8")
    assert Thresholds.from_yaml(str(path)) == Thresholds(outlier=0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("outlier: 0\nstrangr: 1\n", "t.yaml:2: unknown key `strangr`. Did you mean `stranger`?"),
        ("color: 1\n", f"t.yaml:1: unknown key `color`. {KNOWN}"),
        ("stranger: 0.1\noutlier: 0\nstranger: 0.2\n", "t.yaml:3: key `stranger` occurs twice, first in line 1. Remove one."),
        ("stranger: high\n", "t.yaml:1: Expected `stranger` to be a number from 0 to 1, got 'high'."),
        ("stranger: '0.1'\n", "t.yaml:1: Expected `stranger` to be a number from 0 to 1, got '0.1'."),
        ("\nstranger: true\n", "t.yaml:2: Expected `stranger` to be a number from 0 to 1, got True."),
        ("stranger: on\n", "t.yaml:1: Expected `stranger` to be a number from 0 to 1, got True."),
        ("lookalike: 1.1\n", "t.yaml:1: Expected `lookalike` to be a number from 0 to 1, got 1.1."),
        ("lookalike: .nan\n", "t.yaml:1: Expected `lookalike` to be a number from 0 to 1, got nan."),
        ("outlier: .inf\n", "t.yaml:1: Expected `outlier` to be a number of at least 0, got inf."),
        ("outlier:\n", "t.yaml:1: Expected `outlier` to be a number of at least 0, got None."),
        ("min_inputs: 2.5\n", "t.yaml:1: Expected `min_inputs` to be a whole number of at least 0, got 2.5."),
        ("min_inputs: -1\n", "t.yaml:1: Expected `min_inputs` to be a whole number of at least 0, got -1."),
        ("min_reliability: [1]\n", "t.yaml:1: Expected `min_reliability` to be a number from 0 to 1, got [1]."),
        ("- stranger\n", f"t.yaml:1: expected {KEYS}, got a list."),
        ("stranger\n", f"t.yaml:1: expected {KEYS}, got 'stranger'."),
        ("", f"t.yaml: expected {KEYS}, got an empty file."),
        ("# nothing\n", f"t.yaml: expected {KEYS}, got an empty file."),
        (
            "stranger: 0.1\n\toutlier: 0\n",
            "t.yaml:2: expected valid YAML, got an error: found character '\\t' that cannot start any token.",
        ),
        ("stranger: [0.1\n", "t.yaml:2: expected valid YAML, got an error: expected ',' or ']', but got '<stream end>'."),
        (
            "stranger: !!python/none 1\n",
            "t.yaml:1: expected plain YAML, got the tag 'tag:yaml.org,2002:python/none'.",
        ),
        ("alerts: gap_behavior\n", "t.yaml:1: Expected `alerts` to be a list of alerts, got 'gap_behavior'."),
        ("alerts: [gap_behavior]\n", "t.yaml:1: expected keys of alert (scalar, stage, above, below, patience, action), got "),
        ("alerts:\n  - {above: 1}\n", "t.yaml:2: expected the key `scalar` of alert, got none."),
        (
            "alerts:\n  - {scalar: gap_behaviors, above: 1}\n",
            f"t.yaml:2: Expected `scalar` to be {SCALARS}, got 'gap_behaviors'. Did you mean `gap_behavior`?",
        ),
        (
            "alerts:\n  - scalar: reliability\n    below: 0.5\n    action: halt\n",
            "t.yaml:4: Expected `action` to be 'warn', 'stop' or 'raise', got 'halt'.",
        ),
        (
            "alerts:\n  - {scalar: reliability, below: 0.5, stage: validation}\n",
            "t.yaml:2: Expected `stage` to be 'train', 'val' or 'test', got 'validation'.",
        ),
        (
            "alerts:\n- {scalar: reliability, below: 0.5, patience: -2}\n",
            "t.yaml:2: Expected `patience` to be a whole number of at least 1, got -2.",
        ),
        (
            "alerts:\n- scalar: reliability\n",
            "t.yaml:2: Expected `above` or `below` to be given, got neither. An alert needs a bound.",
        ),
        (
            "alerts:\n- scalar: reliability\n  below: 0.8\n  above: 0.2\n",
            "t.yaml:3: Expected `below` to be at most `above`, got below 0.8 and above 0.2. Otherwise every value is a breach.",
        ),
        (
            "alerts:\n- {scalar: reliability, below: .nan}\n",
            "t.yaml:2: Expected `below` to be a number, got nan.",
        ),
    ],
)
def test_a_slip_is_one_line_with_file_and_line(tmp_path: Path, text: str, wanted: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text, encoding="utf-8")
    assert refused(path).startswith(wanted)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, other = tmp_path / "missing.yaml", tmp_path / "other.yaml"
    other.write_bytes(b"stranger: 0.1 # \xff\xfe")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert refused(missing) == "missing.yaml: expected a readable file, got No such file or directory."
    assert refused(folder) == "folder.yaml: expected a readable file, got Is a directory."
    assert refused(other) == "other.yaml: expected a file in UTF-8, got bytes that are not UTF-8."
    other.write_bytes(b"stranger: \x07")
    assert refused(other).startswith("other.yaml: expected valid YAML, got an error: unacceptable character #x0007")


def test_a_key_that_is_gone_names_what_takes_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dataclass(Thresholds, "stranger: 0.1\nmin_mass: 0.2\n", "t.yaml")
    assert str(caught.value) == (
        "t.yaml:2: `min_mass` does not exist any more. Use `min_probability` of `labels`, the smallest mean probability of a "
        "label whose pairs count. Remove this line."
    )


def test_known_pairs_are_read() -> None:
    read = parse_dataclass(Thresholds, "known: [[cat, lynx], [1, 7]]\noutlier: 2\nmin_joint_inputs: 3\n", "t.yaml")
    assert read == Thresholds(known=[["cat", "lynx"], ["1", "7"]], outlier=2.0, min_joint_inputs=3)
