"""Pages: what loggers get beside curves, from which reports, and what a fault costs."""

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from typing_extensions import override

from lightning_cossim import Alert, Display, LabelSelection, LabelSimilarityMonitor, Schedule, Thresholds
from lightning_cossim.functional.scalars import scalars
from lightning_cossim.loggers import figures
from lightning_cossim.loggers.figures import heatmaps, scatter
from lightning_cossim.loggers.label_order import label_order
from lightning_cossim.loggers.pages import VIEWS, Pages, View
from lightning_cossim.report import GapReport
from lightning_cossim.report.evidence import View as ViewOfInput
from tests.report.made_evidence import judged, with_inputs
from tests.report.made_evidence import pixels as noise
from tests.report.test_verdicts import OPEN, report_of
from tests.toys import ALWAYS, MemoryLogger, Toy, altered, loader, trainer

HOSTILE = [
    "a|b",
    "*",
    "<b>x</b>",
    "😀 smile",
    "שלום עולם",
    "$\\frac{1}{2}$",
    "_under_",
    "two\nlines",
    "x" * 60,
    "",
    "\x1b[31m",
    "日本語",
]
HEATMAPS = ["centered_cosine", "gap", "overlap"]


def of(num_labels: int = 12, names: Sequence[str] | None = None) -> GapReport:
    report = report_of(num_labels).judged(OPEN)
    return report if names is None else altered(report, names=tuple(names))


# Pictures


def test_heatmaps_are_of_the_cosine_the_overlap_and_the_gap() -> None:
    """350 pixels wide, at most as high, in color."""
    drawn = dict(heatmaps(of(), range(12)))
    assert sorted(drawn) == HEATMAPS
    for pixels in (*drawn.values(), scatter(of())):
        height, width, channels = pixels.shape
        assert (width, channels, pixels.dtype.name) == (350, 3, "uint8")
        assert 200 <= height <= 350
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_report_without_gaps_has_the_heatmap_of_its_weights() -> None:
    unseen = altered(of(), rungs={**of().rungs, "overlap": torch.full((66,), math.nan)})
    assert [name for name, _ in heatmaps(unseen, range(12))] == ["centered_cosine"]


@pytest.mark.parametrize("num_labels", [1, 2, 3, 9, 12, 20, 21, 40])
def test_any_number_of_labels_can_be_drawn(num_labels: int) -> None:
    """Also those without a verdict, whose title says so."""
    report = report_of(num_labels).judged(Thresholds())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(heatmaps(report, label_order(report, 100)))
        scatter(report)


@pytest.mark.parametrize("side", ["left", "below"])
def test_names_fit_into_the_picture(side: str) -> None:
    """The longest that are shown leave a margin: nothing is cut off at the edge."""
    names = ["W" * 40] * 12
    pixels = next(iter(heatmaps(of(names=names), range(12))))[1]
    edge = pixels[:, :2] if side == "left" else pixels[-2:]
    assert (edge == 255).all()
    assert (pixels[:, :80] < 128).any()


def test_hostile_names_are_drawn_as_text() -> None:
    """No mathematics, no line breaks; what the font lacks is told once."""
    told: list[str] = []
    pages = Pages(Display(), None, lambda: told.append("lacks"))
    for view in VIEWS:
        assert pages.draw(view, of(names=HOSTILE)) or view in {"histograms", "evidence"}
    assert {*told} == {"lacks"}  # by heatmaps, and by a scatter that names such a pair; the monitor says it once


