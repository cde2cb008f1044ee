"""Evidence that is packed comes back as it was, as far as there is room, the first pairs first."""

import json
import math
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_cossim.loggers import evidence_packing
from lightning_cossim.loggers.evidence_packing import MAX_SUSPECTS, pack_evidence
from lightning_cossim.loggers.evidence_wire import SentEvidence, SentExample, unpack_evidence
from lightning_cossim.loggers.tab import evidence_blob
from lightning_cossim.loggers.wire import MAX_BYTES
from lightning_cossim.report.evidence import RANKINGS, Example, InputReference, PairEvidence, PairsWithEvidence
from tests.loggers.evidence import apart, decoded, example, noise, pair, smooth
from tests.tensorboard_plugin.events import HOSTILE, reports
from tests.toys import altered

TEXTS = (*HOSTILE, "\x00\x07\u202e\u2028", "\ud800", "a\udcffb", "</script>", "\\u0041", "\ufeff", "x" * 200)
"""Markup, control characters, halves of surrogate pairs, separators of lines."""


def name(label: int) -> str:
    return f"label {label}"


def sent(pairs: list[PairEvidence], **arguments: Any) -> SentEvidence:
    blob = pack_evidence(pairs, name, **arguments)
    assert len(blob) <= MAX_BYTES
    return unpack_evidence(blob)


def agrees(one: Example, got: SentExample) -> bool:
    """Whether everything of an input came back, except its picture."""
    known = {field: value for field, value in one.reference._asdict().items() if value is not None}
    text = None if one.view is None else one.view.text
    same = (dict(got.reference), got.predicted, got.target, got.text) == (known, one.predicted, one.target, text)
    return same and np.allclose(one.probabilities, got.probabilities, rtol=5e-4, atol=0, equal_nan=True)


def test_inputs_come_back_in_their_rankings() -> None:
    """All that is known of them, the first one first; a ranking without inputs too."""
    whole = Example(InputReference(1, 2, 3, 4, 5, "a/b.png", 6), (0.123456, 1.5e-7), 3, None)
    others = [example(row, text=f"text {row}", probabilities=(1.0, 0.0), predicted=2, target=9) for row in range(4)]
    examples = {"overlap": (whole, others[0]), "confident": (others[2], others[1], others[2]), "suspect_label": ()}
    one = pair(3, 8, flag="look-alike", is_complete=False, examples=examples)
    got = sent([one, pair(0, 2)])
    assert [each.labels for each in got.pairs] == [(3, 8), (0, 2)]
    assert [(each.flag, each.is_complete) for each in got.pairs] == [("look-alike", False), (None, True)]
    assert got.num_pairs == 2
    assert [*got.pairs[0].examples] == [*examples]
    for ranking, inputs in examples.items():
        found = got.pairs[0].examples[ranking]
        assert len(found) == len(inputs)
        assert all(map(agrees, inputs, found))
    assert got.pairs[0].num_examples == {"overlap": 2, "confident": 3, "suspect_label": 0}


def test_a_blob_names_its_labels_and_no_others() -> None:
    """The labels of pairs, predicted labels and targets."""
    one = pair(3, 8, examples={"overlap": (example(0, predicted=5, target=None), example(1, predicted=8, target=6))})
    assert sent([one]).names == {label: name(label) for label in (3, 5, 6, 8)}


def test_an_unknown_probability_is_null() -> None:
    """NaN is no JSON, and neither is infinity."""
    one = pair(examples={"overlap": (example(0, probabilities=(math.nan, math.inf)), example(1, probabilities=(0.0, math.nan)))})
    blob = pack_evidence([one], name)
    header = json.loads(apart(blob)[0], parse_constant=pytest.fail)
    assert [each["p"] for each in header["pairs"][0]["examples"]] == [[None, None], [0, None]]
    assert np.isnan([got.probabilities for got in unpack_evidence(blob).pairs[0].examples["overlap"]]).tolist() == [
        [True, True],
        [False, True],
    ]


