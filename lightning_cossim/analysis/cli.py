"""The command `lightning-cossim`.

lightning-cossim config                    print the default thresholds as YAML with comments
lightning-cossim config --check FILE...    check threshold files; print one line for each file
lightning-cossim analyze CHECKPOINT        report on the head of a trained model
lightning-cossim compare BEFORE AFTER      show the changes between two checkpoints
lightning-cossim demo                      train a small classifier, and show its report
"""

import argparse
import contextlib
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args, get_origin, get_type_hints

import docstring_parser
from typing_extensions import override

from lightning_cossim.analysis.saved_logits import LOGITS_LEFT_OUT, REFUSED
from lightning_cossim.config.settings import Display, LabelSelection
from lightning_cossim.config.thresholds import Alert, Thresholds
from lightning_cossim.errors import (
    CheckpointError,
    ConfigError,
    LabelSimilarityError,
    as_value,
    did_you_mean,
    expected,
    in_a_line,
    in_one_line,
    printable,
)
from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.report import GapReport
from lightning_cossim.report.alerts import evaluate, in_words
from lightning_cossim.report.pair import FLAGS
from lightning_cossim.report.text import counted

__all__ = ["commented_default", "main"]

_logger = logging.getLogger(__name__)
_WIDTH = 100
_ANALYZE = "Report cosines from the weights alone; with --logits also overlaps and gaps; with --embeddings all similarities."
_SELECTION: Final[tuple[tuple[str, type[int] | type[float], str], ...]] = (
    ("min_probability", float, "leave out labels with a mean probability below this multiple of 1/K"),
    ("max_tracked", int, "compare all pairs of up to this many labels; sample pairs above it"),
    ("labels_per_input", int, "above --max-tracked labels, keep this many of the most likely labels of each input"),
)
"""Options that are fields of `LabelSelection`: field, type, help."""
_SETTINGS: Final = (
    *("head", "bias", "names", "ignore", "min_probability", "max_tracked", "labels_per_input", "neighbors", "transposed"),
    *("link", "link_cap", "link_scale", "overlap", "overlap_threshold", "overlap_k"),
)
"""Options that are passed on to the argument of `analyze` with the same name."""
_RENAMED: Final = {"--labels": "--names"}
"""Names of options, by the names of the same settings in the callback."""
_EXAMPLE = """\
# alerts:
#   - scalar: rank_agreement_centered_cosine
#     stage: val
#     below: 0.2
#     patience: 3
#     action: warn
"""


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one printable line."""

    @override
    def error(self, message: str) -> NoReturn:
        """Print one line with the error and a hint, and exit with status 2."""
        known = [option for action in self._actions for option in action.option_strings]
        wrong = message.rpartition("unrecognized arguments: ")[2].split()[0] if "unrecognized" in message else ""
        hint = did_you_mean(_RENAMED.get(wrong, wrong), known)
        hint = hint or f"`{self.prog} --help` lists the options."
        self.exit(2, f"{in_a_line(f'{self.prog}: {message}. {hint}')}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words after the name of the command; default: those of the process.

    Returns:
        The exit status: 0 on success, 1 if `--fail-on` finds a breach or a flagged pair, 2 on an error, which is printed in one
        line.

    Raises:
        SystemExit: the arguments are wrong (status 2), or ask for `--help` (status 0).
    """
    parser = _Parser(
        prog="lightning-cossim",
        allow_abbrev=False,
        description="Show where label cosine similarity disagrees with the model's probabilities.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    config = commands.add_parser(
        "config", allow_abbrev=False, help="print the default thresholds as YAML with comments, or check threshold files"
    )
    config.add_argument("--check", nargs="+", metavar="FILE", help="threshold files to check; prints one line for each file")
    config.set_defaults(run=_config, parser=config)
    analysis = commands.add_parser(
        "analyze", allow_abbrev=False, help="report on the head of a trained model", description=_ANALYZE
    )
    _add_head(analysis, "checkpoint")
    of_inputs = "true label of each input (N,), with --logits or --embeddings; the report then counts the errors of every pair"
    analysis.add_argument("--targets", metavar="FILE", help=of_inputs)
    which = (
        "file with an identifier, a path or a text for each input, one on each line; the report shows them beside flagged pairs"
    )
    analysis.add_argument("--inputs", metavar="FILE", help=which)
    out = "write the report to FOLDER/cossim_analysis as Markdown, text, JSON, CSV and TensorBoard events"
    analysis.add_argument("--out", metavar="FOLDER", help=out)
    flags = "file of thresholds that flag pairs; default: those that `config` prints"
    analysis.add_argument("--thresholds", metavar="YAML", help=flags)
    fails = "like --thresholds, and exit with 1 if an alert is breached or, if the file has no alerts, if a pair is flagged"
    analysis.add_argument("--fail-on", metavar="YAML", help=fails)
    reaches = (
        "decide which labels any input can make the most likely label and, under a sigmoid, which labels and pairs can be on "
        "with all others off; takes up to four minutes"
    )
    analysis.add_argument("--reachability", action="store_true", help=reaches)
    rows = f"rows of each table of pairs in the files of --out; default: {Display.max_pairs}"
    analysis.add_argument("--max-pairs", metavar="NUMBER", type=int, default=Display.max_pairs, help=rows)
    analysis.set_defaults(run=_analyze, parser=analysis)
    compare = commands.add_parser("compare", allow_abbrev=False, help="show the changes between two checkpoints")
    _add_head(compare, "before", "after")
    compare.set_defaults(run=_compare, parser=compare)
    demo = commands.add_parser("demo", allow_abbrev=False, help="train a small classifier for half a minute, and show its report")
    demo.add_argument("--epochs", type=int, default=20, help="number of training epochs; default: 20")
    demo.add_argument("--folder", default="lightning_logs", help="folder of the logs; default: lightning_logs")
    demo.set_defaults(run=_demo, parser=demo)
    given, rest = parser.parse_known_args(arguments)
    if rest:
        given.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return _guarded(given)


