"""Soft-capped and cosine heads from end to end: trained, watched, analyzed; which rungs there are, which not, and why.

Shapes: K labels, D embedding dimensions, N inputs.
"""

import json
import logging
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim import GapReport, LabelSelection, LabelSimilarityMonitor, Schedule, analyze
from lightning_cossim.analysis.cli import main
from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.errors import InputError, LabelSimilarityError
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.scalars import scalars
from lightning_cossim.metrics import SimilarityGap
from tests import reference
from tests.capture.test_cosine_heads import FACES, Bare
from tests.capture.test_vocabulary import D, assert_same, inputs_of, report_of, seen_of, summary_of, whole_report
from tests.report.test_reachability import corners
from tests.tensorboard_plugin.test_written import events
from tests.toys import ALWAYS, FEW, ArcFace, Batch, Capped, Faces, MemoryLogger, Toy, altered, attributed, loader, trainer

K = 12
LINKS: dict[Link, tuple[type[Toy], dict[str, Any]]] = {
    "softcap": (Capped, {"link_cap": Capped.cap}),
    "cosine": (Faces, {"link_scale": 8.0}),
}
WHY = {
    "softcap": "a soft cap bounds each logit alone, so adding one vector to all rows changes probabilities",
    "cosine": "a cosine head uses the directions of the rows, so adding one vector to all rows changes probabilities",
}
ABSENT = "Label-centered cosine, translation gap and common mode ratio are not computed"
NOTE = {"softcap": ". Logit correlation and log-odds variance use the logits before the cap", "cosine": ""}
CENTERED = {
    *("centered_cosine", "rank_agreement_centered_cosine", "explained_centered_cosine"),
    *("gap_translation", "common_mode_ratio"),
}
Fitted = tuple[Toy, LabelSimilarityMonitor, Path]


@pytest.fixture(scope="module", params=LINKS)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A model of the link, trained under a monitor that was told the link."""
    kind, numbers = LINKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    pl.seed_everything(0, verbose=False)
    monitor = LabelSimilarityMonitor(link=request.param, thresholds=FEW, display=ALWAYS, **numbers)
    model = kind(K)
    logger = TensorBoardLogger(folder, name=None, version="")
    fit = trainer(callbacks=[monitor], logger=logger, max_epochs=3)
    fit.fit(model, loader(256, num_labels=K), loader(128, num_labels=K))
    fit.save_checkpoint(folder / "last.ckpt")
    return model.eval(), monitor, folder


def validated(model: Toy) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, embeddings, and final logits of the validation set."""
    inputs = torch.cat([batch[0] for batch in loader(128, num_labels=K)])
    with torch.no_grad():
        return model.head.weight.detach(), model.body(inputs), model(inputs)


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# What a training tells


def test_every_number_is_that_of_the_formulas(fitted: Fitted) -> None:
    """THEORY §3, in float64: nothing centered; a cosine head's rows and embeddings at length 1 throughout."""
    model, monitor, _ = fitted
    report = monitor.last_report["val"]
    W, f, z = (tensor.double().numpy() for tensor in validated(model))
    if report.link == "cosine":
        W, f = 8 * unit(W), unit(f)
        np.testing.assert_allclose(f @ W.T, z, atol=1e-5)  # the model's own words
    S = reference.covariance(f)
    wanted = {
        "raw_cosine": reference.cosine(W, centered=False),
        "logit_correlation": reference.logit_correlation(W, S, centered=False),
        "log_odds_variance": reference.log_odds_variance(W, S),
        "overlap": reference.bhattacharyya(reference.softmax(z)),
    }
    assert {*report.rungs} == {*wanted}
    for rung, matrix in wanted.items():
        np.testing.assert_allclose(report.matrix(rung), matrix, rtol=1e-4, atol=1e-5, err_msg=rung)
    pair = np.triu_indices(K, 1)
    raw, correlation, overlap = (wanted[rung] for rung in ("raw_cosine", "logit_correlation", "overlap"))
    assert report.scalars["gap_geometry"] == pytest.approx(np.abs(raw - correlation)[pair].mean(), abs=1e-4)
    agreement = reference.rank_agreement(raw, overlap)
    assert report.scalars["rank_agreement_raw_cosine"] == pytest.approx(agreement, abs=1e-3)
    assert report.scalars["explained_raw_cosine"] == pytest.approx(reference.explained_overlap(raw, overlap), abs=1e-3)
    assert report.scalars["gap_behavior"] == pytest.approx(1 - max(0, agreement), abs=1e-3)
    if report.link == "cosine":  # what its name says
        log_odds = np.array([[np.var(z[:, i] - z[:, j]) for j in range(K)] for i in range(K)])
        np.testing.assert_allclose(report.matrix("log_odds_variance"), log_odds, rtol=1e-3, atol=1e-4)