def test_names_in_a_scatter_stay_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they are: shortened ones of the widest letters fit."""
    drawn: list[Any] = []
    real = figures._name

    def name(axes: Any, *args: Any) -> None:
        real(axes, *args)
        drawn.append((axes, axes.texts[-1]))

    monkeypatch.setattr(figures, "_name", name)
    scatter(of(names=["M" * 60] * 12))
    assert drawn
    for axes, text in drawn:
        frame, extent = axes.get_window_extent(), text.get_window_extent()
        assert frame.x0 - 1 <= extent.x0
        assert extent.x1 <= frame.x1 + 1


def test_a_scatter_of_very_many_pairs_shows_their_density(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = scatter(of(40))
    monkeypatch.setattr(figures, "_DENSE", 100)
    assert not np.array_equal(scatter(of(40)), sparse)


def test_a_scatter_is_of_the_thresholds_that_the_report_was_judged_by() -> None:
    """A band of what is not flagged, only where there is a verdict; without one the title says why.

    With one it has the number that leads, where that is known.
    """

    def said(report: GapReport) -> tuple[list[str], list[str]]:
        figure = Figure()
        figures._scatter(figure, report)
        return [text.get_text() for legend in figure.legends for text in legend.get_texts()], [
            text.get_text() for text in figure.texts
        ]

    judged = report_of().judged(OPEN)
    counts = [f"{int(judged.flags['strangers'].sum())} strangers", f"{int(judged.flags['lookalikes'].sum())} look-alikes"]
    agreement = [f"Rank agreement with the overlap: {judged.scalars['rank_agreement_centered_cosine']:.2f}"]
    assert said(judged) == (["expected overlap", "not flagged", *counts], agreement)
    assert said(report_of()) == (["expected overlap"], agreement)
    assert said(report_of(4)) == ([], ["Cosine against overlap"])
    without = report_of(num_inputs=100).judged(Thresholds())
    assert said(without) == (["expected overlap"], ["No verdict: 100 inputs, verdicts need 256"])


def test_a_scatter_draws_the_curve_of_all_pairs() -> None:
    """Not what single pairs are held against: that goes up and down."""
    report, figure = report_of(), Figure()
    figures._scatter(figure, report)
    (line,) = (line for line in figure.axes[0].lines if line.get_label() == "expected overlap")
    drawn = np.asarray(line.get_ydata())
    assert np.array_equal(drawn, report.expected_curve[report.rungs["centered_cosine"].argsort()].numpy())
    assert (np.diff(drawn) >= 0).all()
    assert (report.expected_overlap[report.rungs["centered_cosine"].argsort()].diff() < 0).any()


def test_labels_that_overlap_stand_together() -> None:
    """Two groups whose labels overlap among themselves; one label that is not kept comes last."""
    overlap = torch.full((7, 7), 0.01)
    for group in ([0, 2, 4], [1, 3, 5]):
        overlap[np.ix_(group, group)] = 0.6
    overlap[6] = overlap[:, 6] = math.nan
    report = report_of(7)
    kept = torch.tensor([True] * 6 + [False])
    order = label_order(altered(report, kept=kept, rungs={**report.rungs, "overlap": report.compared.values(overlap)}), 100)
    assert {frozenset(order[:3]), frozenset(order[3:6])} == {frozenset([0, 2, 4]), frozenset([1, 3, 5])}
    assert order[6] == 6


def test_of_very_many_labels_the_most_probable_are_drawn() -> None:
    """A hundred of them, those that count first: a picture has no more than two pixels for each."""
    report = report_of(130)
    probs = torch.linspace(1, 2, 130)[torch.randperm(130, generator=torch.Generator().manual_seed(0))]
    kept = torch.ones(130, dtype=torch.bool)
    kept[probs.argmax()] = False
    order = label_order(altered(report, mean_probs=probs, kept=kept), 100)
    assert sorted(order) == sorted((probs * kept).argsort(descending=True)[:100].tolist())
    few = label_order(altered(report, mean_probs=probs, kept=torch.arange(130) < 30), 100)
    assert sorted(few[:30]) == list(range(30))
    assert len(few) == 100


@pytest.mark.parametrize(
    ("shown", "of_all", "compared", "note"),
    [
        (20, 20, 20, ""),
        (20, 20, 19, "gray: not compared"),
        (21, 21, 21, "21 labels, 1 in 2 named"),
        (100, 256, 100, "100 of 256 labels, 1 in 5 named"),
        (100, 256, 90, "100 of 256 labels, 1 in 5 named, gray: not compared"),
    ],
)
def test_a_heatmap_says_what_it_leaves_out(shown: int, of_all: int, compared: int, note: str) -> None:
    assert figures._left_out(shown, of_all, compared) == note


# Loggers


def fit(monitor: LabelSimilarityMonitor, logger: Any, **settings: Any) -> pl.Trainer:
    num_labels = settings.pop("num_labels", 20)
    run = trainer(callbacks=[monitor, *settings.pop("callbacks", [])], logger=logger, **settings)
    pl.seed_everything(0, verbose=False)
    run.fit(Toy(num_labels), loader(num_labels=num_labels), loader(60, num_labels=num_labels, seed=2))
    return run


def ours(*, with_evidence: bool = False, **settings: Any) -> LabelSimilarityMonitor:
    settings = {"thresholds": OPEN, "schedule": Schedule(3, 2), "display": ALWAYS, **settings}
    settings["display"] = replace(settings["display"], evidence=with_evidence)
    return LabelSimilarityMonitor(**settings)


def events_of(path: Path) -> EventAccumulator:
    events = EventAccumulator(str(path), size_guidance={"images": 0, "tensors": 0, "histograms": 0})
    events.Reload()
    return events


def steps(events: EventAccumulator) -> dict[str, list[int]]:
    """Tag to steps of everything that is no curve, written once a step."""
    tags = events.Tags()
    found = {tag: [event.step for event in events.Images(tag)] for tag in tags["images"]}
    found |= {tag: [event.step for event in events.Histograms(tag)] for tag in tags["histograms"]}
    found |= {tag.removesuffix("/text_summary"): [event.step for event in events.Tensors(tag)] for tag in tags["tensors"]}
    # The tab's own tags have no group: see tests/tensorboard_plugin.
    return {tag: of_tag for tag, of_tag in found.items() if tag.removeprefix("mine-").startswith("cossim") and "/" in tag}


@pytest.mark.parametrize(("name", "prefix"), [(None, ""), ("aux", ""), (None, "mine")])
def test_tensorboard_gets_every_page_after_every_validation(tmp_path: Path, name: str | None, prefix: str) -> None:
    """Each kind in a group of its own, behind the logger's prefix, at the x of the curves."""
    fit(ours(name=name), TensorBoardLogger(tmp_path, name=None, version="", prefix=prefix))
    events = events_of(tmp_path)
    group = f"{prefix}-" * bool(prefix) + ("cossim_val" if name is None else "cossim_aux_val")
    wanted = {f"{group}_heatmap/{what}" for what in HEATMAPS} | {f"{group}_histogram/{what}" for what in HEATMAPS}
    wanted |= {f"{group}_scatter/centered_cosine", f"{group}_pairs/strangers_and_lookalikes"}
    assert steps(events) == {tag: [5, 11] for tag in wanted}
    assert f"{group}/gap_behavior" in events.Tags()["scalars"]
    picture = events.Images(f"{group}_heatmap/gap")[0]
    assert Image.open(io.BytesIO(picture.encoded_image_string)).size == (picture.width, picture.height)


