"""Evidence: the setting that says which inputs the monitor keeps to explain its flags, and how it finds and shows them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_cossim.config.checks import Restriction, check_number
from lightning_cossim.config.types import Number, WholeFrom0, WholeFrom1To64, check_fields
from lightning_cossim.errors import ConfigError, as_value, expected

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """Which inputs the monitor keeps for each pair of labels, and how it finds and shows them.

    The monitor keeps the inputs that contribute most to the overlap of a pair. For each one it keeps a reference: data loader,
    batch, row, and the index in the dataset if the loader reads the dataset in order. `Display(evidence=…)` says what is shown.

    Args:
        per_pair: inputs kept for each pair and ranking, 1 to 64. Of inputs whose target may be wrong, up to 100 are kept.
        max_bytes: memory for the inputs of one report, in bytes, for each process; 0 keeps nothing. If it is full, the pairs with
            the least joint mass lose their inputs first. Pairs that the last report flagged come first.
        ids_key: key of the identifiers in a batch that is a mapping, or their index in a batch that is a tuple: one string or
            number per row, for example the path of a file. Reports then show identifiers. Default: none.
        input_key: key or index of the images or token ids in a batch. Default: the monitor finds a tensor that fits.
        mean: mean that your transform subtracts from each channel of an image: a number, or one number per channel. The monitor
            undoes the normalization `(image - mean) / std` before it makes a thumbnail. Default: it uses the range of each image.
        std: standard deviation by which your transform divides each channel, above 0; pass it together with `mean`.
        show: a function of the batch and the row of an input. It returns what reports show for this input: an image (a tensor or
            an array), a text, or a dictionary of texts. Default: a thumbnail, or the tokens around the position.
        decode: a function of a list of token ids that returns their text, for example `tokenizer.decode`. Default: the names of
            the labels, if each token has one.

    Raises:
        ConfigError: a value has the wrong type or is out of range.

    Example:
        >>> Evidence(ids_key="path").per_pair
        8
    """

    per_pair: WholeFrom1To64 = 8
    max_bytes: WholeFrom0 = 64_000_000
    ids_key: int | str | None = None
    input_key: int | str | None = None
    mean: Number | Sequence[Number] | None = None
    std: Number | Sequence[Number] | None = None
    show: Callable[[Any, int], Any] | None = None
    decode: Callable[[list[int]], str] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for field in ("ids_key", "input_key"):
            key = getattr(self, field)
            if isinstance(key, bool) or not isinstance(key, str | int | None):
                raise ConfigError(expected(field, "to be a key of the batch, an index in it or None", as_value(key)))
        for field in ("show", "decode"):
            if getattr(self, field) is not None and not callable(getattr(self, field)):
                raise ConfigError(expected(field, "to be a function or None", as_value(getattr(self, field))))
        if (self.mean is None) != (self.std is None):
            raise ConfigError(expected("std", "and `mean` to be given together", "one of them", "Pass both, or neither."))
        for field in ("mean", "std"):
            object.__setattr__(self, field, self._channels(field))

    def _channels(self, field: str) -> tuple[float, ...] | None:
        """The numbers of a field, one per channel; one number stands for all channels."""
        value: Any = getattr(self, field)
        value = value.tolist() if hasattr(value, "tolist") else value
        if value is None:
            return None
        numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for number in numbers:
            check_number(number, field, Restriction(float))
            if not math.isfinite(number) or (field == "std" and number <= 0):
                raise ConfigError(expected(field, "to hold finite numbers, for `std` above 0", number))
        if not numbers:
            raise ConfigError(expected(field, "to be a number or one number per channel", as_value(value)))
        return tuple(map(float, numbers))