def test_what_centering_would_tell_is_absent_with_its_reason(fitted: Fitted) -> None:
    """In the report and all that is made of it, for people and for programs."""
    _, monitor, _ = fitted
    report = monitor.last_report["val"]
    why = WHY[report.link]
    line = f"{ABSENT}: {why}{NOTE[report.link]}."
    assert f"\n{line}\n" in str(report)
    assert str(report).count("centered") == 1
    assert report.why_absent == report.to_dict()["absent"] == dict.fromkeys(CENTERED, why)
    assert not CENTERED & ({*report.scalars} | {*report.undefined} | {*report.rungs} | {*report.to_pandas().columns})
    assert not any("centered_cosine" in pair.similarities for pair in report.pairs())
    assert "centered" not in report.to_markdown()


def test_pages_and_tab_have_what_the_report_has(fitted: Fitted) -> None:
    """No curve, picture, column or view of what would be false; the reason on the page and in the tab."""
    _, monitor, folder = fitted
    link = monitor.last_report["val"].link
    found = EventAccumulator(str(folder), {"tensors": 0})
    found.Reload()
    tags = found.Tags()
    curves = {tag.removeprefix("cossim_val/") for tag in tags["scalars"] if tag.startswith("cossim_val/")}
    assert curves <= {*scalars(link)}
    assert {"rank_agreement_raw_cosine", "explained_raw_cosine", "gap_geometry", "gap_behavior", "overlap_mean"} <= curves
    assert not any("centered" in tag for kind in ("scalars", "images", "tensors") for tag in tags[kind])
    page = found.Tensors("cossim_val_pairs/strangers_and_lookalikes/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert f"{ABSENT}: {WHY[link]}{NOTE[link]}." in page
    _, step = events(folder, "cossim_val")[-1]
    assert (step.link, step.cosine) == (link, "raw_cosine")
    of_pairs = {"overlap", "expected_overlap", "overlap_error", "joint_inputs"}
    assert {*step.values} == {"raw_cosine", "logit_correlation", "log_odds_variance", *of_pairs}
    assert step.remarks[0] == f"{ABSENT}: {WHY[link]}{NOTE[link]}"
    saved = json.loads(next(folder.glob("**/*val*.json")).read_text(encoding="utf-8"))
    assert saved["remarks"][0] == step.remarks[0]


@pytest.mark.parametrize("link", LINKS)
def test_scalars_and_keys_are_those_of_the_link(link: Link, caplog: pytest.LogCaptureFixture) -> None:
    """To loggers and to callbacks that watch; and the first line says what probabilities are made of."""
    kind, numbers = LINKS[link]
    logger, monitor = MemoryLogger(), LabelSimilarityMonitor(link=link, **numbers)
    run = trainer(callbacks=[monitor], logger=logger)
    with caplog.at_level(logging.INFO):
        run.fit(kind(), loader(), loader(60))
    assert {key for key in run.callback_metrics if key.startswith("cossim_val/")} == {
        f"cossim_val/{tag}" for tag in scalars(link)
    }
    assert not {tag for _, metrics in logger.entries for tag in metrics if tag.partition("/")[2] in CENTERED}
    said = {
        "softcap": "as the only final linear layer; probabilities: softmax of its own output, capped at 2; next report",
        "cosine": "found by its rows, one vector per label; probabilities: softmax of its cosines times 8; next report",
    }
    assert any(said[link] in record.getMessage() for record in caplog.records)


def test_a_training_window_has_no_margins_in_it() -> None:
    """Its overlaps are those of evaluation logits, at the weights of each batch."""
    seen: list[tuple[Tensor, Tensor]] = []

    class Noted(Faces):
        @override
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            with torch.no_grad():
                embedding = self.body(batch[0])
                seen.append((self.head(embedding), self.head(embedding, batch[1])))
            return loss

    pl.seed_everything(0, verbose=False)
    model = Noted(K)
    model.body[2] = nn.Identity()  # what it sees is what the step above worked out
    schedule = Schedule(train_every_n_steps=1, train_batches=1)
    monitor = LabelSimilarityMonitor(link="cosine", schedule=schedule, thresholds=FEW, display=ALWAYS)
    trainer(callbacks=[monitor], max_epochs=1).fit(model, loader(256, 64, num_labels=K))
    wanted, with_margins = (reference.bhattacharyya(reference.softmax(z.double().numpy())) for z in seen[-1])
    overlap = monitor.last_report["train"].matrix("overlap")
    known = overlap.isfinite().numpy()
    np.testing.assert_allclose(overlap[known], wanted[known], atol=1e-5)
    assert np.abs(with_margins - wanted)[known].max() > 0.01


# Telling the link


@pytest.mark.parametrize(
    ("build", "wanted", "name"),
    [
        (lambda: ArcFace(8, 5, s=16.0), 16.0, "s"),
        (lambda: attributed(ArcFace(8, 5, s=16.0), scale=4), 4.0, "scale"),
        (lambda: attributed(ArcFace(8, 5, s=16.0), s=nn.Parameter(torch.tensor([2.0]))), 2.0, "s"),
    ],
)
def test_a_scale_is_looked_up_in_the_head(build: Any, wanted: float, name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = Faces()
    model.head = build()
    monitor = LabelSimilarityMonitor(link="cosine", thresholds=FEW)
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("ignore")
        trainer(callbacks=[monitor]).validate(model, loader(64), verbose=False)
    assert monitor._observed is not None
    assert monitor._observed.weights.response == Response("cosine", None, wanted)
    text = f"; probabilities: softmax of its cosines times {wanted:g} (from its `{name}`); report"
    assert any(text in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("softcap", "Expected `link_cap` with link 'softcap' or `final_logit_softcapping` in the model's config, got None."),
        (
            "cosine",
            "Expected `link_scale` with link 'cosine' or a number as `scale` or `s` of the head, got None. Pass the factor",
        ),
    ],
)
def test_a_number_that_is_nowhere_is_asked_for_before_any_training(link: Link, text: str) -> None:
    model = Toy()
    if link == "cosine":
        attributed(model, head=attributed(Bare(), scale=torch.ones(3), s=True))
    with pytest.raises(InputError, match=re.escape(text)):
        trainer(callbacks=[LabelSimilarityMonitor(link=link)]).fit(model, loader())
    assert model.batches_seen == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"link_cap": 30}, "Expected `link_cap` only with link 'softcap', got 30 with 'softmax'."),
        ({"link": "softcap", "link_cap": 0}, "Expected `link_cap` to be a positive number, got 0."),
        ({"link": "cosine", "link_scale": -2}, "Expected `link_scale` to be a positive number, got -2."),
        ({"link": "cosine", "link_scale": "64"}, "Expected `link_scale` to be a number, got '64'."),
        ({"link": "softcap", "link_scale": 8}, "Expected `link_scale` only with link 'cosine', got 8 with 'softcap'."),
    ],
)
def test_slips_are_told_when_the_monitor_is_made(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(LabelSimilarityError, match=re.escape(text)):
        LabelSimilarityMonitor(**arguments)


# What a soft-capped head shows


class CapsItself(nn.Linear):
    @override
    def forward(self, input: Tensor) -> Tensor:
        return 2 * torch.tanh(super().forward(input) / 2)


def test_a_head_that_caps_its_logits_itself_is_not_capped_twice() -> None:
    layer = CapsItself(5, 8)
    layer.weight.data.mul_(10)
    observer = HeadObserver(Head("head", layer, "its path", Response.of("softcap", link_cap=2.0)))
    observer.arm()
    layer(FACES)
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.problem is None
    assert seen.embedding is not None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, layer(FACES).detach())