def test_numbers_of_numpy_are_numbers() -> None:
    """As arrays of kept inputs give them."""
    number: Any = np.int64
    whole = InputReference(number(0), number(1), number(2), number(3), number(4), None, number(5))
    one = Example(whole, (np.float32(0.5), np.float32(0.25)), number(3), number(1))  # type: ignore[arg-type]
    got = sent([pair(number(0), number(1), is_complete=number(1) > 0, examples={"overlap": (one,)})])
    assert agrees(one, got.pairs[0].examples["overlap"][0])
    assert got.names == {0: "label 0", 1: "label 1", 3: "label 3"}


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_hostile_texts_are_data(text: str) -> None:
    """In identifiers, texts and names; half a surrogate pair, which UTF-8 lacks, becomes a question mark."""
    one = pair(examples={"overlap": (example(0, text=text, reference=InputReference(id=text)),)})
    got = unpack_evidence(pack_evidence([one], lambda label: text))
    wanted = "".join("?" if "\ud800" <= char <= "\udfff" else char for char in text)
    found = got.pairs[0].examples["overlap"][0]
    assert found.reference == {"id": wanted, "process": 0}
    assert found.text == wanted
    assert set(got.names.values()) == {wanted}


def test_a_long_identifier_keeps_its_end() -> None:
    """A path ends with the file's name."""
    one = pair(examples={"overlap": (example(0, reference=InputReference(id="folder/" * 10**5 + "cat.png")),)})
    found = sent([one]).pairs[0].examples["overlap"][0].reference["id"]
    assert isinstance(found, str)
    assert len(found) == 300
    assert found.startswith("…")
    assert found.endswith("folder/cat.png")


# Pictures


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 64), (64, 1), (5, 3), (28, 28), (64, 64)])
@pytest.mark.parametrize("is_gray", [False, True], ids=["color", "gray"])
def test_pictures_of_every_size_come_back(height: int, width: int, *, is_gray: bool) -> None:
    """Exactly as PNG, and as JPEG up to what is hard to see: on average 6 levels of 255 in a picture like a photo."""
    pixels = smooth(0, height, width)
    pixels = pixels[..., :1].repeat(3, axis=2) if is_gray else pixels
    (picture,) = sent([pair(examples={"overlap": (example(0, pixels),)})]).pictures
    difference = np.abs(decoded(picture).astype(int) - pixels)
    assert difference.mean() < (6 if picture.kind == "jpeg" else 1e-9)


def test_a_picture_has_the_smaller_format() -> None:
    """A drawing of few colors is a PNG file and comes back exactly; a photo is a JPEG file."""
    drawing = np.zeros((64, 64, 3), dtype=np.uint8)
    drawing[20:30, 10:50] = 255, 0, 128
    got = sent([pair(examples={"overlap": (example(0, drawing), example(1, smooth(1)))})])
    assert [picture.kind for picture in got.pictures] == ["png", "jpeg"]
    np.testing.assert_array_equal(decoded(got.pictures[0]), drawing)


def test_pixels_may_lie_in_any_order() -> None:
    """Turned, mirrored and cut ones are views of other arrays."""
    turned = smooth(2, 20, 30)[::-1, ::2].transpose(1, 0, 2)
    flat = np.broadcast_to(np.array([7, 8, 9], dtype=np.uint8), (20, 10, 3))
    got = sent([pair(examples={"overlap": (example(0, turned), example(1, flat))})])
    assert np.abs(decoded(got.pictures[0]).astype(int) - turned).mean() < 8
    np.testing.assert_array_equal(decoded(got.pictures[1]), flat)


def test_a_picture_is_sent_once() -> None:
    """The same input is in several rankings, and in several pairs, as the same array or as a copy."""
    pixels, other = smooth(3), smooth(4)
    copies = example(1, other.copy()), example(0, pixels.copy())
    rankings = {"overlap": (example(0, pixels), example(1, other)), "confident": copies}
    got = sent([pair(0, 1, examples=rankings), pair(0, 2, examples=rankings)])
    assert len(got.pictures) == 2
    for one in got.pairs:
        assert [[each.picture for each in one.examples[ranking]] for ranking in rankings] == [[0, 1], [1, 0]]


