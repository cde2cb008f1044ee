"""The core tests with the oldest versions that pyproject.toml allows: `python -m tests.oldest`, in an environment of its own.

Warnings are no errors there: what is old is told so by what is new.
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".venv-oldest"


def main() -> int:
    """Make the environment, run the tests; the exit status of the first command that fails, else 0."""
    venv.create(HOME, with_pip=True, clear=True)
    python = str(HOME / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    install = [python, "-m", "pip", "install", "--quiet", "-c", "constraints-oldest.txt", "setuptools", "-e", ".[test]"]
    tests = [python, "-m", "pytest", "-n", "auto", "--dist", "loadfile"]
    tests += ["-o", "filterwarnings=ignore", "-p", "no:cacheprovider", "tests"]
    for command in (install, tests):
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