def _guarded(given: argparse.Namespace) -> int:
    """The exit status of a command. Every error is one line."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            status: int = given.run(given)
        sys.stdout.flush()
    except LabelSimilarityError as error:
        _print_error(str(error))
        return 2
    except BrokenPipeError:  # the reader of the output, such as `head`, has enough
        _discard_output()
        return 2
    except OSError as error:
        _discard_output()
        _print_error(f"expected to write the output, got {error.strerror or error}.")
        return 2
    except MemoryError:
        _print_error("expected enough memory for the report, got none left.")
        return 2
    except Exception as error:
        _logger.debug("The error of the command:", exc_info=True)
        _print_error(f"an error that should not happen, please report it: {in_one_line(error)}")
        return 2
    return status


def _print_error(text: str) -> None:
    print(in_a_line(text), file=sys.stderr)


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line, without the source code that Python adds."""
    _print_error(" ".join(str(message).split()))


def _discard_output() -> None:
    """Forget what is not written yet: at exit, Python would fail to write it again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _add_head(parser: argparse.ArgumentParser, *checkpoints: str) -> None:
    for checkpoint in checkpoints:
        files = "a Lightning checkpoint, a state dict, a safetensors file or its index, .npy or .npz"
        parser.add_argument(checkpoint, help=f"{files}; or the folder of a saved transformers model")
    head = "dotted path of the final linear layer, for example model.fc, or ema.head for a layer in a nested dictionary"
    parser.add_argument("--head", help=f"{head}; default: from config.json, else by name")
    bias = "name of the head's bias, or none; default: the bias beside the weight, else from config.json"
    parser.add_argument("--bias", help=bias)
    turned = "each label is a column of the weight (--no-transposed: a row); some `W` and `kernel` need this"
    parser.add_argument("--transposed", action=argparse.BooleanOptionalAction, default=None, help=turned)
    each: dict[str, Any] = {"metavar": "FILE"} if len(checkpoints) == 1 else {"metavar": ("BEFORE", "AFTER"), "nargs": 2}
    parser.add_argument("--logits", **each, help="the model's final logits (N, K), one file for each checkpoint")
    parser.add_argument("--embeddings", **each, help="the inputs of the head (N, D), one file for each checkpoint")
    parser.add_argument("--names", metavar="FILE", help="file with one label name on each line; default: from the saved model")
    without = "row numbers of labels that do not count, for example padding"
    parser.add_argument("--ignore", metavar="LABEL", type=int, nargs="+", default=(), help=without)
    for option, kind, text in _SELECTION:
        default = getattr(LabelSelection, option)
        flag = f"--{option.replace('_', '-')}"
        parser.add_argument(flag, metavar="NUMBER", type=kind, default=default, help=f"{text}; default: {default:g}")
    parser.add_argument(
        "--no-neighbors",
        dest="neighbors",
        action="store_false",
        help="above --max-tracked labels, do not search for the most alike rows",
    )
    kinds = "kind of probability overlap; default: bhattacharyya"
    parser.add_argument("--overlap", choices=get_args(OverlapKind), default="bhattacharyya", help=kinds)
    threshold = "probability threshold of --overlap coactivation; default: 0.1"
    parser.add_argument("--overlap-threshold", metavar="NUMBER", type=float, help=threshold)
    parser.add_argument("--overlap-k", metavar="NUMBER", type=int, help="k of --overlap topk; default: max(2, min(5, K // 5))")
    link = "from the head's output to probabilities; default: from the model's config.json, else softmax"
    parser.add_argument("--link", choices=get_args(Link), help=link)
    parser.add_argument(
        "--link-cap", metavar="NUMBER", type=float, help="cap of --link softcap, the bound on the absolute value of every logit"
    )
    parser.add_argument("--link-scale", metavar="NUMBER", type=float, help="scale of --link cosine, the factor of all cosines")


def _config(given: argparse.Namespace) -> int:
    if given.check is None:
        print(commented_default(), end="")
        return 0
    return max(_check(Path(path)) for path in given.check)


def _analyze(given: argparse.Namespace) -> int:
    from lightning_cossim.analysis.write import check_folder, write_analysis

    if given.out is not None:
        check_folder(given.out)
    if given.fail_on is not None and given.thresholds is not None:
        remedy = "Pass `--fail-on` alone; it flags pairs by its thresholds too."
        raise ConfigError(expected("--thresholds", "or `--fail-on`", "both", remedy))
    file = given.thresholds if given.fail_on is None else given.fail_on
    thresholds = Thresholds() if file is None else Thresholds.from_yaml(file)
    display = Display(max_pairs=given.max_pairs)
    if given.link is not None:
        _check_alerts(file, thresholds, given.link)
    report = _report(
        given, given.checkpoint, thresholds, None, targets=given.targets, inputs=given.inputs, reachability=given.reachability
    )
    _check_alerts(file, thresholds, report.link)
    print(report)
    if given.out is not None:
        for path in write_analysis(report, given.out, display=display, warn=_print_error):
            print(f"wrote {printable(str(path))}")
    if given.fail_on is None:
        return 0
    why = report.verdict.why_none
    if why is not None:
        raise ConfigError(f"{given.checkpoint}: expected inputs that allow a verdict, got {why}. No pair was judged.")
    reasons = [in_words(breach) for breach in evaluate(report, thresholds)]
    if not thresholds.alerts:
        reasons = [counted(int(flags.sum()), FLAGS[side]) for side, flags in report.flags.items() if flags.any()]
    for reason in reasons:
        _print_error(f"fails: {reason}")
    return 1 if reasons else 0


def _check_alerts(file: str | None, thresholds: Thresholds, link: Link) -> None:
    """Raise `ConfigError` if an alert uses a scalar that is undefined under the link."""
    ladder = LADDERS[link]
    for alert in thresholds.alerts:
        if alert.scalar in ladder.absent:
            absent = f"{alert.scalar}, which is undefined under {link}: {ladder.why_uncentered}"
            raise ConfigError(f"{file}: expected alerts on scalars that exist for this head, got {absent}. Remove this alert.")


def _compare(given: argparse.Namespace) -> int:
    from lightning_cossim.analysis.compare import compare

    print(compare(*(_report(given, path, Thresholds(), number) for number, path in enumerate((given.before, given.after)))))
    return 0


def _demo(given: argparse.Namespace) -> int:
    from lightning_cossim.analysis.demo import main as train

    if not given.folder or (Path(given.folder).exists() and not Path(given.folder).is_dir()):
        raise ConfigError(expected("folder", "to be a folder", as_value(given.folder)))
    if given.epochs < 1:
        raise ConfigError(expected("epochs", "to be at least 1", given.epochs))
    train(given.epochs, given.folder)
    return 0


def _report(given: argparse.Namespace, path: str, thresholds: Thresholds, number: int | None, **others: Any) -> GapReport:
    """The report of a checkpoint. `number` selects its files if there are several checkpoints; None: there is one."""
    from lightning_cossim.analysis.analyze import analyze

    settings = {name: getattr(given, name) for name in _SETTINGS}
    for name in ("logits", "embeddings"):
        files = getattr(given, name)
        settings[name] = files if number is None or files is None else files[number]
    report = analyze(path, **settings, **others, thresholds=thresholds, progress=sys.stderr.isatty())
    if REFUSED in report.remarks:
        why = report.remarks[REFUSED].removeprefix(LOGITS_LEFT_OUT)
        raise CheckpointError(f"{settings['logits']}: expected logits, got other numbers: {why}.")
    return report


def commented_default() -> str:
    """The default thresholds as YAML with a comment for every field. `Thresholds.from_yaml` reads it back as the defaults."""
    text = ""
    for name, value in ((field.name, getattr(Thresholds(), field.name)) for field in fields(Thresholds)):
        text += f"{_comment(_help(Thresholds)[name])}{name}: {[*value] if isinstance(value, tuple) else value}\n"
    text += f"\n# An alert, for example:\n#\n{_EXAMPLE}#\n# Its fields:\n#\n"
    hints = get_type_hints(Alert)
    for field in fields(Alert):
        words = f" One of {', '.join(get_args(hints[field.name]))}." if get_origin(hints[field.name]) is Literal else ""
        text += _comment(f"{field.name}: {_help(Alert)[field.name]}{words}", indent="    ")
    return text


def _check(path: Path) -> int:
    try:
        Thresholds.from_yaml(path)
    except ConfigError as error:
        _print_error(str(error))
        return 2
    print(f"{printable(str(path))}: no errors.")
    return 0


def _comment(text: str, indent: str = "") -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH, subsequent_indent=indent))


def _help(kind: type[Any]) -> dict[str, str]:
    """The description of each field in the docstring, by field, with a capital first letter."""
    found = {
        field.arg_name: " ".join((field.description or "").split()) for field in docstring_parser.parse(kind.__doc__ or "").params
    }
    return {name: f"{text[:1].upper()}{text[1:]}" for name, text in found.items()}


if __name__ == "__main__":
    sys.exit(main())