def test_a_histogram_counts_every_pair(tmp_path: Path) -> None:
    monitor = ours()
    fit(monitor, TensorBoardLogger(tmp_path, name=None, version=""))
    report = monitor.last_report["val"]
    histogram = events_of(tmp_path).Histograms("cossim_val_histogram/overlap")[-1].histogram_value
    values = report.rungs["overlap"]
    assert (histogram.num, sum(histogram.bucket)) == (190, 190)
    assert (histogram.min, histogram.max) == pytest.approx((values.min().item(), values.max().item()))
    wanted = (values.sum().item(), values.square().sum().item())
    assert (histogram.sum, histogram.sum_squares) == pytest.approx(wanted, rel=1e-4)
    below = sum(count for limit, count in zip(histogram.bucket_limit, histogram.bucket, strict=True) if limit <= values.median())
    assert below == pytest.approx(95, abs=30)


def test_a_table_has_its_pairs_and_few_labels_have_no_histogram(tmp_path: Path) -> None:
    monitor = ours(display=replace(ALWAYS, max_pairs=3), labels=LabelSelection(names=HOSTILE))
    with pytest.warns(UserWarning, match="the font of the pictures lacks some characters of the names") as record:
        fit(monitor, TensorBoardLogger(tmp_path, name=None, version=""), num_labels=12)
    assert len([warning for warning in record if "the font of the pictures" in str(warning.message)]) == 1
    events = events_of(tmp_path)
    assert not events.Tags()["histograms"]
    (tag,) = (tag for tag in events.Tags()["tensors"] if "pairs" in tag)
    text = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
    leading, _, seen, *_ = text.splitlines()
    name, report = "rank_agreement_centered_cosine", monitor.last_report["val"]
    bold = f"**Rank agreement of the label-centered cosine with the overlap: {report.scalars[name]:.2f}**"
    assert leading.startswith(f"{bold}, standard error {report.standard_errors[name]:#.2g} (1: ")
    assert seen.startswith("val at step 11: 60 inputs, 66 pairs of labels, reliability")
    tables = text.split("**Towards")[1:]
    assert [len(re.findall(r"^\| (?!pair)", table, flags=re.MULTILINE)) for table in tables] == [3, 3]
    assert "<b>" not in text
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")} == {10}


