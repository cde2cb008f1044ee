"""Offline analysis: the numbers of the callback out of files of every kind, and one line for each file that is wrong."""

import csv
import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from typing_extensions import override

from lightning_cossim import GapReport, LabelSimilarityMonitor, analyze
from lightning_cossim.analysis.analyze import compared
from lightning_cossim.analysis.checkpoints import CheckpointError, read_head
from lightning_cossim.analysis.cli import main
from tests.tensorboard_plugin.test_written import events
from tests.toys import FEW, LanguageToy, Sentences, Toy, loader, trainer

NAMES = [f"label {label}" for label in range(12)]
Trained = tuple[Path, GapReport, dict[str, Tensor]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training's folder with its checkpoint in every form, the monitor's last report, and what it saw."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("trained")
    pl.seed_everything(0, verbose=False)
    monitor, model = LabelSimilarityMonitor(thresholds=FEW), Toy(12)
    saving = ModelCheckpoint(folder, filename="last")
    fit = trainer(callbacks=[monitor, saving], enable_checkpointing=True, max_epochs=3)
    fit.fit(model, loader(512, num_labels=12), loader(256, num_labels=12))
    inputs = torch.cat([batch[0] for batch in loader(256, num_labels=12)])
    model.eval()
    with torch.no_grad():
        seen = {"embeddings": model.body(inputs), "logits": model(inputs)}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(state, folder / "state.pt")
    save_file(state, folder / "one.safetensors")
    halves = {"model-1.safetensors": ["head.weight"], "model-2.safetensors": [name for name in state if name != "head.weight"]}
    for file, names in halves.items():
        save_file({name: state[name] for name in names}, folder / file)
    places = {name: file for file, names in halves.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    head = {name.replace(".", "_"): value.numpy() for name, value in state.items() if "head" in name}
    np.savez(folder / "head.npz", **head)
    np.save(folder / "weight.npy", state["head.weight"].numpy())
    for name, values in seen.items():
        np.save(folder / f"{name}.npy", values.numpy())
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return folder, monitor.last_report["val"], seen


def assert_same(report: GapReport, of_monitor: GapReport) -> None:
    """To 1e-5, every rung, every scalar but the overhead."""
    for rung, values in of_monitor.rungs.items():
        torch.testing.assert_close(report.rungs[rung], values, rtol=1e-5, atol=1e-5, equal_nan=True)
    for name, value in of_monitor.scalars.items():
        if name != "overhead_fraction":
            assert report.scalars[name] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True), name
    assert report.num_inputs == of_monitor.num_inputs


@pytest.mark.parametrize(
    "settings",
    [
        {"checkpoint": "last.ckpt"},
        {"checkpoint": "state.pt", "head": "head"},
        {"checkpoint": "one.safetensors", "head": "head.weight"},
        {"checkpoint": "model.safetensors.index.json"},
        {"checkpoint": "head.npz", "head": "head_weight", "bias": "head_bias"},
    ],
    ids=lambda settings: settings["checkpoint"],
)
def test_every_kind_of_file_gives_the_numbers_of_the_callback(settings: dict[str, Any], trained: Trained) -> None:
    folder, of_monitor, _ = trained
    checkpoint = folder / settings["checkpoint"]
    report = analyze(**{**settings, "checkpoint": checkpoint}, embeddings=folder / "embeddings.npy", thresholds=FEW)
    assert_same(report, of_monitor)
    assert report.step == (96 if checkpoint.suffix == ".ckpt" else 0)


def test_an_array_may_be_called_anything(trained: Trained, tmp_path: Path) -> None:
    """Only cosine heads hold labels in columns."""
    folder, report, seen = trained
    np.savez(tmp_path / "w.npz", W=np.load(folder / "weight.npy"))
    found = analyze(tmp_path / "w.npz", thresholds=FEW)
    torch.testing.assert_close(found.rungs["centered_cosine"], report.rungs["centered_cosine"], rtol=1e-5, atol=1e-5)
    assert seen


def test_logits_in_half_precision_are_explained_and_others_not(trained: Trained) -> None:
    """Wider numbers that hold no more digits count as such; those that do are held to what they hold."""
    folder, _, seen = trained
    f, z = seen["embeddings"], seen["logits"]
    for logits, is_changed in ((z, False), (z.bfloat16().float(), False), (z.half().float(), False), (1.004 * z, True)):
        remarks = analyze(folder / "last.ckpt", head="head", embeddings=f, logits=logits, thresholds=FEW).remarks
        assert ("logits" in remarks) == is_changed


def test_tensors_do_as_well(trained: Trained) -> None:
    folder, of_monitor, seen = trained
    assert_same(analyze(folder / "last.ckpt", embeddings=seen["embeddings"], thresholds=FEW), of_monitor)
    report = analyze(folder / "last.ckpt", logits=seen["logits"], labels=NAMES, thresholds=FEW)
    torch.testing.assert_close(report.rungs["overlap"], of_monitor.rungs["overlap"], rtol=1e-5, atol=1e-5)
    assert report.rungs["logit_correlation"].isnan().all(), "nothing is known of the embeddings"
    assert report.names == tuple(NAMES)


def test_without_inputs_there_are_the_rungs_of_the_weights(trained: Trained) -> None:
    """The pair with the highest cosine comes first; what needs inputs says so."""
    folder, of_monitor, _ = trained
    report = analyze(folder / "weight.npy")
    torch.testing.assert_close(report.rungs["centered_cosine"], of_monitor.rungs["centered_cosine"], rtol=1e-5, atol=1e-5)
    assert report.pairs(top=1)[0].centered_cosine == report.rungs["centered_cosine"].max()
    assert "nan" not in str(report)
    assert "Pairs by cosine; what to expect of their cosine is unknown (no inputs)" in str(report)


def test_logits_that_changed_behind_the_head_leave_its_embeddings_out(trained: Trained) -> None:
    """As the monitor does: rungs that would be false are not known."""
    folder, _, seen = trained
    capped = 3 * torch.tanh(seen["logits"] / 3)
    report = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], logits=capped, thresholds=FEW)
    assert report.rungs["logit_correlation"].isnan().all()
    assert report.rungs["overlap"].isfinite().all()
    assert "something changes them behind the head" in str(report)
    assert analyze(folder / "last.ckpt", embeddings=seen["embeddings"], logits=capped, reachability=True).unreachable is None
    broken_inputs = seen["logits"].clone()
    broken_inputs[::50] = math.nan  # which count as nothing, and are no change
    report = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], logits=broken_inputs, thresholds=FEW)
    assert report.rungs["logit_correlation"].isfinite().all()
    assert report.num_skipped == 6


