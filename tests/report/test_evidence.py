"""PairsWithEvidence: a pair is found by its names or its rows, and a pair without evidence is refused in one clear line."""

import pickle
from typing import Any

import numpy as np
import pytest

from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, PairsWithEvidence, View
from tests.report.made_evidence import flagged_rows, judged, with_inputs

COAT = PairEvidence((4, 6), ("Coat", "Shirt"))
BAG = PairEvidence((2, 8), ("Pullover", "Bag"), "stranger")
BOOT = PairEvidence((7, 9), ("one", "two"), "look-alike")
FOUND = PairsWithEvidence((COAT, BAG, BOOT))


@pytest.mark.parametrize(
    "key", [("Coat", "Shirt"), ("Shirt", "Coat"), (4, 6), (6, 4), (np.int64(4), np.int64(6)), (np.int32(6), 4)]
)
def test_a_pair_is_found_in_either_order_by_names_and_by_rows(key: Any) -> None:
    assert FOUND[key] is COAT
    assert key in FOUND


def test_flagged_pairs_come_first_and_the_given_order_stays() -> None:
    assert FOUND.pairs == (BAG, BOOT, COAT)
    assert list(FOUND) == [("Pullover", "Bag"), ("one", "two"), ("Coat", "Shirt")]
    assert len(FOUND) == 3
    assert [one.names for one in FOUND.values()] == list(FOUND)


def test_other_flags_give_another_order_of_the_pairs_as_they_were_given() -> None:
    other = FOUND.with_flags({(4, 6): "look-alike", (7, 9): "stranger"})
    assert [(one.names, one.flag) for one in other.pairs] == [
        (COAT.names, "look-alike"),
        (BOOT.names, "stranger"),
        (BAG.names, None),
    ]


def test_pairs_with_the_same_names_are_all_there_and_found_by_their_rows() -> None:
    """Names can repeat; the first pair has the name, in any order of its labels."""
    first, second = PairEvidence((0, 1), ("a", "b")), PairEvidence((2, 3), ("b", "a"))
    found = PairsWithEvidence((first, second))
    assert (found["a", "b"], found["b", "a"], found[0, 1], found[3, 2]) == (first, first, first, second)
    assert len(found) == len(list(found)) == 1
    assert found.pairs == (first, second)


def test_rows_and_names_that_are_numbers_are_not_mixed_up() -> None:
    one, other = PairEvidence((0, 1), ("2", "3")), PairEvidence((2, 3), ("0", "1"))
    found = PairsWithEvidence((one, other))
    assert (found["2", "3"], found[2, 3], found["0", "1"], found[0, 1]) == (one, other, other, one)


def test_a_pair_without_evidence_is_refused_in_one_line() -> None:
    """With the pairs that have some, those with similar names, and the reason why others have none."""
    with pytest.raises(KeyError) as caught:
        FOUND["Coats", "Shirt"]
    (said,) = caught.value.args
    assert said == (
        "Expected `pair` to be one with evidence (('Pullover', 'Bag'), ('one', 'two'), ('Coat', 'Shirt')), "
        "got ('Coats', 'Shirt'). Similar: ('Coat', 'Shirt'). "
        "Only flagged pairs and those with the largest gaps or joint masses have some."
    )


def test_of_very_many_pairs_a_few_are_listed() -> None:
    found = PairsWithEvidence(PairEvidence((row, row + 1), (f"name {row}", "x")) for row in range(40))
    with pytest.raises(KeyError, match=r"\('name 4', 'x'\) and 35 more\), got \(80, 81\)"):
        found[80, 81]


