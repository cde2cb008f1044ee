"""Planted faults have their places, so that they can be planted."""

import pytest

from tests.fuzz.plants import NUMBER, PLANTS
from tests.mutants import ROOT, Mutant, planted


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.bug)
def test_a_planted_fault_has_its_place(plant: Mutant) -> None:
    (change,) = plant.plants
    planted((ROOT / "lightning_cossim" / change.file).read_text(encoding="utf-8"), change)
    assert set(plant.red) <= NUMBER.keys()


def test_there_are_forty() -> None:
    assert len({plant.bug for plant in PLANTS}) == len(PLANTS) >= 40
