"""What the observer of a head sees, and that it touches nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.capture.targets import CountedTargets
from lightning_cossim.functional.links import Response
from tests.capture.test_head import random_inputs, random_layer

# Observing


def observer_of(layer: nn.Linear) -> HeadObserver:
    """An armed observer."""
    observer = HeadObserver(Head("fc", layer, "its path"))
    observer.arm()
    return observer


def take(observer: HeadObserver, max_inputs: int = 1024) -> Observation:
    """What was seen, which has to be something."""
    seen = observer.take(max_inputs, torch.Generator().manual_seed(0))
    assert seen is not None
    return seen


def sees_nothing(observer: HeadObserver) -> bool:
    return observer.take(1024, torch.Generator()) is None


def scaled(factor: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """Somebody's forward hook that scales the output: what an adapter does to a layer."""
    return lambda module, args, output: output * factor


def test_an_observation_is_what_went_in_what_came_out_and_the_weight() -> None:
    layer, inputs = random_layer(), random_inputs().requires_grad_()
    observer = observer_of(layer)
    logits = layer(inputs)
    seen = take(observer)
    assert seen.problem is None
    assert seen.embedding is not None
    assert seen.logits is not None
    assert torch.equal(seen.embedding, inputs)
    assert torch.equal(seen.logits, logits)
    assert torch.equal(seen.unembedding, layer.weight)
    assert not any(tensor.requires_grad for tensor in (seen.embedding, seen.logits, seen.unembedding))


def test_the_hook_leaves_the_output_and_its_gradients_as_they_are() -> None:
    """It returns None; anything else would take the output's place."""
    layer, inputs = random_layer(), random_inputs()
    plain = layer(inputs)
    plain.square().sum().backward()
    gradient = layer.weight.grad
    layer.zero_grad()
    observer = observer_of(layer)
    watched = layer(inputs)
    take(observer)
    watched.square().sum().backward()
    assert torch.equal(watched, plain)
    assert gradient is not None
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, gradient)
    assert [hook(layer, (inputs,), {}, plain) for hook in layer._forward_hooks.values()] == [None]


def test_nothing_is_seen_unless_armed() -> None:
    layer = random_layer()
    observer = observer_of(layer)
    observer.disarm()
    layer(random_inputs())
    assert sees_nothing(observer)


def test_nothing_is_seen_unless_the_head_is_called() -> None:
    assert sees_nothing(observer_of(random_layer()))


def test_what_was_taken_is_gone_and_the_next_call_does_not_count() -> None:
    """Taking disarms: a second forward pass, of activation checkpointing for example, is not seen."""
    layer = random_layer()
    observer = observer_of(layer)
    layer(random_inputs())
    take(observer)
    assert not observer.is_armed
    layer(random_inputs())
    assert sees_nothing(observer)


def test_what_was_seen_is_forgotten_when_disarmed() -> None:
    layer = random_layer()
    observer = observer_of(layer)
    layer(random_inputs())
    observer.disarm()
    assert sees_nothing(observer)
    assert not observer.is_armed


def test_of_several_calls_the_last_counts() -> None:
    layer = random_layer()
    observer = observer_of(layer)
    for seed in (1, 2):
        layer(random_inputs(seed=seed))
    seen = take(observer)
    assert seen.embedding is not None
    assert torch.equal(seen.embedding, random_inputs(seed=2))


def test_a_checkpointed_head_is_seen_once() -> None:
    """Its forward pass runs again within the backward pass, after what was seen has been taken."""
    layer, inputs = random_layer(), random_inputs().requires_grad_()
    observer = observer_of(layer)
    logits = checkpoint(layer, inputs, use_reentrant=False)
    assert isinstance(logits, Tensor)
    assert take(observer).problem is None
    torch.autograd.backward(logits.sum())
    assert sees_nothing(observer)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, on its way to a graph