def test_another_cap_is_told() -> None:
    """Of logits as they are given; of a head's own, that overlaps are those of what it gives, capped."""
    layer = CapsItself(5, 8)
    layer.weight.data.mul_(10)
    head = Head("head", layer, "its path", Response.of("softcap", link_cap=3.0))
    for source, text in (
        ("head", "likely causes: another cap, a scale after the cap"),
        (None, "are left out; the overlaps are computed from the capped output"),
    ):
        observer = HeadObserver(head, nn.ModuleDict({"head": layer}), logits_from=source)
        observer.arm()
        layer(FACES)
        seen = observer.take(1024, torch.Generator())
        assert seen is not None
        assert seen.embedding is None
        assert text in (seen.problem or "")


def test_a_cap_beside_another_one_in_the_configuration_is_told() -> None:
    model = Capped()
    attributed(model, config=SimpleNamespace(final_logit_softcapping=2.0))
    for cap in (2.0, 50.0):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            trainer(callbacks=[LabelSimilarityMonitor(link="softcap", link_cap=cap)]).validate(model, loader(64), verbose=False)
        told = [str(one.message) for one in record if "final logits" in str(one.message)]
        assert len(told) == (cap != 2)
        assert all("`forward` soft-caps the logits (`final_logit_softcapping=2` in the model's config)" in text for text in told)


