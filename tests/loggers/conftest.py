"""All tests here have toys of a few inputs."""

import pytest


@pytest.fixture(autouse=True)
def _few_inputs(few_inputs: None) -> None: ...