def test_a_compiled_model_is_seen() -> None:
    """The hook is traced with the model, and the flag in it is looked at in every call."""
    layer = random_layer()
    observer = observer_of(layer)
    compiled = torch.compile(nn.Sequential(nn.Tanh(), layer), backend="eager")
    inputs = random_inputs()
    for armed in (True, False, True):
        observer.arm() if armed else observer.disarm()
        logits = compiled(inputs)
        if armed:
            seen = take(observer)
            assert seen.problem is None
            assert seen.logits is not None
            assert torch.equal(seen.logits, logits.detach())
        else:
            assert sees_nothing(observer)


def test_inference_mode_is_seen() -> None:
    """Tensors made there keep no count of what is written into them."""
    layer = random_layer()
    observer = observer_of(layer)
    with torch.inference_mode():
        logits = layer(random_inputs() + 0)
        seen = take(observer)
    assert seen.problem is None
    assert seen.embedding is not None
    assert seen.logits is not None
    assert torch.equal(seen.logits, logits)


# Sampling


@pytest.mark.parametrize("max_inputs", [1, 4, 9])
def test_of_many_inputs_a_sample_is_taken_and_its_rows_belong_together(max_inputs: int) -> None:
    layer, inputs = random_layer(), random_inputs(10)
    observer = observer_of(layer)
    logits = layer(inputs)
    seen = take(observer, max_inputs)
    assert seen.embedding is not None
    assert seen.logits is not None
    assert len(seen.embedding) == len(seen.logits) == max_inputs
    rows = [(inputs == embedding).all(dim=1).nonzero().item() for embedding in seen.embedding]
    assert len(set(rows)) == max_inputs
    assert torch.equal(seen.logits, logits[rows])


@pytest.mark.parametrize("max_inputs", [10, 11])
def test_as_many_inputs_as_are_wanted_are_all_taken_in_order(max_inputs: int) -> None:
    layer, inputs = random_layer(), random_inputs(10)
    observer = observer_of(layer)
    layer(inputs)
    seen = take(observer, max_inputs)
    assert seen.embedding is not None
    assert torch.equal(seen.embedding, inputs)


def test_samples_come_from_the_generator_given_and_leave_the_global_one_alone() -> None:
    """The same generator gives the same samples, one that goes on gives others."""
    layer, inputs = random_layer(), random_inputs(500)
    observer = observer_of(layer)
    drawn = []
    state = torch.get_rng_state()
    for generator in (torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)):
        for _ in range(2):
            observer.arm()
            layer(inputs)
            seen = observer.take(20, generator)
            assert seen is not None
            assert seen.embedding is not None
            drawn.append(seen.embedding)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])


# What is changed in place


UNCHECKED = "the head's output is changed in place after the call; the logits are computed from its weights, without a check"


def overwritten_call(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """What the layer gave, before it was written over."""
    with torch.no_grad():
        logits = layer(inputs)
        before: Tensor = logits.clone()
        logits.mul_(3)
    return before


def test_once_the_weights_were_seen_to_explain_the_logits_working_them_out_is_no_problem() -> None:
    layer, inputs = random_layer(), random_inputs()
    observer = observer_of(layer)
    layer(inputs)
    assert take(observer).problem is None
    observer.arm()
    before = overwritten_call(layer, inputs)
    seen = take(observer)
    assert seen.problem is None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, before)


def test_logits_are_not_worked_out_from_weights_that_do_not_explain_them() -> None:
    """After a mismatch was told, an output that is written over shows nothing."""
    layer, inputs = random_layer(), random_inputs()
    layer.register_forward_hook(scaled(2))
    observer = observer_of(layer)
    layer(inputs)
    assert take(observer).problem
    observer.arm()
    overwritten_call(layer, inputs)
    seen = take(observer)
    text = "the head's output does not match its weights and is then changed in place, so its logits cannot be seen"
    assert seen.problem == text
    assert seen.logits is None


@pytest.mark.parametrize("first", [torch.full((2, 4), torch.nan), torch.empty(0, 4)], ids=["nan", "empty"])
def test_the_check_waits_for_inputs_that_can_be_checked(first: Tensor) -> None:
    layer = random_layer()
    layer.register_forward_hook(scaled(2))
    observer = observer_of(layer)
    layer(first[:, : layer.in_features])
    assert take(observer).problem is None
    observer.arm()
    layer(random_inputs())
    assert (take(observer).problem or "").startswith("the head's output differs")