# A scale that is learned


class Learning(Faces):
    """Its scale moves by itself, so that the test can tell."""

    def __init__(self, num_labels: int = 8) -> None:
        super().__init__(num_labels)
        attributed(self.head, s=nn.Parameter(torch.tensor(4.0)))


@pytest.mark.parametrize(
    "labels", [LabelSelection(), LabelSelection(max_tracked=4, labels_per_input=5)], ids=["whole", "vocabulary"]
)
def test_a_learned_scale_is_that_of_the_moment(labels: LabelSelection) -> None:
    pl.seed_everything(0, verbose=False)
    model, monitor = Learning(K), LabelSimilarityMonitor(link="cosine", labels=labels, thresholds=FEW)
    trainer(callbacks=[monitor], max_epochs=4).fit(model, loader(256, num_labels=K), loader(128, num_labels=K))
    scale = model.head.get_parameter("s").item()
    assert abs(scale - 4) > 0.2, "it has learned"
    W, f, z = (tensor.double().numpy() for tensor in validated(model.eval()))
    report = monitor.last_report["val"]
    np.testing.assert_allclose(report.matrix("overlap"), reference.bhattacharyya(reference.softmax(z)), atol=1e-5)
    wanted = reference.log_odds_variance(scale * unit(W), reference.covariance(unit(f)))
    np.testing.assert_allclose(report.matrix("log_odds_variance"), wanted, rtol=1e-4, atol=1e-4)


def test_a_vocabulary_whose_scale_has_moved_is_not_worked_out_anew() -> None:
    """Its rows may have stayed the same."""
    head, f = head_of("cosine"), inputs_of(40)
    seen = []
    for scale in (8.0, 16.0):
        response = Response.of("cosine", link_scale=scale)
        logits = response.logits(f, head.unembedding, None)
        seen.append(Observation(head.unembedding, logits, f, response=response))
    report = report_of(summary_of(head, seen, {"link": "cosine"}, labels_per_input=30))
    metric = SimilarityGap(30, D, link="cosine", link_scale=16.0)
    for one in seen:
        metric.update(one.unembedding, one.logits, one.embedding)
    assert_same(report, metric.report())


# Vocabularies


def head_of(link: Link, num_labels: int = 30) -> Head:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(D, num_labels)
    layer.weight.data.copy_(torch.randn(num_labels, D, generator=generator) + 0.3)
    return Head("fc", layer, "its path", Response.of(link, **LINKS[link][1]))


