"""Every tag, once."""

import pytest
import torch

from lightning_cossim.functional.links import Link
from lightning_cossim.functional.scalars import SHARES, scalars
from lightning_cossim.loggers.tags import AGREEMENTS, EXPLAINED, GAPS, SCALARS, group, picture_group, window_tag
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import WindowKey

DESIGN = """
rank_agreement_raw_cosine rank_agreement_centered_cosine rank_agreement_logit_correlation rank_agreement_log_odds_variance
explained_raw_cosine explained_centered_cosine explained_logit_correlation explained_log_odds_variance gap_translation
gap_geometry gap_behavior reliability residual_scale share_lookalikes share_strangers overlap_mean common_mode_ratio
overhead_fraction
"""


def test_scalars_are_those_of_the_design_in_its_order() -> None:
    """DESIGN §4."""
    assert list(SCALARS) == DESIGN.split()


def test_kinds_of_scalars() -> None:
    assert list(AGREEMENTS) == [tag for tag in SCALARS if tag.startswith("rank_agreement_")]
    assert list(EXPLAINED) == [tag for tag in SCALARS if tag.startswith("explained_")]
    assert list(GAPS) == [tag for tag in SCALARS if tag.startswith("gap_")]


def test_a_sigmoid_has_nothing_that_comes_of_centering() -> None:
    """THEORY §3: absent, not zero."""
    centered = {"rank_agreement_centered_cosine", "explained_centered_cosine", "gap_translation", "common_mode_ratio"}
    assert scalars("sigmoid") == tuple(tag for tag in SCALARS if tag not in centered)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_the_metric_computes_every_scalar_but_the_monitor_s_own_cost_and_what_needs_thresholds(link: Link) -> None:
    generator = torch.Generator().manual_seed(0)
    W_KD, f_ND = torch.randn(6, 4, generator=generator), torch.randn(50, 4, generator=generator)
    metric = SimilarityGap(num_labels=6, embedding_dim=4, link=link)
    metric.update(W_KD, f_ND @ W_KD.T, f_ND)
    computed = metric.compute()
    assert {*computed, *SHARES, "overhead_fraction"} == set(scalars(link))
    assert list(computed) == list(metric.report().scalars)
    assert list(computed) == [tag for tag in scalars(link) if tag in computed]


@pytest.mark.parametrize(
    ("stage", "name", "wanted"),
    [
        ("train", None, "cossim_train"),
        ("val", None, "cossim_val"),
        ("test", None, "cossim_test"),
        ("val", "aux", "cossim_aux_val"),
    ],
)
def test_group_of_a_stage(stage: str, name: str | None, wanted: str) -> None:
    assert group(stage, name) == wanted
    assert window_tag(WindowKey(stage), name) == wanted
    assert window_tag(WindowKey(stage, 0), name) == f"{wanted}/dataloader_idx_0"
    assert picture_group(stage, "heatmap", name) == f"{wanted}_heatmap"
