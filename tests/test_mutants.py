"""Planted bugs can be planted: what was rewritten takes its mutant along, or nobody would look for that bug any more."""

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant, Plant, PlantError, lines_of, planted

SOURCE = '''\
A, B = 1, 2

def one(x):
    """Twice the same: x + x."""
    return x + 1

class Kind:
    size: int = 3

    def one(self, x):
        return x + 1  # ünïcode

    def two(self):
        return "x"

def twice(): pass
def twice(): pass
'''


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_a_planted_bug_has_its_place(mutant: Mutant) -> None:
    sources = {plant.file: (ROOT / "lightning_cossim" / plant.file).read_text(encoding="utf-8") for plant in mutant.plants}
    for plant in mutant.plants:
        sources[plant.file] = planted(sources[plant.file], plant)
    assert mutant.red
    for test in mutant.red:
        file, _, name = test.partition("::")
        lines_of((ROOT / file).read_text(encoding="utf-8"), name.partition("[")[0].replace("::", "."))


def test_every_room_has_a_planted_bug() -> None:
    package = ROOT / "lightning_cossim"
    rooms = {path.parent.relative_to(package).as_posix() for path in package.rglob("*.py")} - {"."}
    assert {plant.file.rpartition("/")[0] for mutant in MUTANTS for plant in mutant.plants} == rooms
    assert len({mutant.bug for mutant in MUTANTS}) == len(MUTANTS) == 68


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("one", "x + 1", "x - 1", ("    return x + 1\n", "    return x - 1\n")),
        ("Kind.one", "x + 1", "x - 1", ("x + 1  # ünïcode", "x - 1  # ünïcode")),
        ("Kind.size", "3", "4", ("int = 3", "int = 4")),
        ("B", "2", "3", ("1, 2", "1, 3")),
        ("Kind", '"x"', '"y"', ('"x"', '"y"')),
    ],
)
def test_a_change_goes_to_its_name_and_nowhere_else(name: str, old: str, new: str, changed: tuple[str, str]) -> None:
    assert planted(SOURCE, Plant("", name, old, new)) == SOURCE.replace(*changed)


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("three", "x", "y", "three: three stands 0 times"),
        ("Kind.three", "x", "y", "Kind.three: three stands 0 times"),
        ("one.x", "x", "y", "one.x: x stands 0 times"),
        ("twice", "pass", "...", "twice: twice stands 2 times"),
        ("one", "x", "y", "'x' stands 4 times"),
        ("Kind.two", "x + 1", "x", "'x \\+ 1' stands 0 times"),
        ("one", "return x + 1", "return (", "does not compile"),
        ("Kind.one", "ünïcode", "unicode", "changes nothing"),
    ],
)
def test_a_change_without_its_place_is_told(name: str, old: str, new: str, why: str) -> None:
    with pytest.raises(PlantError, match=why):
        planted(SOURCE, Plant("", name, old, new))