@pytest.mark.parametrize("kind", ["bhattacharyya", "product", "topk"])
@pytest.mark.parametrize("link", LINKS)
def test_a_vocabulary_says_what_all_pairs_say(link: Link, kind: str) -> None:
    """From eight labels an input, since its embeddings and weights give the logits of the pairs looked at."""
    head = head_of(link)
    seen = [seen_of(head, inputs_of(40)), seen_of(head, inputs_of(7, seed=2))]
    report = report_of(summary_of(head, seen, {"kind": kind, "link": link}, labels_per_input=8))
    whole = whole_report(head, seen, kind=kind, link=link, link_scale=head.response.link_scale)
    assert_same(report, whole)
    assert report.truncation is not None
    assert report.truncation.max() <= 1e-6


@pytest.mark.parametrize("link", LINKS)
def test_a_vocabulary_is_watched(link: Link) -> None:
    kind, numbers = LINKS[link]
    reports = []
    for labels in (LabelSelection(), LabelSelection(max_tracked=4, labels_per_input=5)):
        pl.seed_everything(0, verbose=False)
        monitor = LabelSimilarityMonitor(link=link, labels=labels, thresholds=FEW, **numbers)
        trainer(callbacks=[monitor]).fit(kind(K), loader(num_labels=K), loader(60, num_labels=K))
        reports.append(altered(monitor.last_report["val"], overhead_fraction=0.0))
    whole, sampled = reports
    assert_same(sampled, whole)


# Already trained


def test_an_analysis_gives_the_numbers_of_the_callback(fitted: Fitted) -> None:
    """From embeddings alone, and beside the model's own final logits; but for the reliability: files know no batches."""
    model, monitor, folder = fitted
    report = monitor.last_report["val"]
    _, f, z = validated(model)
    settings: dict[str, Any] = {"head": "head", "link": report.link, "thresholds": FEW, **LINKS[report.link][1]}
    given: list[dict[str, Any]] = [{"embeddings": f}, {"embeddings": f, "logits": z}]
    for files in given:
        found = analyze(folder / "last.ckpt", **settings, **files)
        for rung, values in report.rungs.items():
            torch.testing.assert_close(found.rungs[rung], values, rtol=1e-5, atol=1e-5)
        for name in {*report.scalars} - {"overhead_fraction", "reliability"}:
            assert found.scalars[name] == pytest.approx(report.scalars[name], rel=1e-4, abs=1e-5, nan_ok=True), name
        assert not found.remarks
    assert "logits" in analyze(folder / "last.ckpt", head="head", embeddings=f, logits=z).remarks, "the link was not told"


