"""The heatmap of the tab has the palette and the scale of the pictures under Images, whose code is in Python."""

import re

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from lightning_cossim.report import plots
from tests.tensorboard_plugin.served import ROOT

STATIC = ROOT / "lightning_cossim" / "tensorboard_plugin" / "static"


def found(name: str, pattern: str) -> str:
    """What a pattern finds in a module of the page."""
    match = re.search(pattern, (STATIC / name).read_text(encoding="utf-8"))
    assert match is not None, pattern
    return match[1]


def test_the_palette_is_that_of_the_pictures() -> None:
    """Eleven stops of the color map of `draw_image`, from below zero to above, up to the rounding of its table."""
    stops = re.findall(r"#\w{6}", found("colors.js", r"const HEAT = \{\s+light: \[(.*?)\]"))
    wanted = plots._colors(signed=True)(np.linspace(0, 1, 11))[:, :3]
    assert np.array([to_rgb(stop) for stop in stops]) == pytest.approx(wanted, abs=2 / 255)


def test_positive_values_have_the_upper_half_of_the_palette() -> None:
    colors = plots._colors(signed=False)
    both = colormaps["RdBu_r"]
    assert colors(0.0)[:3] == pytest.approx(both(0.5)[:3], abs=0.02)
    assert colors(1.0)[:3] == pytest.approx(both(1.0)[:3], abs=0.02)
    assert found("scale.js", r"const place = (0\.5) \+") == "0.5"


def test_the_scale_changes_at_the_same_number_of_labels() -> None:
    assert int(found("scale.js", r"const MANY = (\d+);")) == plots.MAX_NAMES
    assert float(found("scale.js", r"quantile\(sizes, ([\d.]+)\)")) == 0.99
