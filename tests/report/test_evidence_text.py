"""The text of a pair: what it says, which inputs it shows, and that no name, text or identifier gets out of its place."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typing_extensions import override

from lightning_cossim.errors import InputError
from lightning_cossim.report import GapReport
from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, PairsWithEvidence, Ranking, View
from tests.report.made_evidence import a_text, judged, pixels, with_errors, with_inputs
from tests.report.test_verdicts import report_of
from tests.toys import altered

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><b>loud</b>',
    "'><i>",
    "&amp;",
    "</td></table>",
    "a\x1b[31mred",
    "two\nlines",
    "\u202eright to left",
    "שלום",
    "{0} {x} %s",
    "\ud800",
]


def pair_of(report: GapReport, flag: str) -> PairEvidence:
    return next(one for one in report.evidence.pairs if one.flag == flag)


def shown(report: GapReport, flag: str = "stranger") -> Any:
    return report.show(pair_of(report, flag).names)


# What it says


def test_a_stranger_is_explained_by_its_overlaps_and_suspect_labels() -> None:
    """Numbers of the pair, what to do, then inputs."""
    report = with_inputs(with_errors(judged(), (12, 1), (0.5, 0.375, 0.125)), target=0)
    text, pair = str(shown(report)), shown(report).pair
    first, *_ = text.splitlines()
    assert first == f"{pair.label} / {pair.other}: stranger, overlaps more than expected"
    assert f"Overlap {pair.overlap:.3f} ± {pair.overlap_error:.3f}, expected {pair.expected_overlap:.3f}; label-centered" in text
    assert f"; {pair.joint_inputs} joint inputs.\n" in text
    assert f"Errors: 12 inputs of {pair.label} predicted as {pair.other}, 1 of {pair.other} as {pair.label}.\n" in text
    assert f"Joint mass: 50% on inputs of {pair.label}, 38% of {pair.other}, 12% of other labels." in text
    assert len(re.findall("What to do: compare the inputs", text)) == 1
    titles = [line for line in text.splitlines() if line.startswith("Inputs ")]
    assert titles == [
        "Inputs that add most to the overlap",
        "Inputs of one label predicted as the other, the least probable target first",
    ]
    assert re.search(rf"^index 10 +0\.750 +0\.125  {pair.label} +0$", text, flags=re.MULTILINE)


def test_a_look_alike_is_explained_by_confident_inputs() -> None:
    text = str(shown(with_inputs(judged()), "look-alike"))
    assert "look-alike, overlaps less than expected" in text
    assert [line for line in text.splitlines() if line.startswith("Inputs ")] == [
        "Inputs with one of the labels most confidently predicted"
    ]
    assert "What to do: in most cases, nothing. Do not merge" in text
    assert "Errors:" not in text
    assert "target" not in text.partition("\n\n")[2]


def test_errors_and_the_split_of_the_joint_mass_are_named() -> None:
    report = with_inputs(with_errors(judged(), (500, 1), (0.125, 0.125, 0.75)))
    text = str(shown(report))
    assert re.search(r"Errors: 500 inputs of \S+ predicted as \S+, 1 of \S+ as \S+\.", text)
    assert re.search(r"Joint mass: 12% on inputs of \S+, 12% of \S+, 75% of other labels\.", text)


@pytest.mark.parametrize(("neither", "is_said"), [(0.75, True), (0.5, False)])
def test_a_pair_that_overlaps_on_other_labels_says_so(neither: float, is_said: bool) -> None:
    shares = ((1 - neither) / 2, (1 - neither) / 2, neither)
    text = str(shown(with_inputs(with_errors(judged(), (5, 1), shares))))
    assert ("Both labels are likely mostly on inputs of other labels." in text) == is_said


@pytest.mark.parametrize(("num", "more"), [(16, None), (17, 1), (100, 84)])
def test_a_long_ranking_is_cut_and_says_so(num: int, more: int | None) -> None:
    report = with_inputs(judged())
    pair = pair_of(report, "stranger")
    examples: dict[Ranking, tuple[Example, ...]] = {"overlap": (pair.examples["overlap"][0],) * num}
    found = report.with_evidence(PairsWithEvidence([replace(pair, examples=examples)])).show(*pair.names)
    for text in (str(found), found._repr_html_()):
        said = re.findall(r"(\d+) more are in `report.evidence`", text)
        assert said == ([] if more is None else [str(more)])
    assert len(re.findall(r"^index ", str(found).partition("Inputs that add")[2], flags=re.MULTILINE)) == min(num, 16)


def test_a_pair_without_inputs_says_why() -> None:
    text = str(judged().show("0", "1"))
    assert "0 / 1: not flagged (" in text
    assert "No inputs were kept: evidence is off" in text
    assert "What to do: the gap of this pair needs no action." in text
    assert "not flagged (no thresholds were applied)" in str(report_of().show("0", "1"))


def test_inputs_that_may_be_missing_are_announced() -> None:
    """Only then."""
    report, remark = with_inputs(judged()), "Inputs may be missing"
    first = pair_of(report, "stranger")
    partly = PairEvidence(first.labels, first.names, None, first.examples, is_complete=False)
    assert remark in str(report.with_evidence(PairsWithEvidence([partly])).show(first.names))
    assert remark not in str(shown(report))


def test_probabilities_and_labels_that_are_unknown_are_left_out() -> None:
    example = Example(InputReference(), (float("nan"), 0.25), 11)
    report = judged().with_evidence(PairsWithEvidence([PairEvidence((0, 1), ("0", "1"), None, {"overlap": (example,)})]))
    header, row = str(report.show(0, 1)).splitlines()[-2:]
    assert header.split() == ["input", "p(0)", "p(1)", "predicted"]
    assert row.split() == ["unknown", "-", "0.250", "11"]


# Which pair


@pytest.mark.parametrize(
    "call",
    [("Coat", "Shirt"), ("Shirt", "Coat"), (("Coat", "Shirt"),), (["Shirt", "Coat"],), (3, 7), ((7, 3),), ("Coat", 7)],
)
def test_a_pair_is_named_in_any_way(call: Any) -> None:
    names = [*"abc", "Coat", *"def", "Shirt", *"ghij"]
    report = judged(names)
    found = report.with_evidence(PairsWithEvidence([PairEvidence((3, 7), ("Coat", "Shirt"))])).show(*call)
    assert (found.pair.label, found.pair.other) == ("Coat", "Shirt")
    assert found.evidence is not None
    assert found.evidence.labels == (3, 7)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("0",), "Expected `label` to be a pair of labels if `other` is missing, got '0'."),
        ((None,), "Expected `label` to be a pair of labels if `other` is missing, got None."),
        ((("0", "1", "2"),), "Expected `label` to be a pair of labels"),
        (({"0": 1},), "Expected `label` to be a pair of labels"),
        (("0", "12"), "Expected `other` to be a name or a row of a label that the report compared, got '12'."),
        (("zero", "1"), "Expected `label` to be a name or a row"),
        ((12, 1), "Expected `label` to be a name or a row"),
        ((-1, 1), "Expected `label` to be a name or a row"),
        ((True, 2), "Expected `label` to be a name or a row"),
        ((0.0, 2), "Expected `label` to be a name or a row"),
        (("3", "3"), "Expected `other` to be another label than `label`, got '3'."),
        (("3", 3), "Expected `other` to be another label than `label`, got 3."),
        (((np.ones(3), "1"),), "Expected `label` to be a name or a row"),
    ],
)
def test_what_is_no_pair_of_the_report_is_refused(call: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        with_inputs(judged()).show(*call)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_similar_name_is_offered() -> None:
    with pytest.raises(InputError, match=r"got 'Coats'\. Did you mean `Coat`\?"):
        judged(["Coat", "Shirt", *"abcdefghij"]).show("Shirt", "Coats")


# Notebooks


class Elements(HTMLParser):
    """The elements of a page, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"br", "img"}:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile(text: str) -> GapReport:
    report = judged([text, *(f"{text}{number}" for number in range(11))])
    example = Example(InputReference(id=text, batch=1), (0.5, 0.25), 0, 1, View(text=text))
    return report.with_evidence(PairsWithEvidence([PairEvidence((0, 1), (text, f"{text}0"), None, {"overlap": (example,)})]))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_gets_out_of_its_cell(text: str) -> None:
    """A page has our elements alone, closed in order, and shows the text as it is, without what cannot be printed."""
    page = Elements(hostile(text).show(0, 1)._repr_html_())
    assert {tag for tag, _ in page.tags} == {"div", "p", "b", "br", "table", "thead", "tbody", "tr", "th", "td", "bdi"}
    assert {name for _, attributes in page.tags for name in attributes} <= {"style"}
    assert page.open == []
    assert all(text.isprintable() for text in page.texts)
    wanted = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    assert page.texts.count(f"id {wanted or chr(39) * 2}") == 1
    assert page.texts.count(wanted) >= (1 if wanted else 0)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_steers_a_terminal(text: str) -> None:
    lines = str(hostile(text).show(0, 1)).splitlines()
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len(str(hostile("plain").show(0, 1)).splitlines())


