"""Evidence that is broken, or made to break its reader, is refused in one line; reading needs neither torch nor Pillow."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_cossim.loggers import evidence_wire
from lightning_cossim.loggers.evidence_packing import pack_evidence
from lightning_cossim.loggers.evidence_wire import unpack_evidence
from lightning_cossim.loggers.wire import MAX_BYTES
from lightning_cossim.report.evidence import RANKINGS, InputReference
from lightning_cossim.report.pair import Flag
from tests.loggers.evidence import apart, example, noise, pair, together

INPUTS = (
    example(0, noise(0, 3, 4), reference=InputReference(1, 2, 3, 4, 5, "cat.png", 6)),
    example(1, noise(1, 8, 8), probabilities=(1.0, float("nan"))),
    example(2, text="a <b>text</b>", target=None),
)
BLOB = pack_evidence([pair(flag="stranger", examples=dict.fromkeys(RANKINGS, INPUTS)), pair(0, 2)], str)
HEADER, BODY = apart(BLOB)


def changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The blob with another header."""
    header = json.loads(HEADER)
    change(header)
    return together(json.dumps(header).encode(), BODY)


def put(value: Any, *path: str | int) -> Callable[[dict[str, Any]], Any]:
    """A change of a header that puts a value at a place."""

    def change(header: Any) -> None:
        for key in path[:-1]:
            header = header[key]
        header[path[-1]] = value

    return change


FIRST_HEADER = (
    '{"version":1,"num_pairs":2,"names":{"3":"cat","5":"dög"},'
    '"pictures":[{"kind":"png","width":1,"height":1,"offset":0,"size":67},{"kind":"jpeg","width":2,"height":1,"offset":67,"size":4}],'
    '"pairs":[{"labels":[3,5],"flag":"look-alike","is_complete":true,"examples":['
    '{"reference":{"loader":0,"batch":2,"row":1,"index":9,"id":"a.png","process":0},"p":[0.5,null],"predicted":3,"target":5,'
    '"picture":1},{"reference":{"process":1},"p":[0,1e-7],"predicted":5,"text":"<i>"}],'
    '"rankings":{"overlap":{"num":2,"examples":[1,0]},"suspect_label":{"num":100,"examples":[0]}}}]}'
)
FIRST_BODY = (
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000000002000148afa471"
        "0000000049454e44ae426082"
    )
    + b"\xff\xd8\xff\xd9"
)
"""A blob as version 1 writes it."""


def test_a_blob_of_the_first_version_is_read() -> None:
    """Key by key, so that nobody changes the format without a new version."""
    got = unpack_evidence(together(FIRST_HEADER.encode(), FIRST_BODY))
    assert got.num_pairs == 2
    assert got.names == {3: "cat", 5: "dög"}
    assert [picture[:3] for picture in got.pictures] == [("png", 1, 1), ("jpeg", 2, 1)]
    assert b"".join(picture.content for picture in got.pictures) == FIRST_BODY
    (one,) = got.pairs
    assert (one.labels, one.flag, one.is_complete) == ((3, 5), "look-alike", True)
    assert one.num_examples == {"overlap": 2, "suspect_label": 100}
    last, first = one.examples["overlap"]
    assert one.examples["suspect_label"] == (first,)
    assert first.reference == {"loader": 0, "batch": 2, "row": 1, "index": 9, "id": "a.png", "process": 0}
    assert str(first.probabilities) == "(0.5, nan)"
    assert (first.predicted, first.target, first.text, first.picture) == (3, 5, None, 1)
    assert (last.reference, last.probabilities) == ({"process": 1}, (0.0, 1e-7))
    assert (last.predicted, last.target, last.text, last.picture) == (5, None, "<i>", None)


def test_the_format_has_all_rankings_fields_and_flags_of_a_report() -> None:
    """They are written down twice, because their module needs torch."""
    assert evidence_wire._RANKINGS == RANKINGS
    assert {*evidence_wire._NUMBERS, "id"} == {*InputReference._fields}
    assert get_args(Flag) == evidence_wire._FLAGS