def test_a_vocabulary_has_its_neighbors(tmp_path: Path) -> None:
    """The pair whose rows are most alike of all is in the sample."""
    pl.seed_everything(0, verbose=False)
    model = LanguageToy(700)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    words = torch.cat([batch["words"] for batch in torch.utils.data.DataLoader(Sentences(num_words=700), batch_size=8)])
    with torch.no_grad():
        embedding = model.body(model.embed(words))[0].flatten(0, 1)
    report = analyze(tmp_path / "state.pt", head="lm_head", embeddings=embedding)
    assert report.sampling
    assert report.num_inputs == len(embedding)
    rows = model.lm_head.weight.detach().double()
    unit = torch.nn.functional.normalize(rows - rows.mean(dim=0))
    best = int((unit @ unit.T).fill_diagonal_(-1).argmax())
    sampled = {frozenset(pair) for pair in zip(report.compared.row.tolist(), report.compared.column.tolist(), strict=True)}
    places = {label: place for place, label in enumerate(report.labels)}
    assert frozenset(places[label] for label in divmod(best, 700)) in sampled


def test_reachability_can_be_asked_for(trained: Trained) -> None:
    folder, _, seen = trained
    report = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], labels=NAMES, reachability=True, thresholds=FEW)
    assert report.unreachable is not None
    assert analyze(folder / "last.ckpt").unreachable is None


# The command


