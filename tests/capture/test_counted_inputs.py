"""Inputs whose target says that they do not count, and whose target that is in a sequence."""

import math
from collections import UserDict, namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_cossim import LabelSelection
from lightning_cossim.capture.target_shift import TargetReader, shift_of
from lightning_cossim.capture.targets import CountedTargets, targets_in
from lightning_cossim.errors import InputError

TARGETS = torch.tensor([[3, -100], [-100, 0]])
WANTS = "Expected `targets_key` to be the key of the targets in a batch"
WANTED = [[True, False], [False, True]]
Batch = namedtuple("Batch", ["text", "labels"])  # noqa: PYI024 - as users write them


class Reading:
    """A reader of targets, and what it said."""

    def __init__(self, model: nn.Module | None = None, **labels: Any) -> None:
        head = nn.Linear(2, 3)
        model = nn.Sequential() if model is None else model
        model.add_module("head", head)
        self.said: list[str] = []
        self.reader = TargetReader(LabelSelection(**{"targets_key": "labels", **labels}), model, head, self.said.append)

    def __call__(self, batch: Any, stage: str = "val") -> CountedTargets:
        targets = self.reader.read(batch, stage)
        assert targets is not None
        return targets


def counted(batch: Any, shape: tuple[int, ...] | None = None, embedding: Any = None, **labels: Any) -> Any:
    """Which inputs of a call count, as a list; the call has one input a target, or so many."""
    targets = Reading(**labels)(batch)
    found, problem = targets.among(targets.own.shape if shape is None else shape, embedding)
    assert problem is None
    return None if found is None else found.tolist()


def named(name: str, **attributes: Any) -> nn.Module:
    """A module of a class of that name."""
    module: nn.Module = type(name, (nn.Module,), {})()
    for attribute, value in attributes.items():
        setattr(module, attribute, value)
    return module


@pytest.mark.parametrize(
    ("batch", "key"),
    [
        ({"text": torch.zeros(2, 2), "labels": TARGETS}, "labels"),
        (UserDict(text=torch.zeros(2, 2), labels=TARGETS), "labels"),
        ((torch.zeros(2, 2), TARGETS), 1),
        ([torch.zeros(2, 2), TARGETS], -1),
        (Batch(torch.zeros(2, 2), TARGETS), 1),
    ],
)
def test_inputs_count_unless_their_target_is_the_one_to_ignore(batch: Any, key: str | int) -> None:
    assert counted(batch, targets_key=key) == WANTED
    assert counted(batch, targets_key=key, ignore_index=3) == [[False, True], [True, True]]


@pytest.mark.parametrize(
    ("batch", "key", "text"),
    [
        (
            {"text": TARGETS, "y": TARGETS},
            "labels",
            f"{WANTS}, got 'labels', but the batch has the keys 'text', 'y'.",
        ),
        (
            (TARGETS, TARGETS),
            2,
            f"{WANTS}, got 2, but the batch has the keys 0 to 1.",
        ),
        (
            (TARGETS, TARGETS),
            "labels",
            f"{WANTS}, got 'labels', but the batch has the keys 0 to 1.",
        ),
        (
            None,
            "labels",
            f"{WANTS}, got 'labels', but the batch has no keys: it is a NoneType.",
        ),
        (
            TARGETS,
            "labels",
            f"{WANTS}, got 'labels', but the batch has no keys: it is a Tensor.",
        ),
        (
            {"labels": TARGETS.float()},
            "labels",
            f"{WANTS}, a tensor of integers, got 'labels', which holds a tensor of torch.float32.",
        ),
        (
            {"labels": [1, 2]},
            "labels",
            f"{WANTS}, a tensor of integers, got 'labels', which holds an object of type list.",
        ),
    ],
)
def test_a_key_that_leads_to_no_targets_is_told(batch: Any, key: str | int, text: str) -> None:
    with pytest.raises(InputError) as caught:
        targets_in(batch, key)
    assert str(caught.value) == text


# Sequences

