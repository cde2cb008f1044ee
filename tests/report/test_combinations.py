"""What reports on a sigmoid head say of combinations: which kept labels and pairs can be on alone, and whether inputs agree."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim import GapReport, LabelSimilarityMonitor, Schedule, Thresholds, analyze
from lightning_cossim.functional import CombinationReachability, combination_reachability
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import combinations
from lightning_cossim.report.extras import CombinationVerdicts, ReachabilityVerdicts
from lightning_cossim.report.reachability import find_reachability
from tests.functional.reachability.test_combinations import exactly
from tests.toys import ALWAYS, Toy, loader, trainer

LOW = Thresholds(min_inputs=0, min_reliability=0, stranger=0.02, lookalike=0.02, outlier=0, min_joint_inputs=0)
NUM_LABELS, RARE = 8, 3


def head(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, biases and embeddings in two dimensions. One label is nearly always off, so no report keeps it."""
    generator = torch.Generator().manual_seed(seed)
    W, b = torch.randn(NUM_LABELS, 2, generator=generator), torch.randn(NUM_LABELS, generator=generator) - 0.5
    W[RARE], b[RARE] = 0.01, -12.0
    return W, b, 2 * torch.randn(400, 2, generator=generator)


def report_on(W: Tensor, b: Tensor, f: Tensor, link: Any = "sigmoid") -> GapReport:
    metric = SimilarityGap(NUM_LABELS, 2, link=link)
    metric.update(W, f @ W.T + b, f)
    return metric.report().judged(LOW)


def told(W: Tensor, b: Tensor, f: Tensor, link: Any = "sigmoid", **options: Any) -> GapReport:
    report = report_on(W, b, f, link)
    options = {"time_limit": 60.0, "progress": lambda share: None, **options}
    return report.with_reachability(find_reachability([report], W, b, f, **options))


def alone(W: Tensor, b: Tensor, report: GapReport, wanted: Sequence[tuple[int, ...]]) -> list[str]:
    """Whether the labels can be on while all other kept labels are off, by the arrangement of lines."""
    kept = [row for row, is_kept in zip(report.labels, report.kept.tolist(), strict=True) if is_kept]
    patterns = [tuple(1 if row in labels else -1 for row in kept) for labels in wanted]
    return exactly(W[kept].double().numpy(), b[kept].double().numpy(), patterns)


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_pairs_are_those_of_the_arrangement_of_lines(seed: int) -> None:
    W, b, f = head(seed)
    report = told(W, b, f)
    kept = [row for row in range(NUM_LABELS) if row != RARE]
    assert [row for row, is_kept in zip(report.labels, report.kept.tolist(), strict=True) if is_kept] == kept
    found = report.combinations
    assert found is not None
    verdicts = alone(W, b, report, [(row,) for row in kept])
    assert found.never_alone == tuple(row for row, verdict in zip(kept, verdicts, strict=True) if verdict == "no")
    assert report.never_alone == tuple(map(str, found.never_alone))
    assert (found.num_labels, found.num_undecided) == (len(kept), 0)
    pairs = [*itertools.combinations(kept, 2)]
    wanted = dict(zip(pairs, alone(W, b, report, pairs), strict=True))
    assert {(one, other): verdict for one, other, verdict in found.pairs} == wanted
    words = {"yes": "possible", "no": "impossible"}
    assert {(int(pair.label), int(pair.other)): pair.on_alone for pair in report.pairs()} == {
        pair: words[verdict] for pair, verdict in wanted.items()
    }
    assert {*wanted.values()} == {"yes", "no"}


def test_they_are_in_text_page_json_and_columns() -> None:
    W, b, f = head()
    report = told(W, b, f)
    found = report.combinations
    assert found is not None
    impossible = sum(verdict == "no" for *_, verdict in found.pairs)
    names = ", ".join(report.never_alone or ())
    lines = [
        f"{len(found.never_alone)} labels can never be on with all other labels that count off: {names}.",
        f"{impossible} of 21 pairs can never be on with all other labels that count off.",
        f"The head allows all {found.num_observed} observed combinations of labels that were checked.",
    ]
    for line in lines:
        assert line in str(report)
    assert "on alone" in str(report)
    record = report.to_dict()
    assert record["combinations"] == {
        "never_alone": list(report.never_alone or ()),
        "num_undecided": 0,
        "num_labels": 7,
        "num_pairs": 21,
        "num_observed": found.num_observed,
        "num_contradicted": 0,
    }
    assert {pair["on_alone"] for pair in record["pairs"]} == {"possible", "impossible"}
    assert [*report.to_pandas()["on_alone"]] == [pair.on_alone for pair in report.pairs()]


