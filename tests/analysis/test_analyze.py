"""Offline analysis: the numbers of the callback out of files of every kind, and one line for each file that is wrong."""

import csv
import json
import math
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from typing_extensions import override

from lightning_cossim import GapReport, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds, analyze, compare
from lightning_cossim.analysis.checkpoints import read_head
from lightning_cossim.analysis.cli import main
from lightning_cossim.capture import vocabulary_summary
from lightning_cossim.errors import CheckpointError, ConfigError
from lightning_cossim.functional.links import Link
from lightning_cossim.report import Side
from tests.tensorboard_plugin.test_written import events
from tests.toys import FEW, LanguageToy, Sentences, Toy, loader, small_samples, trainer

pytestmark = pytest.mark.usefixtures("rare_labels_count")
NAMES = [f"label {label}" for label in range(12)]
STRICT = Thresholds(stranger=0.01, lookalike=0.02, outlier=0, min_reliability=0)
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
    np.save(folder / "targets.npy", torch.cat([batch[1] for batch in loader(256, num_labels=12)]).numpy())
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return folder, monitor.last_report["val"], seen


def assert_same(report: GapReport, of_monitor: GapReport) -> None:
    """To 1e-5, every rung, and every scalar but the overhead and what depends on blocks: a file knows no batches."""
    for rung, values in of_monitor.rungs.items():
        torch.testing.assert_close(report.rungs[rung], values, rtol=1e-5, atol=1e-5, equal_nan=True)
    for name, value in of_monitor.scalars.items():
        if name not in {"overhead_fraction", "reliability", "share_strangers", "share_lookalikes"}:
            assert report.scalars[name] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True), name
    assert (report.num_inputs, report.labels, report.sampling) == (of_monitor.num_inputs, of_monitor.labels, of_monitor.sampling)
    assert torch.equal(report.compared.row, of_monitor.compared.row)
    assert torch.equal(report.compared.column, of_monitor.compared.column)
    torch.testing.assert_close(report.gap, of_monitor.gap, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert report.flags.keys() == of_monitor.flags.keys()


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


VOCABULARY = {"max_tracked": 6, "labels_per_input": 5}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"overlap": "product"},
    {"overlap": "coactivation", "overlap_threshold": 0.2},
    {"overlap": "topk", "overlap_k": 3},
    {"link": "sigmoid", "overlap": "coactivation", "overlap_threshold": 0.6},
    {"min_probability": 0.9},
    {"ignore": [3, 7]},
    {"thresholds": STRICT},
]


def of_callback(folder: Path, settings: dict[str, Any]) -> GapReport:
    """The report of the monitor with the same settings on a validation of the same model."""
    chosen = {field.name for field in fields(LabelSelection)} & settings.keys()
    neighbors: Literal["fit_end", "never"] = "fit_end" if settings.get("neighbors", True) else "never"
    monitor = LabelSimilarityMonitor(
        labels=LabelSelection(**{name: settings[name] for name in chosen}),
        schedule=Schedule(neighbors=neighbors),
        **{"thresholds": FEW, **{name: settings[name] for name in settings.keys() - chosen - {"neighbors"}}},
    )
    model = Toy(12)
    model.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    trainer(callbacks=[monitor]).validate(model, loader(256, num_labels=12), verbose=False)
    return monitor.last_report["val"]


