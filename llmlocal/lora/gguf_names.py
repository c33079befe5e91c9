"""The factors of a PEFT adapter under the names of a GGUF file's tensors, by the rules that convert its architecture.

A rule may reorder rows, cut them apart or transpose. It is given the left factors of each matrix, between two columns
of known numbers: the first shows that rows alone were moved, the last which matrix they came from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import models
from ..errors import BadFileError
from ..gguf import GGUFFile
from ..hf.config import Settings
from ..hf.conversion import Conversion
from ..hf.names import NUMBERED, is_dropped, named_for_gguf
from ..hf.streams import constant
from ..text import shown
from .adapter import MERGE, OTHER_MODEL, Adapter, Delta, Floats

FIRST = -4097.0  # the known number of the first column
# Settings of transformers, and the keys of GGUF that say the same.
KEYS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
}


class _Said(Settings):
    """What a GGUF file says of the settings that rules ask for; asking for another raises BadFileError."""

    def __init__(self, gguf: GGUFFile, where: str) -> None:
        arch = str(gguf.metadata.get("general.architecture"))
        found = {name: gguf.metadata.get(f"{arch}.{key}") for name, key in KEYS.items()}
        self.values: dict[str, Any] = {name: value for name, value in found.items() if isinstance(value, int)}
        heads, width = self.values.get("num_attention_heads"), self.values.get("hidden_size")
        if heads and f"{arch}.attention.head_count_kv" not in gguf.metadata:
            self.values["num_key_value_heads"] = heads
        if heads and width:
            self.values.setdefault("head_dim", width // heads)
        self.values["num_nextn_predict_layers"] = 0
        self.values["tie_word_embeddings"] = "output.weight" not in gguf.tensors
        self.used, self.notes, self.path, self._arch = set(), [], where, arch

    def find(self, *names: str) -> Any:
        if not self.values.keys() & set(names):
            what = f"a GGUF file of {self._arch} does not say {names[0]}, which a PEFT adapter is converted by"
            raise BadFileError(f"{self.path}: {what}", MERGE)
        return super().find(*names)


def named_as_in(gguf: GGUFFile, adapter: Adapter) -> dict[str, Delta]:
    """What a PEFT adapter adds, by the names of a GGUF file's tensors.

    Raises BadFileError for an adapter of another architecture, and where a rule does more than move rows.
    """
    settings = _Said(gguf, adapter.where)
    arch, blocks = str(gguf.metadata.get("general.architecture")), settings.integer("num_hidden_layers")
    conversion: Conversion | None = getattr(models.find(arch, str(gguf.path)), "CONVERSION", None)
    if conversion is None:
        raise BadFileError(f"{adapter.where}: names of {arch} are not known for PEFT adapters", MERGE)
    deltas = list(adapter.deltas.items())
    for name, _ in deltas:
        if NUMBERED.search(name) or is_dropped(name):
            what = "a single expert of a mixture" if NUMBERED.search(name) else "no tensor of the text model"
            raise BadFileError(f"{adapter.where}: changes {shown(name)}, {what}, which is not supported", MERGE)
    marked = {name: constant(_marked(delta.left, i)) for i, (name, delta) in enumerate(deltas)}
    try:
        made = named_for_gguf(marked, conversion, arch, min(blocks, len(gguf.tensors)), settings)
        found = {name: _delta(x.read(0, x.rows), deltas, adapter.where) for name, x in made.items()}
    except IndexError:  # a rule that reorders columns
        raise _not_rows(adapter.where) from None
    except BadFileError as error:
        raise error if error.hint == MERGE else BadFileError(str(error), OTHER_MODEL) from None
    if lost := {name for name, _ in deltas} - {name for name, _ in found.values()}:
        raise BadFileError(f"{adapter.where}: {shown(min(lost))} is no tensor of a GGUF file of {arch}", MERGE)
    return {name: delta for name, (_, delta) in found.items()}


def _marked(left: Floats, number: int) -> Floats:
    columns = [np.full((len(left), 1), known, np.float32) for known in (FIRST, number)]
    return np.hstack([columns[0], left, columns[1]])


def _delta(x: Floats, deltas: list[tuple[str, Delta]], where: str) -> tuple[str, Delta]:
    """The name of the module that a rule's result came from, and its delta in the order of the result."""
    for turned in (False, True):
        rows = x.T if turned else x
        if (rows[:, 0] == FIRST).all() and len(set(rows[:, -1])) == 1 and 0 <= rows[0, -1] < len(deltas):
            name, delta = deltas[int(rows[0, -1])]
            left = np.ascontiguousarray(rows[:, 1:-1])
            if left.shape[1] == delta.left.shape[1]:
                pair = (delta.right.T, left.T) if turned else (left, delta.right)
                return name, Delta(*pair, delta.scale)
    raise _not_rows(where)


def _not_rows(where: str) -> BadFileError:
    return BadFileError(f"{where}: changes a tensor that conversion to GGUF computes anew", MERGE)
