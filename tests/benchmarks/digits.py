"""Whether the headline stands still over a healthy training: `python -m tests.benchmarks.digits [--seeds 8]`, by hand.

Trains the quickstart's classifier of digits for 20 epochs, once for every seed, and takes the rank agreement of the centered
cosine after every epoch. A row of the table is a seed, and a column is its range (largest minus smallest) over epochs 5 to 20:

- validation: of the quickstart's 600 validation images, what a user sees;
- its halves: of the first and of the last 300 of them;
- training: of the 1197 training images, which share no image with the validation;
- all: of all 1797 images, the nearest thing to a population;
- corrected: the middle of the interval of the validation's, which is corrected for few inputs;
- averaged: of a moving average of the weights, on the validation;
- annealed: of another training, whose learning rate falls to 0 by a cosine, on the validation.

Then the movement between the two epochs that are farthest apart on the validation images, with its standard error by the
jackknife over eight blocks of the same images in both epochs, and the same movement on the training images: an error of the
estimate does not repeat on other images, a movement of the model does. "Halves together" and "with training" are correlations
over the epochs.

About three minutes on one core.
"""

import argparse
import logging
import warnings
from dataclasses import dataclass, field
from typing import Any, Final

import lightning.pytorch as pl
import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from typing_extensions import override

from lightning_cossim import GapReport
from lightning_cossim.analysis.demo import Classifier, digits
from lightning_cossim.functional.blocks import jackknife
from lightning_cossim.metrics import SimilarityGap
from tests.benchmarks.worlds import Array, rho_a

HEADLINE: Final = "rank_agreement_centered_cosine"
EPOCHS, FIRST = 20, 5
LIMIT: Final = 0.10
KEPT: Final = 0.98
"""Share of the moving average that a step keeps; an epoch has 38 steps."""
State = dict[str, Tensor]


class Annealed(Classifier):
    """The quickstart's classifier with a learning rate that falls to 0."""

    @override
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)]


@dataclass
class Weights(pl.Callback):
    """The weights after every epoch, and their moving average."""

    plain: list[State] = field(default_factory=list)
    averaged: list[State] = field(default_factory=list)
    average: State = field(default_factory=dict)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        now = {name: weight.clone() for name, weight in pl_module.state_dict().items()}
        self.average = {name: KEPT * self.average.get(name, one) + (1 - KEPT) * one for name, one in now.items()}

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.plain.append({name: weight.clone() for name, weight in pl_module.state_dict().items()})
        self.averaged.append(self.average)


def trained(kind: type[Classifier], seed: int) -> Weights:
    pl.seed_everything(seed, verbose=False)
    training, validation = digits()
    weights = Weights()
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[weights],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(kind(), training, validation)
    return weights


def reports_of(states: list[State], images: Tensor) -> list[GapReport]:
    """The report after every epoch from `FIRST` on, in the quickstart's batches of 200."""
    model, reports = Classifier().eval(), []
    for state in states[FIRST - 1 :]:
        model.load_state_dict(state)
        metric = SimilarityGap(*model.head.weight.shape)
        with torch.no_grad():
            for batch in torch.split(images, 200):
                embedding = model.body(batch)
                metric.update(model.head.weight, model.head(embedding), embedding)
        reports.append(metric.report())
    return reports


def headlines(reports: list[GapReport]) -> Array:
    """(epochs,)."""
    return np.array([report.rank_agreement["centered_cosine"] for report in reports])


def corrected(reports: list[GapReport]) -> Array:
    """(epochs,), the middle of the interval."""
    return np.array([sum(report.intervals[HEADLINE]) / 2 for report in reports])


def without_each_block(report: GapReport) -> Array:
    """(8,), the headline without each block of inputs."""
    cosine = report.rungs["centered_cosine"].double().numpy().round(6)
    return np.array([rho_a(cosine, overlap) for overlap in report.statistics.replicates.overlap.numpy()])


def movement(reports: list[GapReport], first: int, last: int) -> tuple[float, float]:
    """The headline at one epoch minus that at another, and its standard error: both epochs see the same blocks of images."""
    one, other = reports[last], reports[first]
    whole = torch.tensor(one.rank_agreement["centered_cosine"] - other.rank_agreement["centered_cosine"])
    without = torch.from_numpy(without_each_block(one) - without_each_block(other))
    return whole.item(), jackknife(whole, without, one.statistics.replicates.sizes)[0].item()


def together(one: Array, other: Array) -> str:
    return f"{np.corrcoef(one, other)[0, 1]:.2f}"


def images_of() -> tuple[Tensor, Tensor]:
    """The images of training and validation, in the order of the data set."""
    training, validation = (torch.stack([pair[0] for pair in loader.dataset]) for loader in digits())  # type: ignore[attr-defined]
    return training, validation


def main(seeds: int) -> None:
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    training, validation = images_of()
    ranges: list[list[float]] = []
    rows: list[list[object]] = []
    for seed in range(seeds):
        weights = trained(Classifier, seed)
        seen, other = reports_of(weights.plain, validation), reports_of(weights.plain, training)
        halves = [headlines(reports_of(weights.plain, half)) for half in torch.split(validation, 300)]
        shown, elsewhere = headlines(seen), headlines(other)
        everything = headlines(reports_of(weights.plain, torch.cat([validation, training])))
        averaged = headlines(reports_of(weights.averaged, validation))
        annealed = headlines(reports_of(trained(Annealed, seed).plain, validation))
        columns = [shown, *halves, elsewhere, everything, corrected(seen), averaged, annealed]
        ranges.append([float(np.ptp(one)) for one in columns])
        first, last = sorted((int(shown.argmin()), int(shown.argmax())))
        (moved, error), (moved_there, error_there) = movement(seen, first, last), movement(other, first, last)
        rows.append(
            [
                seed,
                f"{first + FIRST} to {last + FIRST}",
                f"{moved:+.3f} ({error:.3f})",
                f"{moved_there:+.3f} ({error_there:.3f})",
                together(*halves),
                together(shown, elsewhere),
            ]
        )
        print(f"seed {seed} done", flush=True)
    within = [f"{sum(value <= LIMIT for value in column)} of {seeds}" for column in zip(*ranges, strict=True)]
    heads = ["seed", "validation", "first half", "last half", "training", "all", "corrected", "averaged", "annealed"]
    table = [[seed, *(f"{value:.3f}" for value in row)] for seed, row in enumerate(ranges)]
    print(f"\n## Range of rank agreement over epochs {FIRST} to {EPOCHS} (at most {LIMIT:.2f})\n")
    print(tabulate([*table, [f"<= {LIMIT:.2f}", *within]], heads, tablefmt="github", disable_numparse=True))
    heads = ["seed", "epochs", "validation (SE)", "training (SE)", "halves together", "with training"]
    print("\n## Movement between the epochs that are farthest apart on the validation images\n")
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    main(**vars(parser.parse_args()))
