"""`monitor.last_report`: a plain dictionary, with an error for a missing stage that names the stages with a report."""

import pickle

import pytest
from torch import Tensor
from typing_extensions import override

from lightning_cossim import Display, LabelSimilarityMonitor, Schedule
from tests.toys import Toy, loader, trainer

VAL = "Pass validation data to `fit` or call `validate`, with `Schedule(validation=True)`."


class TwoLoaders(Toy):
    @override
    def validation_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)


def refused(monitor: LabelSimilarityMonitor, stage: str) -> str:
    """The message of the error for a stage without a report."""
    with pytest.raises(KeyError) as caught:
        monitor.last_report[stage]
    (text,) = caught.value.args
    assert isinstance(text, str)
    assert "\n" not in text
    return text


def test_before_any_run_there_is_no_report() -> None:
    monitor = LabelSimilarityMonitor()
    assert monitor.last_report == {}
    assert refused(monitor, "val") == f"Expected `stage` to be one with a report (there are none yet), got 'val'. {VAL}"


@pytest.mark.parametrize("has_data", [False, True])
def test_a_fit_without_validation_has_a_report_of_training_only(*, has_data: bool) -> None:
    """Without validation data, or with a schedule that leaves validation out."""
    monitor = LabelSimilarityMonitor(schedule=Schedule(validation=False)) if has_data else LabelSimilarityMonitor()
    trainer(callbacks=[monitor]).fit(Toy(), loader(64), loader(64) if has_data else None)
    assert list(monitor.last_report) == ["train"]
    assert refused(monitor, "val") == f"Expected `stage` to be one with a report ('train'), got 'val'. {VAL}"
    wanted = "Expected `stage` to be one with a report ('train'), got 'test'. Call `test`, with `Schedule(test=True)`."
    assert refused(monitor, "test") == wanted
    assert refused(monitor, "trian").endswith("got 'trian'. Did you mean `train`?")
    assert refused(monitor, "validation").endswith("got 'validation'. The stages are 'train', 'val' and 'test'.")


def test_reports_of_several_dataloaders_are_named() -> None:
    monitor = LabelSimilarityMonitor(display=Display(per_dataloader=True))
    trainer(callbacks=[monitor]).validate(TwoLoaders(), [loader(64), loader(64)], verbose=False)
    assert refused(monitor, "val") == (
        "Expected `stage` to be one with a report ('val/dataloader_idx_0', 'val/dataloader_idx_1'), got 'val'. "
        "Use 'val/dataloader_idx_0', or set `Display(per_dataloader=False)`."
    )


def test_otherwise_it_is_a_dictionary() -> None:
    monitor = LabelSimilarityMonitor()
    trainer(callbacks=[monitor]).validate(Toy(), loader(64), verbose=False)
    reports = monitor.last_report
    assert (reports.get("train"), "train" in reports, list(reports)) == (None, False, ["val"])
    assert pickle.loads(pickle.dumps(reports)).keys() == {"val"}  # noqa: S301 - our own bytes
