"""Try cases of a kind: `python -m tests.fuzz KIND [FIRST [NUMBER]]`; see `tests.fuzz.harness`."""

import sys

from tests.fuzz.harness import try_cases


def main(arguments: list[str]) -> int:
    """Print every fault; 1 if there is one."""
    kind, first, number = [*arguments, "0", "1000"][0], *map(int, [*arguments[1:], "0", "1000"][:2])
    if len(arguments) == 2:
        number = 1
    return int(try_cases(kind, range(first, first + number), lambda line: print(line, flush=True)) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