def test_the_layout_of_custom_scalars_names_curves_that_there_are(tmp_path: Path) -> None:
    """Once; every pattern matches tags of the run, and every curve but the monitor's own stands somewhere.

    Rank agreement leads, that of the cosine with its error comes next, the share explained follows.
    """
    fit(ours(name="a.b"), TensorBoardLogger(tmp_path, name=None, version="", prefix="mine"))
    events = events_of(tmp_path)
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["cossim_a.b_val", "cossim_a.b_train"]
    tags = [tag for tag in events.Tags()["scalars"] if "cossim" in tag]
    for category in layout.category:
        assert [chart.title for chart in category.chart][:3] == [
            "Rank agreement of each similarity with the overlap",
            "Rank agreement of the cosine, with its 95 % interval",
            "Share of the overlap explained by each similarity",
        ]
    patterns = [pattern for category in layout.category for chart in category.chart for pattern in chart.multiline.tag]
    assert all(sum(bool(re.search(pattern, tag)) for tag in tags) == 1 for pattern in patterns)
    left_out = {tag.rpartition("/")[2] for tag in tags if not any(re.search(pattern, tag) for pattern in patterns)}
    assert left_out == {"overhead_fraction", "common_mode_ratio"}


def test_views_can_be_left_out(tmp_path: Path) -> None:
    display = Display(max_overhead=None, heatmaps=False, tables=False, histograms=False)
    fit(ours(display=display), TensorBoardLogger(tmp_path, name=None, version=""))
    assert steps(events_of(tmp_path)) == {"cossim_val_scatter/centered_cosine": [5, 11]}


class Showroom(MemoryLogger):
    """As loggers of Weights & Biases are: images and tables by methods of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, int, tuple[int, ...]]] = []
        self.tables: list[tuple[str, int, list[str], list[list[Any]]]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.images += [(key, step or 0, image.shape) for image in images]

    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None) -> None:
        self.tables.append((key, step or 0, columns, data))


def test_other_loggers_get_what_they_can_take(tmp_path: Path) -> None:
    """Images and tables by their own methods; a CSV file the curves alone; all of them in one run."""
    show, plain, monitor = Showroom(), CSVLogger(tmp_path), ours()
    fit(monitor, [show, plain, MemoryLogger()])
    assert sorted({(key, step) for key, step, _ in show.images}) == sorted(
        (tag, step)
        for tag in ("cossim_val_scatter/centered_cosine", *(f"cossim_val_heatmap/{what}" for what in HEATMAPS))
        for step in (5, 11)
    )
    key, step, columns, rows = show.tables[-1]
    assert (key, step) == ("cossim_val_pairs/strangers_and_lookalikes", 11)
    assert columns[:3] == ["label", "other", "raw_cosine"]
    assert [row[:2] for row in rows[:12]] == [
        [pair.label, pair.other] for pair in monitor.last_report["val"].pairs("strangers", top=12)
    ]
    assert "cossim_val/gap_behavior" in Path(plain.log_dir, "metrics.csv").read_text(encoding="utf-8")


def test_nothing_is_drawn_for_loggers_that_cannot_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pages, "draw", lambda *args: pytest.fail("drawn for nobody"))
    fit(ours(), [MemoryLogger()])


def test_without_a_validation_loop_training_reports_are_drawn(tmp_path: Path) -> None:
    run = trainer(callbacks=[ours()], logger=TensorBoardLogger(tmp_path, name=None, version=""))
    run.fit(Toy(12), loader(num_labels=12))
    found = steps(events_of(tmp_path))
    assert found["cossim_train_heatmap/gap"] == [1, 4, 7, 11]
    assert not any("val" in tag for tag in found)


def test_runs_of_their_own_are_drawn_at_their_end(tmp_path: Path) -> None:
    monitor = ours(display=Display(max_overhead=0))
    run = trainer(callbacks=[monitor], logger=TensorBoardLogger(tmp_path, name=None, version=""))
    data = loader(60, num_labels=12)
    run.validate(Toy(12), data, verbose=False)
    run.test(Toy(12), data, verbose=False)
    found = steps(events_of(tmp_path))
    assert found["cossim_val_heatmap/gap"] == found["cossim_test_scatter/centered_cosine"] == [0]


# Cost


class Clock:
    """A clock that only work moves on: a validation takes ten seconds, drawing one."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("lightning_cossim.callback.budget.perf_counter", clock)
    real = Pages.draw

    def draw(self: Pages, view: View, report: GapReport) -> Any:
        clock.now += 1 / len(VIEWS)
        return real(self, view, report)

    monkeypatch.setattr(Pages, "draw", draw)
    return clock


