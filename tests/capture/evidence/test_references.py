"""Where the inputs of a call come from: row and position by the shapes alone, and the user's identifiers."""

import math
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from lightning_cossim.capture.evidence.references import DatasetOrder, ids_in, num_rows, origins_of
from lightning_cossim.errors import InputError

# The number of rows


@dataclass
class Sample:
    image: Tensor
    label: Tensor
    note: str = "a"
    later: Tensor = field(init=False)


class Pair(NamedTuple):
    one: Tensor
    other: Any


class Opaque:
    def __init__(self) -> None:
        self.image = torch.zeros(3, 2)


class Angry(OrderedDict[str, Tensor]):
    @override
    def values(self) -> Any:
        raise RuntimeError


def cyclic() -> list[Any]:
    batch: list[Any] = [torch.zeros(4)]
    batch += [batch] * 9
    return batch


ROWS: dict[str, tuple[Any, int | None]] = {
    "tensor": (torch.zeros(4, 2), 4),
    "pair": ([torch.zeros(4, 2), torch.zeros(4)], 4),
    "named tuple": (Pair(torch.zeros(4, 2), torch.zeros(4)), 4),
    "nested": ({"x": {"a": torch.zeros(4, 1), "b": [torch.zeros(4)]}, "y": (torch.zeros(4, 3), "text")}, 4),
    "dataclass that lacks a field": (Sample(torch.zeros(4, 3, 2, 2), torch.zeros(4)), 4),
    "dataclass in a list": ([Sample(torch.zeros(4, 3), torch.zeros(4)), torch.zeros(4)], 4),
    "scalars do not count": ({"x": torch.zeros(4, 2), "weight": torch.tensor(3.0), "step": 7}, 4),
    "no rows": (torch.zeros(0, 2), 0),
    "identifiers do not count": ({"x": torch.zeros(4), "path": ["a"] * 9}, 4),
    "sparse": (torch.eye(4).to_sparse(), 4),
    "a batch that holds itself": (cyclic(), 4),
    "disagree": ([torch.zeros(4, 2), torch.zeros(5)], None),
    "disagree deep inside": ({"x": torch.zeros(4), "y": [{"z": (torch.zeros(2, 4),)}]}, None),
    "a scalar alone": (torch.tensor(4), None),
    "no tensor": ({"text": ["a", "b"]}, None),
    "nothing": (None, None),
    "text": ("abcd", None),
    "class": (Sample, None),
    "unknown object": (Opaque(), None),
    "an object that fails": (Angry(x=torch.zeros(4)), None),
    "packed": (nn.utils.rnn.pack_sequence([torch.zeros(5)]), None),  # 5 places, 5 steps, one row
    "packed among others": ({"x": nn.utils.rnn.pack_sequence([torch.zeros(2), torch.zeros(1)]), "y": torch.zeros(2)}, None),
    "generator": ((torch.zeros(4) for _ in range(2)), None),
}


@pytest.mark.parametrize("case", ROWS)
def test_the_rows_are_those_on_which_all_tensors_agree(case: str) -> None:
    batch, wanted = ROWS[case]
    assert num_rows(batch) == wanted


def test_a_ragged_batch_has_as_many_rows_as_sequences() -> None:
    ragged = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(5, 3)], layout=torch.jagged)
    assert num_rows({"x": ragged, "y": torch.zeros(2)}) == 2


def test_a_generator_is_not_consumed() -> None:
    left = (torch.zeros(4) for _ in range(2))
    num_rows([torch.zeros(4), left])
    assert len([*left]) == 2


def test_an_encoding_of_transformers_has_rows_and_identifiers() -> None:
    transformers = pytest.importorskip(
        "transformers", reason="2026-11-30: only the extra `compat` installs it; `.ci/run full` runs this test"
    )
    batch = transformers.BatchEncoding({"input_ids": torch.zeros(4, 7), "attention_mask": torch.ones(4, 7), "id": [*"abcd"]})
    assert num_rows(batch) == 4
    assert ids_in(batch, "id", 4) == ["a", "b", "c", "d"]
    with pytest.raises(InputError, match="'input_ids', 'attention_mask', 'id'"):
        ids_in(batch, 0, 4)


# Rows and positions


