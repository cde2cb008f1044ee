"""Arithmetic runs in the dtype we chose, whatever the user's speed settings, and those are as before afterwards."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from lightning_cossim.functional.precision import full_precision, resolution, result_dtype, working_dtype

MATMULS: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]


def settings() -> list[str]:
    return [torch.get_float32_matmul_precision(), *(matmul.fp32_precision for matmul in MATMULS)]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Each test leaves the process as it found it."""
    overall, *own = settings()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(overall)
        for matmul, precision in zip(MATMULS, own, strict=True):
            matmul.fp32_precision = precision


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_full_precision_restores_what_the_user_had_set(chosen: str) -> None:
    torch.set_float32_matmul_precision(chosen)
    before = settings()
    with full_precision(torch.ones(1)):
        assert [matmul.fp32_precision for matmul in MATMULS] == ["ieee", "ieee"]
    assert settings() == before
    assert torch.get_float32_matmul_precision() == chosen


def test_full_precision_restores_backends_that_were_set_apart() -> None:
    """A user's own choice for one backend is not spread to the other."""
    for matmul, precision in zip(MATMULS, ["tf32", "bf16"], strict=True):
        matmul.fp32_precision = precision
    with full_precision(torch.ones(1)):
        pass
    assert [matmul.fp32_precision for matmul in MATMULS] == ["tf32", "bf16"]


def test_full_precision_restores_tf32_set_the_old_way() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    with full_precision(torch.ones(1)):
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.allow_tf32


def fail_inside() -> None:
    with full_precision(torch.ones(1)):
        raise RuntimeError("inside")


def test_full_precision_restores_after_an_exception_and_lets_it_through() -> None:
    torch.set_float32_matmul_precision("medium")
    before = settings()
    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert settings() == before
    assert torch.get_float32_matmul_precision() == "medium"


def test_full_precision_nests() -> None:
    torch.set_float32_matmul_precision("medium")
    before = settings()
    with full_precision(torch.ones(1)):
        with full_precision(torch.ones(1)):
            pass
        assert [matmul.fp32_precision for matmul in MATMULS] == ["ieee", "ieee"]
    assert settings() == before


def test_blocks_of_two_threads_that_overlap_leave_the_users_settings() -> None:
    """One begins while the other is inside and ends after it; both compute in full precision to their end."""
    for matmul, precision in zip(MATMULS, ["tf32", "bf16"], strict=True):
        matmul.fp32_precision = precision
    began, may_end = threading.Event(), threading.Event()
    seen = []

    def second() -> None:
        with full_precision(torch.ones(1)):
            began.set()
            assert may_end.wait(10)
            seen.append([matmul.fp32_precision for matmul in MATMULS])

    thread = threading.Thread(target=second)
    with full_precision(torch.ones(1)):
        thread.start()
        assert began.wait(10)
    may_end.set()
    thread.join(10)
    assert seen == [["ieee", "ieee"]]
    assert [matmul.fp32_precision for matmul in MATMULS] == ["tf32", "bf16"]


@pytest.mark.parametrize("nested", [False, True])
def test_what_the_user_sets_while_a_block_is_open_stays(*, nested: bool) -> None:
    """As another thread may do. A block that begins after it has full precision all the same."""
    matmul = MATMULS[0]
    matmul.fp32_precision = "ieee"
    with full_precision(torch.ones(1)):
        matmul.fp32_precision = "tf32"
        if nested:
            with full_precision(torch.ones(1)):
                assert matmul.fp32_precision == "ieee"
    assert matmul.fp32_precision == "tf32"


def test_full_precision_holds_autocast_off_for_one_block() -> None:
    """Inside, a float32 product is float32 to the last bit; before and after, autocast does what the user asked for."""
    x = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    exact = x @ x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x):
            product = x @ x
        assert (x @ x).dtype == torch.bfloat16
    assert product.dtype == torch.float32
    assert torch.equal(product, exact)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_results_are_float32_unless_the_input_is_float64(dtype: torch.dtype, result: torch.dtype) -> None:
    """And what counts as rounding is sixteen of the result's eps, so 2e-6 for halves too."""
    tensor = torch.ones(2, dtype=dtype)
    assert result_dtype(tensor) == result
    assert resolution(tensor) == 16 * (2**-52 if result == torch.float64 else 2**-23)


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float64), ("cuda", torch.float64), ("mps", torch.float32)])
def test_work_is_done_in_float64_where_the_device_has_it(device: str, dtype: torch.dtype) -> None:
    tensor = cast("Tensor", SimpleNamespace(device=torch.device(device)))
    assert working_dtype(tensor) == dtype


def test_a_general_setting_still_reaches_the_backends_afterwards() -> None:
    """What was inherited before is inherited again: nothing is pinned."""
    backends: Any = torch.backends
    before = backends.fp32_precision
    try:
        backends.fp32_precision = "tf32"
        with full_precision(torch.ones(1)):
            assert backends.cuda.matmul.fp32_precision == "ieee"
        assert backends.cuda.matmul.fp32_precision == "tf32"
        backends.fp32_precision = "ieee"
        assert backends.cuda.matmul.fp32_precision == backends.mkldnn.matmul.fp32_precision == "ieee"
    finally:
        backends.fp32_precision = before