class Epochs(Callback):
    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.now += self.seconds

    @override
    def on_train_batch_start(self, *args: Any) -> None:
        self.clock.now += 2


@pytest.mark.parametrize(
    ("share", "seconds", "drawn"),
    [
        (None, 0, [0, 1, 2, 3, 4, 5, 6, 7]),
        (0.8, 0, [0, 1, 2, 3, 4, 5, 6, 7]),  # a second fits into a tenth of twelve
        (0.64, 0, [0, 2, 4, 6, 7]),
        (0.08, 14, [0, 4, 7]),
        (0, 1000, [0, 7]),  # the first, for nobody knows what it costs, and the last
    ],
)
def test_pictures_come_when_they_fit_into_their_share_and_at_the_end(
    share: float | None, seconds: float, drawn: list[int], clock: Clock, tmp_path: Path
) -> None:
    """Of eight epochs of twelve seconds and more; an eighth of the share is for them. Curves come with every validation."""
    monitor = ours(with_evidence=True, display=Display(max_overhead=share, tab=False), schedule=Schedule(1000, 1))
    fit(monitor, TensorBoardLogger(tmp_path, name=None, version=""), max_epochs=8, callbacks=[Epochs(clock, seconds)])
    events = events_of(tmp_path)
    epochs = [6 * epoch + 5 for epoch in drawn]
    assert steps(events)["cossim_val_heatmap/gap"] == steps(events)["cossim_val_pairs/strangers_and_lookalikes"] == epochs
    assert [event.step for event in events.Scalars("cossim_val/gap_behavior")] == [6 * epoch + 5 for epoch in range(8)]


@pytest.mark.parametrize(
    ("share", "steps_of_reports"),
    [
        (None, [0, 2, 4, 6, 8, 10, 11]),
        (1, [0, 4, 8, 11]),  # a second fits into a quarter of the six since the last, not of the two
        (0.5, [0, 6, 11]),
        (0, [0, 11]),
    ],
)
def test_training_reports_yield_too_but_the_last(share: float | None, steps_of_reports: list[int], clock: Clock) -> None:
    """A window that takes a second is due every two; one that is put off comes a period later."""
    real = LabelSimilarityMonitor._report

    def report(self: LabelSimilarityMonitor, *args: Any) -> None:
        clock.now += 1
        real(self, *args)

    logger = MemoryLogger()
    with mock.patch.object(LabelSimilarityMonitor, "_report", report):
        fit(
            ours(display=Display(max_overhead=share), schedule=Schedule(2, 1, validation=False)),
            logger,
            callbacks=[Epochs(clock, 0)],
        )
    assert sorted(logger.curve("cossim_train/overlap_mean")) == steps_of_reports


# Faults


