"""Which combinations of a trained multi-label head can happen, and how long it takes: `python -m tests.benchmarks.combinations`.

The head has 360 labels, 64 dimensions, a sigmoid and a bias. It is trained on inputs that have up to eight labels each: labels
belong to 40 topics, and an input has labels of two topics. The question is whether each label, and each pair, can be on with all
others off. One thread, since products of this size gain little from more.
"""

import argparse
from collections import Counter
from time import perf_counter

import torch
from torch import Tensor, nn

from lightning_cossim.functional import combination_reachability

NUM_LABELS, DIM, NUM_INPUTS, NUM_TOPICS = 360, 64, 8192, 40
MOST = 1000


def inputs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs (N, 128) and their labels (N, K): each has two topics, and half of the labels of both."""
    topic_NT = torch.rand(NUM_INPUTS, NUM_TOPICS, generator=generator).argsort(dim=1) < 2
    of_topic_TK = torch.arange(NUM_LABELS) % NUM_TOPICS == torch.arange(NUM_TOPICS)[:, None]
    can_NK = (topic_NT.float() @ of_topic_TK.float()) > 0
    has_NK = can_NK & (torch.rand(NUM_INPUTS, NUM_LABELS, generator=generator) < 0.25)
    mix = torch.randn(NUM_LABELS, 128, generator=generator) / 4
    return has_NK.float() @ mix + 0.3 * torch.randn(NUM_INPUTS, 128, generator=generator), has_NK.float()


def trained() -> tuple[nn.Linear, Tensor, Tensor]:
    """The head, and the embeddings (N, D) and probabilities (N, K) of its inputs."""
    torch.manual_seed(0)
    x, y = inputs(torch.Generator().manual_seed(0))
    body, head = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, DIM)), nn.Linear(DIM, NUM_LABELS)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(30):
        for place in torch.split(torch.randperm(len(x)), 256):
            loss = nn.functional.binary_cross_entropy_with_logits(head(body(x[place])), y[place])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        f = body(x)
        p = head(f).sigmoid()
    recall = float(((p > 0.5) & (y > 0)).sum() / (y > 0).sum())
    print(f"trained: loss {loss.item():.4f}, recall {recall:.2f}, {float((p > 0.5).sum(dim=1).double().mean()):.1f} labels on")
    return head, f, p


def ask(what: str, head: nn.Linear, on: Tensor, embeddings: Tensor | None) -> float:
    """Print the verdicts on exact combinations (P, K), and return the seconds."""
    start = perf_counter()
    found = combination_reachability(head.weight, bias=head.bias, on=on, off=~on, embeddings=embeddings)
    seconds = perf_counter() - start
    said, means = Counter(found.verdicts), Counter(found.means)
    print(f"{what:<44}{seconds:>8.1f} s  {dict(said)}  by {dict(means)}", flush=True)
    return seconds


def main(share: float) -> None:
    torch.set_num_threads(1)
    head, f, p = trained()
    one = torch.eye(NUM_LABELS, dtype=torch.bool)
    ask("all labels", head, one, f)
    ask("all labels, without inputs", head, one, None)
    row, column = torch.triu_indices(NUM_LABELS, NUM_LABELS, offset=1)
    mass = (p.T.sqrt() @ p.sqrt())[row, column]
    order = mass.argsort(descending=True)
    top = order[:MOST]
    ask(f"the {MOST} pairs with most joint mass", head, one[row[top]] | one[column[top]], f)
    shown = torch.unique(p > 0.5, dim=0)
    ask(f"{len(shown)} observed combinations, without inputs", head, shown, None)
    chosen = torch.randperm(len(row), generator=torch.Generator().manual_seed(1))[: int(share * len(row))]
    seconds = ask(f"a random {share:.0%} of all {len(row)} pairs", head, one[row[chosen]] | one[column[chosen]], f)
    print(f"all {len(row)} pairs: {seconds / len(chosen) * len(row):.0f} s {'measured' if share == 1 else 'extrapolated'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.02, help="of all pairs to ask about; 1 for all; default 0.02")
    main(**vars(parser.parse_args()))