@pytest.mark.parametrize("more", [{}, VOCABULARY, {**VOCABULARY, "neighbors": False}], ids=["pairs", "neighbors", "vocabulary"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_setting_gives_the_numbers_of_the_callback(
    settings: dict[str, Any], more: dict[str, Any], trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all pairs, and over a vocabulary of which a sample of the pairs is compared, with and without neighbors."""
    for name, value in small_samples(5, 4).items():
        monkeypatch.setattr(vocabulary_summary, name, value)
    folder, _, seen = trained
    settings = {**settings, **more}
    of_monitor = of_callback(folder, settings)
    assert ("most alike" in of_monitor.sampling) == (more == VOCABULARY)
    assert ("at random" in of_monitor.sampling) == bool(more)
    for given in ({"embeddings": seen["embeddings"]}, seen):
        assert_same(analyze(folder / "state.pt", head="head", **{"thresholds": FEW, **settings, **given}), of_monitor)


@pytest.mark.parametrize("more", [{}, VOCABULARY], ids=["pairs", "vocabulary"])
def test_with_targets_errors_are_those_of_the_callback(more: dict[str, Any], trained: Trained) -> None:
    folder, _, seen = trained
    monitor = LabelSimilarityMonitor(labels=LabelSelection(targets_key=1, **more), thresholds=FEW)
    model = Toy(12)
    model.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    trainer(callbacks=[monitor]).validate(model, loader(256, num_labels=12), verbose=False)
    of_monitor = monitor.last_report["val"]
    assert of_monitor.errors is not None
    assert of_monitor.joint_shares is not None
    assert of_monitor.errors.sum() > 20
    targets = torch.from_numpy(np.load(folder / "targets.npy"))
    every: list[dict[str, Any]] = [{"embeddings": seen["embeddings"]}, {"logits": seen["logits"]}, dict(seen)]
    for inputs in every:
        for given in (targets, targets.int(), folder / "targets.npy"):
            report = analyze(folder / "state.pt", head="head", targets=given, thresholds=FEW, **inputs, **more)
            assert report.errors is not None
            assert torch.equal(report.errors, of_monitor.errors)
            torch.testing.assert_close(report.joint_shares, of_monitor.joint_shares, rtol=0, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("value", [-1, 12])
def test_targets_of_which_none_is_a_label_are_remarked_upon(value: int, trained: Trained) -> None:
    folder, _, seen = trained
    given: dict[str, Any] = {**seen, "targets": torch.full((256,), value)}
    report = analyze(folder / "state.pt", head="head", **given)
    assert report.errors is None
    assert report.remarks["targets"] == "no target of a counted input is a label from 0 to 11; the report counts no errors"


def test_every_setting_tells(trained: Trained) -> None:
    """Else the test above would show little: each gives other numbers than the defaults."""
    folder, _, seen = trained
    reports = [
        analyze(folder / "state.pt", head="head", embeddings=seen["embeddings"], **{"thresholds": FEW, **settings})
        for settings in [*SETTINGS, {**VOCABULARY, "labels_per_input": 2}]
    ]
    told = [repr((report.scalars, report.num_kept, report.sampling, report.truncation is None)) for report in reports]
    assert len({*told}) == len(reports)


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
    report = analyze(folder / "last.ckpt", logits=seen["logits"], names=NAMES, thresholds=FEW)
    torch.testing.assert_close(report.rungs["overlap"], of_monitor.rungs["overlap"], rtol=1e-5, atol=1e-5)
    assert report.rungs["logit_correlation"].isnan().all(), "nothing is known of the embeddings"
    assert report.names == tuple(NAMES)


def test_without_inputs_there_are_the_rungs_of_the_weights(trained: Trained) -> None:
    """The pair with the highest cosine comes first; what needs inputs says so."""
    folder, of_monitor, _ = trained
    report = analyze(folder / "weight.npy")
    torch.testing.assert_close(report.rungs["centered_cosine"], of_monitor.rungs["centered_cosine"], rtol=1e-5, atol=1e-5)
    assert report.pairs(top=1)[0].similarities["centered_cosine"] == report.rungs["centered_cosine"].max()
    assert "nan" not in str(report)
    assert "Pairs by cosine; the expected overlap is unknown (no inputs)" in str(report)


def test_logits_that_changed_behind_the_head_leave_its_embeddings_out(trained: Trained) -> None:
    """As the monitor does: rungs that would be false are not known."""
    folder, _, seen = trained
    capped = 3 * torch.tanh(seen["logits"] / 3)
    report = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], logits=capped, thresholds=FEW)
    assert report.rungs["logit_correlation"].isnan().all()
    assert report.rungs["overlap"].isfinite().all()
    assert "Note: the argument `logits` differs from `embedding @ weight.T + bias` by up to " in str(report)
    assert "; logit_correlation and log_odds_variance would be wrong and are left out." in str(report)
    assert analyze(folder / "last.ckpt", embeddings=seen["embeddings"], logits=capped, reachability=True).unreachable is None
    broken_inputs = seen["logits"].clone()
    broken_inputs[::50] = math.nan  # which count as nothing, and are no change
    report = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], logits=broken_inputs, thresholds=FEW)
    assert report.rungs["logit_correlation"].isfinite().all()
    assert report.num_skipped == 6


@pytest.mark.parametrize("link", ["softmax", "cosine"])
@pytest.mark.parametrize("num_broken", [64, 100, 1100])
def test_logits_that_changed_are_found_behind_inputs_that_tell_nothing(link: Link, num_broken: int, tmp_path: Path) -> None:
    """Padding may come first, and fill more than is read at a time."""
    torch.manual_seed(0)
    W_KD, f_ND = torch.randn(14, 8), torch.randn(3000, 8)
    torch.save({"head.weight": W_KD}, tmp_path / "head.pt")
    head: dict[str, Any] = {"link": link, "transposed": False} | ({"link_scale": 4.0} if link == "cosine" else {})
    z_NK = 10 * torch.tanh(f_ND @ W_KD.T / 10)
    z_NK[:num_broken] = math.nan
    report = analyze(tmp_path / "head.pt", embeddings=f_ND, logits=z_NK, **head)
    assert "differs from" in str(report) or "not a multiple of" in str(report)
    assert math.isnan(report.scalars["explained_logit_correlation"])
    assert math.isnan(report.scalars["explained_log_odds_variance"])
    assert report.num_skipped == num_broken


def test_arrays_are_names_and_labels_to_ignore_too(trained: Trained) -> None:
    checkpoint = trained[0] / "last.ckpt"
    wanted = analyze(checkpoint, names=NAMES, ignore=[0]).to_dict()
    arrays: list[Any] = [np.array([0]), torch.tensor([0])]
    names: Any = np.array(NAMES)
    assert [analyze(checkpoint, names=names, ignore=array).to_dict() for array in arrays] == [wanted] * 2


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
    report = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], names=NAMES, reachability=True, thresholds=FEW)
    assert report.unreachable is not None
    assert analyze(folder / "last.ckpt").unreachable is None


# The command


def test_a_report_is_printed_and_written(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As text, Markdown, JSON, CSV, and as a run of TensorBoard whose pages and tab show it."""
    folder, of_monitor, _ = trained
    files = [str(folder / name) for name in ("last.ckpt", "embeddings.npy", "labels.txt")]
    out = tmp_path / "report"
    assert main(["analyze", files[0], "--embeddings", files[1], "--names", files[2], "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "256 inputs, 66 pairs of labels" in printed
    assert "label 3" in printed
    assert [path.name for path in out.iterdir()] == ["cossim_analysis"]
    run = out / "cossim_analysis"
    names = {path.name for path in run.iterdir()}
    assert {"report.md", "report.txt", "cossim_analysis.csv", "cossim_analysis.json"} <= names
    assert len(list(csv.DictReader((run / "cossim_analysis.csv").read_text().splitlines()))) == 66
    assert json.loads((run / "cossim_analysis.json").read_text())["num_inputs"] == 256
    ((step, one),) = events(run, "cossim_analysis")
    assert (step, one.names[3], one.num_inputs) == (96, "label 3", 256)
    found = EventAccumulator(str(run))
    found.Reload()
    (value,) = found.Scalars("cossim_analysis/gap_behavior")
    assert value.value == pytest.approx(of_monitor.scalars["gap_behavior"], abs=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["report"], "nothing is left over"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--overlap", "coactivation", "--overlap-threshold", "0.2"], {"overlap": "coactivation", "overlap_threshold": 0.2}),
        (["--overlap", "topk", "--overlap-k", "3"], {"overlap": "topk", "overlap_k": 3}),
        (["--link", "sigmoid"], {"link": "sigmoid"}),
        (["--min-probability", "0.9"], {"min_probability": 0.9}),
        (["--ignore", "3", "7"], {"ignore": [3, 7]}),
        (["--max-tracked", "6"], {"max_tracked": 6}),
        (["--max-tracked", "6", "--labels-per-input", "2"], {"max_tracked": 6, "labels_per_input": 2}),
        (["--max-tracked", "6", "--no-neighbors"], {"max_tracked": 6, "neighbors": False}),
        (["--names", "labels.txt"], {"names": NAMES}),
        (["--thresholds", "thresholds.yaml"], {"thresholds": STRICT}),
        (["--reachability"], {"reachability": True}),
        (["--targets", "targets.npy"], {"targets": "targets.npy"}),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("inputs", ["embeddings", "logits"])
def test_an_option_is_an_argument(
    options: list[str],
    settings: dict[str, Any],
    inputs: str,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a command that says what the function gives, which is not what it gives without it."""
    for name, value in small_samples(5, 4).items():
        monkeypatch.setattr(vocabulary_summary, name, value)
    folder, _, seen = trained
    monkeypatch.chdir(folder)
    (folder / "thresholds.yaml").write_text("stranger: 0.01\nlookalike: 0.02\noutlier: 0\nmin_reliability: 0\n", encoding="utf-8")
    command = ["analyze", "state.pt", "--head", "head", f"--{inputs}", f"{inputs}.npy"]
    given: dict[str, Any] = {"head": "head", inputs: seen[inputs]}
    assert main([*command, *options]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{analyze('state.pt', **given, **settings)}\n"
    assert printed != f"{analyze('state.pt', **given)}\n"


def test_thresholds_flag_and_do_not_fail(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For that there is `--fail-on`, and one of the two is enough."""
    folder, *_ = trained
    path = tmp_path / "thresholds.yaml"
    path.write_text(
        "stranger: 0.01\noutlier: 0\nmin_reliability: 0\nalerts: [{scalar: overlap_mean, above: 0}]\n", encoding="utf-8"
    )
    command = ["analyze", str(folder / "last.ckpt"), "--embeddings", str(folder / "embeddings.npy")]
    assert main([*command, "--thresholds", str(path)]) == 0
    said = capsys.readouterr()
    assert re.search(r"^Flagged: [1-9]\d* strangers?, ", said.out, flags=re.MULTILINE)
    assert said.err == ""
    assert main([*command, "--fail-on", str(path)]) == 1
    assert capsys.readouterr().out == said.out
    assert main([*command, "--thresholds", str(path), "--fail-on", str(path)]) == 2
    text = "Expected `--thresholds` or `--fail-on`, got both. Pass `--fail-on` alone; it flags pairs by its thresholds too.\n"
    assert capsys.readouterr().err == text


@pytest.mark.parametrize("number", [1, 3, 30])
def test_written_tables_have_as_many_rows_as_wanted(number: int, trained: Trained, tmp_path: Path) -> None:
    """Either way, in Markdown and on TensorBoard's page."""
    folder, _, seen = trained
    out = tmp_path / "out"
    command = ["analyze", str(folder / "last.ckpt"), "--embeddings", str(folder / "embeddings.npy"), "--out", str(out)]
    assert main([*command, "--max-pairs", str(number)]) == 0
    report = analyze(folder / "last.ckpt", embeddings=seen["embeddings"])
    found = EventAccumulator(str(out / "cossim_analysis"), {"tensors": 0})
    found.Reload()
    tag = "cossim_analysis_pairs/strangers_and_lookalikes/text_summary"
    page = found.Tensors(tag)[0].tensor_proto.string_val[0].decode()
    wanted = [len(report.pairs(side, top=number)) for side in get_args(Side)]
    assert rows_of(page) == wanted
    assert rows_of((out / "cossim_analysis" / "report.md").read_text(encoding="utf-8")) == wanted


def rows_of(markdown: str) -> list[int]:
    """The rows of each of its tables, without heading and rule."""
    return [len(table.splitlines()) - 2 for table in markdown.split("\n\n") if table.startswith("|")]


def test_a_number_of_rows_that_is_none_is_told(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    folder, *_ = trained
    assert main(["analyze", str(folder / "last.ckpt"), "--max-pairs", "0"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Expected `max_pairs` to be a whole number of at least 1, got 0.\n"


def test_an_option_is_not_guessed_from_its_beginning(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    """`--labels`, which names had once, is not `--labels-per-input`."""
    folder, *_ = trained
    with pytest.raises(SystemExit) as ended:
        main(["analyze", str(folder / "last.ckpt"), "--labels", str(folder / "labels.txt")])
    assert ended.value.code == 2
    assert "unrecognized arguments: --labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("thresholds", "status", "said"),
    [
        ("min_inputs: 0\nalerts: [{scalar: overlap_mean, above: 0.0}]\nmin_reliability: 0\n", 1, "fails: overlap_mean"),
        ("min_inputs: 0\nalerts: [{scalar: overlap_mean, above: 0.999}]\nmin_reliability: 0\n", 0, ""),
        ("min_inputs: 0\nstranger: 0.0001\noutlier: 0\nmin_reliability: 0\n", 1, "strangers"),
        ("min_inputs: 0\nlookalike: 0.0001\noutlier: 0\nmin_reliability: 0\n", 1, "look-alikes"),
        ("min_inputs: 100000\n", 2, "256 inputs, verdicts need 100000. No pair was judged."),
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


def test_one_flagged_pair_is_told_in_the_singular(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The threshold lies between what is left of the two largest gaps without their errors."""
    folder, *_ = trained
    checkpoint, embeddings = folder / "last.ckpt", folder / "embeddings.npy"
    loose = Thresholds(stranger=0, lookalike=1, outlier=0, min_inputs=0, min_reliability=0)
    strangers = [pair for pair in analyze(checkpoint, embeddings=embeddings, thresholds=loose).pairs() if pair.flag == "stranger"]
    first, second = sorted((pair.gap - 1.895 * pair.overlap_error for pair in strangers), reverse=True)[:2]
    path = tmp_path / "thresholds.yaml"
    fields = f"stranger: {(first + second) / 2}\nlookalike: 1\noutlier: 0\nmin_inputs: 0\nmin_reliability: 0\n"
    path.write_text(fields, encoding="utf-8")
    assert main(["analyze", str(checkpoint), "--embeddings", str(embeddings), "--fail-on", str(path)]) == 1
    assert capsys.readouterr().err == "fails: 1 stranger\n"


def test_a_check_speaks_of_the_one_report_that_it_saw(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An alert that waits for three reports in a training fails here at once, and nobody speaks of three."""
    folder, *_ = trained
    path = tmp_path / "thresholds.yaml"
    alert = "{scalar: rank_agreement_centered_cosine, stage: val, below: 1.5, patience: 3, action: warn}"
    path.write_text(f"min_inputs: 0\nmin_reliability: 0\nalerts:\n  - {alert}\n", encoding="utf-8")
    command = ["analyze", str(folder / "last.ckpt"), "--embeddings", str(folder / "embeddings.npy"), "--fail-on", str(path)]
    assert main(command) == 1
    value = analyze(folder / "last.ckpt", embeddings=folder / "embeddings.npy").scalars["rank_agreement_centered_cosine"]
    assert capsys.readouterr().err == f"fails: rank_agreement_centered_cosine is {value:.4g}, below 1.5 (warn)\n"


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
    assert "The pairs with the largest change" in printed
    before, after = (analyze(path, embeddings=seen["embeddings"]) for path in files)
    difference = compare(before, after, top=66)
    assert difference.ranking_drift > 0.01
    changes = [abs(one.after["gap"] - one.before["gap"]) for one in difference.pairs]
    assert changes == sorted(changes, reverse=True)
    assert len(difference.pairs) == 66
    assert any("3" in {one.label, one.other} for one in difference.pairs[:3])
    assert compare(before, before).ranking_drift == 0
    assert str(compare(before, after)) == printed.rstrip("\n")
    wanted = before.scalars["gap_behavior"], after.scalars["gap_behavior"]
    assert difference.scalars["gap_behavior"] == pytest.approx(wanted, abs=0)
    line = next(line for line in printed.splitlines() if line.startswith("gap_behavior"))
    assert line.split() == ["gap_behavior", *(f"{value:.3f}" for value in wanted)]


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"names": NAMES[::-1]}, "other names"), ({"ignore": [3]}, "11"), ({"link": "sigmoid"}, "link")],
    ids=["names", "labels", "link"],
)
def test_reports_on_different_things_are_not_compared(settings: dict[str, Any], what: str, trained: Trained) -> None:
    """Whichever of the two comes first."""
    folder, _, seen = trained
    before = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], names=NAMES)
    after = analyze(folder / "last.ckpt", embeddings=seen["embeddings"], **{"names": NAMES, **settings})
    for pair in ((before, after), (after, before)):
        with pytest.raises(CheckpointError, match=what) as caught:
            str(compare(*pair))
        assert "\n" not in str(caught.value)


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
    np.save(folder / "logits.npy", np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32))
    np.save(folder / "eight.npy", np.zeros(8, dtype=np.int64))
    np.save(folder / "bool.npy", np.zeros(9, dtype=bool))
    np.save(folder / "words.npy", np.array(["a"] * 9))
    np.savez(folder / "several.npz", one=np.zeros(9, dtype=np.int64), two=np.zeros(9, dtype=np.int64))
    of_targets = ["good.pt", "--logits", "logits.npy", "--targets"]
    (folder / "index.json").write_text('{"weight_map": {"fc.weight": "gone.safetensors"}}')
    return {
        "cut.pt: expected a complete .pt file": ["cut.pt"],
        "cut.safetensors: expected a complete .safetensors file": ["cut.safetensors"],
        "good.pt: expected the weight of 'model.fd', got no such name. Similar: model.fc": ["good.pt", "--head", "model.fd"],
        "flat.pt: expected fc.weight of shape (K, D), one row for each label, got (6,).": ["flat.pt"],
        "nan.pt: expected fc.weight to be finite, got NaN or infinity in 2 rows: 2, 4.": ["nan.pt"],
        "code.pt: expected only tensors, got objects that would run code on loading.": ["code.pt"],
        "code.ckpt: expected only tensors, got objects that would run code on loading.": ["code.ckpt"],
        "bias.pt: expected fc.bias to hold 6 biases, one for each label, got 5.": ["bias.pt"],
        "wide.npy: expected logits of shape (N, 6), one column for each label": ["good.pt", "--logits", "wide.npy"],
        "wide.npy: expected embeddings of shape (N, 4), one column for each": ["good.pt", "--embeddings", "wide.npy"],
        "whole.npy: expected its array to be floating-point, got int64.": ["good.pt", "--logits", "whole.npy"],
        "Expected `names` to name the 6 rows of the head, got 2 names in short.txt, one per line.": [
            "good.pt",
            "--names",
            "short.txt",
        ],
        "none.npy: expected a readable file, got No such file or directory.": ["good.pt", "--logits", "none.npy"],
        "gone.npy: expected a readable file, got No such file or directory.": [*of_targets, "gone.npy"],
        "logits.npy: expected targets to be integers of shape (N,), got float32 (9, 6).": [*of_targets, "logits.npy"],
        "whole.npy: expected targets to be integers of shape (N,), got int64 (9, 6).": [*of_targets, "whole.npy"],
        "bool.npy: expected targets to be integers of shape (N,), got bool (9,).": [*of_targets, "bool.npy"],
        "words.npy: expected its array to hold numbers": [*of_targets, "words.npy"],
        "several.npz: expected one array of targets, got 2: one, two.": [*of_targets, "several.npz"],
        "Expected as many targets as inputs, got 8 and 9.": [*of_targets, "eight.npy"],
        "Expected `targets` together with `logits` or `embeddings`, got neither. Pass one of them too.": [
            "good.pt",
            "--targets",
            "eight.npy",
        ],
        "Expected `targets` only with labels that exclude one another, got link='sigmoid'.": [
            *of_targets,
            "eight.npy",
            "--link",
            "sigmoid",
        ],
        "empty.ckpt: expected a checkpoint, got an empty file.": ["empty.ckpt"],
        "int8.pt: expected fc.weight to be floating-point, got int8.": ["int8.pt"],
        ".: expected a file or the folder of a saved model, got a folder with ": ["."],
        "two.pt: expected one layer with a common head name, got 0. Pass `head`, one of one, two.": ["two.pt"],
        "list.pt: expected tensors by name, got none.": ["list.pt"],
        "short.txt: expected a file of type .ckpt": ["short.txt"],
        "index.json: expected gone.safetensors beside it, which holds fc.weight, got no such file.": ["index.json"],
        "good.pt: expected a bias named 'model.fc.bia', got no such name. Similar: model.fc.bias": [
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
    calls: list[tuple[type[Exception], Callable[[], object], str]] = [
        (
            CheckpointError,
            lambda: analyze(path, logits=torch.ones(3, 5)),
            r"`logits` to be floating-point of shape \(N, 6\), got torch.float32 \(3, 5\)",
        ),
        (CheckpointError, lambda: analyze(path, logits=three, embeddings=two), "as many logits as embeddings, got 3 and 2"),
        (
            CheckpointError,
            lambda: analyze(path, logits=three, targets=torch.ones(3)),
            r"Expected `targets` to be a file or an integer tensor of shape \(N,\), got torch.float32 \(3,\).",
        ),
        (
            CheckpointError,
            lambda: analyze(path, logits=three, targets=[0, 1, 2]),  # type: ignore[arg-type]
            r"Expected `targets` to be a file or an integer tensor of shape \(N,\), got list.",
        ),
        (ConfigError, lambda: analyze(path, names=["a"]), "Expected `names` to name the 6 rows of the head, got 1 names"),
    ]
    for kind, call, said in calls:
        with pytest.raises(kind, match=said):
            call()
