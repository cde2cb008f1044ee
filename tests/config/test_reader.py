"""YAML to thresholds, strictly: every slip is one line with file and line."""

from pathlib import Path

import pytest

from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.errors import ConfigError

WHOLE = """\
stranger: 0.2            # comments are welcome
lookalike: 1e-1
min_mass: .5
min_inputs: 1000
min_reliability: 1
alerts:
  - {scalar: gap_behavior, stage: val, above: 6e-1, patience: 3, action: stop}
  - scalar: reliability
    stage: train
    below: -1
"""

KNOWN = "Known are stranger, lookalike, min_mass, min_inputs, min_reliability, alerts."
KEYS = "keys of thresholds (stranger, lookalike, min_mass, min_inputs, min_reliability, alerts)"
SCALARS = (
    "'explained_raw_cosine', 'explained_centered_cosine', 'explained_logit_correlation', 'explained_log_odds_variance', "
    "'gap_translation', 'gap_geometry', 'gap_behavior', 'reliability', 'share_lookalikes', 'share_strangers', 'overlap_mean' or "
    "'common_mode_ratio'"
)


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
        min_mass=0.5,
        min_inputs=1000,
        min_reliability=1,
        alerts=[
            Alert("gap_behavior", "val", above=0.6, patience=3, action="stop"),
            Alert("reliability", "train", below=-1),
        ],
    )


def test_what_is_not_there_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("min_mass: 0\n", encoding="utf-8")
    assert Thresholds.from_yaml(str(path)) == Thresholds(min_mass=0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("min_mass: 0\nstrangr: 1\n", "t.yaml:2: unknown key `strangr`. Did you mean `stranger`?"),
        ("color: 1\n", f"t.yaml:1: unknown key `color`. {KNOWN}"),
        ("stranger: 0.1\nmin_mass: 0\nstranger: 0.2\n", "t.yaml:3: key `stranger` stands twice, first in line 1. Remove one."),
        ("stranger: high\n", "t.yaml:1: Expected `stranger` to be a number from 0 to 1, got 'high'."),
        ("stranger: '0.1'\n", "t.yaml:1: Expected `stranger` to be a number from 0 to 1, got '0.1'."),
        ("\nstranger: true\n", "t.yaml:2: Expected `stranger` to be a number from 0 to 1, got True."),
        ("stranger: on\n", "t.yaml:1: Expected `stranger` to be a number from 0 to 1, got True."),
        ("lookalike: 1.1\n", "t.yaml:1: Expected `lookalike` to be a number from 0 to 1, got 1.1."),
        ("lookalike: .nan\n", "t.yaml:1: Expected `lookalike` to be a number from 0 to 1, got nan."),
        ("min_mass: .inf\n", "t.yaml:1: Expected `min_mass` to be a number of at least 0, got inf."),
        ("min_mass:\n", "t.yaml:1: Expected `min_mass` to be a number of at least 0, got None."),
        ("min_inputs: 2.5\n", "t.yaml:1: Expected `min_inputs` to be a whole number of at least 0, got 2.5."),
        ("min_inputs: -1\n", "t.yaml:1: Expected `min_inputs` to be a whole number of at least 0, got -1."),
        ("min_reliability: [1]\n", "t.yaml:1: Expected `min_reliability` to be a number from 0 to 1, got [1]."),
        ("- stranger\n", f"t.yaml:1: expected {KEYS}, got a list."),
        ("stranger\n", f"t.yaml:1: expected {KEYS}, got 'stranger'."),
        ("", f"t.yaml: expected {KEYS}, got an empty file."),
        ("# nothing\n", f"t.yaml: expected {KEYS}, got an empty file."),
        ("stranger: 0.1\n\tmin_mass: 0\n", "t.yaml:2: expected YAML, got found character '\\t' that cannot start any token."),
        ("stranger: [0.1\n", "t.yaml:2: expected YAML, got expected ',' or ']', but got '<stream end>'."),
        ("stranger: !!python/none 1\n", "t.yaml:1: expected plain YAML, got could not determine a constructor for the tag"),
        ("alerts: gap_behavior\n", "t.yaml:1: Expected `alerts` to be a list of alerts, got 'gap_behavior'."),
        ("alerts: [gap_behavior]\n", "t.yaml:1: expected keys of alert (scalar, stage, above, below, patience, action), got "),
        ("alerts:\n  - {above: 1}\n", "t.yaml:2: expected `scalar`, got alert without it."),
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
            "t.yaml:3: Expected `below` to be at most `above`, got below 0.8 and above 0.2. Between them nothing is breached.",
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
    assert refused(other) == "other.yaml: expected a file in UTF-8, got other bytes."
    other.write_bytes(b"stranger: \x07")
    assert refused(other).startswith("other.yaml: expected YAML, got unacceptable character #x0007")