IDS = torch.tensor([[5, 6, 7, 8, 9], [3, 4, 4, 0, 0]])
ANSWERS = torch.tensor([[-100, -100, 7, 8, 9], [-100, 4, 4, -100, -100]])
"""The prompt and the padding do not count."""
NEXT = torch.tensor([[6, 7, 8, 9, -100], [4, 4, -100, -100, -100]])
"""Targets that are shifted already."""
NO_LAST = [[True, True, True, True, False]] * 2
TAGS = torch.tensor([[1, 2, 1, 0, -100], [0, 1, 2, -100, -100]])
OWN, SHIFTED, OF_NEXT, OF_TAGS = (
    [[False, False, True, True, True], [False, True, True, False, False]],
    [[False, True, True, True, False], [True, True, False, False, False]],
    [[True, True, True, True, False], [True, True, False, False, False]],
    [[True, True, True, True, False], [True, True, True, False, False]],
)
CAUSAL, DECODER = named("TinyForCausalLM"), named("BartForCausalLM")
ENCODER_DECODER = named("T5ForConditionalGeneration", config=SimpleNamespace(is_encoder_decoder=True))
AS_CAUSAL = "a position counts if the next position's target in 'labels' is not -100, as in the loss of TinyForCausalLM"


@pytest.mark.parametrize(
    ("labels", "wanted"), [({"shift_targets": True}, SHIFTED), ({"shift_targets": False}, OWN), ({}, SHIFTED)]
)
def test_a_position_counts_by_the_next_target_or_by_its_own(labels: dict[str, Any], wanted: list[list[bool]]) -> None:
    """As the user says; by default as the targets tell, which are the input ids."""
    assert counted({"input_ids": IDS, "labels": ANSWERS}, **labels) == wanted


@pytest.mark.parametrize(
    ("model", "batch", "wanted", "said"),
    [
        pytest.param(None, {"labels": ANSWERS, "input_ids": IDS}, SHIFTED, "next, ids", id="the ids"),
        pytest.param(None, {"labels": ANSWERS, "tokens": IDS}, SHIFTED, "next, ids", id="the ids by another name"),
        pytest.param(None, UserDict(labels=ANSWERS, input_ids=IDS.int()), SHIFTED, "next, ids", id="of another type of numbers"),
        pytest.param(None, {"labels": NEXT, "input_ids": IDS}, OF_NEXT, "own, next ids", id="shifted already"),
        pytest.param(None, {"labels": TAGS, "input_ids": IDS}, OF_TAGS, "own, ask", id="tags"),
        pytest.param(None, {"labels": ANSWERS, "input_ids": IDS, "mask": IDS > 0}, SHIFTED, "next, ids", id="beside a mask"),
        pytest.param(None, {"labels": TAGS, "tag_labels": TAGS.clone(), "x": IDS}, OF_TAGS, "own, ask", id="tags twice"),
        pytest.param(None, {"labels": TAGS, "tags": TAGS.clone(), "input_ids": IDS}, OF_TAGS, "own, ask", id="by any name"),
        pytest.param(None, {"labels": IDS, "input_ids": IDS}, NO_LAST, "next, ids", id="one and the same tensor"),
        pytest.param(None, {"labels": ANSWERS, "inputs": {"input_ids": IDS}}, SHIFTED, "next, ids", id="ids further in"),
        pytest.param(None, {"labels": ANSWERS, "image": torch.zeros(2, 5)}, OWN, "own, ask", id="no ids"),
        pytest.param(CAUSAL, {"labels": ANSWERS}, SHIFTED, "", id="no ids, a causal model"),
        pytest.param(CAUSAL, {"labels": TAGS, "input_ids": IDS}, [[*row[1:], False] for row in OF_TAGS], "", id="ids replaced"),
        pytest.param(CAUSAL, {"labels": NEXT, "input_ids": IDS}, OF_NEXT, "own, next ids", id="shifted by hand"),
        pytest.param(DECODER, {"labels": ANSWERS, "input_ids": IDS}, OWN, "", id="a decoder that does not shift"),
        pytest.param(ENCODER_DECODER, {"labels": ANSWERS, "input_ids": IDS}, OWN, "", id="an encoder-decoder that copies"),
    ],
)
def test_whose_target_it_is_is_found_out_and_said(
    model: nn.Module | None, batch: Any, wanted: list[list[bool]], said: str
) -> None:
    texts = {
        "": [],
        "next, ids": [
            "a position counts if the next position's target in 'labels' is not -100, because the targets equal the input ids"
        ],
        "own, next ids": [
            (
                "a position counts if its own target in 'labels' is not -100, because the targets equal the input ids of the "
                "next position already"
            )
        ],
        "own, ask": [
            (
                "a position counts if its own target in 'labels' is not -100; if a position learns the target of the next "
                "position, pass `shift_targets=True`"
            )
        ],
    }
    reading = Reading(model)
    found, problem = reading(batch).among((2, 5))
    assert found is not None
    assert (found.tolist(), problem) == (wanted, None)
    assert reading.said == texts[said]