@pytest.mark.parametrize(
    "key",
    [
        ("Coat",), ("Coat", "Coat"), (4, 4), "Coat", 4, None, ("Coat", 6), (True, False), (1.0, 2.0), ["Coat", "Shirt"],
        ("Coat", "Shirt", "Bag"), (np.ones(2), np.ones(2)), ("two\nlines", "\u202e"), ({}, []), float("nan"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_not_there(key: Any) -> None:
    assert key not in FOUND
    assert FOUND.get(key) is None
    with pytest.raises(KeyError) as caught:
        FOUND[key]
    assert caught.value.args[0].isprintable()


def test_without_any_evidence_the_error_says_so() -> None:
    with pytest.raises(KeyError, match="No pair has some: the report kept no inputs"):
        PairsWithEvidence()["Coat", "Shirt"]


def test_evidence_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(FOUND))  # noqa: S301 - our own
    assert list(copy) == list(FOUND)
    assert copy[6, 4].names == ("Coat", "Shirt")


# In a report


def test_a_report_without_evidence_has_an_empty_mapping() -> None:
    assert len(judged().evidence) == 0


def test_the_flags_are_those_of_the_report_whatever_the_evidence_was_made_with() -> None:
    """Also after the report is judged by other thresholds; nothing else changes."""
    report = judged()
    rows = flagged_rows(report)
    other = next(pair for place in range(len(report.compared)) if (pair := report.statistics.table.rows_of(place)) not in rows)
    names = [tuple(map(str, pair)) for pair in (other, *rows)]
    wrong = PairsWithEvidence(
        PairEvidence(pair, name, "stranger", {"overlap": ()})  # type: ignore[arg-type]
        for pair, name in zip((other, *rows), names, strict=True)
    )
    found = report.with_evidence(wrong).evidence
    wanted = {(pair.label, pair.other): pair.flag for pair in report.pairs()}
    assert {name: found[name].flag for name in found} == {name: wanted[name] for name in found}
    assert list(found)[-1] == tuple(map(str, other))
    assert {one.flag for one in found.values()} == {"stranger", "look-alike", None}


def test_evidence_stays_where_the_report_is_changed() -> None:
    report = with_inputs(judged())
    assert report.on(report.statistics, report.verdict).evidence.keys() == report.evidence.keys()
    assert type(report) is type(judged())
    assert len(report.evidence) == len(flagged_rows(report)) > 3


@pytest.mark.parametrize("rows", [(0, 1), (1, 0), (10, 11)])
def test_a_report_finds_a_pair_by_its_rows(rows: tuple[int, int]) -> None:
    pair = judged().pair_of(rows)
    assert pair is not None
    assert {pair.label, pair.other} == {*map(str, rows)}
    assert pair in judged().pairs()


@pytest.mark.parametrize("rows", [(0, 0), (0, 12), (-1, 3), (99, 98)])
def test_a_pair_that_was_not_compared_is_none(rows: tuple[int, int]) -> None:
    assert judged().pair_of(rows) is None


def test_pixels_are_not_printed() -> None:
    assert repr(View(picture=np.zeros((28, 14, 3), np.uint8))) == "View(picture of 14 x 28 pixels)"
    assert repr(View(text="a line")) == "View(text='a line')"
    assert len(repr(Example(InputReference(index=3), (0.5, 0.25), 0, 1, View(picture=np.zeros((64, 64, 3), np.uint8))))) < 300


def test_evidence_prints_its_first_pairs() -> None:
    names = [("Coat", "Shirt"), *((f"{number}" * 10_000, "b") for number in range(6))]
    found = PairsWithEvidence(PairEvidence((place, 20), pair) for place, pair in enumerate(names))
    assert repr(found).startswith("PairsWithEvidence(7 pairs: Coat / Shirt, 0000000000000… / b, ")
    assert len(repr(found)) < 200
    assert repr(PairsWithEvidence(found.pairs[:1])) == "PairsWithEvidence(1 pair: Coat / Shirt)"
    assert repr(PairsWithEvidence()) == "PairsWithEvidence(0 pairs)"


def test_long_names_are_cut_in_errors() -> None:
    found = PairsWithEvidence([PairEvidence((0, 1), ("a" * 10_000, "b" * 10_000))])
    with pytest.raises(KeyError) as error:
        found["a" * 10_000, "c" * 10_000]
    assert str(error.value).endswith('have some."')
    assert len(str(error.value)) < 600
