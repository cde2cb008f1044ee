"""Which labels can be on top, decided stage by stage: what is free first, then many at once by products, the solver last.

Shapes: K labels, D embedding dimensions, N inputs; P questions of T labels each, `own_PT`, B of them at a time.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Final, Literal

import torch
from torch import Tensor

from lightning_cossim.functional.ascent import climb, guesses, whitenings
from lightning_cossim.functional.mixtures import Certificate, certificate_of, certificates_from, equal_rivals
from lightning_cossim.functional.scaled_head import ScaledHead, Trial
from lightning_cossim.functional.separation import Outcome, separate, solve

__all__ = ["Decisions", "Means", "Verdict"]

Verdict = Literal["yes", "no", "undecided"]
Means = Literal["rank", "inputs", "direction", "ascent", "mixture", "solver"]

_BLOCK: Final = 128
_FEW: Final = 64
_MOST_ROUNDS: Final = 12
_PROGRAM: Final = 1 << 23
"""Entries of the programs that are solved at a time."""
_MISSES: Final = 3
"""Certificates that may be of no use to others before no more of a block are tried."""


class Decisions:
    """Verdicts as they come in, each with what proves it.

    Args:
        head: the head.
        own_PT: (P, T), the labels asked for, by their place among the live rows.
        time_limit: in seconds, None for as long as it takes.
        progress: is told the share that is decided.
    """

    def __init__(
        self, head: ScaledHead, own_PT: Tensor, *, time_limit: float | None, progress: Callable[[float], None] | None
    ) -> None:
        self.head, self.own_PT = head, own_PT
        self.verdicts: list[Verdict] = ["undecided"] * len(own_PT)
        self.means: list[Means | None] = [None] * len(own_PT)
        self.margins = torch.full((len(own_PT),), torch.nan, dtype=torch.float64)
        self.witnesses = torch.full((len(own_PT), head.rows.shape[1]), torch.nan, dtype=torch.float64)
        self.certificates: list[Certificate | None] = [None] * len(own_PT)
        self._until = perf_counter() + time_limit if time_limit is not None else torch.inf
        self._progress = progress or _nobody
        self._open_P = torch.ones(len(own_PT), dtype=torch.bool)

    def decide(self, embeddings: Tensor | None) -> None:
        """Go through all stages, as far as the time goes. `embeddings` (N, D) are inputs of the head that were seen."""
        if self.own_PT.shape[1] == len(self.head.rows):  # there are no rivals
            beyond_all, anywhere = torch.full_like(self.margins, torch.inf), torch.zeros_like(self.witnesses)
            self._say_yes(self._open, Trial(self._open_P, beyond_all, anywhere), "rank")
        self._take_equal_rows()
        self._take_rank()
        if embeddings is not None:
            self._take_inputs(embeddings)
        self._take_directions()
        self._take_programs()
        self._progress(1.0)

    @property
    def _open(self) -> Tensor:
        return self._open_P.nonzero().flatten()

    @property
    def _late(self) -> bool:
        return perf_counter() >= self._until

    def _say_yes(self, number_B: Tensor, trial: Trial, means: Means) -> None:
        for number in number_B[trial.yes].tolist():
            self.verdicts[number], self.means[number] = "yes", means
        number_C = number_B[trial.yes]
        self.margins[number_C], self.witnesses[number_C] = trial.margin[trial.yes], trial.witness[trial.yes]
        self._open_P[number_C] = False

    def _say_no(self, number: int, certificate: Certificate | None, means: Means) -> None:
        if certificate is not None:
            self.verdicts[number], self.means[number], self.certificates[number] = "no", means, certificate
            self._open_P[number] = False

    def _tell(self) -> None:
        self._progress(1 - float(self._open_P.double().mean()))

    def _take_equal_rows(self) -> None:
        open_B = self._open
        if self._late or not len(open_B):
            return
        one = torch.ones(1, dtype=torch.float64)
        for number, rival in zip(open_B.tolist(), equal_rivals(self.head, self.own_PT[open_B]).tolist(), strict=True):
            if rival >= 0:
                own_T = self.own_PT[number]
                equal_T = (self.head.given_rows[own_T] == self.head.given_rows[rival]).all(dim=1).double()
                equal_T *= self.head.given_bias[own_T] <= self.head.given_bias[rival]
                self._say_no(number, certificate_of(self.head, own_T, equal_T, torch.tensor([rival]), one), "mixture")

    def _take_rank(self) -> None:
        """If no centered row is a combination of others, directions exist that single out each."""
        K, D = self.head.rows.shape
        if self._late or K > D + 1 or not self._open_P.any():
            return
        inverse_DK = torch.linalg.pinv(self.head.rows, rtol=1e-9)
        for number_B in torch.split(self._open, self.head.block):
            own_BT = self.own_PT[number_B]
            f_BD = inverse_DK.T[own_BT].sum(dim=1)
            self._say_yes(number_B, self.head.tried(own_BT, f_BD, f_BD.new_zeros(len(f_BD))), "rank")

    def _take_inputs(self, embeddings: Tensor) -> None:
        """The labels that inputs rank first (of pairs, first and second), each by the input that does so most clearly."""
        num_own, seen = self.own_PT.shape[1], dict[tuple[int, ...], tuple[float, Tensor]]()
        if num_own == len(self.head.rows):
            return
        for f_BD in torch.split(embeddings, self.head.block):
            if self._late:
                break
            top = (f_BD @ self.head.given_rows.T + self.head.given_bias).topk(num_own + 1, dim=1)
            gap_B = top.values[:, -2] - top.values[:, -1]
            for own, gap, f_D in zip(top.indices[:, :-1].sort(dim=1).values.tolist(), gap_B.tolist(), f_BD, strict=True):
                if gap > seen.get(tuple(own), (0.0, f_D))[0]:
                    seen[tuple(own)] = gap, f_D
        for number in self._open.tolist():
            own_T = self.own_PT[number]
            found = seen.get(tuple(own_T.sort().values.tolist()))
            if found is not None:
                self._say_yes(torch.tensor([number]), self.head.seen(own_T[None], found[1][None]), "inputs")

    def _take_directions(self) -> None:
        maps = whitenings(self.head) if self._open_P.any() else []
        for number_B in torch.split(self._open, self.head.block):
            if self._late:
                break
            own_BT = self.own_PT[number_B]
            for f_BD, s_B in guesses(self.head, own_BT, maps):
                open_B = self._open_P[number_B]
                self._say_yes(number_B[open_B], self.head.tried(own_BT[open_B], f_BD[open_B], s_B[open_B]), "direction")
            self._tell()

    def _take_programs(self) -> None:
        """The ascent, and what it leaves to the interior-point method and to the solver."""
        rows32_KD = self.head.rows.float()
        num_rivals = min(len(rows32_KD) - self.own_PT.shape[1], max(2 * rows32_KD.shape[1] + 6, _FEW))
        left: dict[int, Tensor] = {}
        tried_P = ~self._open_P
        while not (self._late or tried_P.all()):
            number_B = (~tried_P).nonzero().flatten()[:_BLOCK]
            left |= self._take_block(number_B, rows32_KD, num_rivals)
            tried_P[number_B] = True
            tried_P |= ~self._open_P
            self._tell()
        for number, rivals_M in left.items():
            if self._late:
                break
            self._take(number, solve(self.head, self.own_PT[number], rivals_M, _FEW, self._until), "solver", "solver")
            self._tell()

    def _take_block(self, number_B: Tensor, rows32_KD: Tensor, num_rivals: int) -> dict[int, Tensor]:
        """What is left of a block, and the rivals that count there."""
        rivals: dict[int, Tensor] = {}
        for state in climb(rows32_KD, self.own_PT[number_B], num_rivals):
            rising_B = state.rising & self._open_P[number_B]
            f_CD = state.direction[rising_B]
            trial = self.head.tried(self.own_PT[number_B[rising_B]], f_CD, f_CD.new_zeros(len(f_CD)))
            self._say_yes(number_B[rising_B], trial, "ascent")
            rivals = dict(zip(number_B.tolist(), state.rivals, strict=True))
            if not self._open_P[number_B].any():
                break
        rivals = {number: rivals_M for number, rivals_M in rivals.items() if self._open_P[number]}
        left: dict[int, Tensor] = {}
        for _ in range(_MOST_ROUNDS):
            if self._late or not rivals:
                break
            rivals, given_up = self._take_round(rivals)
            left |= given_up
        return left | rivals

    def _take_round(self, rivals: dict[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """One round of programs: those that go on with more rivals, and those that are given up."""
        more: dict[int, Tensor] = {}
        given_up: dict[int, Tensor] = {}
        dim = self.head.rows.shape[1] + 3
        size = max(1, _PROGRAM // (dim * len(next(iter(rivals.values())))))
        for every_B in torch.split(torch.tensor(list(rivals)), size):
            number_B = every_B[self._open_P[every_B]]  # some may have been decided on the way
            if self._late or not len(number_B):
                continue
            rivals_BM = torch.stack([rivals[number] for number in number_B.tolist()])
            outcomes = separate(self.head, self.own_PT[number_B], rivals_BM, max(dim, _FEW))
            for number, outcome in zip(number_B.tolist(), outcomes, strict=True):
                self._take(number, outcome, "ascent", "mixture")
                if outcome.rivals is not None:
                    more[number] = outcome.rivals
                elif self._open_P[number]:
                    given_up[number] = rivals[number]
            if self.own_PT.shape[1] == 1:
                self._share(number_B)
        return {number: own for number, own in more.items() if self._open_P[number]}, given_up

    def _take(self, number: int, outcome: Outcome, yes: Means, no: Means) -> None:
        self._say_no(number, outcome.certificate, no)
        if outcome.witness is not None:
            trial = Trial(torch.tensor([True]), torch.tensor([outcome.margin]).double(), outcome.witness[None])
            self._say_yes(torch.tensor([number]), trial, yes)

    def _share(self, number_B: Tensor) -> None:
        """Let the certificates of some labels show the way to those of all others."""
        misses = 0
        for number in number_B.tolist():
            certificate, open_B = self.certificates[number], self._open
            if certificate is None or misses == _MISSES or not len(open_B):
                continue
            found = certificates_from(self.head, certificate, self.own_PT[open_B, 0])
            for place, other in found.items():
                self._say_no(int(open_B[place]), other, "mixture")
            misses = 0 if found else misses + 1


def _nobody(share: float) -> None:
    """Is told, and does nothing."""