def broken(what: str) -> Any:
    """A way to break a part of drawing or writing."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("planted")

    return mock.patch(what, fail)


WRITER = "torch.utils.tensorboard.writer.SummaryWriter"
FAULTS = {
    "matplotlib finds no font": ("matplotlib.font_manager.FontManager.findfont", ["heatmaps", "scatter"], None),
    "a heatmap fails": ("lightning_cossim.loggers.pages.heatmaps", ["heatmaps"], None),
    "a scatter fails": ("lightning_cossim.loggers.pages.scatter", ["scatter"], None),
    "a table fails": ("lightning_cossim.loggers.pages.as_page", ["tables"], None),
    "images cannot be written": (f"{WRITER}.add_image", ["heatmaps", "scatter"], "TensorBoardLogger"),
    "texts cannot be written": (f"{WRITER}.add_text", ["tables"], "TensorBoardLogger"),
    "histograms cannot be written": (f"{WRITER}.add_histogram_raw", ["histograms"], "TensorBoardLogger"),
    "a step of the tab fails": ("lightning_cossim.loggers.recorder.step_of", ["steps"], "TensorBoardLogger"),
    "files cannot be made": ("lightning_cossim.loggers.publisher.as_json", ["files"], "TensorBoardLogger"),
    "files cannot be written": ("pathlib.Path.write_text", ["files"], "TensorBoardLogger"),
    "a layout cannot be written": (f"{WRITER}.add_custom_scalars", ["layout"], "TensorBoardLogger"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_one_view_and_one_warning(fault: str, tmp_path: Path) -> None:
    """Training goes on to the same weights; other views, curves and reports come; the view is gone for this run."""
    what, views, logger = FAULTS[fault]
    run = trainer(max_epochs=2)
    pl.seed_everything(0, verbose=False)
    run.fit(alone := Toy(20), loader(num_labels=20), loader(60, num_labels=20, seed=2))
    monitor = ours()
    with warnings.catch_warnings(record=True) as record, broken(what):
        warnings.simplefilter("always")
        watched = fit(monitor, TensorBoardLogger(tmp_path, name=None, version=""))
    told = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    gone = [f"writing {view} to {logger}" if logger else f"drawing {view}" for view in views]
    why = "failed and is off for the rest of this run. Reports are still in `last_report`. The error: OSError: planted"
    assert told == [f"LabelSimilarityMonitor: {text} {why}" for text in gone]
    found = {tag.removeprefix("cossim_val_").partition("/")[0] for tag in steps(events_of(tmp_path))}
    groups = {"heatmaps": "heatmap", "scatter": "scatter", "tables": "pairs", "histograms": "histogram"}
    assert found == {group for view, group in groups.items() if view not in views}
    assert sorted(monitor.last_report) == ["train", "val"]
    assert watched.global_step == 12
    assert all(
        torch.equal(one, other) for one, other in zip(alone.parameters(), watched.lightning_module.parameters(), strict=True)
    )


@pytest.mark.parametrize("error", [OSError("Writer is closed"), RuntimeError("!")])
def test_what_cannot_be_written_is_told_once_a_view(error: Exception, tmp_path: Path) -> None:
    """A closed writer, met by our events alone: Lightning's own curves would end the run for want of it."""
    logger = TensorBoardLogger(tmp_path, name=None, version="")
    writer: Any = logger.experiment.file_writer.event_writer
    real = writer.add_event

    def add_event(event: Any) -> None:
        if any("cossim" in value.tag or "custom_scalars" in value.tag for value in event.summary.value):
            raise error
        real(event)

    with warnings.catch_warnings(record=True) as record, mock.patch.object(writer, "add_event", add_event):
        warnings.simplefilter("always")
        run = fit(ours(), logger)
    told = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    cause = f"Reports are still in `last_report`. The error: {type(error).__name__}: {error}"
    why = f"failed and is off for the rest of this run. {cause}"
    assert len(told) == len({*told}) == 7
    assert all("\n" not in text for text in told)
    lightnings_own = [text for text in told if "writing scalars to" in text]  # which says that no number can be logged
    assert len(lightnings_own) == 1
    wanted = [
        f"LabelSimilarityMonitor: writing {view} to TensorBoardLogger {why}"
        for view in ("layout", "steps", *VIEWS)
        if view not in {"files", "evidence"}  # of which these reports have none
    ]
    assert sorted({*told} - {*lightnings_own}) == sorted(wanted)
    assert run.global_step == 12


# Evidence


