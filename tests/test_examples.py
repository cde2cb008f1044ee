"""The examples run as a user runs them, and what they write is what the README promises."""

import contextlib
import gzip
import logging
import math
import os
import re
import runpy
import subprocess
import sys
import warnings
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import nbformat
import pytest
import torch
from nbclient import NotebookClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_cossim import LabelSelection, LabelSimilarityMonitor
from lightning_cossim.loggers.tags import SCALARS
from tests.toys import trainer

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str, cwd: Path) -> str:
    """What an example prints, run from a folder of its own; it must not give a warning of ours.

    In this process, since torch and Lightning take seconds to import; the quickstart runs in one of its own, as a user's does.
    """
    printed, lightning = StringIO(), logging.getLogger("lightning.pytorch")
    level = lightning.level
    with (
        contextlib.chdir(cwd),
        mock.patch.object(sys, "argv", [name, *arguments]),
        contextlib.redirect_stdout(printed),
        warnings.catch_warnings(record=True) as record,
    ):
        warnings.simplefilter("always")
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise
        finally:
            lightning.setLevel(level)  # an example may quiet it, and later tests read its records
    assert not [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    return printed.getvalue()


def run_apart(name: str, *, cwd: Path) -> str:
    """The same in an interpreter of its own."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(EXAMPLES / name)]
    ran = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=cwd, env=environment, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    no_warning = r"LabelSimilarityMonitor: (watching head, Linear \d+→\d+|cossim_train: no verdict on pairs: \d+ pairs of labels)"
    assert "LabelSimilarityMonitor: " not in re.sub(no_warning, "", ran.stderr)
    return ran.stdout


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the quickstart prints, and where it ran."""
    folder = tmp_path_factory.mktemp("quickstart")
    return run_apart("quickstart.py", cwd=folder), folder


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Tag to step to value, read back from the one event file below a folder."""
    (path,) = folder.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(path))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_quickstart_prints_what_a_newcomer_needs(quickstart: tuple[str, Path]) -> None:
    """Accuracy, rank agreements and their errors, pairs by name each way with all rungs, the event file, the command for it."""
    text, folder = quickstart
    accuracy = re.search(r"Accuracy (\d+\.\d)% on 600 digits", text)
    assert accuracy is not None
    assert float(accuracy[1]) > 90
    for rung in ("raw_cosine", "centered_cosine", "logit_correlation", "log_odds_variance"):
        row = re.search(rf"^ +{rung} +(-?[01]\.\d\d) +(0\.\d+) +(-?\d\.\d\d)$", text, flags=re.MULTILINE)
        assert row is not None
        assert 0 < float(row[2]) < 0.1
    more, less = text.split("Towards strangers")[1].split("Towards look-alikes")
    similarities = ["raw cos", "centered cos", "logit corr", "log-odds var"]
    columns = ["gap", "std error", "overlap", "expected", *similarities, "joint", "flag"]
    for table, sign in ((more, r"\+"), (less, "-")):
        assert all(column in table for column in columns)
        assert len(re.findall(rf"^[a-z]+ +[a-z]+ +{sign}\d", table, flags=re.MULTILINE)) == 5
    flagged = re.findall(r"^.* (?:stranger|look-alike)\n  e\.g\. index \d+, \d+, \d+$", text, flags=re.MULTILINE)
    assert len(flagged) == len(re.findall(r" (?:stranger|look-alike)$", text, flags=re.MULTILINE)) >= 1
    where = re.search(r"The event file is in (\S+)\. ", text)
    assert where is not None
    assert list((folder / where[1]).glob("events.out.tfevents.*"))
    command = re.search(r"^    (\S*tensorboard) --logdir lightning_logs$", text, flags=re.MULTILINE)
    assert command is not None
    assert command[1] == "tensorboard" or (folder / command[1]).exists()


def test_quickstart_event_file_holds_every_scalar_at_the_users_steps(quickstart: tuple[str, Path]) -> None:
    """Both stages, every tag, finite values; validation at the steps of `val_accuracy`, training from first window to last.

    The window that opens at step 600 has a small last batch of an epoch in it, and one batch more to make up for that.
    """
    found = curves(quickstart[1])
    assert set(found) >= {f"cossim_{stage}/{name}" for stage in ("train", "val") for name in SCALARS}
    assert all(math.isfinite(value) for curve in found.values() for value in curve.values())
    for name in SCALARS:
        assert set(found[f"cossim_val/{name}"]) == set(found["val_accuracy"])
        assert list(found[f"cossim_train/{name}"]) == [7, 207, 407, 608, 759]
    assert max(found["val_accuracy"]) == 759


def test_quickstart_event_file_holds_pictures_of_every_validation(quickstart: tuple[str, Path]) -> None:
    """Twenty epochs, of which TensorBoard's own reader keeps some; the last is among them."""
    (path,) = quickstart[1].rglob("events.out.tfevents.*")
    events = EventAccumulator(str(path))
    events.Reload()
    assert {tag for tag in events.Tags()["images"] if tag.startswith("cossim_val_heatmap/")} == {
        f"cossim_val_heatmap/{what}" for what in ("centered_cosine", "overlap", "gap")
    }
    assert events.Images("cossim_val_scatter/centered_cosine")[-1].step == 759


CLOTHES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]