def test_reading_needs_neither_torch_nor_pillow() -> None:
    """A process that serves the tab may read evidence."""
    code = (
        "import sys; from lightning_cossim.loggers.evidence_wire import unpack_evidence; "
        "unpack_evidence(sys.stdin.buffer.read()); print(sorted({'torch', 'PIL', 'tabulate'} & {*sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], input=BLOB, capture_output=True, check=True)
    assert ran.stdout.strip() == b"[]"


BROKEN = [
    (b"", "length of its header"),
    (b"\0\0\0\0", "length of its header"),
    (BLOB[:3], "length of its header"),
    (BLOB[: len(HEADER)], "length of its header"),
    (b"\xff\xff\xff\xff" + BLOB[4:], "length of its header"),
    (BLOB[:-1], "Expected `size` to be a whole number from 1 to"),
    (BLOB + b"\0", "Expected `pictures` to fill the body"),
    (BLOB + bytes(MAX_BYTES), "Expected `blob` to have at most 200000 bytes"),
    (together(HEADER[:-1], BODY), "Expected `header` to be JSON in UTF-8, got Expecting"),
    (together(b"\xff" + HEADER, BODY), "Expected `header` to be JSON in UTF-8"),
    (together(b"[]", b""), "Expected `header` to be an object"),
    (together(b"{}", b""), "Expected `version` to be a whole number from 1"),
    (together(b'{"version":NaN}', b""), "Expected `header` to be JSON in UTF-8, got NaN"),
    (together(b'{"version":' + b"9" * 5000 + b"}", b""), "Expected `header` to be JSON in UTF-8"),
    (together(b'{"version":' + b"[" * 90_000, b""), "Expected `header` to"),
    (together(b'{"version":' + b"[" * 900 + b"]" * 900 + b"}", b""), "Expected `"),
    (changed(put(2, "version")), "Expected `version` to be at most 1, got 2. Upgrade lightning-cossim."),
    (changed(put(0, "version")), "Expected `version` to be a whole number from 1"),
    (changed(lambda header: header.update(version=True)), "Expected `version` to be a whole number from 1"),
    (changed(put(1, "num_pairs")), "Expected `num_pairs` to be a whole number from 2"),
    (changed(put([], "names")), "Expected `names` to be an object"),
    (changed(put("one", "names", "one")), "Expected `names` to have rows as keys, got 'one'"),
    (changed(put("one", "names", "-1")), "Expected `names` to have rows as keys"),
    (changed(put("one", "names", "٣")), "Expected `names` to have rows as keys"),
    (changed(put("one", "names", "1" * 5000)), "Expected `names` to have rows as keys"),
    (changed(put(5, "names", "1")), "Expected `names` to be a text, got 5"),
    (changed(put({"0": "only"}, "names")), "Expected `"),
    (changed(put(None, "pictures", 0)), "Expected `pictures` to be an object"),
    (changed(put("svg", "pictures", 0, "kind")), "Expected `kind` to be png or jpeg, got 'svg'"),
    (changed(put(["png"], "pictures", 0, "kind")), "Expected `kind` to be png or jpeg"),
    (changed(put("jpeg", "pictures", 0, "kind")), "Expected `pictures` to be jpeg files where their kind says so"),
    (changed(put(0, "pictures", 0, "width")), "Expected `width` to be a whole number from 1 to 64"),
    (changed(put(65, "pictures", 0, "height")), "Expected `height` to be a whole number from 1 to 64"),
    (changed(put(1, "pictures", 0, "offset")), "Expected `offset` to be a whole number from 0 to 0"),
    (changed(put(-5, "pictures", 1, "offset")), "Expected `offset` to be a whole number"),
    (changed(put(0, "pictures", 1, "offset")), "Expected `offset` to be a whole number"),
    (changed(put(10**9, "pictures", 1, "size")), "Expected `size` to be a whole number"),
    (changed(put(1.0, "pictures", 1, "size")), "Expected `size` to be a whole number"),
    (changed(lambda header: header["pictures"].clear()), "Expected `pictures` to fill the body"),
    (changed(put({}, "pairs")), "Expected `pairs` to be a list"),
    (changed(put(1, "pairs", 0)), "Expected `pairs` to be an object"),
    (changed(put([1, 0], "pairs", 0, "labels")), "Expected `labels` to be two rows with names, the smaller one first"),
    (changed(put([0, 0], "pairs", 0, "labels")), "Expected `labels` to be two rows"),
    (changed(put([0, 7], "pairs", 0, "labels")), "Expected `labels` to be two rows"),
    (changed(put([0], "pairs", 0, "labels")), "Expected `labels` to be two rows"),
    (changed(put([[], {}], "pairs", 0, "labels")), "Expected `labels` to be two rows"),
    (changed(put([False, True], "pairs", 0, "labels")), "Expected `labels` to be two rows"),
    (changed(put("odd", "pairs", 0, "flag")), "Expected `flag` to be stranger or look-alike, got 'odd'"),
    (changed(put(1, "pairs", 0, "is_complete")), "Expected `is_complete` to be true or false, got 1"),
    (changed(put({"num": 0, "examples": []}, "pairs", 0, "rankings", "__proto__")), "Expected `rankings` to be among"),
    (changed(put([], "pairs", 0, "rankings", "overlap")), "Expected `rankings` to be an object"),
    (changed(put(2, "pairs", 0, "rankings", "overlap", "num")), "Expected `num` to be a whole number from 3"),
    (
        changed(put([3], "pairs", 0, "rankings", "overlap", "examples")),
        "Expected `examples` to be a whole number from 0 to 2",
    ),
    (changed(put([-1], "pairs", 0, "rankings", "overlap", "examples")), "Expected `examples` to be a whole number"),
    (changed(put("012", "pairs", 0, "rankings", "overlap", "examples")), "Expected `examples` to be a list"),
    (changed(put([], "pairs", 0, "examples", 0)), "Expected `examples` to be an object"),
    (changed(put([0.5], "pairs", 0, "examples", 0, "p")), "Expected `p` to be two numbers from 0 to 1, or null"),
    (changed(put([0.5, 1.5], "pairs", 0, "examples", 0, "p")), "Expected `p` to be two numbers"),
    (changed(put([0.5, "1"], "pairs", 0, "examples", 0, "p")), "Expected `p` to be two numbers"),
    (changed(put([0.5, True], "pairs", 0, "examples", 0, "p")), "Expected `p` to be two numbers"),
    (changed(put(None, "pairs", 0, "examples", 0, "p")), "Expected `p` to be a list, got None"),
    (changed(put(None, "pairs", 0, "examples", 0, "predicted")), "Expected `predicted` to be a whole number"),
    (changed(put(77, "pairs", 0, "examples", 0, "predicted")), "Expected `predicted` to be a row with a name, got 77"),
    (changed(put(77, "pairs", 0, "examples", 0, "target")), "Expected `target` to be a row with a name, got 77"),
    (changed(put(None, "pairs", 0, "examples", 0, "target")), "Expected `target` to be a whole number"),
    (changed(put(["a"], "pairs", 0, "examples", 0, "text")), "Expected `text` to be a text, got ['a']"),
    (changed(put(2, "pairs", 0, "examples", 0, "picture")), "Expected `picture` to be a whole number from 0 to 1, got 2"),
    (changed(put([], "pairs", 0, "examples", 0, "reference")), "Expected `reference` to be an object"),
    (changed(put(1, "pairs", 0, "examples", 0, "reference", "path")), "Expected `reference` to have the fields"),
    (changed(put("0", "pairs", 0, "examples", 0, "reference", "row")), "Expected `row` to be a whole number"),
    (changed(put(2**60, "pairs", 0, "examples", 0, "reference", "index")), "Expected `index` to be a whole number"),
    (changed(put(5, "pairs", 0, "examples", 0, "reference", "id")), "Expected `id` to be a text"),
    (changed(put("a\nb\u2028\x1b" * 200, "pairs", 0, "flag")), "Expected `flag` to be stranger or look-alike, got 'a"),
]
"""A broken blob, and the text of the error."""


@pytest.mark.parametrize(("blob", "said"), BROKEN, ids=map(str, range(len(BROKEN))))
def test_what_is_broken_is_said_in_one_line(blob: bytes, said: str) -> None:
    with pytest.raises(ValueError, match="Expected `") as raised:
        unpack_evidence(blob)
    message = str(raised.value)
    assert said in message
    assert message.isprintable()
    assert len(message) < 600


def only_as_value_errors(blob: bytes) -> None:
    try:
        said = str(unpack_evidence(blob).num_pairs)
    except ValueError as error:
        said = str(error)
    assert said.isdigit() or said.startswith("Expected `")
    assert said.isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(blob: bytes) -> None:
    only_as_value_errors(blob)
    only_as_value_errors(together(blob, b""))


@given(st.integers(0, len(BLOB) - 1), st.integers(0, 255))
@settings(max_examples=300)
def test_a_blob_with_a_wrong_byte_is_read_or_refused(place: int, byte: int) -> None:
    only_as_value_errors(BLOB[:place] + bytes([byte]) + BLOB[place + 1 :])


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths to everything in a header."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(found for key, one in inner for found in places(one, (*path, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(places(json.loads(HEADER))), JSON)
@settings(max_examples=300)
def test_a_header_with_a_wrong_value_is_read_or_refused(path: tuple[str | int, ...], value: Any) -> None:
    only_as_value_errors(changed(put(value, *path)))


@pytest.mark.parametrize("path", places(json.loads(HEADER)), ids=str)
def test_a_header_that_lacks_a_value_is_read_or_refused(path: tuple[str | int, ...]) -> None:
    def remove(header: Any) -> None:
        for key in path[:-1]:
            header = header[key]
        del header[path[-1]]

    only_as_value_errors(changed(remove))