def evidence_of(report: GapReport, show: Any = True, logger: Any = None) -> Showroom:
    """What a logger with images and tables gets of the evidence of a report."""
    room = Showroom()
    for write in Pages(Display(evidence=show), "aux", lambda: None).draw("evidence", report):
        write(room if logger is None else logger)
    return room


@pytest.mark.parametrize("show", [True, "references"])
def test_evidence_is_a_contact_sheet_or_a_table_of_references(show: Any) -> None:
    """One item in a group of its own; with "references" no picture."""
    room = evidence_of(altered(with_inputs(judged(), view=ViewOfInput(picture=noise())), dataloader_idx=1), show)
    tag = "cossim_aux_val_evidence/flagged_pairs/dataloader_idx_1"
    assert [(key, step) for key, step, _ in room.images] == [(tag, 7)] * (show is True)
    assert [(key, step) for key, step, *_ in room.tables] == [(tag, 7)] * (show is not True)


@pytest.mark.parametrize("show", [True, "references"])
def test_evidence_with_texts_is_a_table(show: Any) -> None:
    """With "references" the texts stay out."""
    room = evidence_of(with_inputs(judged(), view=ViewOfInput(text="secret")), show)
    assert room.images == []
    ((_, _, columns, rows),) = room.tables
    assert ("text" in columns, "secret" in str(rows)) == (show is True, show is True)
    assert {len(row) for row in rows} == {len(columns)}


def test_without_evidence_nothing_is_written() -> None:
    room = evidence_of(judged())
    assert (room.images, room.tables) == ([], [])
    assert "evidence" not in Pages(Display(evidence=False), None, lambda: None).views
    assert "evidence" in Pages(Display(evidence="references"), None, lambda: None).views


def test_tensorboard_gets_evidence_under_images_and_under_text(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name=None, version="")
    evidence_of(with_inputs(judged(), view=ViewOfInput(picture=noise())), logger=logger)
    evidence_of(with_inputs(altered(judged(), stage="train"), view=ViewOfInput(text="a <b>|text|")), logger=logger)
    logger.experiment.close()
    events = events_of(tmp_path)
    assert steps(events) == {"cossim_aux_val_evidence/flagged_pairs": [7], "cossim_aux_train_evidence/flagged_pairs": [7]}
    picture = events.Images("cossim_aux_val_evidence/flagged_pairs")[0]
    assert len(picture.encoded_image_string) <= 300_000
    (tag,) = (tag for tag in events.Tags()["tensors"] if "evidence" in tag)
    assert "a &lt;b&gt;\\|text\\|" in events.Tensors(tag)[0].tensor_proto.string_val[0].decode()


# Several loaders


def several(monitor: LabelSimilarityMonitor, logger: Any, **settings: Any) -> pl.Trainer:
    """A fit with two validation loaders of 60 and 40 inputs."""

    class TwoLoaders(Toy):
        @override
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    run = trainer(callbacks=[monitor, *settings.pop("callbacks", [])], logger=logger, **settings)
    pl.seed_everything(0, verbose=False)
    loaders = [loader(60, num_labels=20, seed=2), loader(40, num_labels=20, seed=3)]
    run.fit(TwoLoaders(20), loader(num_labels=20), loaders)
    return run


PER_LOADER = Display(max_overhead=None, per_dataloader=True)


def test_each_loader_has_reports_of_its_own_where_that_is_wanted(tmp_path: Path) -> None:
    """Tags end as Lightning's own do; pages, keys that others watch and `last_report` too; together they are the whole."""
    monitor, curves = ours(display=PER_LOADER), MemoryLogger()
    run = several(monitor, [curves, TensorBoardLogger(tmp_path, name=None, version="")])
    ends = ["/dataloader_idx_0", "/dataloader_idx_1"]
    assert {key: report.num_inputs for key, report in monitor.last_report.items()} == {
        "train": 32,
        "val/dataloader_idx_0": 60,
        "val/dataloader_idx_1": 40,
    }
    assert {(report.stage, report.dataloader_idx) for report in monitor.last_report.values()} == {
        ("train", None),
        ("val", 0),
        ("val", 1),
    }
    found = steps(events_of(tmp_path))
    for end in ends:
        assert sorted(curves.curve(f"cossim_val/gap_behavior{end}")) == [5, 11]
        assert f"cossim_val/gap_behavior{end}" in run.callback_metrics
        assert found[f"cossim_val_heatmap/gap{end}"] == found[f"cossim_val_pairs/strangers_and_lookalikes{end}"] == [5, 11]
    assert not curves.curve("cossim_val/gap_behavior")
    assert "data loader 1, at step 11: 40 inputs" in str(monitor.last_report["val/dataloader_idx_1"])
    whole = ours()
    several(whole, MemoryLogger())
    assert whole.last_report["val"].num_inputs == 100
    parts = [monitor.last_report[f"val{end}"] for end in ends]
    mean = (60 * parts[0].mean_probs + 40 * parts[1].mean_probs) / 100
    torch.testing.assert_close(whole.last_report["val"].mean_probs, mean, rtol=1e-5, atol=1e-7)


