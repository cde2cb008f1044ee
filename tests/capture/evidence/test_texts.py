"""The tokens around a position have the text that the whole sequence gives it."""

import pytest
import torch

from lightning_cossim.capture.evidence.texts import NUM_AROUND, TokenReader, around

NUM_TOKENS = 40
IS_TOKEN = {
    "all": torch.ones(2, NUM_TOKENS, dtype=torch.bool),
    "padding after": torch.arange(NUM_TOKENS).expand(2, -1) < torch.tensor([[25], [6]]),
    "padding before": torch.arange(NUM_TOKENS).expand(2, -1) >= torch.tensor([[25], [6]]),
}


@pytest.mark.parametrize("name", IS_TOKEN)
@pytest.mark.parametrize("row", [0, 1])
def test_a_text_is_that_of_the_whole_sequence(row: int, name: str) -> None:
    """At every position, the ends and padding included; a cut text says so at the same ends."""
    tokens, is_token = torch.arange(2 * NUM_TOKENS).reshape(2, -1), IS_TOKEN[name]
    reader = TokenReader(None, [f"w{token}" for token in range(2 * NUM_TOKENS)], has_names=True)
    positions = torch.arange(NUM_TOKENS)
    found = around(tokens, is_token, torch.full_like(positions, row), positions)
    assert found.shape == (NUM_TOKENS, NUM_AROUND)
    for position, some in enumerate(found.tolist()):
        wanted = reader.read(tokens[row].tolist(), is_token[row].tolist(), position)
        if is_token[row, position]:
            assert reader.read_around(some) == wanted
        else:  # padding can be longer than what is kept around it, so only the token itself is sure
            assert f"⟦w{tokens[row, position]}⟧" in reader.read_around(some)


def test_without_a_mask_every_token_counts() -> None:
    tokens, rows, positions = torch.arange(9)[None], torch.tensor([0, 0]), torch.tensor([0, 8])
    assert torch.equal(around(tokens, None, rows, positions), around(tokens, torch.ones_like(tokens).bool(), rows, positions))
