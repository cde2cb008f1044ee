"""Every check of the project: `python -m tests`, or `python -m tests full` for what takes longer.

Runs in the environment it is started from and stops at the first check that fails.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
STATIC = ["ruff check .", "ruff format --check .", "mypy", "mkdocs build --strict --quiet"]
TESTS = "pytest -n auto --dist loadfile"
CHECKS = [*STATIC, TESTS]
FULL = [
    *STATIC,
    f"{TESTS} --cov --cov-report=term:skip-covered",
    "pytest -m full",
    "tests.oldest",
    "tests.mutants",
    "tests.fuzz.plants",
]


def main(extra: list[str]) -> int:
    """Run the checks one after the other; the exit status of the first that fails, else 0."""
    if extra not in ([], ["full"]):
        print(f"Expected no argument or `full`, got {' '.join(extra)!r}.", file=sys.stderr)
        return 2
    for check in FULL if extra else CHECKS:
        print(f"\n$ python -m {check}", flush=True)
        status = subprocess.run([sys.executable, "-m", *check.split()], cwd=ROOT, check=False).returncode
        if status:
            print(f"\nFailed: python -m {check}", file=sys.stderr)
            return status
    print("\nAll checks passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
