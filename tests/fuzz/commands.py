"""The command as a case runs it: with its own words on its two outputs, and what must hold for every one of them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Final

import matplotlib.figure  # noqa: F401 - what is imported before the fork takes no time of a case
import torch
from scipy import optimize, stats  # noqa: F401 - the same

import lightning_cossim.analysis.analyze
import lightning_cossim.analysis.compare
import lightning_cossim.analysis.write  # noqa: F401 - the same
from lightning_cossim.analysis.cli import main
from tests.fuzz.harness import Fault

__all__ = ["check_command"]

torch.set_num_threads(1)

ADVICE: Final = ("allow_pickle", "weights_only", "max_header_size", "set_int_max", "trust_remote_code", "safe_globals")
"""Words of other libraries that advise to switch off a safeguard."""
NOT_OURS: Final = ("Traceback", "should not happen", "enough memory", "allocate", "alloc_cpu", "bad_alloc", "MemoryError")
"""Words that stand in no message of the package about a bad file."""


def check_command(*arguments: object) -> int:
    """Run the command, and raise `Fault` if it ends otherwise than it must.

    The exit status is 0, 1 or 2. Status 2 comes with exactly one line on stderr; otherwise there is at most one line, but for the
    reasons of `--fail-on`. All lines are printable; on stderr they have at most 400 characters.
    """
    words = [*map(str, arguments)]
    with _outputs() as said:
        try:
            status: object = main(words)
        except SystemExit as ended:
            status = ended.code
    _check(words, status, *said)
    assert isinstance(status, int)
    return status


def _check(words: list[str], status: object, out: str, error: str) -> None:
    said = f"status {status!r}, stderr {error[:600]!r}, of {words!r:.300}"
    lines = error.removesuffix("\n").split("\n") if error else []
    if status not in {0, 1, 2} or type(status) is not int:
        raise Fault(f"expected a status of 0, 1 or 2: {said}")
    if len(lines) > 1 and not (status == 1 and all(line.startswith("fails: ") for line in lines)):
        raise Fault(f"expected at most one line on stderr, got {len(lines)}: {said}")
    if status == 2 and not lines:
        raise Fault(f"expected one line on stderr: {said}")
    if status == 1 and not lines[0].startswith("fails: "):
        raise Fault(f"expected a reason for status 1: {said}")
    if error and not error.endswith("\n"):
        raise Fault(f"expected whole lines on stderr: {said}")
    if not all(line.isprintable() and len(line) <= 400 for line in lines):
        raise Fault(f"expected printable lines of at most 400 characters: {said}")
    if not all(line.isprintable() for line in out.split("\n")):
        odd = next(line for line in out.split("\n") if not line.isprintable())
        raise Fault(f"expected printable lines on stdout, got {odd[:200]!r}: {said}")
    for word in (*ADVICE, *NOT_OURS):
        if word in error and not any(word in given for given in words):
            raise Fault(f"expected no {word!r} on stderr: {said}")


@contextlib.contextmanager
def _outputs() -> Iterator[list[str]]:
    """What is written to both outputs of the process, also by C++: two texts, once the context has ended."""
    said: list[str] = []
    made = [os.memfd_create(name) for name in ("out", "error")]
    old = [os.dup(place) for place in (1, 2)]
    streams = sys.stdout, sys.stderr
    for place, file in zip((1, 2), made, strict=True):
        os.dup2(file, place)
    sys.stdout, sys.stderr = (open(place, "w", encoding="utf-8", closefd=False) for place in (1, 2))  # noqa: SIM115
    try:
        yield said
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = streams
        for place, kept, file in zip((1, 2), old, made, strict=True):
            os.dup2(kept, place)
            os.close(kept)
            said.append(os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "surrogateescape"))
            os.close(file)
