"""References in words, and which inputs explain a pair."""

from typing import Any

import pytest

from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, PairsWithEvidence
from lightning_cossim.report.references import foremost, has_loaders, in_words, listed, rankings_of
from tests.report.made_evidence import examples

WHERE: list[tuple[dict[str, Any], bool, str]] = [
    ({"loader": 0, "batch": 12, "row": 5, "index": 4031}, False, "index 4031"),
    ({"loader": 0, "batch": 12, "row": 5, "index": 4031}, True, "loader 0, index 4031"),
    ({"loader": 1, "index": 0, "position": 0}, True, "loader 1, index 0, position 0"),
    ({"loader": 0, "batch": 12, "row": 5, "position": 3}, False, "loader 0, batch 12, row 5, position 3"),
    ({"batch": 12, "row": 5}, True, "batch 12, row 5"),
    ({"batch": 0, "row": 0, "process": 3}, False, "batch 0, row 0, process 3"),
    ({"loader": 1, "batch": 2, "row": 5, "index": 7, "id": "a/b.png", "position": 4}, True, "id a/b.png, position 4"),
    ({"id": ""}, False, "id ''"),
    ({"id": "two\nlines\x1b[31m\u202ered"}, False, "id two lines [31m red"),
    ({}, False, "unknown"),
    ({"position": 3}, False, "position 3"),
]


@pytest.mark.parametrize(("fields", "with_loader", "words"), WHERE)
def test_a_reference_in_words(fields: dict[str, Any], with_loader: bool, words: str) -> None:
    assert in_words(InputReference(**fields), with_loader=with_loader) == words


def of(*references: InputReference) -> list[Example]:
    return [Example(reference, (0.5, 0.5), 0) for reference in references]


@pytest.mark.parametrize(
    ("references", "words"),
    [
        ([InputReference(index=12), InputReference(index=907), InputReference(index=44)], "index 12, 907, 44"),
        ([InputReference(id="a"), InputReference(id="b c")], "id a, b c"),
        ([InputReference(id="a"), InputReference(index=3)], "id a; index 3"),
        ([InputReference(index=3, position=1), InputReference(index=4)], "index 3, position 1; index 4"),
        ([InputReference(batch=1, row=2), InputReference(batch=3, row=0)], "batch 1, row 2; batch 3, row 0"),
        ([InputReference(index=3)], "index 3"),
        ([], ""),
    ],
)
def test_several_references_name_their_kind_once(references: list[InputReference], words: str) -> None:
    assert listed(of(*references)) == words


def test_indices_of_several_loaders_name_their_loader() -> None:
    some = of(InputReference(0, index=3), InputReference(0, index=4), InputReference(1, index=3))
    assert listed(some[:2], with_loader=True) == "loader 0, index 3, 4"
    assert listed(some, with_loader=True) == "loader 0, index 3; loader 0, index 4; loader 1, index 3"
    pair = PairEvidence((0, 1), ("a", "b"), None, {"overlap": tuple(some)})
    assert has_loaders(PairsWithEvidence([pair]))
    assert not has_loaders(PairsWithEvidence([PairEvidence((0, 1), ("a", "b"), None, {"overlap": tuple(some[:2])})]))
    assert not has_loaders(PairsWithEvidence())


@pytest.mark.parametrize(
    ("flag", "having", "shown"),
    [
        ("look-alike", ["overlap", "confident", "suspect_label"], ["confident"]),
        ("stranger", ["suspect_label", "confident", "overlap"], ["overlap", "suspect_label"]),
        (None, ["overlap", "confident"], ["overlap"]),
        ("look-alike", ["overlap"], ["overlap"]),
        ("stranger", ["confident"], ["confident"]),
        ("stranger", [], []),
    ],
)
def test_each_flag_is_explained_by_its_rankings(flag: Any, having: list[Any], shown: list[str]) -> None:
    """An empty ranking does not count."""
    some = {ranking: examples((0, 1)) if ranking in having else () for ranking in ("suspect_label", "confident", "overlap")}
    assert list(rankings_of(PairEvidence((0, 1), ("a", "b"), flag, some))) == shown  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num_label", "num_other", "most", "wanted"),
    [
        *((8, 8, 8, (4, 4)), (8, 8, 3, (2, 1)), (8, 2, 8, (6, 2)), (2, 8, 8, (2, 6))),
        *((8, 0, 3, (3, 0)), (0, 8, 3, (0, 3)), (1, 1, 8, (1, 1))),
    ],
)  # fmt: skip
def test_a_look_alike_shows_confident_inputs_of_both_labels(
    num_label: int, num_other: int, most: int, wanted: tuple[int, int]
) -> None:
    """Those of the first label first, the most confident ones of each."""
    some = [Example(InputReference(index=place), (0.9, 0.1), 0) for place in range(num_label)]
    some += [Example(InputReference(index=100 + place), (0.1, 0.9), 1) for place in range(num_other)]
    found = foremost(PairEvidence((0, 1), ("a", "b"), "look-alike", {"confident": tuple(some)}), most)
    assert [one.reference.index for one in found] == [*range(wanted[0]), *range(100, 100 + wanted[1])]


def test_a_stranger_shows_the_first_inputs() -> None:
    some = examples((0, 1), 5)
    assert foremost(PairEvidence((0, 1), ("a", "b"), "stranger", {"overlap": some}), 3) == some[:3]
    assert foremost(PairEvidence((0, 1), ("a", "b"), "stranger", {}), 3) == ()
