"""A similarity is added in an hour: what CONTRIBUTING.md says is done to a copy of the package, and everything shows it.

One function, one metric and one row of the table, taken from the page itself; then a training, whose scalars, alerts, tables,
pages, exports and steps of the tab have the new similarity without another line.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHOWN = r"""
import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lightning_cossim
from lightning_cossim import Alert, LabelSimilarityMonitor, Thresholds
from lightning_cossim.functional.invariances import symmetries_of_weights
from lightning_cossim.metrics.label_cosine import AngularSimilarity
from tests.tensorboard_plugin.test_written import events as steps
from tests.toys import ALWAYS, Toy, loader, trainer

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
assert Path(lightning_cossim.__file__).is_relative_to(folder), "the copy is what runs"
seed_everything(0, verbose=False)
logger = TensorBoardLogger(folder / "logs", name="", version="")
watch = Thresholds(min_inputs=0, alerts=[Alert("rank_agreement_angular_similarity", above=2)])
monitor = LabelSimilarityMonitor(display=ALWAYS, thresholds=watch)
trainer(callbacks=[monitor], logger=logger).fit(Toy(), loader(), loader())
report = monitor.last_report["val"]

# The numbers: a hand calculation from the cosine
cosine, angle = report.matrix("centered_cosine"), report.matrix("angular_similarity")
assert torch.allclose(angle, 1 - cosine.acos() / torch.pi, atol=1e-5)
assert angle.diagonal().eq(1).all()
assert report.rank_agreement["angular_similarity"] == report.rank_agreement["centered_cosine"], "it orders pairs alike"
assert "translation" in symmetries_of_weights("angular_similarity")
metric = AngularSimilarity()
metric.update(torch.eye(3))
assert metric.plot_title == "Angular similarity"
assert torch.allclose(metric.compute(), metric.compute().T)

# Where it shows
assert {"rank_agreement_angular_similarity", "explained_angular_similarity"} <= {*report.scalars}
assert "angular_similarity" in str(report)
assert "angular" in report.to_markdown()
assert "angular_similarity" in report.to_pandas().columns
assert set(report.to_dict()["pairs"][0]) >= {"angular_similarity"}
events = EventAccumulator(str(folder / "logs"), size_guidance={"tensors": 0})
events.Reload()
assert "cossim_val/rank_agreement_angular_similarity" in events.Tags()["scalars"]
(text,) = events.Tensors("cossim_val_pairs/strangers_and_lookalikes/text_summary")[-1].tensor_proto.string_val
assert b"angular" in text
_, step = steps(folder / "logs", "cossim_val")[-1]
assert "angular_similarity" in step.values
assert {row["title"] for row in step.quantities} >= {"Angular similarity"}
assert "angular_similarity" in (folder / "logs" / "cossim_val.csv").read_text().splitlines()[0]
"""
TESTED = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=ignore"]
TESTED += ["-k", "angles", "tests/metrics/test_invariances.py"]
"""The rows of the test of invariances that the page adds."""


def code(heading: str) -> str:
    """The block of code that comes after a bold word of CONTRIBUTING.md."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(rf"^\*\*{heading}\*\*.*?^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def added(path: Path, text: str, *, before: str | None = None, imports: str = "") -> None:
    """Write a text into a file: before another text that stands in it once, or at its end."""
    source = path.read_text(encoding="utf-8")
    if imports:
        first = source.index("\nfrom lightning_cossim.") + 1
        source = f"{source[:first]}{imports}\n{source[first:]}"
    if before is None:
        source = f"{source}\n\n{text}"
    else:
        assert source.count(before) == 1
        source = source.replace(before, f"{text}{before}")
    path.write_text(source, encoding="utf-8")


def test_a_similarity_that_is_added_shows_everywhere(tmp_path: Path) -> None:
    for name in ("lightning_cossim", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
    package = tmp_path / "lightning_cossim"
    added(package / "functional" / "cosine.py", code("The function"))
    imports = "from lightning_cossim.functional.cosine import angular_similarity"
    added(package / "metrics" / "label_cosine.py", code("The metric"), imports=imports)
    table_ends = '        )\n    }\n)\n"""Key to row'
    added(package / "functional" / "similarities.py", f"{code('The row').rstrip()},\n", before=table_ends)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    invariances = tmp_path / "tests" / "metrics" / "test_invariances.py"
    imports = "from lightning_cossim.metrics.label_cosine import AngularSimilarity"
    added(invariances, '    "angles": lambda *_: AngularSimilarity(),\n', before="}\nDRAWN: ", imports=imports)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    for arguments in (["-c", SHOWN, str(tmp_path)], TESTED):
        command = [sys.executable, *arguments]
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"[1-9]\d* passed", ran.stdout)
