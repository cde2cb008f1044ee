"""The same model, the same probabilities, and any cosine you like.

Trains a classifier, then adds one vector to all rows of its head. No probability changes; the raw cosine similarity of two labels
becomes -1, and with another vector +1. What survives is what the probabilities can see.

Needs `pip install 'lightning-cossim[demo]'`, no download, ten seconds on a CPU:

    python examples/cosine_is_arbitrary.py

Source: Nielsen, arXiv 2603.29488, Lemmas 2.2 and 2.3.
"""

import copy
import logging

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_cossim.analysis.demo import DIGITS, Classifier, digits
from lightning_cossim.functional import witness_translation
from lightning_cossim.metrics import SimilarityGap
from lightning_cossim.report import GapReport


def look(model: Classifier, images: Tensor) -> tuple[Tensor, GapReport]:
    """Probabilities of the images, and the report of the head, in float64."""
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        embedding = model.body(images.double())
        logits = model.head(embedding)
    metric = SimilarityGap(num_labels=10, embedding_dim=32)
    metric.update(model.head.weight, logits, embedding)
    return logits.softmax(dim=1), metric.report()


def translated(model: Classifier, i: int, j: int, cosine: int) -> Classifier:
    """A copy of the model whose head is moved so that labels i and j have the cosine wanted."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.head.weight += witness_translation(model.head.weight, i, j, cosine=cosine)
    return model


def main(epochs: int = 10) -> None:
    """Train, translate, compare."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    pl.seed_everything(0, verbose=False)
    training, validation = digits()
    model = Classifier()
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(model, training)

    images = torch.cat([batch[0] for batch in validation])
    i, j = 3, 8
    before, report = look(model, images)
    print(f"Labels '{DIGITS[i]}' and '{DIGITS[j]}', {len(images)} images\n")
    print(f"{'':24}{'raw cosine':>12}{'centered':>12}{'logit corr':>12}{'overlap':>12}{'largest change of a probability':>34}")
    rows = {
        "as trained": model,
        "one vector added": translated(model, i, j, -1),
        "another vector added": translated(model, i, j, 1),
    }
    for what, moved in rows.items():
        probs, report = look(moved, images)
        values = [report.matrix(rung)[i, j].item() for rung in ("raw_cosine", "centered_cosine", "logit_correlation", "overlap")]
        print(f"{what:24}" + "".join(f"{value:12.4f}" for value in values) + f"{(probs - before).abs().max().item():34.1e}")
    print("\nThe raw cosine is whatever you like; no probability noticed. The other columns did not move.")


if __name__ == "__main__":
    main()