def test_one_loader_needs_no_number() -> None:
    monitor = ours(display=PER_LOADER)
    fit(monitor, MemoryLogger())
    assert set(monitor.last_report) == {"train", "val"}


def test_alerts_count_for_each_loader() -> None:
    """What one loader breaches is no recovery for another, nor one more breach."""
    alert = Alert("overlap_mean", above=-1, patience=2)
    monitor = ours(display=PER_LOADER, thresholds=replace(OPEN, alerts=[alert]))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        several(monitor, MemoryLogger())
    told = [str(warning.message) for warning in record if "alert of" in str(warning.message)]
    assert [re.findall(r"alert of (\S+) at step (\d+)", text)[0] for text in told] == [
        ("cossim_val/dataloader_idx_0", "11"),
        ("cossim_val/dataloader_idx_1", "11"),
    ]
    counted = {(one["stage"], one["dataloader_idx"]): one["counts"][0]["count"] for one in monitor.state_dict()["alerts"]}
    assert {key: count for key, count in counted.items() if "val" in key} == {("val", 0): 2, ("val", 1): 2}


def test_every_loader_s_keys_stay_when_the_monitor_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_cossim.capture.collector.Collector.look", lambda *args: 1 / 0)
    with pytest.warns(UserWarning, match="stopped after an error"):
        run = several(ours(display=PER_LOADER), MemoryLogger())
    for end in ("/dataloader_idx_0", "/dataloader_idx_1"):
        assert run.callback_metrics[f"cossim_val/gap_behavior{end}"] == 1


# The projector


def test_the_projector_gets_the_rows_once_at_the_end_if_it_is_wanted(tmp_path: Path) -> None:
    """The rows of the labels looked at, with their names, in text files beside the events."""
    names = [f"label {number}" for number in range(19)] + ["a\tb\nc"]
    monitor = ours(display=replace(ALWAYS, projector=True), labels=LabelSelection(names=names))
    run = fit(monitor, [TensorBoardLogger(tmp_path, name=None, version=""), MemoryLogger()])
    (folder,) = tmp_path.glob("00011/*")
    rows = [line.split("\t") for line in (folder / "tensors.tsv").read_text(encoding="utf-8").splitlines()]
    shown = torch.tensor([[float(value) for value in row] for row in rows])
    model = run.lightning_module
    assert isinstance(model, Toy)
    torch.testing.assert_close(shown, model.head.weight.detach(), rtol=1e-4, atol=1e-5)
    assert (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines() == [*names[:19], "a b c"]


def test_without_being_wanted_there_is_no_projection(tmp_path: Path) -> None:
    fit(ours(), TensorBoardLogger(tmp_path, name=None, version=""))
    assert not list(tmp_path.glob("0*"))


def test_state_keeps_the_order_of_the_heatmaps(tmp_path: Path) -> None:
    monitor = ours()
    fit(monitor, TensorBoardLogger(tmp_path, name=None, version=""))
    order = monitor.state_dict()["publisher"]["labels"]["order"]
    assert sorted(order) == list(range(20))
    other = ours()
    other.load_state_dict(monitor.state_dict())
    assert other._publisher._pages.order.state_dict() == {"order": order}


def test_every_scalar_of_the_layout_is_one_of_ours() -> None:
    assert {"reliability", "overlap_mean", "share_strangers"} <= set(scalars("softmax")) & set(scalars("sigmoid"))