def places_by_hand(shape: list[int]) -> list[tuple[int, int]]:
    """Row and position of each input of a call, in order, by counting."""
    return [(row, place) for row in range(shape[0]) for place in range(math.prod(shape[1:]))]


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).filter(lambda shape: shape[0] not in shape[1:] or shape[0] == 1),
    data=st.data(),
)
def test_rows_and_positions_are_those_of_counting(shape: list[int], data: st.DataObject) -> None:
    total = math.prod(shape)
    some = data.draw(st.none() | st.lists(st.integers(0, total - 1), unique=True).map(sorted))
    wanted = [places_by_hand(shape)[place] for place in (range(total) if some is None else some)]
    row, position, index = origins_of(shape, None if some is None else torch.tensor(some, dtype=torch.int64), shape[0], None, 0)
    assert {one.dtype for one in (row, position, index)} == {np.dtype(np.int64)}
    assert row.tolist() == [row for row, _ in wanted]
    assert position.tolist() == ([-1] * len(wanted) if len(shape) == 1 else [place for _, place in wanted])
    assert index.tolist() == [-1] * len(wanted)


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((12,), 4),  # (4·3,)
        ((3,), 4),  # the model drops a row
        ((3, 4), 4),  # (T, B)
        ((4, 4), 4),  # (B, T) or (T, B)
        ((6, 6, 100), 6),  # (layers, B, queries), as many layers as rows
        ((4, 2, 4), 4),
        ((8, 3), 4),  # two views of each row
        ((1, 4), 4),
        ((4, 3), None),
        ((0, 3), 4),
        ((), 1),
        ((), None),
    ],
)
def test_a_row_that_is_not_certain_is_unknown(shape: tuple[int, ...], rows: int | None) -> None:
    order = DatasetOrder.of(DataLoader([0] * 40, batch_size=rows or 4))  # type: ignore[arg-type]  # a list is a dataset
    for one in origins_of(shape, None, rows, order, 0):
        assert one.tolist() == [-1] * math.prod(shape)


def test_the_only_row_is_known_whichever_dimension_is_the_batch() -> None:
    row, position, _ = origins_of((1, 1, 3), None, 1, None, 0)
    assert row.tolist() == [0, 0, 0]
    assert position.tolist() == [0, 1, 2]
    row, position, _ = origins_of((1, 1), None, 1, None, 0)
    assert (row.tolist(), position.tolist()) == ([0], [0])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_a_call_without_inputs_has_no_origins(shape: tuple[int, ...]) -> None:
    for one in origins_of(shape, None, shape[0], None, 0):
        assert one.tolist() == []


class Sentences(Dataset[Tensor]):
    """Item i is five tokens, 10·i to 10·i + 4."""

    def __len__(self) -> int:
        return 7

    @override
    def __getitem__(self, index: int) -> Tensor:
        return torch.arange(5) + 10 * index


def test_index_and_position_find_the_token_that_a_call_saw() -> None:
    loader = DataLoader(Sentences(), batch_size=3)
    order = DatasetOrder.of(loader)
    for batch_idx, batch in enumerate(loader):
        flat_index = torch.tensor([0, 2, 3, batch.numel() - 1])
        origins = origins_of(batch.shape, flat_index, num_rows(batch), order, batch_idx)
        found = [loader.dataset[index][position] for index, position in zip(origins.index, origins.position, strict=True)]
        assert [int(one) for one in found] == batch.flatten()[flat_index].tolist()


def test_a_batch_of_another_size_keeps_its_rows_and_loses_its_indices() -> None:
    order = DatasetOrder.of(DataLoader(Sentences(), batch_size=3))
    row, position, index = origins_of((2, 5), torch.tensor([1, 6]), 2, order, 0)
    assert (row.tolist(), position.tolist(), index.tolist()) == ([0, 1], [1, 1], [-1, -1])


def test_origins_do_not_depend_on_the_default_device() -> None:
    with torch.device("meta"):
        origins = origins_of((2, 3), None, 2, DatasetOrder.of(DataLoader(Sentences(), batch_size=2)), 0)
    assert origins.row.tolist() == [0, 0, 0, 1, 1, 1]
    assert origins.index.tolist() == [0, 0, 0, 1, 1, 1]


# Identifiers


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (("a", "b"), ["a", "b"]),
        ([3, 4.5], ["3", "4.5"]),
        (torch.tensor([3, 2**62]), ["3", str(2**62)]),
        (torch.tensor([[3], [4]]), ["3", "4"]),
        ([torch.tensor(3), torch.tensor(4)], ["3", "4"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([[7], [8]]), ["7", "8"]),
        ([b"caf\xc3\xa9", b"\xff"], ["café", "\N{REPLACEMENT CHARACTER}"]),
        ([PurePosixPath("x/a"), PurePosixPath("b")], ["x/a", "b"]),
        (["a\nb\x1b[31m", " \u202eevil\udcff "], ["a\nb\x1b[31m", " \u202eevil\udcff "]),
        (["", "?"], ["", "?"]),
    ],
)
def test_identifiers_are_texts_as_they_are(held: Any, wanted: list[str]) -> None:
    assert ids_in({"x": torch.zeros(2), "id": held}, "id", 2) == wanted
    assert ids_in([torch.zeros(2), held], 1, 2) == wanted
    assert ids_in((held, torch.zeros(2)), -2, 2) == wanted