def test_a_report_is_printed_and_written(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As text, Markdown, JSON, CSV, and as a run of TensorBoard whose pages and tab show it."""
    folder, of_monitor, _ = trained
    files = [str(folder / name) for name in ("last.ckpt", "embeddings.npy", "labels.txt")]
    out = tmp_path / "report"
    assert main(["analyze", files[0], "--embeddings", files[1], "--labels", files[2], "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "256 inputs, 66 pairs of labels" in printed
    assert "label 3" in printed
    names = {path.name for path in out.iterdir()}
    assert {"report.md", "report.txt", "cossim_analysis.csv", "cossim_analysis.json"} <= names
    assert len(list(csv.DictReader((out / "cossim_analysis.csv").read_text().splitlines()))) == 66
    assert json.loads((out / "cossim_analysis.json").read_text())["num_inputs"] == 256
    ((step, one),) = events(out, "cossim_analysis")
    assert (step, one.names[3], one.num_inputs) == (96, "label 3", 256)
    found = EventAccumulator(str(out))
    found.Reload()
    (value,) = found.Scalars("cossim_analysis/gap_behavior")
    assert value.value == pytest.approx(of_monitor.scalars["gap_behavior"], abs=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["report"], "nothing is left over"


@pytest.mark.parametrize(
    ("thresholds", "status", "said"),
    [
        ("min_inputs: 0\nalerts: [{scalar: overlap_mean, above: 0.0}]\nmin_reliability: 0\n", 1, "fails: overlap_mean"),
        ("min_inputs: 0\nalerts: [{scalar: overlap_mean, above: 0.999}]\nmin_reliability: 0\n", 0, ""),
        ("min_inputs: 0\nstranger: 0.0001\nmin_reliability: 0\n", 1, "strangers"),
        ("min_inputs: 100000\n", 2, "256 inputs, verdicts need 100000: nothing was judged."),
        ("stranger: nine\n", 2, "stranger"),
    ],
)
def test_it_fails_where_it_is_told_to(
    thresholds: str, status: int, said: str, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, *_ = trained
    path = tmp_path / "thresholds.yaml"
    path.write_text(thresholds, encoding="utf-8")
    command = ["analyze", str(folder / "last.ckpt"), "--embeddings", str(folder / "embeddings.npy"), "--fail-on", str(path)]
    assert main(command) == status
    assert said in capsys.readouterr().err


def test_two_checkpoints_are_compared(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scalars side by side, how far rankings have moved, and the pairs that moved most."""
    folder, _, seen = trained
    head = read_head(folder / "last.ckpt")
    moved = head.unembedding.clone()
    moved[3] = moved[7]
    torch.save({"head.weight": moved, "head.bias": head.bias}, tmp_path / "moved.pt")
    files = [str(folder / "last.ckpt"), str(tmp_path / "moved.pt")]
    assert main(["compare", *files, "--embeddings", *[str(folder / "embeddings.npy")] * 2]) == 0
    printed = capsys.readouterr().out
    assert "gap_behavior" in printed
    assert "The pairs that moved most" in printed
    before, after = (analyze(path, embeddings=seen["embeddings"]) for path in files)
    drift, pairs = compared(before, after, top=66)
    assert drift > 0.01
    changes = [abs(one.after["gap"] - one.before["gap"]) for one in pairs]
    assert changes == sorted(changes, reverse=True)
    assert len(pairs) == 66
    assert any("3" in {one.label, one.other} for one in pairs[:3])
    assert compared(before, before)[0] == 0


# What is not as it has to be


class Evil:
    """Runs code when it is unpickled."""

    @override
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def broken(folder: Path) -> dict[str, list[str]]:
    """What is said, and the command that meets it."""
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    good = folder / "good.pt"
    torch.save({"model.fc.weight": weight, "model.fc.bias": torch.zeros(6), "model.body.weight": torch.ones(4, 4)}, good)
    (folder / "cut.pt").write_bytes(good.read_bytes()[:300])
    (folder / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    torch.save({"fc.weight": torch.ones(6)}, folder / "flat.pt")
    torch.save({"fc.weight": weight.index_fill(0, torch.tensor([2, 4]), math.nan)}, folder / "nan.pt")
    (folder / "code.pt").write_bytes(pickle.dumps({"fc.weight": Evil()}))
    torch.save({"fc.weight": weight, "hyper": Evil()}, folder / "code.ckpt")
    torch.save({"fc.weight": weight, "fc.bias": torch.zeros(5)}, folder / "bias.pt")
    torch.save({"fc.weight": (10 * weight).to(torch.int8)}, folder / "int8.pt")
    torch.save({"one.weight": weight, "two.weight": weight}, folder / "two.pt")
    torch.save([1, 2], folder / "list.pt")
    (folder / "empty.ckpt").touch()
    (folder / "short.txt").write_text("a\nb\n")
    np.save(folder / "wide.npy", np.zeros((9, 5), dtype=np.float32))
    np.save(folder / "whole.npy", np.zeros((9, 6), dtype=np.int64))
    (folder / "index.json").write_text('{"weight_map": {"fc.weight": "gone.safetensors"}}')
    return {
        "cut.pt: expected a whole .pt file": ["cut.pt"],
        "cut.safetensors: expected a whole .safetensors file": ["cut.safetensors"],
        "good.pt: expected the weight of 'model.fd', got no such name. Near: model.fc": ["good.pt", "--head", "model.fd"],
        "flat.pt: expected fc.weight of shape (K, D), a row for each label, got (6,).": ["flat.pt"],
        "nan.pt: expected fc.weight to be finite, got NaN or infinity in 2 rows: 2, 4.": ["nan.pt"],
        "code.pt: expected tensors alone, got objects whose loading would run code.": ["code.pt"],
        "code.ckpt: expected tensors alone, got objects whose loading would run code.": ["code.ckpt"],
        "bias.pt: expected a bias for each of 6 labels in fc.bias, got 5.": ["bias.pt"],
        "wide.npy: expected logits of shape (N, 6), one column for each label": ["good.pt", "--logits", "wide.npy"],
        "wide.npy: expected embeddings of shape (N, 4), one column for each": ["good.pt", "--embeddings", "wide.npy"],
        "whole.npy: expected its array to be floating, got int64.": ["good.pt", "--logits", "whole.npy"],
        "short.txt: expected a name for each of 6 labels, one a line, got 2.": ["good.pt", "--labels", "short.txt"],
        "none.npy: expected a readable file, got No such file or directory.": ["good.pt", "--logits", "none.npy"],
        "empty.ckpt: expected a checkpoint, got an empty file.": ["empty.ckpt"],
        "int8.pt: expected fc.weight to be floating, got int8.": ["int8.pt"],
        ".: expected a file, got a folder with ": ["."],
        "two.pt: expected one head, got 0 with a usual name. Pass `head`, one of one, two.": ["two.pt"],
        "list.pt: expected tensors by name, got none.": ["list.pt"],
        "short.txt: expected a file of one of the kinds .ckpt": ["short.txt"],
        "index.json: expected gone.safetensors beside it, where fc.weight is, got no such file.": ["index.json"],
        "good.pt: expected a bias named 'model.fc.bia', got no such name. Near: model.fc.bias": [
            "good.pt",
            "--bias",
            "model.fc.bia",
        ],
    }


def test_what_is_wrong_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is half-written, nobody's code has run."""
    monkeypatch.chdir(tmp_path)
    for said, command in broken(tmp_path).items():
        assert main(["analyze", *command, "--out", "out"]) == 2, said
        printed = capsys.readouterr()
        assert printed.out == "", said
        assert printed.err.startswith(said), printed.err
        assert len(printed.err.splitlines()) == 1, printed.err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


def test_tensors_that_do_not_fit_are_told_from_python(tmp_path: Path) -> None:
    path = tmp_path / "good.pt"
    torch.save({"fc.weight": torch.randn(6, 4)}, path)
    three, two = torch.ones(3, 6), torch.ones(2, 4)
    calls: list[tuple[Callable[[], object], str]] = [
        (
            lambda: analyze(path, logits=torch.ones(3, 5)),
            r"`logits` to be floating, of shape \(N, 6\), got torch.float32 \(3, 5\)",
        ),
        (lambda: analyze(path, logits=three, embeddings=two), "as many logits as embeddings, got 3 and 2"),
        (lambda: analyze(path, labels=["a"]), "a name for each of 6 labels, got 1"),
    ]
    for call, said in calls:
        with pytest.raises(CheckpointError, match=said):
            call()
