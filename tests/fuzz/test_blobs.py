"""Blobs of steps and of evidence that are damaged or made to harm, with a limit on memory and on the time of each."""

import resource
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.blobs import check_blob, damaged_blob, good_blobs

MEMORY = 200_000_000
"""Maximum number of bytes of address space beyond those in use before."""


def try_blobs(first: int, number: int) -> None:
    for blob in good_blobs():
        check_blob(blob)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        for seed in range(first, first + number):
            blob, began = damaged_blob(Random(f"blobs {seed}")), time.process_time()  # noqa: S311 - repeatable
            try:
                check_blob(blob)
            except BaseException as error:
                raise AssertionError(f"blob {seed}: {type(error).__name__} {str(error)[:500]}") from error
            assert time.process_time() - began < 2, f"blob {seed} takes long"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_damaged_blobs() -> None:
    try_blobs(0, 600)


@pytest.mark.full
def test_many_damaged_blobs() -> None:
    try_blobs(600, 10_000)
