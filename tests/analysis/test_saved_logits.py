"""Rows that are called logits and are probabilities: left out with the remedy, from Python and by the command."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim import analyze
from lightning_cossim.analysis.cli import main
from lightning_cossim.functional.links import Link

DRAWN = torch.Generator().manual_seed(0)
Z_NK = 2 * torch.randn(500, 6, generator=DRAWN)
MANY = 3 * torch.randn(40, 20_000, generator=DRAWN)


def spoilt(rows: Tensor) -> Tensor:
    """With rows of padding, and some that are not finite."""
    rows = rows.clone()
    rows[:5], rows[7] = 0.0, torch.nan
    return rows


REFUSED: dict[str, tuple[Callable[[], Tensor], Link, str]] = {
    "softmax": (lambda: Z_NK.softmax(-1), "softmax", "all rows are in [0, 1] and sum to 1, so they are probabilities"),
    "in float64": (lambda: Z_NK.double().softmax(-1), "softmax", "so they are probabilities"),
    "in half precision": (lambda: MANY.softmax(-1).half(), "softmax", "so they are probabilities"),
    "in bfloat16": (lambda: MANY.softmax(-1).bfloat16(), "softmax", "so they are probabilities"),
    "smoothed": (lambda: 0.9 * Z_NK.softmax(-1) + 0.1 / 6, "softmax", "so they are probabilities"),
    "with padding": (lambda: spoilt(Z_NK.softmax(-1)), "softmax", "so they are probabilities"),
    "a single row": (lambda: Z_NK[:1].softmax(-1), "softmax", "so they are probabilities"),
    "percentages": (
        lambda: 100 * Z_NK.softmax(-1),
        "softmax",
        "all rows are in [0, 100] and sum to 100, so they are percentages",
    ),
    "whole percentages": ((100 * Z_NK.softmax(-1)).round, "softmax", "so they are percentages"),
    "one-hot": (lambda: torch.nn.functional.one_hot(Z_NK.argmax(-1), 6).float(), "softmax", "so the rows are predicted labels"),
    "capped": (lambda: Z_NK.softmax(-1), "softcap", "so they are probabilities"),
    "of a cosine head": (lambda: Z_NK.softmax(-1), "cosine", "so they are probabilities"),
    "sigmoid": (Z_NK.sigmoid, "sigmoid", "all numbers are in [0, 1], so they are probabilities"),
    "hard labels": ((Z_NK > 0).float, "sigmoid", "all numbers are in [0, 1], so they are probabilities"),
    "softmax under a sigmoid": (lambda: Z_NK.softmax(-1), "sigmoid", "so they are probabilities"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_probabilities_are_no_logits(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The overlap is unknown, and the remark has the remedy; the command ends with one line."""
    make, link, why = REFUSED[case]
    rows = make()
    head = tmp_path / "w.npy"
    np.save(head, torch.randn(rows.shape[1], 4, generator=DRAWN).numpy())
    report = analyze(head, logits=rows, link=link, transposed=False, neighbors=False)
    assert report.rungs["overlap"].isnan().all()
    said = report.remarks["refused_logits"]
    assert said.startswith("the report leaves out the logits: ")
    assert why in said
    assert "Pass the model's logits" in said
    if rows.dtype == torch.bfloat16:
        return  # which NumPy cannot write
    np.save(tmp_path / "p.npy", rows.numpy())
    path = str(tmp_path / "p.npy")
    assert main(["analyze", str(head), "--logits", path, "--link", link, "--no-transposed", "--no-neighbors"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert (
        printed.err == f"{path}: expected logits, got other numbers: {said.removeprefix('the report leaves out the logits: ')}.\n"
    )
    assert (
        main(["compare", str(head), str(head), "--logits", path, path, "--link", link, "--no-transposed", "--no-neighbors"]) == 2
    )


def test_the_remedy_is_one(tmp_path: Path) -> None:
    """The logarithm of probabilities has their softmax, the log-odds their sigmoid."""
    np.save(tmp_path / "w.npy", torch.randn(6, 4, generator=DRAWN).numpy())
    for link, remedied in (("softmax", Z_NK.softmax(-1).log()), ("sigmoid", Z_NK.sigmoid().logit())):
        wanted, found = (analyze(tmp_path / "w.npy", logits=rows, link=link) for rows in (Z_NK, remedied))  # type: ignore[arg-type]
        torch.testing.assert_close(found.rungs["overlap"], wanted.rungs["overlap"], rtol=1e-5, atol=1e-5)
        assert not found.remarks


GOOD: dict[str, tuple[Callable[[], Tensor], Link]] = {
    "log-probabilities": (lambda: Z_NK.log_softmax(-1), "softmax"),
    "logits": (lambda: Z_NK, "softmax"),
    "centered logits": (lambda: Z_NK - Z_NK.mean(dim=-1, keepdim=True), "softmax"),
    "positive logits": (lambda: Z_NK.abs() + 1, "softmax"),
    "logits that sum to one": (lambda: Z_NK + (1 - Z_NK.sum(dim=-1, keepdim=True)) / 6, "softmax"),
    "masked logits": (lambda: Z_NK.masked_fill(Z_NK > 3, -torch.inf), "softmax"),
    "of labels that do not exclude one another": (lambda: Z_NK, "sigmoid"),
    "their log-probabilities": (lambda: Z_NK.sigmoid().log(), "sigmoid"),
}


@pytest.mark.parametrize("case", GOOD)
def test_logits_are_taken(case: str, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", torch.randn(6, 4, generator=DRAWN).numpy())
    make, link = GOOD[case]
    report = analyze(tmp_path / "w.npy", logits=make(), link=link)
    assert report.rungs["overlap"].isfinite().any()
    assert not {"refused_logits", "positive_logits"} & report.remarks.keys()


@pytest.mark.parametrize(
    ("make", "link"),
    [
        (Z_NK.sigmoid, "softmax"),
        (lambda: 100 * Z_NK.sigmoid(), "sigmoid"),
        (lambda: Z_NK.softmax(-1)[:, 1:], "softmax"),
    ],
    ids=["probabilities of other links", "percentages", "a label is missing"],
)
def test_what_may_be_probabilities_is_told(make: Callable[[], Tensor], link: Link, tmp_path: Path) -> None:
    rows = make()
    np.save(tmp_path / "w.npy", torch.randn(rows.shape[1], 4, generator=DRAWN).numpy())
    report = analyze(tmp_path / "w.npy", logits=rows, link=link)
    assert "log(p / (1" in report.remarks["positive_logits"]
    assert report.rungs["overlap"].isfinite().any()


def test_with_embeddings_the_logits_are_worked_out(tmp_path: Path) -> None:
    """Where those given are none."""
    torch.save({"head.weight": torch.randn(6, 4, generator=DRAWN)}, tmp_path / "head.pt")
    f_ND = torch.randn(500, 4, generator=DRAWN)
    wanted = analyze(tmp_path / "head.pt", embeddings=f_ND)
    found = analyze(tmp_path / "head.pt", embeddings=f_ND, logits=Z_NK.softmax(-1))
    assert torch.equal(found.rungs["overlap"], wanted.rungs["overlap"])
    assert [*found.remarks] == ["refused_logits"]
