"""What targets tell of a pair, in the report and in all that is written of it."""

import csv
import json
import math
import re
from io import StringIO

import numpy as np
import pytest
import torch

from lightning_cossim.loggers.tab import as_csv, as_json, step_of
from lightning_cossim.loggers.wire import pack, unpack
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import Context, GapReport

COLUMNS = ["errors", "errors_back", "mass_label", "mass_other", "mass_neither"]
NAMES = ("Bag", "Coat", "Shirt", "Dress", "Boot")
LEGEND = "Errors: how many inputs of the first label were predicted as the second, and the reverse."


def report_of(*, targets: bool = True) -> GapReport:
    """Twelve coats that are predicted as shirts and three shirts as coats, among others; a bag and a boot never go together."""
    pairs = [(1, 2)] * 12 + [(2, 1)] * 3 + [(label, label) for label in range(5)] * 8
    target, predicted = torch.tensor(pairs).T
    logits = 4 * torch.nn.functional.one_hot(predicted, 5) + torch.randn(
        len(pairs), 5, generator=torch.Generator().manual_seed(0)
    ).clamp(-1.5, 1.5)
    logits[:, 0] = logits[:, 0].where((target != 4) & (predicted != 4), -torch.inf)
    logits[:, 4] = logits[:, 4].where((target == 4) | (predicted == 4), -torch.inf)
    metric = SimilarityGap(5, 3)
    unembedding = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    metric.update(unembedding, logits, targets=target if targets else None)
    return GapReport(metric.statistics(), Context(names=NAMES))


def test_a_pair_counts_its_errors_in_the_order_of_its_labels() -> None:
    """12 inputs of Coat were predicted as Shirt, 3 the reverse."""
    pairs = {(pair.label, pair.other): pair for pair in report_of().pairs()}
    coat = pairs["Coat", "Shirt"]
    assert coat.errors == (12, 3)
    assert all(pair.errors == (0, 0) for labels, pair in pairs.items() if labels != ("Coat", "Shirt"))
    assert coat.joint_shares is not None
    assert sum(coat.joint_shares) == pytest.approx(1)
    assert coat.joint_shares[0] > 0.3
    boot = pairs["Bag", "Boot"]
    assert boot.joint_shares is not None
    assert all(map(math.isnan, boot.joint_shares))
    assert hash(boot)


def test_columns_are_there_where_targets_are_known_and_only_there() -> None:
    for report in (report_of(), report_of(targets=False)):
        wanted = COLUMNS if report.errors is not None else []
        frame, (record, *_) = report.to_pandas(), report.to_dict()["pairs"]
        for found in (list(report.pairs()[0].numbers), list(frame.columns), list(record)):
            assert [name for name in found if name in COLUMNS] == wanted
        assert ({*COLUMNS} & report.absent == {*COLUMNS}) == (not wanted)
        assert (report.pairs()[0].errors is None) == (report.pairs()[0].joint_shares is None) == (not wanted)


def test_a_record_has_the_numbers_of_its_pair() -> None:
    """Whole numbers stay whole, and shares that are not known are null."""
    report = report_of()
    for pair, record in zip(report.pairs(), report.to_dict()["pairs"], strict=True):
        assert pair.joint_shares is not None
        shares = [None if math.isnan(share) else share for share in pair.joint_shares]
        assert [record[name] for name in COLUMNS] == [*(pair.errors or ()), *shares]
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == report.to_dict()
    assert report.to_pandas()["errors"].dtype.kind == "i"


def test_tables_have_one_column_of_errors() -> None:
    report = report_of()
    texts = (str(report), report.to_markdown())
    for text in texts:
        assert re.search(r"Coat +(\| )?Shirt .* 12/3 *\|?$", text, flags=re.MULTILINE)
        assert "0/0" in text
    assert texts[0].endswith(f"\n\n{LEGEND}")
    for text in (str(report_of(targets=False)), report_of(targets=False).to_markdown()):
        assert not re.search(r"\d/\d", text)
        assert "Errors" not in text


def test_files_beside_the_events_have_them_and_the_wire() -> None:
    """As the tab shows them; without targets there is nothing of them."""
    report = report_of()
    step = step_of(report, index=1, time=0.0)
    rows = {(row["label"], row["other"]): row for row in csv.DictReader(StringIO(as_csv(step)))}
    shares = report.pairs()[0].joint_shares
    assert shares is not None
    first = rows[report.pairs()[0].label, report.pairs()[0].other]
    assert [float(first[name]) for name in COLUMNS[2:]] == pytest.approx(shares, abs=1e-6)
    assert (rows["Coat", "Shirt"]["errors"], rows["Coat", "Shirt"]["errors_back"]) == ("12", "3")
    assert rows["Bag", "Boot"]["mass_neither"] == ""
    written = json.loads(as_json(step), parse_constant=pytest.fail)["pairs"]
    assert [pair["errors"] for pair in written if (pair["label"], pair["other"]) == ("Coat", "Shirt")] == [12]
    plain = step_of(report_of(targets=False), index=1, time=0.0)
    sent = unpack(pack(step)).targets
    assert [*sent] == list(COLUMNS)
    for name, values in step.targets.items():
        np.testing.assert_allclose(sent[name], values, rtol=0, atol=1e-5)
    assert unpack(pack(plain)).targets == {}
    assert not {*COLUMNS} & {*as_csv(plain).splitlines()[0].split(",")}