@pytest.mark.parametrize(
    ("batch", "key", "wanted"),
    [
        ((IDS, ANSWERS), 1, SHIFTED),
        ([IDS, ANSWERS], -1, SHIFTED),
        ((IDS, NEXT), -1, OF_NEXT),
        (({"input_ids": IDS, "attention_mask": (IDS > 0).long()}, ANSWERS), 1, SHIFTED),
        ({"input_ids": IDS, "attention_mask": (IDS > 0).long()}, "input_ids", NO_LAST),
        ({"tokens": IDS}, "tokens", [[True] * 5] * 2),
    ],
)
def test_input_ids_are_found_in_batches_of_every_form(batch: Any, key: str | int, wanted: list[list[bool]]) -> None:
    """Targets may be the input ids themselves. Of a batch that holds nothing else nobody knows what goes into the model."""
    assert counted(batch, targets_key=key) == wanted


def test_targets_that_have_told_enough_are_not_compared_again() -> None:
    """A stage's first batch tells for the others; another stage may have other targets."""
    reading = Reading()
    assert reading({"labels": ANSWERS, "input_ids": IDS}, "train").is_shifted
    assert reading({"labels": ANSWERS, "input_ids": IDS + 1}, "train").is_shifted
    assert not reading({"labels": NEXT, "input_ids": IDS}, "val").is_shifted


def test_a_batch_that_tells_nothing_waits_for_one_that_does() -> None:
    """Where no target counts, or every next id is the same as the one before."""
    reading = Reading()
    for row in (torch.full((1, 5), -100), torch.full((1, 5), 4)):
        assert not reading({"labels": row, "input_ids": torch.full((1, 5), 4)}).is_shifted
    assert reading.said == []
    assert reading({"labels": ANSWERS, "input_ids": IDS}).is_shifted


def test_what_the_class_of_the_model_tells_is_said_at_the_start() -> None:
    assert Reading(CAUSAL).reader.in_words == AS_CAUSAL
    own = "a position counts if its own target in 'labels' is not -100, as in the loss of BartForCausalLM"
    assert Reading(DECODER).reader.in_words == own
    assert Reading().reader.in_words is None
    assert Reading(CAUSAL, targets_key=None).reader.in_words is None
    assert Reading(CAUSAL, shift_targets=False).reader.in_words is None


@pytest.mark.parametrize("targets", [torch.tensor([1, -100, 2]), torch.zeros(2, 3, 4, dtype=torch.long)])
@pytest.mark.parametrize("labels", [{"shift_targets": True}, {}])
def test_only_sequences_are_shifted(targets: Tensor, labels: dict[str, Any]) -> None:
    """Not the targets of single inputs, and not those of images."""
    assert counted({"labels": targets, "input_ids": targets}, **labels) == (targets != -100).tolist()


HIDDEN = torch.zeros(2, 5, 3)


@pytest.mark.parametrize("labels", [{"shift_targets": True}, {}])
@pytest.mark.parametrize(
    ("shape", "embedding", "batch", "wanted"),
    [
        pytest.param((10,), None, {}, SHIFTED, id="flattened"),
        pytest.param((2, 4), None, {}, [row[:4] for row in SHIFTED], id="without the last position"),
        pytest.param((2, 4), HIDDEN[:, :-1], {}, [row[:4] for row in SHIFTED], id="without the last position, a view"),
        pytest.param((2, 4), HIDDEN[:, 1:], {}, [row[1:] for row in SHIFTED], id="without the first"),
        pytest.param((2, 3), HIDDEN[:, -3:], {}, [row[2:] for row in SHIFTED], id="logits_to_keep=3"),
        pytest.param((2, 1), HIDDEN[:, -1:], {}, [[False], [False]], id="logits_to_keep=1"),
        pytest.param((2, 2), HIDDEN[:, 1:3], {}, [row[1:3] for row in SHIFTED], id="a part"),
        pytest.param((8,), None, {}, [row[:4] for row in SHIFTED], id="without the last position, flattened"),
        pytest.param((5,), None, {}, None, id="only those that count"),
        pytest.param((2, 5), None, {"labels": ANSWERS[:, 1:]}, SHIFTED, id="targets cut by hand"),
        pytest.param((10,), None, {"labels": ANSWERS[:, 1:]}, SHIFTED, id="targets cut by hand, flattened"),
    ],
)
def test_positions_that_are_fewer_or_more_than_targets_are_told_apart(
    shape: tuple[int, ...], embedding: Any, batch: dict[str, Tensor], wanted: Any, labels: dict[str, Any]
) -> None:
    """Of a causal language model whose targets are its input ids."""
    found = counted({"input_ids": IDS, "labels": ANSWERS, **batch}, shape, embedding, **labels)
    assert found == wanted


