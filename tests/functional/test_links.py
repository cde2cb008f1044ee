"""Links: from a head's weights to the model's logits, and what is refused."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_cossim.errors import InputError
from lightning_cossim.functional.links import PLAIN, Link, Response, unit_rows
from tests import strategies
from tests.strategies import Head

NUMBERS: dict[Link, dict[str, float]] = {
    "softmax": {},
    "sigmoid": {},
    "softcap": {"link_cap": 3.0},
    "cosine": {"link_scale": 8.0},
}


def by_hand(link: Link, head: Head) -> Any:
    """One logit at a time, in float64."""
    z = np.zeros((len(head.f), len(head.W)))
    for n, f in enumerate(head.f):
        for k, g in enumerate(head.W):
            linear = sum(a * b for a, b in zip(f, g, strict=True))
            lengths = math.sqrt(sum(a * a for a in f)) * math.sqrt(sum(a * a for a in g))
            z[n, k] = 8 * linear / lengths if link == "cosine" else linear + head.b[k]
            z[n, k] = 3 * math.tanh(z[n, k] / 3) if link == "softcap" else z[n, k]
    return z


@pytest.mark.parametrize("link", NUMBERS)
@given(head=strategies.heads(scale=1))
def test_logits_are_those_of_the_formula(link: Link, head: Head) -> None:
    W, b, f = (torch.from_numpy(part) for part in head)
    response = Response.of(link, **NUMBERS[link])
    np.testing.assert_allclose(response.logits(f, W, b), by_hand(link, head), rtol=1e-9, atol=1e-9)
    assert response.logits(f.float(), W.float(), b.float()).dtype == torch.float32
    assert response.logits(f.bfloat16(), W.bfloat16(), None).dtype == torch.float32


@given(head=strategies.heads(scale=1))
def test_a_cosine_head_is_linear_in_what_its_link_sees(head: Head) -> None:
    """Rows as long as its scale and embeddings of length 1: their products are its logits."""
    W, _, f = (torch.from_numpy(part) for part in head)
    response = Response.of("cosine", link_scale=8)
    rows, inputs = response.rows(W), response.inputs(f)
    torch.testing.assert_close(rows.norm(dim=1), torch.full_like(rows[:, 0], 8))
    torch.testing.assert_close(inputs.norm(dim=1), torch.ones_like(inputs[:, 0]))
    torch.testing.assert_close(inputs @ rows.T, response.logits(f, W, None))


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "softcap"])
def test_of_all_other_links_rows_and_inputs_are_as_they_are(link: Link) -> None:
    W = torch.randn(3, 2)
    response = Response.of(link, **NUMBERS[link])
    assert response.rows(W) is W
    assert response.inputs(W) is W


def test_what_a_layer_gives_out_is_capped_in_float32_and_left_alone_else() -> None:
    z = torch.tensor([[0.5, -100.0, 100.0]], dtype=torch.bfloat16)
    for link in ("softmax", "sigmoid", "cosine"):
        assert Response.of(link, **NUMBERS[link]).of_output(z) is z
    capped = Response.of("softcap", link_cap=30).of_output(z)
    assert capped.dtype == torch.float32
    torch.testing.assert_close(capped, 30 * torch.tanh(z.float() / 30))
    assert z.tolist() == [[0.5, -100.0, 100.0]], "the user's"
    assert Response.of("softcap").of_output(z) is z, "capped already"


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1.0, 1e18, 1e30])
@given(rows=st.integers(0, 1000).map(lambda seed: torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))))
def test_rows_of_any_size_get_length_one(size: float, rows: Tensor) -> None:
    """Squares of 1e30 are beyond float32, those of 1e-30 too; as is what `normalize` makes of those."""
    torch.testing.assert_close(unit_rows(size * rows), nn.functional.normalize(rows), rtol=1e-5, atol=1e-6)


def test_rows_that_have_no_direction_keep_none() -> None:
    rows = torch.tensor([[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [-math.inf, math.inf]])
    unit = unit_rows(rows)
    assert unit[0].tolist() == [0, 0]
    assert not unit[1:].isfinite().all(dim=1).any()
    assert unit_rows(torch.empty(3, 0)).shape == (3, 0)


def test_a_formula_says_what_is_computed() -> None:
    """As `test_logits_are_those_of_the_formula` computes it, number by number."""
    assert {link: Response.of(link, **numbers).formula for link, numbers in NUMBERS.items()} == {
        "softmax": "embedding @ weight.T + bias",
        "sigmoid": "embedding @ weight.T + bias",
        "softcap": "3 * tanh((embedding @ weight.T + bias) / 3)",
        "cosine": "8 * cosine(embedding, weight)",
    }


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"link": "probit"}, "Expected `link` to be 'softmax', 'sigmoid', 'softcap' or 'cosine', got 'probit'."),
        ({"link": "softmax", "link_cap": 30.0}, "Expected `link_cap` only with link 'softcap', got 30.0 with 'softmax'."),
        ({"link": "cosine", "link_cap": 30.0}, "Expected `link_cap` only with link 'softcap', got 30.0 with 'cosine'."),
        ({"link": "sigmoid", "link_scale": 8}, "Expected `link_scale` only with link 'cosine', got 8 with 'sigmoid'."),
        ({"link": "softcap", "link_cap": 0.0}, "Expected `link_cap` to be a positive number, got 0.0."),
        ({"link": "softcap", "link_cap": math.nan}, "Expected `link_cap` to be a positive number, got nan."),
        ({"link": "softcap", "link_cap": True}, "Expected `link_cap` to be a positive number, got True."),
        ({"link": "softcap", "link_cap": "30"}, "Expected `link_cap` to be a positive number, got '30'."),
        ({"link": "cosine", "link_scale": -1.0}, "Expected `link_scale` to be a positive number, got -1.0."),
        ({"link": "cosine", "link_scale": math.inf}, "Expected `link_scale` to be a positive number, got inf."),
    ],
)
def test_what_is_not_a_link_is_told(given: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        Response.of(**given)


@pytest.mark.parametrize(("link", "number"), [("softcap", "link_cap"), ("cosine", "link_scale")])
def test_without_its_number_no_logits_are_worked_out(link: Link, number: str) -> None:
    """What needs none can be had: rows at length 1."""
    response, W = Response.of(link), torch.randn(4, 3)
    assert response.lacks == number
    with pytest.raises(InputError, match=f"Expected `{number}` with link '{link}' to compute logits, got None. Pass "):
        response.logits(W, W, None)
    torch.testing.assert_close(response.rows(W), unit_rows(W) if link == "cosine" else W)
    assert [Response.of(link, **numbers).lacks for link, numbers in NUMBERS.items()] == [None] * 4
    assert Response.of("softmax") == PLAIN
