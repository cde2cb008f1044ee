"""The harness: try cases in forked children with limits, and list the faults.

A kind of cases is a module of this folder with a function `case(draw, folder)`. It makes the files of one case in an empty
folder, and returns the attempt: a function without arguments, which raises `Fault` (or anything else) if the package does what it
must not. The number of a case is the seed of `draw`, so a case is the same in every run.

`found` starts one process for a kind. That process imports everything, and forks a child for some cases after another. The
attempt runs in the child, with limits on its time and memory; afterwards, nothing but results of the package may be new in the
folder.
"""

import contextlib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

__all__ = ["CPU_SECONDS", "MEMORY", "Fault", "found", "try_cases"]

ROOT: Final = Path(__file__).parent.parent.parent
CPU_SECONDS: Final = 2.0
"""Maximum time of an attempt: of the processor, which other programs on the machine do not change."""
WALL_SECONDS: Final = 30.0
"""Maximum time of an attempt that waits, for example for a pipe."""
MEMORY: Final = 200_000_000
"""Maximum number of bytes of address space beyond those in use before the attempt."""
IN_A_CHILD: Final = 100
"""Number of cases in a child."""
OURS: Final = "cossim_analysis"
"""Name of the only folder in which the package writes, if it is asked to."""
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PROGRAMS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn", "socket.connect")
_PATHS: Final = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime")

Attempt = Callable[[], object]
Snapshot = dict[str, tuple[Any, ...]]


class Fault(AssertionError):  # noqa: N818 - what a case finds
    """What the package must not do."""


