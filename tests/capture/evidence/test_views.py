"""What an input looks like: thumbnails against a slow average, texts by hand, and batches that nobody would write."""

import math
from collections import UserDict, namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim.capture.evidence.views import Viewer
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.report.evidence import View

Pair = namedtuple("Pair", ["image", "label"])  # noqa: PYI024 - as users write them
WORDS = ("the", "cat", "sat", "on", "mat", "a", "dog", "ran")


@dataclass
class Record:
    """A batch of a data class."""

    image: Tensor
    label: Tensor


class Viewing:
    """A viewer, and what it said."""

    def __init__(self, names: Sequence[str] = WORDS, *, has_names: bool = True, **settings: Any) -> None:
        self.said: list[str] = []
        self.viewer = Viewer(Evidence(**settings), names, has_names=has_names, warn=self.said.append)

    def views(self, batch: Any, rows: Sequence[int] = (0,), positions: Sequence[int] | None = None) -> list[View | None]:
        positions = [-1] * len(rows) if positions is None else positions
        return self.viewer.views(batch, torch.tensor(rows, dtype=torch.int64), torch.tensor(positions, dtype=torch.int64))

    def picture(self, batch: Any, row: int = 0, position: int = -1) -> NDArray[np.uint8]:
        (view,) = self.views(batch, [row], [position])
        assert view is not None, (self.said, self.viewer.why_none)
        assert view.picture is not None
        assert view.text is None
        assert view.picture.dtype == np.uint8
        assert view.picture.shape[2] == 3
        assert max(view.picture.shape) <= 64
        return view.picture

    def text(self, batch: Any, row: int = 0, position: int = -1) -> str:
        (view,) = self.views(batch, [row], [position])
        assert view is not None, (self.said, self.viewer.why_none)
        assert view.text is not None
        assert view.picture is None
        assert view.text.isprintable()
        assert len(view.text) <= 200
        return view.text


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def levels(image: Tensor | NDArray[Any]) -> NDArray[np.uint8]:
    """Colors (C, H, W) in [0, 1] as gray levels (H, W, 3), rounded to the nearest."""
    colors = np.asarray(image, dtype=np.float64)
    return np.asarray(np.floor(255 * colors + 0.5).astype(np.uint8).transpose(1, 2, 0) * np.ones((1, 1, 3), dtype=np.uint8))


def averaged(line: Sequence[float], num: int) -> list[float]:
    """The means of `num` equal parts of a line of pixels, one fraction of a pixel after another."""
    size, means = Fraction(len(line), num), []
    for part in range(num):
        start, end, total = part * size, (part + 1) * size, Fraction(0)
        for pixel, value in enumerate(line):
            shared = min(end, Fraction(pixel + 1)) - max(start, Fraction(pixel))
            total += max(shared, Fraction(0)) * Fraction(value)
        means.append(float(total / size))
    return means