def write_idx(path: Path, values: Any, *, zipped: bool) -> None:
    """An idx file: its head tells the type, the number of dimensions, and their sizes."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    content = head + values.numpy().tobytes()
    path.with_suffix(".gz" if zipped else "").write_bytes(gzip.compress(content) if zipped else content)


def test_fashion_mnist_reads_idx_files(tmp_path: Path) -> None:
    """Gzipped and plain ones; a few images of noise here, whose labels show in one corner."""
    generator = torch.Generator().manual_seed(0)
    for part, number, zipped in (("train", 600, True), ("t10k", 300, False)):
        labels = torch.randint(10, (number,), generator=generator)
        images = torch.randint(256, (number, 28, 28), generator=generator)
        images[torch.arange(number), labels, :5] = 255
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels.byte(), zipped=zipped)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", images.byte(), zipped=zipped)
    text = run("fashion_mnist.py", str(tmp_path), "--epochs", "3", cwd=tmp_path)
    assert re.search(r"Accuracy \d+\.\d% on 300 images", text)
    assert "45 pairs of labels" in text
    assert sum(label in text for label in CLOTHES) >= 5


def test_fashion_mnist_says_where_the_data_are(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run("fashion_mnist.py", str(tmp_path), cwd=tmp_path)
    assert str(ended.value) == (
        f"{tmp_path} has no train-images-idx3-ubyte[.gz]. On Debian, run `apt install dataset-fashion-mnist` and pass "
        "/usr/share/datasets/fashion-mnist."
    )


@pytest.mark.full
def test_shirts_are_strangers_to_pullovers_or_coats_in_four_of_five_trainings(tmp_path: Path) -> None:
    """The real data, as Debian has them (`.ci/run full` installs them); a look-alike of at least a tenth in every training."""
    found = 0
    for seed in range(5):
        text = run("fashion_mnist.py", "--seed", str(seed), cwd=tmp_path)
        pattern = r"^(\S+) +(\S+) +([+-]\d\.\d{3}) .*? (stranger|look-alike)$"
        flagged = re.findall(pattern, text, flags=re.MULTILINE)
        strangers = {frozenset(names) for *names, _, flag in flagged if flag == "stranger"}
        found += bool(strangers & {frozenset({"Coat", "Shirt"}), frozenset({"Pullover", "Shirt"})})
        assert any(float(gap) <= -0.1 for _, _, gap, flag in flagged if flag == "look-alike")
    assert found >= 4


@pytest.mark.full
def test_wrong_labels_stand_at_the_top_of_the_suspects(tmp_path: Path) -> None:
    """50 shirts of the validation set become coats. Most of those that the model predicts as Shirt are among the first 100."""
    example = runpy.run_path(str(EXAMPLES / "fashion_mnist.py"))
    pl.seed_everything(0, verbose=False)
    training, validation = example["clothes"](Path(example["DEBIAN"]), 128)
    images, labels = validation.dataset.tensors
    shirts = (labels == CLOTHES.index("Shirt")).nonzero().flatten()
    wrong = shirts[torch.randperm(len(shirts), generator=torch.Generator().manual_seed(0))[:50]]
    labels[wrong] = CLOTHES.index("Coat")
    monitor, model = LabelSimilarityMonitor(labels=LabelSelection(names=CLOTHES, targets_key=1)), example["Classifier"]()
    trainer(max_epochs=3, callbacks=[monitor], default_root_dir=tmp_path).fit(model, training, validation)
    model.eval()
    with torch.no_grad():
        predicted = model(images[wrong]).argmax(dim=1)
    seen = {*wrong[predicted == CLOTHES.index("Shirt")].tolist()}
    suspects = monitor.last_report["val"].evidence["Coat", "Shirt"].examples["suspect_label"][:100]
    assert len(seen) >= 15
    assert len(seen & {one.reference.index for one in suspects}) >= 0.8 * len(seen)


def test_cosine_is_arbitrary(tmp_path: Path) -> None:
    """The trained head, translated: raw cosine -1 and +1, the other columns and the probabilities unmoved."""
    text = run("cosine_is_arbitrary.py", cwd=tmp_path)
    pattern = r"^(as trained|one vector added|another vector added) +(-?\d\.\d{4}) +(.*?) +(\d\.\de[+-]\d\d)$"
    rows = {what: (float(raw), rest, float(moved)) for what, raw, rest, moved in re.findall(pattern, text, flags=re.MULTILINE)}
    assert rows["one vector added"][0] == -1
    assert rows["another vector added"][0] == 1
    assert -0.9 < rows["as trained"][0] < 0.9
    assert len({rest for _, rest, _ in rows.values()}) == 1
    assert all(moved < 1e-6 for _, _, moved in rows.values())


AGREED, STRANGERS, LOOKALIKES = "Agreed: ", "More overlap than ", "Less overlap than "


def pairs_printed(text: str) -> dict[str, list[tuple[str, str, float, float, float]]]:
    """The tables of the language model: title to words, cosine, overlap and expected overlap."""
    number = r" +([+-]?\d\.\d\d)"
    tables = {}
    for title in (AGREED, STRANGERS, LOOKALIKES):
        table = text.split(f"\n{title}")[1].split("\n\n", maxsplit=1)[0]
        rows = re.findall(rf"^    ([a-z]+) +([a-z]+){number}{number}{number}$", table, flags=re.MULTILINE)
        tables[title] = [(one, other, *map(float, numbers)) for one, other, *numbers in rows]
    return tables


def test_language_model_runs_on_sequences(tmp_path: Path) -> None:
    """A short run: places without a target do not count, more than 2 000 labels are looked at, tables have their sides."""
    text = run("language_model.py", "--epochs", "1", "--batches", "20", cwd=tmp_path)
    found = re.search(r"Perplexity (\d+) over (\d+) words, (\d+) places of text", text)
    assert found is not None
    assert int(found[2]) >= 2000
    pairs = re.search(rf"{found[3]} inputs, (\d+) pairs of labels", text)
    assert pairs is not None
    assert 45 <= int(pairs[1]) < math.comb(int(found[2]), 2)  # of all words, those that come up often
    tables = pairs_printed(text)
    assert all(overlap > expected for *_, overlap, expected in tables[STRANGERS])
    assert all(overlap < expected for *_, overlap, expected in tables[LOOKALIKES])
    assert len(tables[LOOKALIKES]) == 8
    curve = curves(tmp_path)
    assert {f"cossim_{stage}/reliability" for stage in ("train", "val")} <= set(curve)


@pytest.mark.full
def test_language_model_finds_words_that_may_stand_for_one_another(tmp_path: Path) -> None:
    """The whole run: articles, conjunctions and auxiliaries agree; `be` is found to be no other word.

    Two words share probability at places where neither is among the likely ones: eight of these are printed.
    """
    text = run("language_model.py", cwd=tmp_path)
    tables = pairs_printed(text)
    agreed = {(one, other) for one, other, *_ in tables[AGREED]}
    assert {("a", "an"), ("and", "or"), ("can", "may")} <= agreed
    assert all(overlap > 0.9 for *_, overlap, _ in tables[AGREED])
    assert sum("be" in (one, other) for one, other, *_ in tables[LOOKALIKES]) >= 3
    assert len(tables[STRANGERS]) == 8
    places = re.findall(r"^index \d+, position \d+ .*⟦.+⟧.*$", text, flags=re.MULTILINE)
    assert len(places) == 8


def test_paper_examples_agree_with_the_paper(tmp_path: Path) -> None:
    """Every number beside theirs, and a picture of every head; it ends in an error if one differs."""
    text = run("paper_examples.py", cwd=tmp_path)
    assert "DIFFERS" not in text
    assert "Every number agrees." in text
    for theirs in ("0.777278", "0.324324", "-0.588172", "-0.805000", "[(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]"):
        assert len(re.findall(re.escape(theirs), text)) >= 2
    pictures = sorted(path.name for path in (tmp_path / "paper_examples").iterdir())
    drawn = ["centered", "fixed_length", "lost_region", "other_rankings", "seven_lengths", "sign_patterns", "translation"]
    assert pictures == [f"{name}.png" for name in drawn]


def test_the_notebook_shows_the_report_and_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed as a reader executes it; what it shows is committed with it."""
    for folder in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(folder, str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    committed = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    executed = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    for outputs in (committed, executed):
        printed = "".join(output.get("text", "") for output in outputs)
        assert re.search(r"^one +eight .+ stranger$", printed, flags=re.MULTILINE)
        assert "one vector added to all rows           -1.0000" in printed
        assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
        assert not [output for output in outputs if output.get("name") == "stderr"], "no warnings, and no paths of a machine"
