"""A real TensorBoard in a process of its own, on loopback, for as long as a `with` lasts."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 60.0


class Served:
    """What a TensorBoard answers."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def get(self, route: str, **parameters: Any) -> tuple[int, bytes]:
        """Status and content of an answer of the plugin."""
        query = urllib.parse.urlencode(parameters)
        return self.fetch(f"/data/plugin/lightning_cossim/{route}?{query}")

    def fetch(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and content of any answer."""
        request = urllib.request.Request(self.address + path, method=method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def runs(self) -> dict[str, dict[str, list[int]]]:
        """Run to tag to steps."""
        _, content = self.get("runs")
        return {
            one["run"]: {tag["tag"]: [step for step, _ in tag["steps"]] for tag in one["tags"]}
            for one in json.loads(content)["runs"]
        }

    def wait_for(self, num_runs: int, num_steps: int = 1) -> dict[str, dict[str, list[int]]]:
        """What is served once so many runs with so many steps in one of their tags have been read."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            runs = self.runs()
            if len(runs) >= num_runs and all(max(map(len, tags.values()), default=0) >= num_steps for tags in runs.values()):
                return runs
            time.sleep(0.2)
        raise TimeoutError(f"{num_runs} runs with {num_steps} steps, got {self.runs()}")


@contextlib.contextmanager
def tensorboard(logdir: Path, *flags: str, python: Sequence[str] = (sys.executable,), cwd: Path = ROOT) -> Iterator[Served]:
    """Start one; it takes a port that is free, and has the package that lies in `cwd`, if there is one."""
    command = [*python, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=cwd) as process:
        try:
            assert process.stderr is not None, "a pipe"
            said = []
            for line in process.stderr:
                said.append(line)
                found = re.search(r"at (http://\S+)", line)
                if found:
                    yield Served(found.group(1))
                    return
            raise RuntimeError("TensorBoard did not start:\n" + "".join(said))
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:  # its handler raises, and what it raises may be lost where nothing can raise
                process.kill()