def test_a_long_identifier_keeps_its_end() -> None:
    """Paths differ at their ends."""
    folder = "/data" * 300
    assert ids_in({"id": [f"{folder}/1.png", "a" * 1000]}, "id", 2) == [f"…{f'{folder}/1.png'[-999:]}", "a" * 1000]
    assert {len(one) for one in ids_in({"id": [f"{folder}/1.png"]}, "id", 1) or ()} == {1000}


def test_without_a_number_of_rows_there_are_no_identifiers() -> None:
    assert ids_in({"id": ["a", "b"]}, "id", None) is None


@pytest.mark.parametrize(
    ("batch", "key", "told"),
    [
        ({"x": 1, "path": ["a", "b"]}, "id", "got 'id', but the batch has the keys 'x', 'path'."),
        ({"id": ["a", "b"]}, 0, "got 0, but the batch has the keys 'id'."),
        ([1, 2], 2, "got 2, but the batch has the keys 0 to 1."),
        ([1, 2], -3, "got -3, but the batch has the keys 0 to 1."),
        ([1, 2], "id", "got 'id', but the batch has the keys 0 to 1."),
        (torch.zeros(2, 2), 0, "got 0, but the batch has no keys: it is a Tensor."),
        (None, "id", "got 'id', but the batch has no keys: it is a NoneType."),
        ({"id": ["a"]}, "id", "got 'id', which holds 1 identifiers for 2 rows."),
        ({"id": [*"abc"]}, "id", "got 'id', which holds 3 identifiers for 2 rows."),
        ({"id": torch.zeros(2, 2)}, "id", "got 'id', which holds a Tensor of shape (2, 2). Let your dataset"),
        ({"id": torch.tensor(1)}, "id", "got 'id', which holds a Tensor of shape (). Let your dataset"),
        ({"id": "ab"}, "id", "got 'id', which holds a str. Let your dataset"),
        ({"id": b"ab"}, "id", "got 'id', which holds a bytes. Let your dataset"),
        ({"id": {"a": 1, "b": 2}}, "id", "got 'id', which holds a dict. Let your dataset"),
        ({"id": {"a", "b"}}, "id", "got 'id', which holds a set. Let your dataset"),
        ({"id": None}, "id", "got 'id', which holds a NoneType. Let your dataset"),
        # two rows whose identifier is a pair, as torch collates them
        ({"id": [("shard", "shard"), torch.tensor([5, 6])]}, "id", "got 'id', which holds a list. Let your dataset"),
        ({"id": [("shard", 5), ("shard", 6)]}, "id", "got 'id', which holds a list. Let your dataset"),
        ({"id": [np.zeros(2), np.zeros(2)]}, "id", "got 'id', which holds a list. Let your dataset"),
    ],
)
def test_a_wrong_key_is_an_error_that_says_what_the_batch_has(batch: Any, key: str | int, told: str) -> None:
    with pytest.raises(InputError) as error:
        ids_in(batch, key, 2)
    assert str(error.value).startswith("Expected `ids_key` to be the key of one string or number for each row of the batch, got")
    assert told in str(error.value)


def test_a_wrong_key_is_an_error_even_if_the_rows_are_not_clear() -> None:
    with pytest.raises(InputError, match="'id', but the batch has"):
        ids_in({"x": 1}, "id", None)


def test_a_batch_that_makes_up_missing_keys_does_not_grow() -> None:
    batch = defaultdict(list, {"x": [1, 2]})
    with pytest.raises(InputError, match="'id', but the batch has the keys 'x'"):
        ids_in(batch, "id", 2)
    assert [*batch] == ["x"]


def test_a_list_of_samples_has_no_rows() -> None:
    """The first dimension of their tensors may be that of channels."""
    image = torch.zeros(3, 8, 8)
    assert num_rows([(image, 0), (image, 1), (image, 2)]) is None
    assert num_rows([{"x": image}, {"x": image}]) is None
    assert num_rows([image, torch.zeros(3)]) == 3


def test_an_identifier_stays_as_it_is() -> None:
    """Whoever shows it makes it printable; changed, it would not find its input."""
    names = ["shot\u202f9.png", "a  b", "\ud800", "tab\t"]
    assert ids_in({"path": names}, "path", 4) == names