def test_every_observed_combination_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the inputs show among the labels that are kept; none is contradicted, decided from the weights alone."""
    given: list[Tensor | None] = []

    def noted(*args: Any, embeddings: Tensor | None, **options: Any) -> CombinationReachability:
        given.append(embeddings)
        return combination_reachability(*args, embeddings=embeddings, **options)

    monkeypatch.setattr(combinations, "combination_reachability", noted)
    W, b, f = head(1)
    found = told(W, b, f).combinations
    assert found is not None
    kept = [row for row in range(NUM_LABELS) if row != RARE]
    shown = np.unique((f.double() @ W.double().T + b.double()).numpy()[:, kept] > 0, axis=0)
    assert found.num_observed == len(shown) > 10
    assert given[0] is f
    assert given[1:] == [None], "an input that shows a combination would prove it"
    assert found.num_contradicted == 0


def test_a_combination_that_inputs_contradict_is_an_error_of_ours_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    W, b, f = head(1)
    W_other, b_other, _ = head(2)
    observed = combinations._observed
    monkeypatch.setattr(combinations, "_observed", lambda rows, bias, f_ND, kept: observed(W_other, b_other, f_ND, kept))
    report = told(W, b, f)
    found = report.combinations
    assert found is not None
    assert 0 < found.num_contradicted <= found.num_observed
    said = f"{found.num_contradicted} of {found.num_observed} observed combinations of labels are impossible for the head, which"
    assert f"{said} contradicts the inputs: please report this error of lightning_cossim." in str(report)


def test_other_links_have_none() -> None:
    report = told(*head(), link="softmax")
    assert report.combinations is None
    assert report.never_alone is None
    assert report.to_dict()["combinations"] is None
    assert "on_alone" not in report.to_dict()["pairs"][0]
    assert "with all other labels" not in str(report)


def test_without_time_inputs_still_show_some() -> None:
    report = told(*head(1), time_limit=0.0)
    found = report.combinations
    assert found is not None
    assert found.num_undecided > 0
    assert f"{found.num_undecided} could not be decided" in str(report)
    assert {pair.on_alone for pair in report.pairs()} >= {"undecided"}
    assert found.num_contradicted == 0


def test_rows_that_are_not_finite_are_left_out() -> None:
    W, b, f = head()
    report = report_on(W, b, f)
    broken = W.clone()
    broken[0] = torch.nan
    found = find_reachability([report], broken, None, None, time_limit=60.0, progress=lambda share: None).combinations
    assert found is not None
    assert found.num_labels == 6
    assert all(0 not in pair[:2] for pair in found.pairs)
    assert found.num_observed == 0


def test_where_all_is_possible_that_is_said() -> None:
    made = CombinationVerdicts((), 0, 7, ((0, 1, "yes"),), 0, 0)
    report = report_on(*head()).with_reachability(ReachabilityVerdicts((), 0, 8, (), made))
    assert "Every label can be on with all other labels that count off." in str(report)
    assert "0 of 1 pair can never be on with all other labels that count off." in str(report)
    assert "observed combinations" not in str(report)


def test_the_end_of_a_fit_decides_about_combinations() -> None:
    """Of the weights at that moment, for all kept labels and pairs of a small head."""
    pl.seed_everything(0, verbose=False)
    model = Toy(6)
    schedule = Schedule(reachability="fit_end")
    monitor = LabelSimilarityMonitor(link="sigmoid", schedule=schedule, thresholds=LOW, display=ALWAYS)
    trainer(callbacks=[monitor], max_epochs=1).fit(model, loader(256, num_labels=6), loader(128, num_labels=6))
    report = monitor.last_report["val"]
    found = report.combinations
    assert found is not None
    assert found.num_labels == int(report.kept.sum())
    assert len(found.pairs) == report.num_pairs
    assert found.num_observed > 0
    assert found.num_contradicted == 0
    assert "observed combinations of labels that were checked" in str(report)


def test_analyze_says_the_same_of_saved_files(tmp_path: Path) -> None:
    W, b, f = head()
    torch.save({"head.weight": W, "head.bias": b}, tmp_path / "head.pt")
    report = analyze(tmp_path / "head.pt", embeddings=f, link="sigmoid", thresholds=LOW, reachability=True)
    wanted = told(W, b, f)
    assert report.never_alone == wanted.never_alone
    assert report.combinations is not None
    assert wanted.combinations is not None
    assert report.combinations.pairs == wanted.combinations.pairs
