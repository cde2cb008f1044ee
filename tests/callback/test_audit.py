"""`monitor.audit()`: the paper's translation on a copy of the head that was watched."""

import copy
import re

import lightning.pytorch as pl
import pytest
import torch

from lightning_cossim import LabelSelection, LabelSimilarityError, LabelSimilarityMonitor
from lightning_cossim.callback.audit import audit_translations, row_of
from tests.toys import NUM_LABELS, LanguageToy, Sentences, Toy, loader, trainer

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "six"]


@pytest.fixture(scope="module")
def fitted() -> tuple[Toy, LabelSimilarityMonitor]:
    pl.seed_everything(0, verbose=False)
    monitor, model = LabelSimilarityMonitor(labels=LabelSelection(names=NAMES)), Toy()
    trainer(callbacks=[monitor]).fit(model, loader(512), loader(256))
    return model, monitor


def test_any_pair_is_made_alike_and_opposite(fitted: tuple[Toy, LabelSimilarityMonitor]) -> None:
    """And no probability moves; by name or by row, whichever pair it is."""
    model, monitor = fitted
    before = copy.deepcopy(model.state_dict())
    for pair in (("one", "four"), (0, 7), ("two", 3)):
        audit = monitor.audit(*pair)
        assert audit.holds
        assert audit.translated == pytest.approx((-1, 1), abs=1e-9)
        assert audit.largest_change < 1e-12
        assert audit.num_inputs == 16
    one, four = model.head.weight[1].detach(), model.head.weight[4].detach()
    assert monitor.audit("one", "four").as_trained == pytest.approx(torch.cosine_similarity(one, four, dim=0).item(), abs=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_it_takes_the_pair_that_overlaps_most(fitted: tuple[Toy, LabelSimilarityMonitor]) -> None:
    _, monitor = fitted
    report = monitor.last_report["val"]
    overlap = report.matrix("overlap").fill_diagonal_(0)
    audit = monitor.audit()
    wanted = divmod(int(overlap.argmax()), NUM_LABELS)
    assert {audit.label, audit.other} == {NAMES[label] for label in wanted}


def test_it_prints_a_table(fitted: tuple[Toy, LabelSimilarityMonitor]) -> None:
    lines = str(fitted[1].audit("one", "four")).splitlines()
    assert lines[0] == "one and four, 16 inputs"
    assert lines[4].split()[:7] == ["one", "vector", "added", "to", "all", "rows", "-1.0000"]
    assert lines[5].split()[:4] == ["another", "vector", "added", "+1.0000"]


def test_a_vocabulary_is_audited_too() -> None:
    monitor = LabelSimilarityMonitor(labels=LabelSelection(max_tracked=12))
    data = torch.utils.data.DataLoader(Sentences(num_words=90), batch_size=8)
    trainer(callbacks=[monitor]).fit(LanguageToy(90, tied=True), data, data)
    assert monitor.audit().holds


def test_a_head_that_was_never_called_is_audited_on_drawn_inputs() -> None:
    """By a generator of its own: the user's random numbers stay as they are."""
    layer = torch.nn.Linear(4, 3)
    state = torch.get_rng_state()
    audit = audit_translations(layer.weight.detach(), None, None, (0, 2), ["a", "b", "c"])
    assert torch.equal(torch.get_rng_state(), state)
    assert audit.holds
    assert audit.num_inputs == 256


def test_the_audit_can_fail() -> None:
    """It compares what the head gives: of logits of 1e13, float64 keeps two digits after the point."""
    rows = torch.tensor([[1e14, 0.0], [1e14, 3.0], [-7e13, 1.0]], dtype=torch.float64)
    assert not audit_translations(rows, None, torch.tensor([[0.1, 0.713]]), (0, 1), ["a", "b", "c"]).holds


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("forty", 2), "Expected `label` to be the name of one label, got 'forty', the name of 0 labels. Similar: 'four'."),
        (("six", 2), "Expected `label` to be the name of one label, got 'six', the name of 2 labels. Pass its row."),
        ((2, None), "Expected `other` and `label` to be given together, got one of them. Pass both, or neither."),
        ((2, 8), "Expected `other` to be a label from 0 to 7, got 8."),
        ((2, 2), "Expected `j` to be a label whose row differs from that of label 2, got 2 with an equal row."),
    ],
)
def test_what_is_no_pair_is_said(
    fitted: tuple[Toy, LabelSimilarityMonitor], pair: tuple[int | str, int | str | None], said: str
) -> None:
    with pytest.raises(LabelSimilarityError) as caught:
        fitted[1].audit(*pair)
    assert str(caught.value) == said


def test_an_unknown_name_lists_up_to_three_near_names() -> None:
    names = ["pepper", "cinnamon", "cardamom", "mustard", "cumin", "garam"]
    with pytest.raises(LabelSimilarityError) as caught:
        row_of("cardamon", names, "label")
    near = re.findall(r"'(\w+)'", str(caught.value).partition("Similar: ")[2])
    assert near[0] == "cardamom"
    assert len(near) == 3
    assert "pepper" not in near
    with pytest.raises(LabelSimilarityError, match=r"got 'xyz', the name of 0 labels\. Pass its row\.$"):
        row_of("xyz", ["pepper", "cumin"], "label")


def test_there_has_to_be_a_softmax_head() -> None:
    with pytest.raises(LabelSimilarityError, match=r"Expected `audit` to be called after a run has started, got no run"):
        LabelSimilarityMonitor().audit()
    monitor = LabelSimilarityMonitor(link="sigmoid")
    trainer(callbacks=[monitor]).validate(Toy(), loader(64), verbose=False)
    with pytest.raises(LabelSimilarityError, match=r"Expected `link` to be 'softmax', got 'sigmoid'\. A translation changes"):
        monitor.audit()
