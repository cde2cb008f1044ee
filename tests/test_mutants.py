"""Planted bugs can be planted: a line that was rewritten takes its mutant along, or nobody would look for that bug any more."""

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_a_planted_bug_has_its_place(mutant: Mutant) -> None:
    for file, old, new in mutant.changes:
        assert (ROOT / "lightning_cossim" / file).read_text(encoding="utf-8").count(old) == 1, old
        assert old != new
    for test in mutant.red:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        last = name.rpartition("::")[2].partition("[")[0]
        assert not name or f"def {last}(" in text or f"class {last}:" in text, test
