"""The tensors of a folder and what its config.json says of their quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadFileError
from ...text import shown
from ..config import Settings, as_integer
from ..streams import Stream

HINT = "the folder is damaged, or was not made by the method that it names; download it again"
OTHER_MODEL = "convert the original model, which is not quantized"
# Scales of activations and of the KV cache, which are computed in float32 and f16 here.
OF_ACTIVATIONS = (
    *("input_scale", "activation_scale", "output_scale", "input_zero_point", "output_zero_point"),
    *("k_scale", "v_scale", "q_scale", "input_global_scale", "input_scale_ub"),
)


class Latest:
    """Keeps the array that was made last: a matrix that is stored by columns is read once for all of its rows."""

    def __init__(self) -> None:
        self._name, self._made = "", np.zeros(0, np.uint8)

    def get(self, name: str, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """What `make` gives, made anew where `name` is not that of the last call."""
        if name != self._name:
            self._name, self._made = "", np.zeros(0, np.uint8)
            self._name, self._made = name, make()
        return self._made


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """`tensors` of a folder by transformers' names; `config` is the quantization_config."""

    s: Settings
    config: Mapping[str, Any]
    tensors: Mapping[str, Stream]
    latest: Latest = field(default_factory=Latest)

    def fail(self, name: str, what: str, hint: str = HINT) -> BadFileError:
        """The error to raise for a tensor."""
        return BadFileError(f"{self.s.path}: tensor {shown(name)} {what}", hint)

    def refuse(self, what: str) -> BadFileError:
        """The error to raise for a setting of the quantization that is not supported."""
        return self.s.fail(what, OTHER_MODEL)

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer of the quantization_config, -1 for one that says "all". Raises BadFileError for anything else."""
        value = self.config.get(name, default)
        if value is None:
            raise self.s.fail(f"quantization_config has no {name}")
        return -1 if value == -1 and value is not True else as_integer(self.s, name, value)

    def grouped(self, *endings: str) -> tuple[dict[str, dict[str, Stream]], dict[str, Stream]]:
        """Tensors whose names end with one of `endings`, by the name before it and by the ending; and the others.

        Scales of activations are in neither.
        """
        found: dict[str, dict[str, Stream]] = {}
        others: dict[str, Stream] = {}
        for name, x in self.tensors.items():
            ending = next((ending for ending in endings if name.endswith(ending)), None)
            if ending is not None:
                found.setdefault(name.removesuffix(ending), {})[ending] = x
            elif name.rpartition(".")[2] not in OF_ACTIVATIONS:
                others[name] = x
        return found, others

    def note_kept(self, matrices: int, kept: int) -> None:
        """Tell the user how many of the quantized matrices keep their bits, and how many are decoded."""
        method = shown(str(self.config.get("quant_method", "gptq")))
        if kept:
            self.s.note(f"{kept} matrices of {method} have the same values in blocks of GGUF; --type auto keeps them")
        if kept < matrices:
            self.s.note(f"{matrices - kept} matrices of {method} become floats: no type of GGUF has their values")

    def groups(self, name: str, k: int, size: int, count: int) -> tuple[int, int]:
        """(columns of a group, groups) of rows of `k` values; `size` -1 is one group. Raises BadFileError."""
        group = k if size == -1 else size
        if group < 1 or k < 1 or -(-k // group) != count:
            raise self.fail(name, f"has {count} groups of {size} columns in rows of {k}")
        return group, count

    def checked_groups(self, name: str, found: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
        """Numbers of groups, each below `groups`. Raises BadFileError."""
        if ((found < 0) | (found >= groups)).any():
            raise self.fail(name, f"has numbers outside of its {groups} groups")
        return found

    def a_matrix(self, name: str, x: Stream | None, *formats: str) -> Stream:
        """`x`, which must be a matrix that is not empty. Raises as `of_shape`."""
        if x is not None and (len(x.shape) != 2 or 0 in x.shape):
            raise self.fail(name, f"has the shape {x.shape}, which is not a matrix")
        return self.of_shape(name, x, x.shape if x else (), *formats)

    def of_shape(self, name: str, x: Stream | None, shape: tuple[int, ...], *formats: str) -> Stream:
        """`x`, which must have a shape and one of `formats`, any float by default. Raises BadFileError."""
        if x is None:
            raise self.fail(name, "is missing", "download the missing files")
        if x.shape != shape:
            raise self.fail(name, f"has the shape {x.shape}, must be {shape}")
        if not (x.format in formats if formats else x.blocks is None):
            raise self.fail(name, f"is {x.format}, must be {' or '.join(formats) or 'a float'}")
        return x


def stored(x: Stream, first: int = 0, end: int | None = None) -> NDArray[np.uint8]:
    """The bytes of rows, (end - first, bytes of a row), of a tensor that is not of floats."""
    rows = x.blocks
    assert rows is not None
    data: NDArray[np.uint8] = rows.read(first, x.rows if end is None else end)
    return data
