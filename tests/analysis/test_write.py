"""What `analyze --out` does to the files of a folder: it writes its own, all or none, and touches no other."""

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

from lightning_cossim.analysis import write
from lightning_cossim.analysis.analyze import analyze
from lightning_cossim.analysis.cli import main
from lightning_cossim.analysis.write import write_analysis
from lightning_cossim.config.settings import Display
from lightning_cossim.errors import CheckpointError
from lightning_cossim.report import GapReport

PLAIN = Display(heatmaps=False, scatter=False, histograms=False)
"""Pictures take a second."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> GapReport:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.save({"head.weight": torch.eye(12)}, path)
    return analyze(path, embeddings=torch.eye(12).repeat(30, 1))


@pytest.fixture
def model(tmp_path: Path) -> str:
    torch.save({"head.weight": torch.randn(12, 6)}, tmp_path / "model.pt")
    return str(tmp_path / "model.pt")


def written(report: GapReport, folder: Path) -> list[Path]:
    return write_analysis(report, folder, display=PLAIN, warn=pytest.fail)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Path to content of everything below a folder, None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def test_the_folder_of_a_training_keeps_its_files(report: GapReport, tmp_path: Path) -> None:
    """Its events, and files of the user's own in the folder of the analysis too."""
    with SummaryWriter(str(tmp_path)) as curves:
        curves.add_scalar("train_loss", 1.0, 0)
    run = tmp_path / "cossim_analysis"
    with SummaryWriter(str(run)) as curves:
        curves.add_scalar("val_loss", 1.0, 0)
    for name in ("report.md", "cossim_analysis.csv", "events.out.tfevents.1.cossim_analysis"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    (run / "notes.txt").write_text("mine", encoding="utf-8")
    before = contents(tmp_path)
    for _ in range(2):
        paths = written(report, tmp_path)
        after = contents(tmp_path)
        assert {name: after[name] for name in before} == before
        assert {*after} - {*before} == {str(path.relative_to(tmp_path)) for path in paths}
        assert all(path.parent == run for path in paths)


def test_the_files_of_an_earlier_analysis_are_replaced(report: GapReport, tmp_path: Path) -> None:
    """Its events too, which TensorBoard would show beside the new ones, and files that the new one lacks."""
    first = written(report, tmp_path)
    (tmp_path / "cossim_analysis" / "cossim_analysis_evidence.csv").write_text("earlier", encoding="utf-8")
    second = written(report, tmp_path)
    (old,) = {*first} - {*second}
    assert old.name.startswith("events.out.tfevents.")
    assert sorted((tmp_path / "cossim_analysis").iterdir()) == second
    assert [path.name for path in tmp_path.iterdir()] == ["cossim_analysis"]
    events = EventAccumulator(str(tmp_path / "cossim_analysis"))
    events.Reload()
    assert "cossim_analysis/common_mode_ratio" in events.Tags()["scalars"]


def calls_of(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Callable[[int | None], list[str]]:
    """Makes the n-th call that changes a file fail; returns a function that sets n and forgets the calls so far."""
    made: list[str] = []
    fails: list[int | None] = [None]

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) - 1 == fails[0]:
                raise error
            return real(*args, **kwargs)

        return call

    for name in ("replace", "unlink", "mkdir", "write_text", "open"):
        monkeypatch.setattr(Path, name, counting(name, getattr(Path, name)))
    monkeypatch.setattr(shutil, "copy2", counting("copy2", shutil.copy2))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", counting("temporary", tempfile.TemporaryDirectory))
    monkeypatch.setattr(RecordWriter, "write", counting("record", RecordWriter.write))

    def reset(number: int | None) -> list[str]:
        fails[0] = number
        made.clear()
        return made

    return reset


@pytest.mark.parametrize(
    ("error", "is_first"),
    [(OSError(28, "No space left on device"), True), (KeyboardInterrupt(), False)],
    ids=["full disk, first", "Ctrl-C, second"],
)
def test_a_failure_at_any_call_leaves_the_folder_as_it_was(
    error: BaseException, is_first: bool, report: GapReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first analysis leaves nothing, a second one the files of the first."""
    folder = tmp_path / "a" / "b"
    if not is_first:
        written(report, folder)
        (folder / "cossim_analysis" / "cossim_analysis_evidence.csv").write_text("stale", encoding="utf-8")
    spare = tmp_path / "spare"
    before = contents(tmp_path)
    fail_at = calls_of(monkeypatch, error)
    calls = fail_at(None)
    written(report, spare)
    assert {"replace", "mkdir", "write_text", "record", "temporary"} <= {*calls}
    num_records, num_calls = calls.count("record"), len(calls) if is_first else len(calls) + 7  # 6 copies, 1 removed
    shutil.rmtree(spare)
    first = calls.index("record")
    skipped = {*range(first + 1, first + num_records - 1)} - {first + num_records // 2}
    for call in sorted({*range(num_calls)} - skipped):
        fail_at(call)
        with pytest.raises((KeyboardInterrupt, CheckpointError)):
            written(report, folder)
        fail_at(None)
        assert contents(tmp_path) == before, f"call {call}"


@pytest.mark.parametrize("limit", [0, 60, 300, 3_000, 30_000])
def test_a_full_disk_is_one_line(
    limit: int, report: GapReport, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a limit on the size of a file; the files of an earlier analysis are whole."""
    out = tmp_path / "out"
    written(report, out)
    before = contents(out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        status = main(["analyze", model, "--out", str(out)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2
    assert capsys.readouterr().err == f"{out}: expected a folder that can be written, got File too large.\n"
    assert contents(out) == before


def test_a_folder_in_a_parent_that_may_not_be_written_is_enough(model: str) -> None:
    """Such as a volume that is mounted."""
    parent = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    try:
        copied = shutil.copy(model, parent / "model.pt")
        (parent / "volume").mkdir()
        (parent / "volume").chmod(0o777)
        parent.chmod(0o555)
        if is_root:
            os.seteuid(65534)
        try:
            assert main(["analyze", str(copied), "--out", str(parent / "volume")]) == 0
            assert main(["analyze", str(copied), "--out", str(parent / "other")]) == 2
        finally:
            if is_root:
                os.seteuid(0)
        assert [path.name for path in (parent / "volume").iterdir()] == ["cossim_analysis"]
    finally:
        parent.chmod(0o755)
        shutil.rmtree(parent)


def in_the_way(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """`--out` and what its error begins with."""
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "cossim_analysis").touch()
    makers: dict[str, Callable[[Path], None]] = {
        "folder": Path.mkdir,
        "link": lambda path: path.symlink_to("elsewhere"),
        "fifo": os.mkfifo,
    }
    for name, make in makers.items():
        (tmp_path / name / "cossim_analysis").mkdir(parents=True)
        place = tmp_path / name / "cossim_analysis" / "report.md"
        make(place)
        yield str(tmp_path / name), f"{place}: expected a regular file or none, got a folder, a link or a device. Move it, or"
    yield "", "Expected `out` to be a folder, got an empty name. Pass `--out .` for the current folder."
    yield str(tmp_path / "file"), f"{tmp_path / 'file'}: expected a folder, got a file."
    yield str(tmp_path / "file" / "below"), f"{tmp_path / 'file' / 'below'}: expected a folder that can be written, got Not a"
    yield str(tmp_path / "taken"), f"{tmp_path / 'taken' / 'cossim_analysis'}: expected a folder, got a file."
    yield "x" * 300, f"{'x' * 50}"
    yield "a\0b", "a"


def test_what_is_in_the_way_is_one_line_and_stays(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = [*in_the_way(tmp_path)]
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    for out, said in cases:
        assert main(["analyze", model, "--out", out]) == 2, out
        printed = capsys.readouterr()
        assert printed.err.startswith(said), printed.err
        assert printed.err.count("\n") == 1
        assert printed.err.rstrip("\n").isprintable()
        assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_a_part_that_cannot_be_drawn_costs_that_part(report: GapReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, without the names of our classes."""

    def fail(*args: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("lightning_cossim.loggers.pages.scatter", fail)
    told: list[str] = []
    paths = write.write_analysis(report, tmp_path, display=Display(heatmaps=False, histograms=False), warn=told.append)
    assert len(paths) >= 5
    (text,) = told
    assert text.startswith("drawing scatter failed")