def test_pictures_of_other_shapes_are_other_pictures() -> None:
    """Even if they have the same bytes."""
    wide, square = np.zeros((2, 8, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    got = sent([pair(examples={"overlap": (example(0, wide), example(1, square))})])
    assert [(picture.height, picture.width) for picture in got.pictures] == [(2, 8), (4, 4)]


def test_references_alone() -> None:
    """Without pictures and texts, as asked for."""
    one = pair(examples={"overlap": (example(0, smooth(0)), example(1, text="secret"))})
    blob = pack_evidence([one], name, with_views=False)
    got = unpack_evidence(blob)
    assert got.pictures == ()
    assert b"secret" not in blob
    for wanted, found in zip(one.examples["overlap"], got.pairs[0].examples["overlap"], strict=True):
        assert (found.picture, found.text) == (None, None)
        assert agrees(replace(wanted, view=None), found)


# Room


def many(num_inputs: int, number: int = 0, text: str | None = None) -> PairEvidence:
    return pair(number, number + 1, examples={"overlap": tuple(example(row, text=text) for row in range(num_inputs))})


@pytest.mark.parametrize(("num_suspects", "num_sent"), [(0, 0), (1, 1), (16, 16), (17, 16), (100, 16)])
def test_at_most_16_suspects_are_sent(num_suspects: int, num_sent: int) -> None:
    """The first ones, and their number in the report; the other rankings keep all of theirs."""
    inputs = tuple(example(row) for row in range(num_suspects))
    (got,) = sent([pair(examples={"suspect_label": inputs, "overlap": inputs})]).pairs
    assert MAX_SUSPECTS == 16
    assert [one.reference["row"] for one in got.examples["suspect_label"]] == list(range(num_sent))
    assert len(got.examples["overlap"]) == num_suspects
    assert got.num_examples == {"suspect_label": num_suspects, "overlap": num_suspects}


@pytest.mark.parametrize("text", [None, "short", "ä" * 200, '"' * 200], ids=["none", "short", "two bytes each", "escaped"])
def test_the_first_pairs_that_fit_are_sent_whole(text: str | None) -> None:
    """The next one would not have fitted: alone, it takes no less than it would have added."""
    pairs = [many(24, number, text) for number in range(200)]
    blob = pack_evidence(pairs, name)
    got = unpack_evidence(blob)
    num_sent = len(got.pairs)
    assert got.num_pairs == 200
    assert 0 < num_sent < 200
    assert [one.labels for one in got.pairs] == [one.labels for one in pairs[:num_sent]]
    assert all(len(one.examples["overlap"]) == 24 for one in got.pairs)
    assert len(blob) <= MAX_BYTES < len(blob) + len(pack_evidence([pairs[num_sent]], name))


def test_pictures_count_as_far_as_they_are_new() -> None:
    """A hundred pairs that show the same 24 pictures need them once."""
    inputs = tuple(example(row, smooth(row)) for row in range(24))
    got = sent([pair(number, number + 1, examples={"overlap": inputs}) for number in range(20)])
    assert len(got.pairs) == 20
    assert len(got.pictures) == 24


def test_no_pair_follows_one_that_does_not_fit() -> None:
    """Otherwise nobody could say which pairs are missing."""
    got = sent([many(2), many(5000, 1), many(2, 2)])
    assert [one.labels for one in got.pairs] == [(0, 1)]
    assert got.num_pairs == 3


def test_a_first_pair_that_does_not_fit_loses_its_pictures() -> None:
    """All of them, and only them."""
    inputs = (*(example(row, noise(row)) for row in range(80)), example(80, text="kept"))
    (got,) = sent([pair(examples={"overlap": inputs})]).pairs
    assert len(got.examples["overlap"]) == 81
    assert {one.picture for one in got.examples["overlap"]} == {None}
    assert got.examples["overlap"][80].text == "kept"


def test_a_first_pair_that_does_not_fit_yet_loses_its_texts() -> None:
    (got,) = sent([many(1000, text="x" * 150)]).pairs
    assert len(got.examples["overlap"]) == 1000
    assert {one.text for one in got.examples["overlap"]} == {None}


def test_a_first_pair_that_does_not_fit_at_all_loses_its_later_inputs() -> None:
    """No more than needed, to a factor of 2."""
    (got,) = sent([many(5000)]).pairs
    assert [one.reference["row"] for one in got.examples["overlap"]] == list(range(1250))
    assert got.num_examples == {"overlap": 5000}


def test_no_pair_is_a_blob_too() -> None:
    assert sent([]) == SentEvidence(0, {}, (), ())


def test_a_flood_of_noise_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 pairs with 108 inputs each, 21 600 pictures: no more are encoded than fit, and one that does not."""
    encode = mock.Mock(wraps=evidence_packing._encoded)
    monkeypatch.setattr(evidence_packing, "_encoded", encode)
    pixels = [noise(seed) for seed in range(108)]
    pairs = []
    for number in range(200):
        inputs = [example(row, pixels[row] ^ np.uint8(number)) for row in range(108)]
        rankings = {"overlap": inputs[:8], "confident": inputs[:24], "suspect_label": inputs[8:]}
        examples = {ranking: tuple(some) for ranking, some in rankings.items()}
        pairs.append(pair(number, number + 1, examples=examples))
    got = sent(pairs)
    assert got.num_pairs == 200
    assert len(got.pairs) >= 1
    assert len(got.pictures) == 24 * len(got.pairs)
    assert encode.call_count < 200_000 / 2_000


NAMES = st.text(max_size=20)
ROWS = st.integers(0, 2**40)
REFERENCES = st.builds(InputReference, *[st.none() | ROWS] * 5, st.none() | NAMES, ROWS)
PROBABILITIES = st.floats(0, 1) | st.just(math.nan)
EXAMPLES = st.builds(Example, REFERENCES, st.tuples(PROBABILITIES, PROBABILITIES), ROWS, st.none() | ROWS)
PAIRS = st.builds(
    lambda labels, complete, examples: pair(*sorted(labels), is_complete=complete, examples=examples),
    st.sets(ROWS, min_size=2, max_size=2),
    st.booleans(),
    st.dictionaries(st.sampled_from(RANKINGS), st.lists(EXAMPLES, max_size=5).map(tuple)),
)


@given(st.lists(PAIRS, max_size=4))
@settings(max_examples=50)
def test_whatever_is_packed_is_unpacked(pairs: list[PairEvidence]) -> None:
    got = sent(pairs)
    assert [(one.labels, one.is_complete) for one in got.pairs] == [(one.labels, one.is_complete) for one in pairs]
    for one, found in zip(pairs, got.pairs, strict=True):
        assert {*found.examples} == {*one.examples}
        for ranking, inputs in one.examples.items():
            assert len(found.examples[ranking]) == len(inputs)
            assert all(map(agrees, inputs, found.examples[ranking]))


# Of a report


def test_a_report_without_evidence_has_no_blob() -> None:
    """Neither one that kept no inputs, nor one of whose inputs no pair has any."""
    (report,) = reports(4, 1)
    assert evidence_blob(report) is None
    assert evidence_blob(altered(report, evidence=PairsWithEvidence([]))) is None


def test_the_evidence_of_a_report_has_the_names_of_its_head() -> None:
    """As short, and as harmless, as those of the step."""
    (report,) = reports(4, 1, names=["<b>cat</b>", "dog\n\x1b", "eel" * 100, "fox"])
    one = pair(0, 1, examples={"overlap": (example(0, smooth(0), predicted=2, target=None),)})
    report = altered(report, evidence=PairsWithEvidence([one]))
    blob, bare = evidence_blob(report), evidence_blob(report, with_views=False)
    assert blob is not None
    assert bare is not None
    assert unpack_evidence(blob).names == {0: "<b>cat</b>", 1: "dog", 2: ("eel" * 16)[:47] + "…"}
    assert [len(unpack_evidence(one).pictures) for one in (blob, bare)] == [1, 0]