@pytest.mark.parametrize(
    ("labels", "shape", "remedy"),
    [
        ({}, (2, 4), "; if a position learns the target of the next position, pass `shift_targets=True`"),
        ({}, (2, 6), "; if a position learns the target of the next position, pass `shift_targets=True`"),
        ({}, (2, 3), ""),
        ({}, (7,), ""),
        ({"shift_targets": False}, (2, 4), ""),
        ({"shift_targets": True}, (2, 3), ""),
        ({"shift_targets": True}, (2, 8), ""),
        ({"shift_targets": True}, (3, 4), ""),
    ],
)
def test_positions_that_nobody_can_tell_apart_all_count_and_that_is_told(
    labels: dict[str, Any], shape: tuple[int, ...], remedy: str
) -> None:
    """Also of a view, as long as nobody knows whose target counts."""
    targets = Reading(**labels)({"labels": torch.full((2, 5), 3)})
    found, problem = targets.among(shape, HIDDEN[:, :4] if shape == (2, 4) and not labels else None)
    num = math.prod(shape)
    assert found is None
    wanted = f"it was called for {num} inputs, but the batch has 10 targets at `targets_key`, so all inputs count"
    assert problem == wanted + remedy


# What the targets are


def labels_of(batch: Any, shape: tuple[int, ...], embedding: Any = None, **labels: Any) -> list[int] | None:
    """The targets of a call's inputs, in the order of its rows."""
    found = Reading(**labels)(batch).labels_among(shape, embedding)
    return None if found is None else found.tolist()


@pytest.mark.parametrize(
    ("targets", "shape", "wanted"),
    [
        pytest.param([3, -100, 0, -1], (4,), [3, -1, 0, -1], id="single inputs"),
        pytest.param([[3], [0]], (2,), [3, 0], id="in a column"),
        pytest.param([[3, -100], [1, 0]], (2, 2), [3, -1, 1, 0], id="sequences"),
        pytest.param([[3, -100], [1, 0]], (4,), [3, -1, 1, 0], id="sequences laid out as rows"),
        pytest.param([[3, -100], [1, 0]], (3,), [3, 1, 0], id="only those that count"),
        pytest.param([[[3, 4], [5, 6], [7, 8]]] * 2, (2, 3, 2), [3, 4, 5, 6, 7, 8] * 2, id="images"),
        pytest.param([[[[3, 4], [5, 6], [7, 8]]]] * 2, (2, 3, 2), [3, 4, 5, 6, 7, 8] * 2, id="images with a channel"),
        pytest.param([[[3, 4], [5, 6], [7, 8]]] * 2, (2, 6), [3, 4, 5, 6, 7, 8] * 2, id="patches of images"),
        pytest.param([[3, 4, 5], [6, 7, 8]], (3, 2), None, id="positions first"),
        pytest.param([[[3, 4], [5, 6], [7, 8]]] * 2, (2, 2, 3), None, id="images on their side"),
        pytest.param([[3, 4, 5], [6, 7, 8]], (5,), None, id="of another number"),
        pytest.param([], (0,), [], id="none"),
    ],
)
def test_an_input_has_the_target_that_stands_where_it_does(
    targets: list[Any], shape: tuple[int, ...], wanted: list[int] | None
) -> None:
    """As the rows of the call follow one another; where that is another order, or another number, nobody knows them."""
    batch = {"labels": torch.tensor(targets, dtype=torch.int64)}
    assert labels_of(batch, shape, shift_targets=False) == wanted


