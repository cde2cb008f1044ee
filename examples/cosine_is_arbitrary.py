"""Change the raw cosine of two labels to -1 or +1 without a change of any probability.

The example trains a classifier. Then it adds one vector to all rows of the head, and the raw cosine of two labels becomes -1.
With another vector, it becomes +1. The probabilities stay the same, and so do the label-centered cosine, the logit correlation
and the overlap.

    pip install 'lightning-cossim[demo]'
    python examples/cosine_is_arbitrary.py

The example takes ten seconds on a CPU and downloads nothing.

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
    """The probabilities (N, 10) of the images and the report of the head, computed in float64."""
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        embedding = model.body(images.double())
        logits = model.head(embedding)
    metric = SimilarityGap(num_labels=10, embedding_dim=32)
    metric.update(model.head.weight, logits, embedding)
    return logits.softmax(dim=1), metric.report()


def translated(model: Classifier, i: int, j: int, cosine: int) -> Classifier:
    """A copy of the model with a translated head, in which labels i and j have the given raw cosine (-1 or 1)."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.head.weight += witness_translation(model.head.weight, i, j, cosine=cosine)
    return model


def main(epochs: int = 10) -> None:
    """Train the model, translate its head, and compare cosines and probabilities."""
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
    print("\nThe translation changes the raw cosine. It changes no probability, and no number in the other columns.")


if __name__ == "__main__":
    main()