@pytest.mark.filterwarnings("ignore:.*torch.compile.*")
def test_an_armed_observer_survives_a_compilation_without_graph_breaks() -> None:
    layer, inputs = random_layer(), random_inputs()
    observer = observer_of(layer)
    observer.disarm()
    compiled = torch.compile(nn.Sequential(nn.Tanh(), layer), backend="eager", fullgraph=True)
    compiled(inputs)
    observer.arm()
    logits = compiled(inputs)
    seen = take(observer)
    assert seen.problem is None
    assert seen.logits is not None
    assert torch.equal(seen.logits, logits)


@pytest.mark.parametrize("max_inputs", [6, 3])
def test_logits_that_were_written_over_are_worked_out_from_the_weights(max_inputs: int) -> None:
    """A temperature or a mask that is applied in place would otherwise be taken for the head's output."""
    layer, inputs = random_layer(), random_inputs()
    observer = observer_of(layer)
    with torch.no_grad():
        logits = layer(inputs)
        before = logits.clone()
        logits.mul_(2)
    seen = take(observer, max_inputs)
    assert seen.problem == UNCHECKED
    assert seen.embedding is not None
    assert seen.logits is not None
    rows = [(inputs == embedding).all(dim=1).nonzero().item() for embedding in seen.embedding]
    torch.testing.assert_close(seen.logits, before[rows])


CHANGED_WEIGHTS = (
    "the head's weights changed before the monitor saw the backward pass; in manual optimization, call `self.manual_backward`"
)


@pytest.mark.parametrize("changed", ["weights", "embeddings"])
def test_weights_or_embeddings_that_were_written_over_are_told(changed: str) -> None:
    """Nothing is compared then but the weights, which are those of now."""
    layer, inputs = random_layer(), random_inputs()
    observer = observer_of(layer)
    layer(inputs)
    with torch.no_grad():
        (layer.weight if changed == "weights" else inputs).add_(1)
    seen = take(observer)
    assert seen.problem == (CHANGED_WEIGHTS if changed == "weights" else "the head's input was changed in place after the call")
    assert seen.logits is None
    assert seen.embedding is None
    assert torch.equal(seen.unembedding, layer.weight)


def test_an_optimizer_step_between_the_passes_is_told() -> None:
    layer = random_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    observer = observer_of(layer)
    layer(random_inputs()).sum().backward()
    optimizer.step()
    assert take(observer).problem == CHANGED_WEIGHTS


# What the head's output says about the weights


