"""The rows of saved files that make pairs of labels overlap, and the identifiers that the user gives them."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_cossim import GapReport, analyze
from lightning_cossim.analysis.cli import main
from lightning_cossim.errors import CheckpointError

NUM_INPUTS, NUM_LABELS, NUM_DIMENSIONS = 2500, 12, 6
"""More inputs than a batch of the reader has."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Tensor, Tensor]:
    """A saved head with its embeddings, the logits of these, and targets."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(NUM_LABELS, NUM_DIMENSIONS, generator=generator)
    embeddings = 2 * torch.randn(NUM_INPUTS, NUM_DIMENSIONS, generator=generator)
    torch.save({"head.weight": weight}, tmp_path / "model.pt")
    torch.save(embeddings, tmp_path / "embeddings.pt")
    (tmp_path / "inputs.txt").write_text("".join(f"images/{row}.png\n" for row in range(NUM_INPUTS)), encoding="utf-8")
    logits = embeddings @ weight.T
    target_N = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    torch.save(target_N, tmp_path / "targets.pt")
    return tmp_path, logits, target_N


def report_on(folder: Path, *, inputs: object = None, **settings: Any) -> GapReport:
    """The report on the files."""
    return analyze(
        folder / "model.pt",
        embeddings=folder / "embeddings.pt",
        targets=folder / "targets.pt",
        inputs=inputs,  # type: ignore[arg-type]  # some are wrong on purpose
        **settings,
    )


def test_the_rows_of_a_pair_are_those_that_add_most_to_its_overlap(files: tuple[Path, Tensor, Tensor]) -> None:
    """Against a search over all rows in float64, for every pair: eight rows among those where both labels are likely."""
    folder, logits, _ = files
    p_NK = logits.double().softmax(dim=1)
    likely_NK = p_NK >= p_NK.sort(dim=1, descending=True).values[:, 7:8]
    evidence = report_on(folder).evidence
    assert len(evidence) == math.comb(NUM_LABELS, 2)
    for pair in evidence.pairs:
        i, j = pair.labels
        share_N = (p_NK[:, i] * p_NK[:, j]).sqrt() * (likely_NK[:, i] & likely_NK[:, j])
        found = [example.reference.index for example in pair.examples["overlap"]]
        assert found == share_N.argsort(descending=True)[:8].tolist()
        for example in pair.examples["overlap"]:
            row = p_NK[example.reference.index]
            assert example.probabilities == pytest.approx((row[i].item(), row[j].item()), rel=1e-5)
            assert example.predicted == row.argmax()


@pytest.mark.usefixtures("rare_labels_count")
def test_a_vocabulary_has_rows_on_which_the_labels_are_not_both_likely(files: tuple[Path, Tensor, Tensor]) -> None:
    """With a low bias, label 0 is never among the eight most likely labels. A vocabulary keeps more labels of each row."""
    folder, logits, _ = files
    head = torch.load(folder / "model.pt", weights_only=True)
    bias = torch.zeros(NUM_LABELS)
    bias[0] = -12
    torch.save({**head, "head.bias": bias}, folder / "model.pt")
    p_NK = (logits + bias).double().softmax(dim=1)
    few, more = (report_on(folder, max_tracked=most, min_probability=0).evidence for most in (NUM_LABELS, NUM_LABELS - 1))
    assert "overlap" not in few[0, 1].examples
    share_N = (p_NK[:, 0] * p_NK[:, 1]).sqrt()
    found = [example.reference.index for example in more[0, 1].examples["overlap"]]
    assert found == share_N.argsort(descending=True)[:8].tolist()


def test_suspects_are_the_errors_with_the_least_probable_targets(files: tuple[Path, Tensor, Tensor]) -> None:
    folder, logits, target_N = files
    p_NK = logits.double().softmax(dim=1)
    predicted_N, p_target_N = p_NK.argmax(dim=1), p_NK.gather(1, target_N[:, None])[:, 0]
    for pair in report_on(folder).evidence.pairs:
        i, j = pair.labels
        wrong = ((target_N == i) & (predicted_N == j)) | ((target_N == j) & (predicted_N == i))
        rows = wrong.nonzero().flatten()
        wanted = rows[p_target_N[rows].argsort()][:100].tolist()
        assert [example.reference.index for example in pair.examples.get("suspect_label", ())] == wanted


def test_identifiers_stand_beside_the_numbers_of_the_rows(files: tuple[Path, Tensor, Tensor]) -> None:
    folder = files[0]
    names = [f"images/{row}.png" for row in range(NUM_INPUTS)]
    for inputs in (folder / "inputs.txt", names, tuple(names)):
        examples = [one for pair in report_on(folder, inputs=inputs).evidence.pairs for one in pair.examples["overlap"]]
        assert examples
        assert all(one.reference.id == f"images/{one.reference.index}.png" for one in examples)


def test_a_row_has_no_batch_and_no_loader(files: tuple[Path, Tensor, Tensor]) -> None:
    """A file has none; the number of the row is its index."""
    pair = report_on(files[0]).evidence.pairs[0]
    assert {one.reference[:4] for one in pair.examples["overlap"]} == {(None, None, None, None)}


def test_a_text_of_any_kind_is_cut_and_shown_on_one_line(files: tuple[Path, Tensor, Tensor]) -> None:
    texts = ["<script>\x1b[31m\n" + "long " * 200_000, *["\u202e"] * (NUM_INPUTS - 1)]
    report = report_on(files[0], inputs=texts)
    for pair in report.evidence.pairs:
        assert all(len(one.reference.id or "") <= 1000 for some in pair.examples.values() for one in some)
        assert all(line.isprintable() for line in str(report.show(*pair.names)).splitlines())


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["a", "b"], r"^expected 2500 inputs, got 2\. One for each row of the embeddings or logits is needed\.$"),
        ([1] * NUM_INPUTS, r"^Expected `inputs` to be a file or a list of strings, got a list with a int\. Pass an identifier"),
        ("missing.txt", r"^missing\.txt: expected a text file with one input on each line, got an error: No such file"),
    ],
)
def test_wrong_identifiers_are_one_line(files: tuple[Path, Tensor, Tensor], inputs: object, said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as caught:
        report_on(files[0], inputs=inputs)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_line(files: tuple[Path, Tensor, Tensor]) -> None:
    path = files[0] / "odd.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"odd\.txt: expected a text file .* it is no UTF-8 text\.$"):
        report_on(files[0], inputs=path)


def test_identifiers_without_inputs_are_an_error(files: tuple[Path, Tensor, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="Expected `inputs` together with `logits` or `embeddings`, got neither"):
        analyze(files[0] / "model.pt", inputs=["a"])


def test_the_command_names_the_inputs_of_flagged_pairs(
    files: tuple[Path, Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the text, and in the table of all references that `--out` writes."""
    folder = files[0]
    thresholds = tmp_path / "all.yaml"
    thresholds.write_text("stranger: 0.01\nlookalike: 0.01\noutlier: 0\nmin_reliability: 0\n", encoding="utf-8")
    given = ["--embeddings", str(folder / "embeddings.pt"), "--inputs", str(folder / "inputs.txt")]
    out = tmp_path / "out"
    status = main(["analyze", str(folder / "model.pt"), *given, "--thresholds", str(thresholds), "--out", str(out)])
    assert status == 0
    assert re.search(r"e\.g\. (id )?images/\d+\.png, images/\d+\.png, images/\d+\.png", capsys.readouterr().out)
    (table,) = out.glob("cossim_analysis/*_evidence.csv")
    assert "images/" in table.read_text(encoding="utf-8")