@pytest.mark.parametrize(
    ("shape", "embedding", "batch", "wanted"),
    [
        pytest.param((2, 5), None, {}, [-1, 7, 8, 9, -1, 4, 4, -1, -1, -1], id="as they come"),
        pytest.param((10,), None, {}, [-1, 7, 8, 9, -1, 4, 4, -1, -1, -1], id="laid out as rows"),
        pytest.param((2, 4), HIDDEN[:, :-1], {}, [-1, 7, 8, 9, 4, 4, -1, -1], id="without the last position"),
        pytest.param((2, 4), HIDDEN[:, 1:], {}, [7, 8, 9, -1, 4, -1, -1, -1], id="without the first"),
        pytest.param((2, 3), HIDDEN[:, -3:], {}, [8, 9, -1, -1, -1, -1], id="logits_to_keep=3"),
        pytest.param((8,), None, {}, [-1, 7, 8, 9, 4, 4, -1, -1], id="without the last position, laid out as rows"),
        pytest.param((5,), None, {}, [7, 8, 9, 4, 4], id="only those that count"),
        pytest.param((2, 5), None, {"labels": ANSWERS[:, 1:]}, [-1, 7, 8, 9, -1, 4, 4, -1, -1, -1], id="cut by hand"),
        pytest.param((2, 5), None, {"labels": NEXT}, [6, 7, 8, 9, -1, 4, 4, -1, -1, -1], id="shifted by hand"),
    ],
)
def test_a_position_of_a_causal_model_has_the_next_one_s_target(
    shape: tuple[int, ...], embedding: Any, batch: dict[str, Tensor], wanted: list[int]
) -> None:
    """Those that count, and no others, have one that is no -1."""
    given = {"input_ids": IDS, "labels": ANSWERS, **batch}
    assert labels_of(given, shape, embedding) == wanted
    inputs = counted(given, shape, embedding)
    assert inputs is None or [label >= 0 for label in wanted] == torch.tensor(inputs).flatten().tolist()


def test_where_the_head_may_have_been_called_for_others_no_target_is_known() -> None:
    """As many inputs as have a target of their own, of a model that learns the next one's: four of them count."""
    batch = {"input_ids": IDS, "labels": IDS.masked_fill(IDS == 7, -100)}
    assert labels_of(batch, (9,)) is None
    assert labels_of(batch, (7,)) == [6, 8, 9, 4, 4, 0, 0]


def test_targets_are_those_of_when_the_batch_began() -> None:
    """Whatever the step writes into its batch then."""
    batch = {"labels": torch.tensor([2, 0, 1])}
    targets = Reading()(batch)
    batch["labels"].fill_(0)
    found = targets.labels_among((3,))
    assert found is not None
    assert found.tolist() == [2, 0, 1]


def test_packed_sequences_count_as_the_loss_has_them() -> None:
    """Two of three words in a row; the target of the second one's first word is left out, so that no word predicts it."""
    ids = torch.tensor([[4, 5, 6, 7, 8, 9]])
    labels = torch.tensor([[-100, 5, 6, -100, 8, 9]])
    assert counted({"input_ids": ids, "labels": labels}) == [[True, True, False, True, True, False]]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("Tuner", "GPT2LMHeadModel"), (True, "GPT2LMHeadModel")),
        (("Tuner", "FSDPLlamaForCausalLM"), (True, "LlamaForCausalLM")),
        (("PeftModelForCausalLM", "MBartForCausalLM"), (False, "MBartForCausalLM")),
        (("Tuner", "LlavaForConditionalGeneration"), (True, "LlavaForConditionalGeneration")),
        (("Tuner", "GPT2DoubleHeadsModel"), (True, "GPT2DoubleHeadsModel")),
        (("Tuner", "XLMWithLMHeadModel"), (False, "XLMWithLMHeadModel")),
        (("Tuner", "BertForMaskedLM"), (False, "BertForMaskedLM")),
        (("Tuner", "GPT2ForTokenClassification"), (False, "GPT2ForTokenClassification")),
        (("Tuner", "GPT2ForSequenceClassification"), None),
        (("Tuner", "GPT2Model"), None),
    ],
)
def test_the_innermost_class_that_is_known_tells(names: tuple[str, str], wanted: tuple[bool, str] | None) -> None:
    outer, inner = map(named, names)
    inner.add_module("head", head := nn.Linear(2, 3))
    outer.add_module("inner", inner)
    outer.add_module("teacher", named("TeacherForCausalLM"))
    assert shift_of(outer, head) == wanted


def test_an_encoder_decoder_around_a_causal_decoder_tells() -> None:
    inner, outer = named("GPT2LMHeadModel"), named("VisionEncoderDecoderModel", config=ENCODER_DECODER.config)
    inner.add_module("head", head := nn.Linear(2, 3))
    outer.add_module("decoder", inner)
    assert shift_of(outer, head) == (False, "VisionEncoderDecoderModel")
