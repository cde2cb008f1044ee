"""Cases that each do one thing that the harness must find: `test_harness.py` lists them."""

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.commands import check_command
from tests.fuzz.harness import Fault

__all__ = ["FAULTY", "case"]


def _nothing() -> None:
    """No fault."""


def _loop() -> None:
    while True:
        pass


def _fail() -> None:
    raise Fault("as planted")


def _hold_memory() -> None:
    mmap.mmap(-1, 300_000_000)


def _touch_others() -> None:
    Path("/tmp/lightning-cossim-not-there/x").write_text("", encoding="utf-8")  # noqa: S108 - nothing is written: no such folder


def _make_a_result() -> None:
    Path("out/cossim_analysis/x").mkdir(parents=True)


def _print_and_fail(text: str) -> Callable[[], None]:
    def attempt() -> None:
        from lightning_cossim.analysis import cli

        def printed() -> str:
            print(text, file=sys.stderr)
            return ""

        kept, cli.commented_default = cli.commented_default, printed
        try:
            check_command("config")
        finally:
            cli.commented_default = kept

    return attempt


FAULTY: Final[dict[str, tuple[Callable[[], object], str | None]]] = {
    "nothing": (_nothing, None),
    "a good command": (lambda: check_command("config"), None),
    "too much time": (_loop, "more than 2 s of CPU"),
    "too much memory": (_hold_memory, "OSError: '[Errno 12]"),
    "a fault": (_fail, "as planted"),
    "another error": (lambda: 1 / 0, "raised ZeroDivisionError"),
    "the end of the process": (lambda: os._exit(3), "status 3"),
    "a crash": (lambda: os.kill(os.getpid(), 11), "SIGSEGV"),
    "a new file": (lambda: Path("x").write_text("x", encoding="utf-8"), "x' is new"),
    "a changed file": (lambda: Path("kept").write_text("changed", encoding="utf-8"), "kept' is changed"),
    "a removed file": (lambda: Path("kept").unlink(), "kept' is gone"),
    "a result": (_make_a_result, None),
    "a changed result": (lambda: Path("cossim_analysis/kept").write_text("changed", encoding="utf-8"), "kept' is changed"),
    "a file elsewhere": (_touch_others, "outside the folder"),
    "a program": (lambda: subprocess.run(["true"], check=False), "subprocess.Popen"),
    "a program of the shell": (lambda: os.system("true"), "os.system"),  # noqa: S605
    "two lines": (_print_and_fail("a\nb"), "expected at most one line"),
    "an escape": (_print_and_fail("\x1b[2J"), "expected printable lines"),
    "a long line": (_print_and_fail("x" * 401), "expected printable lines of at most 400"),
    "a traceback": (_print_and_fail("Traceback"), "expected no 'Traceback'"),
    "advice": (_print_and_fail("pass weights_only=False"), "expected no 'weights_only'"),
    "a good command after all": (lambda: time.sleep(0), None),
}
"""What each case does, and a part of what the harness says of it; None: no fault."""


def case(draw: Random, folder: Path) -> Callable[[], object]:
    """The case of this number, which the first draw tells."""
    (folder / "cossim_analysis").mkdir()
    for path in ("kept", "cossim_analysis/kept"):
        (folder / path).write_text("as it was", encoding="utf-8")
    return list(FAULTY.values())[_NUMBER_OF[draw.random()]][0]


_NUMBER_OF: Final = {Random(f"faulty {number}").random(): number for number in range(len(FAULTY))}  # noqa: S311