def test_an_output_that_the_weights_do_not_explain_is_told_once() -> None:
    """The logits are still those of the model; what the weights say about the embeddings would be false."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    layer.register_forward_hook(scaled(2))
    observer = observer_of(layer)
    inputs = torch.tensor([[1.0, 0.5], [-0.5, 1.25]])
    problems = []
    for _ in range(3):
        observer.arm()
        layer(inputs)
        seen = take(observer)
        problems.append(seen.problem)
        assert seen.embedding is None
        assert seen.logits is not None
        assert torch.equal(seen.logits, 2 * inputs)
    told = (
        "the head's output differs from `embedding @ weight.T + bias` by up to 1.25 (likely causes: an adapter that is not "
        "merged, a parametrization, another hook); logit_correlation and log_odds_variance would be wrong and are left out"
    )
    assert problems == [told, None, None]


def test_a_difference_that_comes_later_is_told_in_the_next_window() -> None:
    """An adapter begins as nothing, a small logit is not capped."""
    layer, scale = random_layer(), torch.ones(())
    layer.register_forward_hook(lambda module, args, output: output * scale)
    observer = HeadObserver(Head("fc", layer, "its path"))
    problems = []
    for factor, is_window in ((1, True), (3, False), (3, True), (3, True), (1, True)):
        if is_window:
            observer.check_again()
        scale.fill_(factor)
        observer.arm()
        layer(random_inputs())
        problems.append(take(observer).problem is not None)
    assert problems == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("dtype", "factor"), [(torch.float32, 1.01), (torch.float64, 1.01), (torch.bfloat16, 1.05), (torch.float16, 1.05)]
)
def test_small_differences_that_are_not_rounding_are_told(dtype: torch.dtype, factor: float) -> None:
    layer = random_layer(dim=64).to(dtype)
    with torch.no_grad():
        layer.weight.abs_()
    layer.register_forward_hook(scaled(factor))
    observer = observer_of(layer)
    layer(random_inputs(dim=64).abs().to(dtype))
    assert (take(observer).problem or "").startswith("the head's output differs from `embedding @ weight.T + bias` by up to ")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dim", [4, 64, 1024])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rounding_is_no_difference(dtype: torch.dtype, dim: int, *, bias: bool) -> None:
    layer = random_layer(dim=dim, bias=bias).to(dtype)
    observer = observer_of(layer)
    layer(random_inputs(200, dim=dim).to(dtype))
    seen = take(observer)
    assert seen.problem is None
    assert seen.embedding is not None


@pytest.mark.parametrize("dim", [4, 64, 1024])
def test_autocast_is_no_difference(dim: int) -> None:
    layer = random_layer(dim=dim)
    observer = observer_of(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(random_inputs(200, dim=dim))
    seen = take(observer)
    assert logits.dtype == torch.bfloat16
    assert seen.problem is None
    assert seen.embedding is not None


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_inputs_that_are_not_finite_are_no_difference(value: float) -> None:
    layer, inputs = random_layer(), random_inputs()
    inputs[2, 1] = value
    observer = observer_of(layer)
    layer(inputs)
    assert take(observer).problem is None


def test_a_difference_is_told_beside_inputs_that_are_not_finite() -> None:
    layer, inputs = random_layer(), random_inputs()
    inputs[2, 1] = torch.nan
    layer.register_forward_hook(scaled(2))
    observer = observer_of(layer)
    plain = torch.nn.functional.linear(inputs, layer.weight, layer.bias)
    layer(inputs)
    assert f"by up to {plain.nan_to_num(0).abs().max().item():.3g} (" in (take(observer).problem or "")


# What cannot be read


@pytest.mark.parametrize("shape", [(2, 3, 4), (4,), (2, 3, 5, 4)])
def test_calls_of_any_shape_are_read_as_rows(shape: tuple[int, ...]) -> None:
    """One row an input; those of one sequence or image belong to one group."""
    layer, inputs = random_layer(), torch.randn(shape)
    observer = observer_of(layer)
    logits = layer(inputs)
    seen = take(observer)
    assert seen.problem is None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, logits.reshape(-1, 5))
    torch.testing.assert_close(seen.embedding, inputs.reshape(-1, 4))
    if len(shape) < 3:
        assert seen.groups is None
    else:
        assert seen.groups is not None
        assert seen.groups.tolist() == [group for group in range(2) for _ in range(len(seen.logits) // 2)]


def test_an_output_without_all_labels_is_not_read() -> None:
    """Under tensor parallelism, for example, it is a part of the vocabulary."""
    layer = random_layer()
    layer.register_forward_hook(lambda module, args, output: output[:, :3])
    observer = observer_of(layer)
    layer(random_inputs())
    assert take(observer).problem == "its output has 3 labels, but its weight has 5"


def test_an_output_that_is_not_one_row_an_input_is_not_read() -> None:
    """Somebody's hook takes the last position of every sequence: nobody knows which embeddings belong to it."""
    layer = random_layer()
    layer.register_forward_hook(lambda module, args, output: output[:, -1])
    observer = observer_of(layer)
    assert layer(torch.ones(2, 3, 4)).shape == (2, 5)
    seen = take(observer)
    assert seen.problem is not None
    assert seen.logits is None
    assert seen.embedding is None


def test_a_head_that_is_called_by_keyword_is_seen() -> None:
    layer, inputs = random_layer(), random_inputs()
    observer = observer_of(layer)
    logits = layer(input=inputs)
    seen = take(observer)
    assert seen.embedding is not None
    assert torch.equal(seen.embedding, inputs)
    assert seen.logits is not None
    assert torch.equal(seen.logits, logits)


