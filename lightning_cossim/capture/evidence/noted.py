"""NotedBatch: what a batch was before the step, because a step may sort, filter or shorten it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_cossim.capture.evidence.references import num_rows, tensors_in
from lightning_cossim.capture.head import num_writes

__all__ = ["NotedBatch"]


@dataclass(frozen=True, eq=False)
class NotedBatch:
    """A batch as it was before the step."""

    batch: Any
    rows: int | None
    """The number of its rows; None if it is not clear."""
    ids: Any
    """A batch of the identifiers alone, by their key; the batch itself if it has none."""
    tensors: tuple[tuple[Tensor, int], ...]
    """Its tensors, each with the number of in-place writes to it."""

    @classmethod
    def of(cls, batch: Any, ids_key: int | str | None) -> "NotedBatch":
        """The batch now."""
        has_ids = ids_key is not None and (
            (isinstance(batch, list | tuple) and isinstance(ids_key, int) and -len(batch) <= ids_key < len(batch))
            or (hasattr(batch, "keys") and ids_key in batch.keys())  # noqa: SIM118 - not every class with keys has `in`
        )
        ids = {ids_key: batch[ids_key]} if has_ids else batch
        tensors = tuple((one, num_writes(one)) for one in tensors_in(batch) if isinstance(one, Tensor) and one.ndim)
        return cls(batch, num_rows(batch), ids, tensors)

    @property
    def has_same_rows(self) -> bool:
        """Whether the step left a tensor of the batch as it was, so that it cannot have sorted or filtered the rows."""
        now = {id(one): num_writes(one) for one in tensors_in(self.batch) if isinstance(one, Tensor)}
        return not self.tensors or any(now.get(id(one)) == writes for one, writes in self.tensors)
