"""VocabularyWindow: collects observations of a head with very many labels. It keeps the most likely labels of each input.

Its memory does not grow with the square of the number of labels, and it is bounded in the number of inputs.

Shapes: K labels of the head, D embedding dimensions, N inputs, m labels kept per input, B inputs that are processed at a time.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from lightning_cossim.capture.distributed import ALONE, Processes
from lightning_cossim.capture.head import HeadSpec, Observation, Weights
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.capture.window import Collected
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.functional.blocks import NUM_BLOCKS, BlockAssignment
from lightning_cossim.functional.confusion import known_targets
from lightning_cossim.functional.joint import NUM_LIKELY, likely_labels
from lightning_cossim.functional.links import Response
from lightning_cossim.functional.logit_geometry import EmbeddingMoments, embedding_moments
from lightning_cossim.functional.overlap import Overlap, Profiles
from lightning_cossim.functional.precision import full_precision, result_dtype, working_dtype
from lightning_cossim.functional.sampled.sparse_overlap import SparseProfiles, sparse_profiles

__all__ = ["VocabularyWindow"]

_MAX_INPUTS: Final = 2**14
_MAX_NUMBERS: Final = 2**26
"""Limits on what a process keeps in a window: inputs, and numbers in their embeddings."""
_NUM_CHUNKS: Final = 16
_NUM_LOGITS: Final = 2**24
"""Maximum number of logits that are processed at a time."""


class _Chunk:
    """The kept data of some consecutive inputs, and sums over all labels."""

    def __init__(self, num_labels: int, device: torch.device, dtype: torch.dtype) -> None:
        self.profiles: list[SparseProfiles] = []
        self.likely: list[Tensor] = []
        """(B, 8) each, the likely labels of every input, filled up with -1."""
        self.confused: list[Tensor] = []
        """(B, 2) each, the target and the most likely label of every input; both are -1 if the target is unknown."""
        self.blocks: list[Tensor] = []
        """(B,) each, the blocks from 0 to 7; -1 for an input that does not count."""
        self.embeddings: list[Tensor] = []
        self.normalizers: list[Tensor] = []
        """(B,) each, the log-sum-exp of all logits of every input."""
        self.num_inputs = 0
        self.num_skipped = 0
        self.own = torch.zeros(NUM_BLOCKS, num_labels, device=device, dtype=dtype)
        """The sums of squared profile values of each block."""
        self.probs = torch.zeros(num_labels, device=device, dtype=dtype)
        self.prob_squares = torch.zeros(num_labels, device=device, dtype=dtype)

    def add(self, kept: SparseProfiles, whole: Profiles, likely: Tensor, confused: Tensor, block_B: Tensor) -> None:
        """Add some inputs: keep a part of their profiles, and add their full profiles to the sums.

        Args:
            kept: (B, m), the largest profile values.
            whole: the profiles of all labels; its values are overwritten.
            likely: (B, at most 8), the likely labels.
            confused: (B, 2), the target and the most likely label.
            block_B: the blocks from 0 to 7; -1 for an input that does not count.
        """
        self.profiles.append(SparseProfiles(kept.labels.cpu(), kept.values.cpu()))
        self.likely.append(nn.functional.pad(likely, (0, NUM_LIKELY - likely.shape[1]), value=-1).int().cpu())
        self.confused.append(confused.int().cpu())
        self.blocks.append(block_B.cpu())
        self.probs += whole.probs.to(self.probs)
        self.prob_squares += whole.prob_squares.to(self.prob_squares)
        is_of_block_GB = torch.stack([block_B == block for block in range(NUM_BLOCKS)]).to(whole.values.dtype)
        with full_precision(whole.values):
            self.own += (is_of_block_GB @ whole.values.square_()).to(self.own)
        self.num_inputs += len(block_B)
        self.num_skipped += int((block_B < 0).sum())

    def sizes(self) -> Tensor:
        """(8,), the number of inputs in each block."""
        return torch.cat([torch.zeros(0, dtype=torch.int64), *self.blocks]).add(1).bincount(minlength=NUM_BLOCKS + 1)[1:]

    def turn(self, by: int) -> None:
        """Renumber the blocks: block g becomes block (g + by) mod 8."""
        self.own = self.own.roll(by, dims=0)
        self.blocks = [torch.where(block_B >= 0, (block_B + by) % NUM_BLOCKS, -1) for block_B in self.blocks]


class VocabularyWindow:
    """Collects observations of a head with very many labels.

    It keeps the `labels_per_input` most likely labels of each input, for at most 16 384 inputs. If the head has more than 4 096
    embedding dimensions, it keeps fewer inputs. When the window is full, it drops every second chunk of inputs and from then on
    leaves out every second batch. This repeats as needed, so that the sample stays even. Several processes together keep about as
    many inputs as one, but at least one chunk each.

    Args:
        spec: sizes of the head.
        selection: which labels are compared.
        overlap: which probability overlap.
        seed: seed of all random draws of this window; a resumed run with the same seed draws the same.
        processes: the processes that train together.
    """

    def __init__(
        self,
        spec: HeadSpec,
        selection: LabelSelection,
        overlap: Overlap,
        seed: int = 0,
        processes: Processes = ALONE,
    ) -> None:
        self._spec, self._selection, self._overlap, self._seed = spec, selection, overlap, seed
        self.generator = torch.Generator().manual_seed(seed)
        self._snapshot: Tensor | None = None
        self._bias: Tensor | None = None
        self._response = spec.response
        self._is_exact = not overlap.counts_inputs
        """Whether embeddings are kept: the weights give all probabilities from them, as long as the weights do not change.

        The overlaps that count inputs do not need them: an input has few labels above the threshold or among the k most likely.
        """
        self._per_chunk = max(1, min(_MAX_INPUTS, _MAX_NUMBERS // spec.embedding_dim) // _NUM_CHUNKS)
        self._dtype = working_dtype(torch.empty(0, device=spec.device))
        self._moments = EmbeddingMoments(*(torch.zeros(size, device=spec.device, dtype=self._dtype) for size in self._sizes))
        self._chunks: list[_Chunk] = []
        self._stride, self._batches = 1, 0
        self._assignment, self._num_units, self._processes = BlockAssignment(seed), 0, processes

    @property
    def _sizes(self) -> tuple[tuple[int, ...], ...]:
        return (), (self._spec.embedding_dim,), (self._spec.embedding_dim, self._spec.embedding_dim)

    def wants_batch(self) -> bool:
        """Whether to observe the next batch: at first every batch, later every second, fourth and so on.

        Call it once per batch.
        """
        self._batches += 1
        return (self._batches - 1) % self._stride == 0

    def add(self, seen: Observation) -> None:
        """Add the observation of one batch."""
        self._take_snapshot(seen.unembedding, seen.bias, seen.response or self._response)
        if seen.logits is None:
            return
        if seen.embedding is None:
            self._keep_no_embeddings()
        block_N, first = self._blocks_of(len(seen.logits), seen.groups), 0
        while first < len(seen.logits):
            chunk = self._chunk()
            size = min(max(1, _NUM_LOGITS // self._spec.num_labels), self._per_chunk - chunk.num_inputs)
            part = slice(first, first + size)
            embedding, targets = (None if one is None else one[part] for one in (seen.embedding, seen.targets))
            self._add(chunk, seen.logits[part], embedding, targets, block_N[part])
            first += size

    def _add(self, chunk: _Chunk, logits: Tensor, embedding: Tensor | None, targets: Tensor | None, block_B: Tensor) -> None:
        log_p_BK = self._overlap.log_probabilities(logits)
        if embedding is not None:
            log_p_BK.masked_fill_(~embedding.to(log_p_BK.device).isfinite().all(dim=1, keepdim=True), torch.nan)
        least_B, most_B = log_p_BK.aminmax(dim=1)
        normalizer_B = (logits.detach().amax(dim=1) - most_B).to(torch.float32)
        if least_B.isneginf().any():  # the model masks labels after the head, which the weights do not show
            self._keep_no_embeddings()
        likely = likely_labels(log_p_BK, self._overlap.link)
        confused = self._confused(log_p_BK, targets)
        whole = self._overlap.profiles(log_p_BK)
        block_B = block_B.to(whole.counts.device).masked_fill(~whole.counts, -1)
        chunk.add(sparse_profiles(whole.values, num_kept=self._selection.labels_per_input), whole, likely, confused, block_B)
        if self._is_exact and embedding is not None:
            chunk.embeddings.append(embedding.detach().to("cpu", copy=True))
            chunk.normalizers.append(normalizer_B.cpu())
        if embedding is not None:
            inputs = self._spec.response.inputs(embedding)
            batch = embedding_moments(inputs, seen=whole.counts.to(embedding.device))
            self._moments = EmbeddingMoments(*(one + other.to(one) for one, other in zip(self._moments, batch, strict=True)))

    def _confused(self, log_p_BK: Tensor, targets: Tensor | None) -> Tensor:
        """(B, 2), int64, the target and the most likely label of every input; both are -1 if the target is unknown."""
        if targets is None:
            return torch.full((len(log_p_BK), 2), -1, dtype=torch.int64)
        target_B = known_targets(targets.to(log_p_BK.device), self._spec.num_labels)
        return torch.stack([target_B, log_p_BK.argmax(dim=1)], dim=1).masked_fill(target_B[:, None] < 0, -1)

    def _blocks_of(self, num_inputs: int, groups: Tensor | None) -> Tensor:
        """The block (N,) of each input of a batch."""
        among = {"rank": self._processes.rank, "world": self._processes.num}
        block_N, num_units = self._assignment.assign(num_inputs, start=self._num_units, groups=groups, **among)
        self._num_units += num_units
        return block_N

    def _take_snapshot(self, unembedding: Tensor, bias: Tensor | None, response: Response) -> None:
        """Copy the weights, unless they are equal to the last copy."""
        before, self._response = self._response, response
        now = unembedding.detach().to(result_dtype(unembedding))
        if self._snapshot is not None and torch.equal(self._snapshot, now) and _is_same(self._bias, bias) and before == response:
            return
        if self._snapshot is not None:
            self._keep_no_embeddings()
        self._snapshot = now.clone() if now.data_ptr() == unembedding.data_ptr() else now
        self._bias = None if bias is None else bias.detach().clone()

    def _keep_no_embeddings(self) -> None:
        """Drop all embeddings, because the weights no longer give the observed probabilities from them."""
        self._is_exact = False
        for chunk in self._chunks:
            chunk.embeddings.clear()
            chunk.normalizers.clear()

    def _chunk(self) -> _Chunk:
        """The chunk to which the next inputs are added."""
        if not self._chunks or self._chunks[-1].num_inputs >= self._per_chunk:
            if len(self._chunks) == _NUM_CHUNKS:
                self._thin()
            self._chunks.append(_Chunk(self._spec.num_labels, self._spec.device, self._dtype))
        return self._chunks[-1]

    def _thin(self) -> None:
        """Drop one of every two chunks, and observe half as many batches from now on.

        It drops the second chunk of one pair and the first of the next, so that a period in the data does not match the chunks.
        """
        self._chunks = [chunk for number, chunk in enumerate(self._chunks) if number % 4 in {0, 3}]
        self._stride *= 2

    def _balance(self) -> None:
        """Balance the sizes of the blocks after chunks were dropped, by a cyclic renumbering of the blocks of each chunk.

        Without this, some blocks may be empty: if a chunk is one long sequence, it has only one block.
        """
        total_G = torch.zeros(NUM_BLOCKS, dtype=torch.int64)
        for chunk in self._chunks:
            turns = [total_G + chunk.sizes().roll(turn) for turn in range(NUM_BLOCKS)]
            best = min(range(NUM_BLOCKS), key=lambda turn: int(turns[turn].square().sum()))
            chunk.turn(best)
            total_G = turns[best]

    def close(self, processes: Processes, weights: Callable[[], Weights]) -> Collected:
        """Combine the content of all processes; see `Window.close`."""
        seen_by = processes.where(holds=self._snapshot is not None)
        for _ in range(max(processes.each(self._stride)).bit_length() - self._stride.bit_length()):
            self._thin()
        while max(processes.each(len(self._chunks))) * processes.num > max(_NUM_CHUNKS, processes.num):
            self._thin()
        if self._stride > 1:
            self._balance()
        has_snapshot = processes.rank == (seen_by[0] if seen_by else 0)
        is_exact = len(processes.where(holds=self._is_exact)) == processes.num
        num_rows = processes.each(sum(len(block_B) for chunk in self._chunks for block_B in chunk.blocks))
        num_skipped = sum(processes.each(sum(chunk.num_skipped for chunk in self._chunks)))

        def to_sum() -> list[Tensor]:
            if self._snapshot is None:  # this process has no observations, but its weights are needed
                now = weights()
                self._take_snapshot(now.unembedding, now.bias, now.response)
            return [*self._snapshots(mine=has_snapshot), *self._moments, *self._chunk_sums()]

        totals = iter(processes.sums(processes.together(to_sum)))
        rows = processes.together(lambda: self._rows_among(num_rows, processes.rank, with_embeddings=is_exact))
        kept = iter([self._of_all(one, processes) for one in rows])
        summary = VocabularySummary(
            self._overlap,
            self._selection,
            self._seed,
            response=self._response,
            unembedding=next(totals),
            bias=None if self._bias is None else next(totals),
            moments=EmbeddingMoments(next(totals), next(totals), next(totals)),
            own=next(totals),
            probs=next(totals),
            prob_squares=next(totals),
            block=next(kept),
            likely=next(kept),
            confused=next(kept),
            profiles=SparseProfiles(next(kept), next(kept)),
            embedding=next(kept) if is_exact else None,
            normalizer=next(kept) if is_exact else None,
            num_skipped=num_skipped,
        )
        return Collected(summary.statistics, summary)

    @staticmethod
    def _of_all(rows: Tensor, processes: Processes) -> Tensor:
        """Rows of all processes, on the CPU. Called for one tensor at a time, so that only one is on the device."""
        (total,) = processes.sums([rows])
        return processes.together(total.cpu)

    def _snapshots(self, *, mine: bool) -> list[Tensor]:
        """The weight, and the bias if there is one; zeros unless this process provides them."""
        assert self._snapshot is not None, "taken"
        kept = [self._snapshot] if self._bias is None else [self._snapshot, self._bias]
        return kept if mine else [torch.zeros_like(one) for one in kept]

    def _chunk_sums(self) -> tuple[Tensor, ...]:
        chunks = self._chunks or [_Chunk(self._spec.num_labels, self._spec.device, self._dtype)]
        own_GK, probs_K, squares_K = (one.clone() for one in (chunks[0].own, chunks[0].probs, chunks[0].prob_squares))
        for chunk in chunks[1:]:
            own_GK += chunk.own
            probs_K += chunk.probs
            squares_K += chunk.prob_squares
        return own_GK, probs_K, squares_K

    def _rows_among(self, num_rows: list[int], rank: int, *, with_embeddings: bool) -> list[Tensor]:
        """Blocks, likely labels, targets, labels, values; if asked for, embeddings and normalizers.

        Each tensor has the rows of all processes. The rows of other processes are zero, so that a sum puts all together.
        """
        profiles = [profiles for chunk in self._chunks for profiles in chunk.profiles]
        kept = [
            (torch.int8, (), [block_B for chunk in self._chunks for block_B in chunk.blocks]),
            (torch.int32, (NUM_LIKELY,), [likely for chunk in self._chunks for likely in chunk.likely]),
            (torch.int32, (2,), [confused for chunk in self._chunks for confused in chunk.confused]),
            (torch.int32, self._width, [one.labels for one in profiles]),
            (torch.float32, self._width, [one.values for one in profiles]),
        ]
        if with_embeddings:
            embeddings = [f_BD for chunk in self._chunks for f_BD in chunk.embeddings]
            kept.append((self._spec.dtype, (self._spec.embedding_dim,), embeddings))
            kept.append((torch.float32, (), [one for chunk in self._chunks for one in chunk.normalizers]))
        first = sum(num_rows[:rank])
        found = []
        for dtype, width, parts in kept:
            rows = torch.zeros(sum(num_rows), *width, dtype=dtype)
            if parts:
                rows[first : first + num_rows[rank]] = torch.cat(parts).to(rows)
            found.append(rows)
        return found

    @property
    def _width(self) -> tuple[int]:
        return (min(self._selection.labels_per_input, self._spec.num_labels),)


def _is_same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two biases are equal or both None."""
    return other is None if one is None else other is not None and torch.equal(one, other)