def test_an_output_that_is_no_tensor_is_told() -> None:
    """As somebody's own layer, or a hook of theirs, may return it."""
    layer = random_layer()
    layer.register_forward_hook(lambda module, args, output: (output, "more"))
    observer = observer_of(layer)
    assert layer(random_inputs())[1] == "more"
    assert take(observer).problem == "its input has type Tensor and its output has type tuple, but the monitor reads only tensors"


# Leaving


def test_detaching_removes_the_hook_and_forgets_what_was_seen() -> None:
    """A second time it does nothing, and hooks of others stay."""
    layer = random_layer()
    observer = observer_of(layer)
    layer(random_inputs())
    observer.detach()
    assert not layer._forward_hooks
    assert sees_nothing(observer)
    layer.register_forward_hook(scaled(1))
    observer.detach()
    assert len(layer._forward_hooks) == 1
    observer.arm()
    layer(random_inputs())
    assert sees_nothing(observer)


# Sequences, images, and inputs that do not count


def test_of_sequences_whole_ones_are_taken_and_belong_together() -> None:
    layer, inputs = random_layer(), torch.randn(6, 5, 4)
    observer = observer_of(layer)
    layer(inputs)
    seen = take(observer, max_inputs=12)
    assert seen.embedding is not None
    assert seen.groups is not None
    assert seen.groups.tolist() == [group for group in seen.groups.unique().tolist() for _ in range(5)]  # type: ignore[no-untyped-call]
    assert len(seen.embedding) == 10
    torch.testing.assert_close(seen.embedding, inputs[seen.groups.unique()].flatten(0, 1))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("max_inputs", [7, 1000])
def test_of_images_places_are_taken_each_with_its_logits(max_inputs: int) -> None:
    """A convolution of kernel 1: labels stand in the second dimension, and every pixel is an input of its image."""
    layer, images = nn.Conv2d(4, 5, 1), torch.randn(3, 4, 2, 6)
    observer = HeadObserver(Head("classify", layer, "its path"))
    observer.arm()
    logits = layer(images)
    seen = take(observer, max_inputs)
    assert seen.problem is None
    assert seen.embedding is not None
    assert seen.logits is not None
    assert seen.groups is not None
    assert len(seen.embedding) == len(seen.logits) == len(seen.groups) == min(max_inputs, 36)
    pixels, outputs = (tensor.detach().movedim(1, -1).reshape(36, -1) for tensor in (images, logits))
    for embedding, row, group in zip(seen.embedding, seen.logits, seen.groups, strict=True):
        (place,) = (pixels == embedding).all(dim=1).nonzero().flatten().tolist()
        assert torch.equal(row, outputs[place])
        assert group == place // 12


def test_inputs_that_do_not_count_are_not_taken() -> None:
    """Their targets may have the shape of sequences where the head was called with rows."""
    layer, inputs = random_layer(), random_inputs()
    observer = observer_of(layer)
    layer(inputs)
    seen = observer.take(1024, torch.Generator(), CountedTargets(torch.tensor([[True, False, True], [False, False, True]])))
    assert seen is not None
    torch.testing.assert_close(seen.embedding, inputs[[0, 2, 5]])
    assert seen.problem is None


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_targets_are_taken_as_their_inputs_are(link: Any) -> None:
    """Masked and sampled with them; under a sigmoid, which may give an input several labels, none."""
    layer, inputs = random_layer(), random_inputs()
    observer = HeadObserver(Head("fc", layer, "its path", Response.of(link)))
    counted, labels = torch.tensor([[True, False, True], [False, True, True]]), torch.tensor([[4, -1, 0], [-1, 2, 3]])
    taken = set()
    for seed in range(8):
        observer.arm()
        layer(inputs)
        seen = observer.take(3, torch.Generator().manual_seed(seed), CountedTargets(counted, labels=labels))
        assert seen is not None
        assert seen.embedding is not None
        if link == "sigmoid":
            assert seen.targets is None
            continue
        assert seen.targets is not None
        places = [int((inputs == embedding).all(dim=1).nonzero()) for embedding in seen.embedding]
        assert seen.targets.tolist() == labels.flatten()[places].tolist()
        taken.add(tuple(places))
    assert len(taken) > 1 or link == "sigmoid"


