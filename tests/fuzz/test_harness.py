"""The harness sees every kind of fault, and goes on after it."""

from tests.fuzz.faulty import FAULTY
from tests.fuzz.harness import found


def test_every_kind_of_fault_is_found_and_nothing_else() -> None:
    told = dict(line.split(": ", 1) for line in found("faulty", 0, len(FAULTY)))
    for number, (name, (_, said)) in enumerate(FAULTY.items()):
        line = told.pop(f"faulty {number}", None)
        assert (line is None) == (said is None), (name, line)
        assert said is None or (line is not None and said in line), (name, line)
    assert not told


def test_a_kind_that_cannot_be_imported_is_a_fault() -> None:
    assert "No module named 'tests.fuzz.nowhere'" in found("nowhere", 0, 1)[0]