def shrunk(image: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """The mean color (C, h, w) of the area of each pixel: every pixel is repeated until the areas are whole."""
    tall = np.repeat(np.asarray(image, dtype=np.float64), height, axis=1)
    rows = tall.reshape(len(tall), height, -1, tall.shape[2]).mean(axis=2)
    wide = np.repeat(rows, width, axis=2)
    return np.asarray(wide.reshape(len(wide), height, width, -1).mean(axis=3))


# Thumbnails


@pytest.mark.parametrize(
    ("size", "small"),
    [((224, 224), (64, 64)), ((65, 64), (64, 63)), ((300, 97), (64, 21)), ((7, 500), (1, 64)), ((128, 64), (64, 32))],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_is_the_mean_of_its_area(size: tuple[int, int], small: tuple[int, int], channels: int) -> None:
    images = random(2, channels, *size)
    batch = (images, torch.zeros(2)) if min(size) >= 4 else {"x": images}
    got = Viewing().picture(batch, row=1)
    wanted = levels(shrunk(images[1].numpy(), *small))
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted.astype(int)).max() <= 1


@pytest.mark.parametrize("factor", [2, 5])
def test_an_average_is_that_of_pillow(factor: int) -> None:
    image = (random(1, 3, 48 * factor, 64 * factor, seed=4) * 255).to(torch.uint8)
    wanted = np.asarray(Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((64, 48), Image.Resampling.BOX))
    assert np.abs(Viewing().picture((image,)).astype(int) - wanted.astype(int)).max() <= 1


def test_a_part_of_a_pixel_counts_by_its_share() -> None:
    line = [float(value) for value in np.linspace(0, 1, 97) ** 2]
    image = torch.tensor([line] * 97)[None, None]
    wanted = np.array(averaged(line, 64)) * 255
    got = Viewing().picture((image,))
    assert np.abs(got[0, :, 0] - wanted).max() <= 1


@pytest.mark.parametrize("size", [(64, 64), (28, 28), (4, 64), (5, 9)])
def test_an_image_of_up_to_64_pixels_keeps_its_pixels(size: tuple[int, int]) -> None:
    image = random(3, 3, *size)
    assert np.abs(Viewing().picture((image,), row=2).astype(int) - levels(image[2]).astype(int)).max() <= 1
    byte = (image * 255).to(torch.uint8)
    assert np.array_equal(Viewing().picture((byte,), row=2), byte[2].permute(1, 2, 0).numpy())


def test_a_large_image_of_one_color_keeps_it() -> None:
    color = torch.tensor([0.2, 0.6, 0.8])[None, :, None, None].expand(2, 3, 1024, 700)
    assert np.unique(Viewing().picture((color,)).reshape(-1, 3), axis=0).tolist() == [[51, 153, 204]]


def test_a_very_large_image_is_read_in_part() -> None:
    """Of 1536 pixels every third."""
    image = torch.tensor([0, 255, 255], dtype=torch.uint8).repeat(512).expand(1, 1, 4, 1536)
    got = Viewing().picture((image,))
    assert got.shape == (1, 64, 3)
    assert np.unique(got).tolist() == [0]


def test_the_mean_and_the_standard_deviation_are_undone() -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    image = random(2, 3, 30, 40)
    normalized = (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    got = Viewing(mean=mean, std=std).picture((normalized,), row=1)
    assert np.abs(got.astype(int) - levels(image[1]).astype(int)).max() <= 1
    assert np.abs(Viewing(mean=0.5, std=0.5).picture((image * 2 - 1,)).astype(int) - levels(image[0]).astype(int)).max() <= 1
    of_bytes = Viewing(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])
    bytes_ = (image * 255 - torch.tensor([123.7, 116.3, 103.5])[:, None, None]) / torch.tensor([58.4, 57.1, 57.4])[:, None, None]
    assert np.abs(of_bytes.picture((bytes_,)).astype(int) - levels(image[0]).astype(int)).max() <= 1


def test_colors_beyond_black_and_white_are_clamped() -> None:
    image = torch.tensor([-9.0, 0.0, 9.0, 0.0]).expand(1, 1, 4, 4)
    assert Viewing(mean=0.5, std=0.25).picture((image,))[0, :, 0].tolist() == [0, 128, 255, 128]


def test_without_them_an_image_is_scaled_by_its_own_range() -> None:
    image = torch.stack([torch.tensor([-2.0, 0.0, 2.0, 1.0]), torch.tensor([0.0, 200.0, 100.0, 50.0]), torch.full((4,), 0.25)])
    viewing = Viewing()
    found = [viewing.picture((image[:, None, None].expand(3, 1, 4, 4),), row=row)[0, :, 0].tolist() for row in range(3)]
    assert found == [[0, 128, 255, 191], [0, 255, 128, 64], [64] * 4]


@pytest.mark.parametrize("value", [7.0, -1.1, 3e38, -3e38])
@pytest.mark.parametrize("size", [10, 90, 97, 640, 4001])
def test_a_constant_image_that_is_no_color_is_gray(value: float, size: int) -> None:
    """The rounding of an average is no contrast."""
    assert np.unique(Viewing().picture((torch.full((1, 1, size, 100), value),))).tolist() == [128]


def test_a_faint_image_is_scaled() -> None:
    image = torch.full((1, 1, 100, 100), 1000.0)
    image[..., 50:] += 0.1
    assert {0, 255} <= {*np.unique(Viewing().picture((image,))).tolist()}


def test_the_largest_numbers_are_scaled() -> None:
    most = torch.finfo(torch.float64).max
    image = torch.tensor([-most, most, 0.0, 0.0], dtype=torch.float64).expand(1, 1, 4, 4)
    assert Viewing().picture((image,))[0, :, 0].tolist() == [0, 255, 128, 128]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [8, 100])
def test_an_image_with_values_that_are_no_numbers_costs_only_its_own_picture(bad: float, size: int) -> None:
    image = random(3, 3, size, size)
    image[1, 2, 3, 3] = bad
    viewing = Viewing()
    for _ in range(2):
        views = viewing.views((image,), [0, 1, 2, 1])
        assert [view is None for view in views] == [False, True, False, True]
    assert viewing.said == ["some inputs are shown without their pictures, because these have NaN or infinite values"]
    assert viewing.viewer.why_none is None
    alone = Viewing()
    alone.views((image,), [1])
    assert alone.viewer.why_none == alone.said[0]


@pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, torch.float16, torch.float64, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64, torch.int8],
)
@pytest.mark.parametrize("size", [16, 128])
def test_every_type_of_number_has_the_same_picture(dtype: torch.dtype, size: int) -> None:
    """Black and white halves; 255 is white for bytes, and the largest value is white for the other types."""
    white = 255 if dtype == torch.uint8 else 100
    image = torch.zeros(2, 1, size, size, dtype=torch.float64)
    image[..., size // 2 :] = white
    got = Viewing(input_key=0).picture((image.to(dtype),))
    assert np.unique(got[:, : got.shape[1] // 2]).tolist() == [0]
    assert np.unique(got[:, got.shape[1] // 2 :]).tolist() == [255]


STRANGE: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda one: one.to(memory_format=torch.channels_last),
    "requires_grad": lambda one: one.clone().requires_grad_(),
    "of a graph": lambda one: one.clone().requires_grad_() * 1,
    "flipped twice": lambda one: one.flip(3).flip(3),
    "a slice": lambda one: torch.cat([one, one], dim=3)[..., : one.shape[3]],
    "transposed": lambda one: one.transpose(2, 3).contiguous().transpose(2, 3),
    "every second": lambda one: torch.stack([one, one], dim=4).flatten(3)[..., ::2],
    "strided by hand": lambda one: one.contiguous().as_strided(one.shape, one.contiguous().stride()),
    "a parameter": nn.Parameter,
    "channels at the end": lambda one: one.permute(0, 2, 3, 1).contiguous(),
    "a video": lambda one: torch.stack([torch.zeros_like(one), one, torch.zeros_like(one)], dim=1),
    "a video, channels first": lambda one: torch.stack([torch.zeros_like(one)] * 2 + [one] + [torch.zeros_like(one)] * 2, dim=2),
    "a video of one frame, channels first": lambda one: one[:, :, None],
    "a video, channels last": lambda one: torch.stack([torch.zeros_like(one), one], dim=1).permute(0, 1, 3, 4, 2),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("size", [(20, 30), (130, 70)])
def test_the_layout_in_memory_does_not_matter(kind: str, size: tuple[int, int]) -> None:
    image = random(5, 3, *size)
    wanted = Viewing().picture((image,), row=3)
    batch = (STRANGE[kind](image), torch.zeros(5, dtype=torch.int64))
    before = [one.detach().clone() for one in batch]
    assert np.array_equal(Viewing().picture(batch, row=3), wanted)
    assert all(torch.equal(one.detach(), other) for one, other in zip(batch, before, strict=True))


def test_an_expanded_row_is_every_row() -> None:
    image = random(1, 3, 10, 10)
    assert np.array_equal(Viewing().picture((image.expand(6, 3, 10, 10),), row=5), levels(image[0]))


def test_an_image_without_channels_is_gray() -> None:
    image = random(4, 10, 12)
    assert np.array_equal(Viewing().picture((image, torch.zeros(4)), row=1), levels(image[1][None]))


def test_transparent_bytes_are_on_white() -> None:
    image = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    image[:, 3, :, 1], image[:, 3, :, 2:] = 51, 255
    assert Viewing().picture((image,))[0, :, 0].tolist() == [255, 204, 0, 0]


def test_a_fourth_channel_of_other_numbers_is_dropped() -> None:
    image = random(1, 4, 5, 5)
    assert np.array_equal(Viewing().picture((image,)), levels(image[0, :3]))


def test_a_mean_for_other_channels_is_not_used() -> None:
    viewing = Viewing(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    image = random(2, 1, 5, 5)
    assert np.array_equal(viewing.picture((image,)), levels(image[0]))
    viewing.picture((image,))
    (text,) = viewing.said
    assert "has 3 and 3 numbers, but images of inputs have 1 channels" in text


def test_a_pixel_of_a_segmented_image_shows_the_whole_image() -> None:
    image = random(3, 3, 16, 16)
    batch = {"image": image, "mask": torch.zeros(3, 16, 16, dtype=torch.int64)}
    first, other, last = Viewing().views(batch, [2, 2, 0], [200, 7, 255])
    assert first is not None
    assert other is not None
    assert last is not None
    assert first.picture is not None
    assert np.array_equal(first.picture, levels(image[2]))
    assert first.picture is other.picture
    assert last.picture is not None
    assert np.array_equal(last.picture, levels(image[0]))


def test_a_kept_picture_keeps_no_other_in_memory() -> None:
    views = Viewing().views((random(8, 3, 8, 8),), range(8))
    for view in views:
        assert view is not None
        assert view.picture is not None
        assert view.picture.base is None or view.picture.base.nbytes == view.picture.nbytes


def test_many_images_are_processed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    image = random(9, 3, 80, 66)
    whole = Viewing().views((image,), [8, 0, 3, 3, 5])
    monkeypatch.setattr("lightning_cossim.capture.evidence.thumbnails._NUM_NUMBERS", 2 * 3 * 80 * 66)
    parts = Viewing().views((image,), [8, 0, 3, 3, 5])
    for one, other in zip(whole, parts, strict=True):
        assert one is not None
        assert other is not None
        assert one.picture is not None
        assert other.picture is not None
        assert np.array_equal(one.picture, other.picture)


# Where an input is in a batch

IMAGE = random(3, 3, 8, 8, seed=1)
Y = torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    "batch",
    [
        IMAGE,
        (IMAGE, Y),
        [Y, IMAGE],
        {"y": Y, "pixel_values": IMAGE},
        UserDict(x=IMAGE),
        Pair(IMAGE, Y),
        Record(IMAGE, Y),
        SimpleNamespace(label=Y, image=IMAGE),
        ({"image": IMAGE}, Y),
        ([IMAGE, random(3, 3, 8, 8, seed=2)], Y),
        {"mask": random(3, 1, 8, 8), "image": IMAGE},
        {"label_mask": random(3, 8, 8), "image": IMAGE},
        (random(3, 8, 8), IMAGE),
        (random(2, 3, 8, 8), IMAGE),
        (IMAGE.to(torch.complex64), IMAGE > 0.5, IMAGE[:, :0], IMAGE),
        (IMAGE, ["a.png", "b.png", "c.png"]),
        (IMAGE, torch.zeros(3, 6, dtype=torch.int64)),
        {"image": IMAGE, "target": [{"masks": random(3, 9, 9)}] * 3},
        ([*IMAGE], Y),
        ([one.permute(1, 2, 0).numpy() for one in IMAGE], Y),
        (None, 3, "text", {"deep": {"deeper": IMAGE}}),
    ],
)
def test_the_image_of_a_batch_is_found(batch: Any) -> None:
    assert np.array_equal(Viewing().picture(batch, row=2), levels(IMAGE[2]))


def test_input_key_wins() -> None:
    other = random(3, 3, 8, 8, seed=5)
    assert np.array_equal(Viewing(input_key=1).picture((IMAGE, other)), levels(other[0]))
    assert np.array_equal(Viewing(input_key="b").picture({"a": IMAGE, "b": other}), levels(other[0]))
    assert np.array_equal(Viewing(input_key="image").picture(Record(other, Y)), levels(other[0]))
    assert np.array_equal(Viewing(input_key=0).picture((other.numpy(), IMAGE)), levels(other[0]))
    assert Viewing(input_key="b").text({"a": IMAGE, "b": ["one", "two"]}, row=1) == "two"
    assert Viewing(input_key=1, decode=str).text((IMAGE, torch.tensor([[4, 5]]))) == "[4, 5]"


@pytest.mark.parametrize(
    ("key", "got"),
    [
        ("x", "'x', which the batch does not have"),
        ("vector", "'vector', which holds a tensor of torch.float32 and shape (3, 5)"),
        ("number", "'number', which holds an object of type float"),
        ("scalar", "'scalar', which holds a tensor of torch.float32 and shape ()"),
        ("complex", "'complex', which holds a tensor of torch.complex64 and shape (3, 3, 8, 8)"),
        ("short", "'short', which holds 2 entries for 3 inputs or more"),
        ("empty", "'empty', which holds a tensor of torch.float32 and shape (3, 3, 0, 8)"),
    ],
)
def test_a_wrong_input_key_is_named_once(key: str, got: str) -> None:
    batch = {
        "vector": random(3, 5),
        "number": 0.5,
        "scalar": torch.tensor(0.5),
        "complex": IMAGE.to(torch.complex64),
        "short": IMAGE[:2],
        "empty": IMAGE[:, :, :0],
    }
    viewing = Viewing(input_key=key)
    assert viewing.views(batch, [0, 2]) == [None, None]
    assert viewing.views(batch, [2]) == [None]
    error = f"Expected `input_key` to be the key of the images, token ids or texts in a batch, got {got}."
    assert viewing.said == [f"the pictures and texts of inputs are off: {error}"]
    assert viewing.viewer.why_none == error


@pytest.mark.parametrize(
    "batch",
    [
        (random(3, 5), Y),
        None,
        {},
        (),
        object(),
        (IMAGE[:0], Y[:0]),
        (IMAGE.to_sparse(), Y),
        (random(3, 2, 8, 8), Y),
        (random(3, 1, 3, 900), Y),
        {"label": ["a", "b", "c"], "x": random(3, 5)},
        (random(3, 5), torch.zeros(3, 4, dtype=torch.int64)),
        {"y": torch.zeros(3, 4, dtype=torch.int64)},
        {"too": {"deep": {"to": {"find": IMAGE}}}},
        (Y, [{"crops": random(3, 9, 9)}] * 3),
        {"x": random(3, 5), "labels": torch.zeros(3, 4, dtype=torch.int64)},
        (["one", "two"], ["three", "four"]),
    ],
)
def test_nothing_is_shown_that_may_not_be_the_input(batch: Any) -> None:
    viewing = Viewing()
    assert viewing.viewer.why_none is None
    assert viewing.views(batch, [0, 2], [0, 1]) == [None, None]
    assert viewing.said == []
    assert viewing.viewer.why_none == (
        "inputs are shown without pictures and texts, because the batch has none that fit; pass `Evidence(show=…)`, or "
        "`input_key=` with the key of the images, token ids or texts"
    )


def test_why_none_ends_with_the_first_view() -> None:
    viewing = Viewing()
    viewing.views(None)
    viewing.picture((IMAGE,))
    assert viewing.viewer.why_none is None
    viewing.views(None)
    assert viewing.viewer.why_none is None


def test_unknown_rows_and_no_rows_have_no_views() -> None:
    viewing = Viewing()
    assert viewing.views((IMAGE,), [], []) == []
    first, second = viewing.views((IMAGE,), [-1, 1], [-1, -1])
    assert first is None
    assert second is not None
    assert viewing.views(object(), [-1, -1]) == [None, None]
    assert viewing.viewer.why_none is None


# Texts

TOKENS = torch.tensor([[0, 1, 2, 3, 0, 4], [5, 6, 7, 5, 5, 5]])


def test_the_token_at_the_position_is_in_brackets() -> None:
    assert Viewing().text((TOKENS, TOKENS), row=0, position=2) == "the cat ⟦sat⟧ on the mat"
    assert Viewing().text((TOKENS,), row=1, position=0) == "⟦a⟧ dog ran a…"
    assert Viewing().text(TOKENS, row=0, position=5) == "the cat sat on the ⟦mat⟧"


def test_twelve_tokens_before_and_three_after_are_shown() -> None:
    tokens = torch.arange(30)[None]
    text = Viewing(decode=lambda some: " ".join(map(str, some))).text({"x": tokens}, position=20)
    assert text == "…8 9 10 11 12 13 14 15 16 17 18 19 ⟦20⟧ 21 22 23…"


def test_decode_wins_over_names_and_gets_a_list_of_whole_numbers() -> None:
    got: list[Any] = []

    def decode(ids: list[int]) -> str:
        got.append(ids)
        return "".join(chr(97 + one) for one in ids)

    assert Viewing(decode=decode).text({"input_ids": TOKENS.int()}, position=2) == "ab⟦c⟧dae"
    assert all(type(ids) is list and all(type(one) is int for one in ids) for ids in got)


def test_tokens_whose_texts_depend_on_each_other_are_decoded_apart() -> None:
    def decode(ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")

    tokens = torch.tensor([[97, 0xC3, 0xA9, 98]])
    assert Viewing(decode=decode).text((tokens,), position=2) == "a� ⟦�⟧ b"
    assert Viewing(decode=decode).text((tokens,), position=0) == "⟦a⟧éb"


def test_padding_is_left_out() -> None:
    batch = {"input_ids": TOKENS, "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 0], [1] * 6])}
    assert Viewing().text(batch, position=3) == "sat ⟦on⟧ the"
    assert Viewing(decode=str).text(batch) == "[2, 3, 0]"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("Ġthe", "Ġun", "real", "Ċ"), "the un⟦real⟧Ċ"),
        (("▁the", "▁un", "real", "!"), "the un⟦real⟧!"),
        (("the", "un", "##real", "!"), "the un⟦real⟧ !"),
        (("t", "u", "r", "!"), "tu⟦r⟧!"),
        (("the", "un", "real", "\n"), "the un ⟦real⟧"),
    ],
)
def test_names_of_tokens_are_joined_as_their_kind_needs(names: tuple[str, ...], text: str) -> None:
    assert Viewing(names).text((torch.arange(4)[None],), position=2) == text


@pytest.mark.parametrize(
    ("tokens", "position", "has_names"),
    [(TOKENS, 2, False), (TOKENS + 3, 2, True), (TOKENS - 1, 2, True), (TOKENS, -1, True)],
)
def test_names_of_labels_are_not_taken_for_tokens(tokens: Tensor, position: int, has_names: bool) -> None:
    """Without names, with a token that is no label, and for a classifier of whole sequences."""
    viewing = Viewing(has_names=has_names)
    assert viewing.views({"input_ids": tokens}, [0], [position]) == [None]
    assert viewing.viewer.why_none is not None
    assert "pass `Evidence(decode=tokenizer.decode)`" in viewing.viewer.why_none


def test_the_position_decides_between_image_and_tokens() -> None:
    batch = {"input_ids": TOKENS, "pixel_values": IMAGE[:2]}
    assert Viewing().text(batch, position=1) == "the ⟦cat⟧ sat on the…"
    assert np.array_equal(Viewing(decode=str).picture(batch), levels(IMAGE[0]))
    assert np.array_equal(Viewing(decode=str).picture(batch, position=6), levels(IMAGE[0]))


@pytest.mark.parametrize(
    "batch",
    [
        {"text": ["one", "two"], "path": ["a", "b"], "input_ids": TOKENS},
        {"label": ["x", "y"], "any": ("one", "two")},
        (["one", "two"], torch.zeros(2)),
        ["one", "two"],
        {"inputs": {"sentence": ["one", "two"]}, "x": random(2, 5)},
    ],
)
def test_raw_texts_are_found(batch: Any) -> None:
    assert Viewing(decode=str).text(batch, row=1) == "two"


def test_identifiers_are_no_texts() -> None:
    batch = {"path": ["a", "b"], "note": ["one", "two"]}
    assert Viewing(ids_key="path").text(batch) == "one"
    assert Viewing(ids_key="path").views({"path": ["a", "b"]}) == [None]
    assert Viewing(ids_key=0).views((["a", "b"], random(2, 5))) == [None]


HOSTILE = {
    "several lines": ("a\r\nb\n\tc\x0b\x0cd\x85e\u2028f\u2029g", "a b c d e f g"),
    "control characters": ("a\x00b\x07c\x7fd\x9be", "a b c d e"),
    "terminal colors": ("\x1b[31mred\x1b[0m", "[31mred [0m"),
    "a title of a terminal": ("\x1b]0;evil\x07x", "]0;evil x"),
    "other directions": ("a\u202eb\u2066c\u200fd\u061ce", "a b c d e"),
    "no width": ("a\u200bb\u200dc\ufeffd\u2060e\u00adf", "a b c d e f"),
    "invisible but printable": ("a\u3164\u115f\u034f\ufe0f\U000e0100b", "ab"),
    "half a character": ("a\ud800b\udfffc", "a b c"),
    "private and unknown characters": ("a\ue000b\U0010ffffc\u0378d", "a b c d"),
    "tags": ("a\U000e0041b", "a b"),
    "markup": ("<b>&amp;</b> [x](javascript:1) `$x$`", "<b>&amp;</b> [x](javascript:1) `$x$`"),
    "nothing": ("", "(empty)"),
    "only spaces": (" \n\u200b ", "(empty)"),
    "many accents": ("a" + "\u0301" * 150 + "b", "a\u0301\u0301\u0301b"),
    "other scripts": ("นี้ हिन्दी é 🐈", "นี้ हिन्दी é 🐈"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_text_is_one_printable_line(kind: str) -> None:
    text, wanted = HOSTILE[kind]
    assert Viewing().text({"text": [text]}) == wanted
    assert Viewing(show=lambda batch, row: text).text(None) == wanted
    assert Viewing(decode=lambda ids: text).text((TOKENS,)) == wanted
    Viewing(decode=lambda ids: text * len(ids)).text((TOKENS,), position=2)
    Viewing((text, *WORDS[1:])).text((TOKENS,), position=0)
    assert Viewing(show=lambda batch, row: {"a": text, text: 1}).text(None).startswith("a: ")


@pytest.mark.parametrize("start", ["", "\n", "\u202e", "a\u0301\u0301\u0301\u0301\u0301"])
def test_a_long_text_is_cut(start: str) -> None:
    text = Viewing().text({"text": [start + "word " * 200_000]})
    assert text.endswith("…")
    assert len(text) > 150
    assert Viewing().text({"text": ["x" * 200]}) == "x" * 200
    assert Viewing().text({"text": ["x" * 201]}) == "x" * 199 + "…"
    assert Viewing().text({"text": ["\n" * 10**6 + "x"]}) == "…"


def test_of_long_tokens_the_one_at_the_position_is_seen() -> None:
    names = ["a" * 500, "b" * 500, "c" * 500]
    text = Viewing(names).text((torch.tensor([[0, 1, 2]]),), position=1)
    assert text == "…" + "a" * 76 + " ⟦" + "b" * 59 + "…⟧ " + "c" * 58 + "…"
    assert len(text) == 200


# `show` and `decode`


def test_show_wins_and_gets_the_batch_itself() -> None:
    batch = {"image": IMAGE, "text": ["a", "b", "c"]}
    got: list[Any] = []

    def show(batch: Any, row: int) -> str:
        got.append((batch, row))
        return f"row {row}"

    views = Viewing(show=show, input_key="image").views(batch, [2, -1, 1, 2], [0, 0, -1, 5])
    assert [view and view.text for view in views] == ["row 2", None, "row 1", "row 2"]
    assert all(one is batch and type(row) is int for one, row in got)
    assert sorted(row for _, row in got) == [1, 2]


GRAY = (random(6, 9, seed=3) * 255).to(torch.uint8)
RGB = (random(3, 6, 9, seed=3) * 255).to(torch.uint8)
HWC = RGB.permute(1, 2, 0).contiguous()


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (GRAY, levels(GRAY[None] / 255)),
        (GRAY.numpy(), levels(GRAY[None] / 255)),
        (GRAY[None], levels(GRAY[None] / 255)),
        (GRAY.numpy()[..., None], levels(GRAY[None] / 255)),
        (RGB, HWC.numpy()),
        (HWC, HWC.numpy()),
        (RGB.numpy(), HWC.numpy()),
        (HWC.numpy(), HWC.numpy()),
        (HWC.numpy()[:4], HWC.numpy()[:4]),
        (RGB[..., :4], HWC.numpy()[:, :4]),
        (HWC.numpy()[::-1, ::-1], HWC.numpy()[::-1, ::-1]),
        (HWC.numpy() / 255, HWC.numpy()),
        ((HWC.numpy() / 255).astype(">f4"), HWC.numpy()),
        (np.broadcast_to(HWC.numpy()[:1], (6, 9, 3)), np.broadcast_to(HWC.numpy()[:1], (6, 9, 3))),
        (Image.fromarray(HWC.numpy()), HWC.numpy()),
        (Image.fromarray(GRAY.numpy()), levels(GRAY[None] / 255)),
        (Image.fromarray(HWC.numpy()).convert("RGBA"), HWC.numpy()),
        (Image.fromarray(GRAY.numpy()).convert("P"), levels(GRAY[None] / 255)),
        (Image.fromarray(np.array([[0, 255]] * 2, dtype=np.uint8)).convert("1"), levels(np.array([[[0, 1]] * 2]))),
        (torch.tensor([[True, False]]), levels(np.array([[[1, 0]]]))),
        (np.array([[True, False]]), levels(np.array([[[1, 0]]]))),
        (np.array([[0, 4000]], dtype=np.uint16), levels(np.array([[[0, 1]]]))),
        (Image.fromarray(np.array([[0, 4000]], dtype=np.uint16)), levels(np.array([[[0, 1]]]))),
    ],
)
def test_show_may_return_any_image(shown: Any, wanted: NDArray[np.uint8]) -> None:
    assert np.array_equal(Viewing(show=lambda batch, row: shown).picture(None), wanted)


def test_a_large_image_of_show_is_reduced() -> None:
    image = Image.fromarray(np.full((200, 1000, 3), 77, dtype=np.uint8))
    got = Viewing(show=lambda batch, row: image).picture(None)
    assert got.shape == (13, 64, 3)
    assert np.unique(got).tolist() == [77]


def test_a_transparent_image_of_show_is_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert np.unique(Viewing(show=lambda batch, row: image).picture(None)).tolist() == [255]


def test_show_may_return_a_dictionary() -> None:
    shown = {"path": "a/b.png", "size": 3, "score": torch.tensor(0.25), "share": np.float32(0.5), 4: None}
    assert Viewing(show=lambda batch, row: shown).text(None) == "path: a/b.png, size: 3, score: 0.25, share: 0.5, 4: None"
    long = dict.fromkeys(range(10**5), "x" * 10**5)
    assert len(Viewing(show=lambda batch, row: long).text(None)) == 200


class Odd:
    """An object whose shape and text fail."""

    shape = 3

    @override
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        (None, "an object of type NoneType"),
        (3, "an object of type int"),
        (b"bytes", "an object of type bytes"),
        ([1, 2], "an object of type list"),
        (torch.zeros(5), "an object of type Tensor with shape (5,) and type torch.float32"),
        (torch.zeros(2, 5, 7), "an object of type Tensor with shape (2, 5, 7) and type torch.float32"),
        (torch.zeros(1, 3, 8, 8), "an object of type Tensor with shape (1, 3, 8, 8) and type torch.float32"),
        (torch.zeros(0, 8), "an object of type Tensor with shape (0, 8) and type torch.float32"),
        (torch.zeros(8, 8, dtype=torch.complex64), "an object of type Tensor with shape (8, 8) and type torch.complex64"),
        (np.array([["a", "b"]]), "an object of type ndarray with shape (1, 2) and type <U1"),
        (torch.zeros(8, 8).to_sparse(), "an object of type Tensor with shape (8, 8) and type torch.float32"),
    ],
)
def test_what_show_returned_is_named_once(shown: Any, got: str) -> None:
    viewing = Viewing(show=lambda batch, row: shown)
    assert viewing.views(None, [0, 1]) == [None, None]
    assert viewing.views(None, [0]) == [None]
    assert viewing.said == [
        f"`Evidence(show=…)` returned {got}, which is no image, no text and no dictionary, so inputs are shown without it"
    ]
    assert viewing.viewer.why_none == viewing.said[0]


def test_an_error_of_show_costs_its_own_view() -> None:
    def show(batch: Any, row: int) -> Any:
        if row == 1:
            raise ValueError("a\nb" + "c" * 10**6)
        return {"odd": Odd()} if row == 2 else "fine"

    viewing = Viewing(show=show)
    views = viewing.views(None, [0, 1, 2])
    assert [view and view.text for view in views][:2] == ["fine", None]
    (text,) = viewing.said
    assert text.startswith("`Evidence(show=…)` failed, so inputs are shown without their pictures and texts: ValueError: a bccc")
    assert len(text) < 500


class UnspeakableError(Exception):
    """An error whose text fails."""

    @override
    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_without_text_is_named_by_its_type() -> None:
    def show(batch: Any, row: int) -> Any:
        raise UnspeakableError

    viewing = Viewing(show=show)
    assert viewing.views(None) == [None]
    assert viewing.said == [
        "`Evidence(show=…)` failed, so inputs are shown without their pictures and texts: UnspeakableError",
    ]


@pytest.mark.parametrize("decode", [lambda ids: None, lambda ids: ids, lambda ids: ids[99], lambda: ""], ids=range(4))
def test_a_decode_that_fails_is_warned_about_once(decode: Any) -> None:
    viewing = Viewing(decode=decode)
    assert viewing.views((TOKENS,), [0, 1], [0, 1]) == [None, None]
    assert viewing.views((TOKENS,), [0], [-1]) == [None]
    (text,) = viewing.said
    assert text.startswith("`Evidence(decode=…)` failed, so inputs are shown without their texts: ")


class Broken(UserDict[str, Any]):
    """A batch that cannot be read."""

    @override
    def __getitem__(self, key: str) -> Any:
        raise OSError("the file is gone")


def test_a_batch_that_fails_costs_its_own_views() -> None:
    viewing = Viewing()
    broken = Broken()
    broken.data = {"image": IMAGE}
    assert viewing.views(broken, [0, 1]) == [None, None]
    assert viewing.views(broken, [0, 1]) == [None, None]
    assert viewing.said == ["the views of inputs are off for a batch: OSError: the file is gone"]
    viewing.picture((IMAGE,))


def test_a_tensor_without_values_costs_its_own_views() -> None:
    viewing = Viewing()
    assert viewing.views((torch.zeros(3, 3, 8, 8, device="meta"),), [0]) == [None]
    assert len(viewing.said) == 1


def test_a_batch_that_contains_itself_ends() -> None:
    batch: list[Any] = [Y]
    batch += [batch, batch]
    assert Viewing().views(batch) == [None]


# What a training must not notice


@pytest.fixture(params=["dtype", "device", "autocast", "inference", "deterministic"])
def surroundings(request: pytest.FixtureRequest) -> Iterator[str]:
    """A setting of the user that must not matter."""
    kind: str = request.param
    if kind == "dtype":
        torch.set_default_dtype(torch.float64)
    elif kind == "device":
        torch.set_default_device("meta")
    try:
        with (
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"),
            torch.inference_mode(kind == "inference"),
        ):
            yield kind
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_settings_of_the_user_change_no_view(surroundings: str) -> None:
    image = torch.arange(2 * 3 * 100 * 80, dtype=torch.float32, device="cpu").reshape(2, 3, 100, 80) / 48_000
    if surroundings == "inference":
        assert image.is_inference()
    rows, positions = torch.tensor([1], device="cpu"), torch.tensor([-1], device="cpu")
    viewer = Viewing().viewer
    (view,) = viewer.views((image,), rows, positions)
    assert view is not None
    assert view.picture is not None
    wanted = levels(shrunk(image[1].numpy(), 64, 51))
    assert np.abs(view.picture.astype(int) - wanted.astype(int)).max() <= 1
    tokens = torch.tensor([[0, 1, 2]], device="cpu")
    (text,) = viewer.views((tokens,), torch.tensor([0], device="cpu"), torch.tensor([1], device="cpu"))
    assert text is not None
    assert text.text == "the ⟦cat⟧ sat"


def test_random_numbers_gradients_and_tensors_are_as_before() -> None:
    image = random(4, 3, 90, 90).requires_grad_()
    hidden = image * 2 - 1
    before, version, state = hidden.detach().clone(), hidden._version, torch.get_rng_state()
    Viewing().picture((hidden,))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(hidden.detach(), before)
    assert hidden._version == version
    hidden.sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert torch.equal(image.grad, torch.full_like(image, 2))


def test_show_records_no_gradients() -> None:
    image = random(3, 3, 8, 8).requires_grad_()
    made: list[Tensor] = []

    def show(batch: Any, row: int) -> Tensor:
        made.append(batch[row] * 1)
        return made[-1]

    assert np.array_equal(Viewing(show=show).picture(image), levels(image[0].detach()))
    assert not made[0].requires_grad
