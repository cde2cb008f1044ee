"""Planted faults that the damaged files must find: `python -m tests.fuzz.plants`, or with the numbers of some.

Each is planted in a copy of the project. The kind of cases that is named beside it must find a fault there.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.fuzz.harness import found
from tests.mutants import AT_A_TIME, ROOT, Mutant, Plant, copied

__all__ = ["PLANTS", "main"]

NUMBER: Final = {
    "yaml_files": 5_000,
    "checkpoint_files": 3_000,
    "label_files": 1_000,
    "command_lines": 1_000,
    "saved_states": 1_000,
}
"""Number of cases of each kind: those of a normal run."""
_PICKLES, _SAVED, _READER, _TEXTS = "analysis/pickles.py", "analysis/saved_tensors.py", "config/reader.py", "config/text_files.py"
_ROWS: Final = (
    ("yaml_files", _READER, "_check_events", "isinstance(event, yaml.AliasEvent)", "False"),
    ("yaml_files", _READER, "_check_events", "depth > _DEEPEST", "False"),
    ("yaml_files", _READER, "_check_events", "number > _MOST_EVENTS", "False"),
    ("yaml_files", _READER, "read_dataclass", "except UnicodeDecodeError:", "except ZeroDivisionError:"),
    ("yaml_files", _READER, "parse_dataclass", "(ValueError, OverflowError)", "ZeroDivisionError"),
    ("yaml_files", _READER, "parse_dataclass", "except yaml.MarkedYAMLError", "except ZeroDivisionError"),
    ("yaml_files", _READER, "_Reader._plain", "(AttributeError, LookupError, ValueError)", "ZeroDivisionError"),
    ("yaml_files", _READER, "_Reader._plain", "len(node.value) > _LONGEST_NUMBER", "False"),
    ("yaml_files", _READER, "_Reader._key", "not isinstance(node, yaml.ScalarNode)", "False"),
    ("yaml_files", _READER, "_composed", "len(text) > _LONG", "False"),
    ("yaml_files", "errors.py", "LabelSimilarityError.__init__", "in_a_line(message)", "message"),
    ("yaml_files", "errors.py", "in_a_line", "if len(line) <= _LONGEST_MESSAGE:", "if True:"),
    ("yaml_files", "errors.py", "printable", "if text.isprintable():", "if True:"),
    ("yaml_files", "errors.py", "_Short.repr_int", "x.bit_length() < 1_000", "True"),
    ("yaml_files", "analysis/cli.py", "_check", "printable(str(path))", "str(path)"),
    ("checkpoint_files", _TEXTS, "kind_of_file", "if stat.S_ISREG(mode):", "if not stat.S_ISDIR(mode):"),
    ("checkpoint_files", _PICKLES, "load_pickled", "weights_only=True)", "weights_only=False)"),
    ("checkpoint_files", _PICKLES, "load_pickled", "weights_only=True, mmap", "weights_only=False, mmap"),
    ("checkpoint_files", _PICKLES, "_made", "visited > 2 * size + _MOST_READS", "False"),
    ("checkpoint_files", _PICKLES, "_check_call", "(allocates and arguments != ()) or takes_a_size", "takes_a_size"),
    ("checkpoint_files", _PICKLES, "_check_call", "(allocates and arguments != ()) or takes_a_size", "allocates"),
    ("checkpoint_files", _PICKLES, "_BoundedReads.read", "self.reads > _MOST_READS and", "False and"),
    ("checkpoint_files", _SAVED, "_stored", "tensor.numel() * tensor.element_size() >", "0 >"),
    ("checkpoint_files", _SAVED, "_stored", "tensor.dtype not in _NUMBERS", "False"),
    ("checkpoint_files", _SAVED, "_check_numpy", 'dtype.kind not in "fiub" or dtype.itemsize > 8', "False"),
    ("checkpoint_files", _SAVED, "guarded", "except Exception", "except ZeroDivisionError"),
    ("checkpoint_files", "analysis/json_files.py", "reason", "type(error).__name__ if _ADVICE.search(text) else", ""),
    ("checkpoint_files", "analysis/json_files.py", "read_json", "(ValueError, RecursionError)", "ZeroDivisionError"),
    ("checkpoint_files", "analysis/json_files.py", "read_json", "not isinstance(found, dict)", "False"),
    ("checkpoint_files", "analysis/nested_tensors.py", "_found_in", "id(value) not in seen and", ""),
    ("checkpoint_files", "analysis/nested_tensors.py", "_is_name", "isinstance(key, int) and abs(key) < 2**63", "True"),
    ("checkpoint_files", "analysis/checkpoints.py", "_checked", "if finite and not tensor.isfinite().all():", "if False:"),
    ("checkpoint_files", "analysis/token_names.py", "_whole", " and len(value) < 12", ""),
    ("checkpoint_files", "capture/logit_changes.py", "_settings_of", 'given if isinstance(given, str) else ""', "given"),
    (
        "label_files",
        "analysis/saved_inputs.py",
        "read_inputs",
        "except ValueError as error:",
        "except ZeroDivisionError as error:",
    ),
    ("label_files", _TEXTS, "kind_of_file", "if stat.S_ISREG(mode):", "if not stat.S_ISDIR(mode):"),
    ("command_lines", "analysis/cli.py", "_Parser.error", "in_a_line(f'{self.prog}: {message}. {hint}')", "message"),
    (
        "command_lines",
        "analysis/cli.py",
        "_guarded",
        "except LabelSimilarityError as error:",
        "except ZeroDivisionError as error:",
    ),
    (
        "saved_states",
        "callback/monitor.py",
        "LabelSimilarityMonitor.load_state_dict",
        "except Exception as error:",
        "except KeyError as error:",
    ),
    ("saved_states", "callback/monitor.py", "LabelSimilarityMonitor.load_state_dict", 'warnings.simplefilter("ignore")', "pass"),
    ("saved_states", "callback/monitor.py", "LabelSimilarityMonitor.load_state_dict", "in before.items():", "in ():"),
)
PLANTS: Final = tuple(
    Mutant(f"{kind}, {file}, {name}: {new!r} for {old!r}", (Plant(file, name, old, new),), (kind,))
    for kind, file, name, old, new in _ROWS
)


def main(numbers: Iterable[int]) -> int:
    """Plant these faults, default all; 0 if every one is found."""
    chosen = [*numbers] or [*range(1, len(PLANTS) + 1)]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(AT_A_TIME) as workers:
        trials = [(number, workers.submit(_tried, Path(name), PLANTS[number - 1])) for number in chosen]
        missed = 0
        for number, trial in trials:
            fault = trial.result()
            missed += fault is None
            print(
                f"{number:3} {'MISSED' if fault is None else 'found':7} {PLANTS[number - 1].bug}: {(fault or '')[:160]}",
                flush=True,
            )
    print(f"\n{len(chosen) - missed} of {len(chosen)} planted faults found.")
    return int(missed > 0)


def _tried(folder: Path, plant: Mutant) -> str | None:
    """The first fault that is found with a plant; it is looked for in ever more cases."""
    copy = copied(ROOT, folder, plant.plants)
    (kind,) = plant.red
    try:
        for first, end in ((0, 300), (300, 1_000), (1_000, 3_000), (3_000, 5_000)):
            if first < NUMBER[kind]:
                faults = found(kind, first, end - first, copy)
                if faults:
                    return faults[0]
        return None
    finally:
        shutil.rmtree(copy)


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]]))