@pytest.mark.parametrize("shape", [(8, 8), (64, 64), (1, 1), (28, 20)])
def test_pictures_are_in_the_page_alone(shape: tuple[int, int]) -> None:
    """As data, enlarged by a whole number; nothing is loaded from elsewhere."""
    picture = pixels(*shape)
    found = shown(with_inputs(judged(), 2, view=View(picture=picture)))
    page = Elements(found._repr_html_())
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3
    for image in images:
        source, style = str(image["src"]), str(image["style"])
        data = base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)
        width, height = map(int, re.findall(r"(?:width|height):(\d+)px", style)[:2])
        assert width % shape[1] == height % shape[0] == 0
        assert width // shape[1] == height // shape[0]
        assert max(width, height) <= 64
    assert "data:" not in str(found)
    assert not re.search(r"https?:|url\(|<script|<link", found._repr_html_())


# In the text of a report


def test_flagged_pairs_have_three_references_below() -> None:
    report = with_inputs(judged(), 8)
    lines = str(report).splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith("  e.g. ")]
    flagged = [number for number, line in enumerate(lines) if re.search(r"  (stranger|look-alike)$", line)]
    assert places == [number + 1 for number in flagged]
    assert len(places) > 5
    assert {lines[place] for place in places} == {"  e.g. index 10, 11, 12", "  e.g. index 10, 11, 14"}
    assert str(judged()) == "\n".join(line for line in lines if not line.startswith("  e.g. "))


def test_pairs_whose_names_repeat_have_no_references() -> None:
    """They could be those of another pair."""
    report = with_inputs(altered(judged(), names=["same"] * 12))
    assert "e.g." not in str(report)


def test_a_report_of_one_label_has_no_table_to_put_them_in() -> None:
    assert "e.g." not in str(with_inputs(judged(num_labels=1)))


def test_texts_stand_in_a_last_column() -> None:
    text = str(shown(with_inputs(judged(), 2, view=a_text("a quick | fox"))))
    assert text.count("a quick | fox") == 3
    assert text.splitlines()[-2].endswith("text")