def test_targets_of_images_are_taken_as_their_pixels_are() -> None:
    layer, images = nn.Conv2d(4, 5, 1), torch.randn(2, 4, 3, 4)
    observer = HeadObserver(Head("classify", layer, "its path"))
    observer.arm()
    layer(images)
    labels = torch.arange(24).reshape(2, 3, 4)
    seen = observer.take(7, torch.Generator(), CountedTargets(labels % 5 > 0, labels=labels))
    assert seen is not None
    assert seen.embedding is not None
    assert seen.targets is not None
    assert len(seen.targets) == 7
    assert (seen.targets % 5 > 0).all()
    torch.testing.assert_close(seen.embedding, images.movedim(1, -1).reshape(24, 4)[seen.targets])


def test_targets_of_another_number_are_told_and_all_inputs_count() -> None:
    layer, inputs = random_layer(), random_inputs()
    observer = observer_of(layer)
    layer(inputs)
    seen = observer.take(1024, torch.Generator(), CountedTargets(torch.ones(5, dtype=torch.bool)))
    assert seen is not None
    assert seen.embedding is not None
    assert len(seen.embedding) == 6
    assert seen.problem == "it was called for 6 inputs, but the batch has 5 targets at `targets_key`, so all inputs count"


@pytest.mark.parametrize("max_inputs", [3, 1000])
def test_where_no_input_counts_none_is_taken(max_inputs: int) -> None:
    layer = random_layer()
    observer = observer_of(layer)
    layer(random_inputs())
    seen = observer.take(max_inputs, torch.Generator(), CountedTargets(torch.zeros(6, dtype=torch.bool)))
    assert seen is not None
    assert seen.problem is None
    assert seen.logits is not None
    assert len(seen.logits) == 0


def test_a_parametrized_head_in_training_is_seen_as_it_computed() -> None:
    """And its next call is the one it would have been: looking is no step of the spectral norm's iteration."""
    layers: list[Any] = [nn.utils.parametrizations.spectral_norm(random_layer()) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    watched, unwatched = layers
    observer = HeadObserver(Head("fc", watched, "its path"))
    for _ in range(3):
        observer.arm()
        inputs = random_inputs()
        assert torch.equal(watched(inputs), unwatched(inputs))
        seen = take(observer)
        assert seen.problem is None
        assert seen.embedding is not None


@pytest.mark.parametrize("what", ["some inputs", "some labels", "nothing"])
def test_of_large_logits_written_in_place_a_part_tells_whether_they_were_changed(what: str) -> None:
    """All labels of some inputs, and some labels of all; where they were, what the weights give takes their place."""
    layer = nn.Linear(4, 300)
    observer = HeadObserver(Head("fc", layer, "its path"))
    inputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        observer.arm()
        logits = layer(inputs)
        wanted = logits.clone()
        logits.add_(0)
        if what == "some inputs":
            logits[17:20] += 5
        elif what == "some labels":
            logits[:, 101:103] += 5
        seen = observer.take(1000, torch.Generator())
    assert seen is not None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, wanted)
    assert (seen.problem is None) == (what == "nothing")
    observer.detach()


def test_a_call_on_a_device_that_knows_no_autocast_is_seen_without_harm() -> None:
    """A count of operations, for example."""
    layer = random_layer()
    observer = observer_of(layer)
    observer.arm()
    meta = {name: weight.to("meta") for name, weight in layer.state_dict().items()}
    torch.func.functional_call(layer, meta, (torch.empty(3, 4, device="meta"),))
    layer(random_inputs())
    torch.testing.assert_close(take(observer).embedding, random_inputs())


def test_what_was_rounded_in_an_earlier_call_says_nothing_of_a_later_one() -> None:
    layer = random_layer()
    observer = observer_of(layer)
    observer.arm()
    with torch.autocast("cpu", torch.bfloat16):
        layer(random_inputs())
    assert observer._first.in_half
    layer(random_inputs())
    assert not observer._first.in_half