def found(kind: str, first: int, number: int, root: Path = ROOT) -> list[str]:
    """The faults of the cases `first` to `first + number - 1` of a kind, one line each with the number of the case.

    Args:
        kind: the name of a module of this folder.
        first: the first case.
        number: how many.
        root: the folder of the project.
    """
    command = [sys.executable, "-m", "tests.fuzz", kind, str(first), str(number)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    lines = ran.stdout.splitlines()
    if not lines or not lines[-1].startswith(f"{kind}: {number} cases"):
        return [f"{kind}: the harness itself ended with status {ran.returncode}: {ran.stderr[-2_000:]}", *lines]
    return lines[:-1]


def try_cases(kind: str, numbers: range, tell: Callable[[str], None]) -> int:
    """Try cases of a kind, and pass each fault to `tell` at once. Returns the number of faults."""
    make: Callable[[Random, Path], Attempt] = importlib.import_module(f"tests.fuzz.{kind}").case
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "expected one thread before a fork"
    sys.addaudithook(_listen)
    faults, slowest, next_number = 0, (0.0, numbers.start), numbers.start
    with tempfile.TemporaryDirectory(prefix="lightning-cossim-fuzz-") as name:
        while next_number < numbers.stop:
            some = range(next_number, min(next_number + IN_A_CHILD, numbers.stop))
            for number, seconds, fault in _in_a_child(kind, make, some, Path(os.path.realpath(name))):
                next_number = number + 1
                slowest = max(slowest, (seconds, number))
                if fault is not None:
                    faults += 1
                    tell(f"{kind} {number}: {fault}")
    tell(f"{kind}: {len(numbers)} cases, {faults} faults; the slowest, {slowest[1]}, took {slowest[0]:.2f} s")
    return faults


def _in_a_child(
    kind: str, make: Callable[[Random, Path], Attempt], numbers: range, sandbox: Path
) -> Iterator[tuple[int, float, str | None]]:
    """The number, the time and the fault of each case, until the child ends."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with open(writing, "w", encoding="utf-8", buffering=1) as pipe:  # noqa: PTH123 - a descriptor
            for number in numbers:
                pipe.write(f"{number}\n")
                pipe.write(json.dumps(_tried(make, Random(f"{kind} {number}"), sandbox)) + "\n")  # noqa: S311 - repeatable
            pipe.flush()
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor
        lines = iter(pipe.readline, "")
        begun: int | None = None
        for line in lines:
            begun = int(line)
            result = next(lines, None)
            if result is not None:
                yield (begun, *json.loads(result))
                begun = None
    _, status = os.waitpid(child, 0)
    if begun is None and status:
        raise RuntimeError(f"the child of {kind} {numbers} ended with status {status}")
    if begun is not None:
        why = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
        words = {"SIGPROF": f"more than {CPU_SECONDS:g} s of CPU", "SIGALRM": f"waited more than {WALL_SECONDS:g} s"}
        yield begun, 0.0, f"ended by {why}: {words.get(why, 'a crash')}"


def _tried(make: Callable[[Random, Path], Attempt], draw: Random, sandbox: Path) -> tuple[float, str | None]:
    """The time and the fault of one case."""
    _clear(sandbox)
    folder = sandbox / "folder"
    for path in (folder, sandbox / "tmp", sandbox / "home"):
        path.mkdir()
    os.environ["HOME"] = str(sandbox / "home")
    tempfile.tempdir = str(sandbox / "tmp")
    os.chdir(folder)
    try:
        attempt = make(draw, folder)
    except BaseException as raised:  # noqa: BLE001 - a mistake of ours
        return 0.0, f"cannot be made: {type(raised).__name__}: {raised}"
    before, seconds = snapshot(sandbox), time.process_time()
    try:
        with warnings.catch_warnings(), _watched(sandbox), _limited():
            attempt()
        fault = None
    except Fault as raised:
        fault = str(raised)
    except BaseException as raised:  # noqa: BLE001 - any error is a fault
        fault = f"raised {type(raised).__name__}: {str(raised)[:500]!r}"
    seconds = time.process_time() - seconds
    told = [text for text in (fault, *_touched, *changes(before, snapshot(sandbox))) if text]
    return seconds, "; ".join(told) or None


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """End the process on too much time; more memory than allowed cannot be had."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# What is touched

_sandbox: str | None = None
_touched: list[str] = []


@contextlib.contextmanager
def _watched(sandbox: Path) -> Iterator[None]:
    global _sandbox  # noqa: PLW0603 - an audit hook cannot be taken off again
    _touched.clear()
    _sandbox = str(sandbox)
    try:
        yield
    finally:
        _sandbox = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: note programs that are started, connections, and files outside the sandbox that are opened for writing."""
    if _sandbox is None:
        return
    if event in _PROGRAMS:
        _touched.append(f"{event} {arguments!r:.200}")
    elif (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES) or event in _PATHS:
        given = arguments[: 2 if event in {"os.rename", "os.link"} else 1]
        paths = [os.fsdecode(path) for path in given if isinstance(path, str | bytes | os.PathLike)]
        _touched.extend(f"{event} of {path!r:.200}, outside the folder" for path in paths if not _is_inside(path))


def _is_inside(path: str) -> bool:
    return path == os.devnull or os.path.realpath(path).startswith(f"{_sandbox}/")


def snapshot(folder: Path) -> Snapshot:
    """What stands in a folder: the kind, size, time and content of every entry by its path. Links are not followed."""
    found: Snapshot = {}
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in files)):  # noqa: PTH118 - thousands of them
            entry = os.lstat(path)
            if stat.S_ISREG(entry.st_mode):
                with open(path, "rb") as file:  # noqa: PTH123 - the same
                    content = hashlib.file_digest(file, "sha1").hexdigest()
                found[path] = (entry.st_mode, entry.st_size, entry.st_mtime_ns, content)
            else:
                found[path] = (entry.st_mode,)
    return found


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """What changed between two snapshots, but for results of the package and the folders that hold them."""
    told = []
    for path in sorted({*before, *after}):
        is_result = f"/{OURS}/" in f"{path}/" or any(f"/{OURS}" in other and other.startswith(f"{path}/") for other in after)
        if before.get(path) != after.get(path) and not (is_result and path not in before):
            what = "gone" if path not in after else "new" if path not in before else "changed"
            told.append(f"{path[-200:]!r} is {what}")
    return told


def _clear(folder: Path) -> None:
    os.chdir(folder)
    for path in folder.iterdir():
        shutil.rmtree(path)