def test_the_command_takes_the_link(fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, monitor, folder = fitted
    link = monitor.last_report["val"].link
    np.save(tmp_path / "f.npy", validated(model)[1].numpy())
    asked = ["analyze", str(folder / "last.ckpt"), "--head", "head", "--embeddings", str(tmp_path / "f.npy"), "--link", link]
    number = {"softcap": ["--link-cap", "2"], "cosine": ["--link-scale", "8"]}[link]
    assert main([*asked, *number, "--out", str(tmp_path / "out")]) == 0
    assert f"{ABSENT}: {WHY[link]}{NOTE[link]}.\n" in capsys.readouterr().out
    assert (
        WHY[link]
        in json.loads((tmp_path / "out" / "cossim_analysis" / "cossim_analysis.json").read_text(encoding="utf-8"))["remarks"][0]
    )
    assert main(asked) == 2
    name = {"softcap": "link_cap", "cosine": "link_scale"}[link]
    error = capsys.readouterr().err
    assert error.startswith(f"Expected `{name}` with link '{link}' and embeddings, got None. Pass ")
    assert error.count("\n") == 1
    without = [*asked[:4], "--link", link]
    assert main(without) == 0, "what the weights alone tell needs none"
    capsys.readouterr()
    (tmp_path / "alerts.yaml").write_text("min_inputs: 0\nalerts: [{scalar: gap_translation, above: 0.01}]\n", encoding="utf-8")
    assert main([*asked, *number, "--fail-on", str(tmp_path / "alerts.yaml")]) == 2
    said = (
        f"expected alerts on scalars that exist for this head, got gap_translation, which is undefined under {link}: {WHY[link]}"
    )
    assert capsys.readouterr().err == f"{tmp_path / 'alerts.yaml'}: {said}. Remove this alert.\n"


@pytest.mark.parametrize("name", ["W", "kernel"])
def test_a_file_does_not_tell_rows_from_columns_so_the_user_does(name: str, tmp_path: Path) -> None:
    rows = torch.randn(20, 6)
    torch.save({f"loss.{name}": rows.T}, tmp_path / "head.pt")
    settings: dict[str, Any] = {"head": "loss", "link": "cosine"}
    text = f"expected `transposed` for loss.{name}, (6, 20), got none. If each label is a column, pass `transposed=True`"
    with pytest.raises(LabelSimilarityError, match=re.escape(text)):
        analyze(tmp_path / "head.pt", **settings)
    turned, as_it_is = (analyze(tmp_path / "head.pt", transposed=transposed, **settings) for transposed in (True, False))
    assert (turned.num_live, as_it_is.num_live) == (20, 6)
    np.testing.assert_allclose(turned.matrix("raw_cosine"), reference.cosine(rows.numpy(), centered=False), atol=1e-5)


# What can happen at all


def decided(link: Link) -> tuple[Toy, GapReport]:
    kind, numbers = LINKS[link]
    pl.seed_everything(0, verbose=False)
    model = kind(30)
    model.body = nn.Sequential(nn.Linear(6, 2))
    attributed(model, head=nn.Linear(2, 30, bias=False) if link == "softcap" else ArcFace(30, 2, s=8.0))
    schedule = Schedule(reachability="fit_end")
    monitor = LabelSimilarityMonitor(link=link, schedule=schedule, thresholds=FEW, display=ALWAYS, **numbers)
    trainer(callbacks=[monitor], max_epochs=1).fit(model, loader(256, num_labels=30), loader(128, num_labels=30))
    return model, monitor.last_report["val"]


def test_a_soft_cap_moves_nothing_on_top() -> None:
    model, report = decided("softcap")
    never = sorted({*range(30)} - corners(model.head.weight.detach()))
    assert never
    assert report.unreachable == tuple(map(str, never))


def test_every_label_of_a_cosine_head_is_on_top_in_its_own_direction() -> None:
    """Its rows all lie on a sphere; as they are, some do not reach the hull."""
    model, report = decided("cosine")
    assert len(corners(model.head.weight.detach())) < 30
    assert report.unreachable == ()
    assert report.num_undecided == 0


@pytest.mark.parametrize("link", LINKS)
def test_the_lemmas_are_of_a_softmax(link: Link) -> None:
    kind, numbers = LINKS[link]
    monitor = LabelSimilarityMonitor(link=link, thresholds=FEW, **numbers)
    trainer(callbacks=[monitor]).validate(kind(), loader(64), verbose=False)
    with pytest.raises(
        InputError,
        match=f"Expected `link` to be 'softmax', got '{link}'. A translation changes the probabilities of other links.",
    ):
        monitor.audit()


# The metric alone


def test_a_metric_of_cosines_wants_its_scale() -> None:
    W, f = torch.randn(8, 5), torch.randn(20, 5)
    metric = SimilarityGap(8, 5, link="cosine")
    metric.update(W, f @ W.T)  # which has nothing to do with log-odds
    with pytest.raises(InputError, match="Expected `link_scale` with link 'cosine' and embeddings, got None"):
        metric.update(W, f @ W.T, f)
    with pytest.raises(InputError, match="Expected `link_scale` only with link 'cosine', got 8 with 'softmax'"):
        SimilarityGap(8, 5, link_scale=8)


def test_a_scale_is_in_the_log_odds_and_in_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    W, f = torch.randn(12, 5, generator=generator), torch.randn(200, 5, generator=generator)
    reports = []
    for scale in (1.0, 8.0):
        metric = SimilarityGap(12, 5, link="cosine", link_scale=scale, min_probability=0)
        metric.update(W, 8 * nn.functional.cosine_similarity(f[:, None], W, dim=2), f)
        reports.append(metric.report())
    one, eight = reports
    for rung in one.rungs:
        factor = 64 if rung == "log_odds_variance" else 1
        torch.testing.assert_close(eight.rungs[rung], factor * one.rungs[rung], rtol=1e-4, atol=1e-5)
