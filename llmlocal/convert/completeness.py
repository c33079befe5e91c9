"""Whether converted tensors make a whole model: the forward pass is recorded over their shapes, before any is written.

So a tensor that is missing, has another shape, or contradicts the settings is found as it would be at the first run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import models
from ..errors import BadFileError
from ..layers import Layers
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..model_info.predictor_memory import can_predict
from ..model_sizes import logits_size
from ..quant.format import BY_NAME
from ..quant.tensor import QTensor
from ..runtime.batch import Batch
from ..runtime.graph import Graph
from ..runtime.kv_cache import KVCache
from ..text import escaped
from .stored_format import stored_format
from .stream_tensor import StreamTensor

MISSING = "download the missing files, or the folder again"


@dataclass(frozen=True, slots=True)
class _Planned:
    """What `Weights` asks of a file."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: dict[str, QTensor]


class _Shape(QTensor):
    """A matrix of which nobody reads the data."""

    __slots__ = ()

    @property
    def address(self) -> int:
        return 0

    def part(self, first: int, last: int) -> QTensor:
        return _Shape(self.name, self.format, (last - first, *self.shape[1:]), self.data)

    def dequantize(self) -> NDArray[np.float32]:
        return np.broadcast_to(np.float32(0), self.shape)

    def bytes_array(self) -> NDArray[np.uint8]:
        return np.broadcast_to(np.uint8(0), (self.rows, self.format.row_bytes(self.k)))

    def as_row(self) -> QTensor:
        return _Shape(self.name, self.format, (1, self.k), self.data)


def check_complete(
    path: Path, model: ModuleType, values: Mapping[str, Any], tensors: Mapping[str, StreamTensor]
) -> None:
    """Raises BadFileError where `model`, a module of `models/`, could not be built of `tensors` and `values`.

    `values` is the metadata by key. Vectors are read, as they are when a model is opened.
    """
    planned = _Planned(Path(escaped(str(path))), values, {name: _planned(tensor) for name, tensor in tensors.items()})
    graph = Graph(Batch(1, 1), 1)
    config = Config(values, str(values.get("general.architecture")), str(planned.path))
    layers = Layers(graph, KVCache(1, 1, "f16"))
    try:
        if models.kind(model) == models.ASSISTANT:
            return _assist(model, layers, config, Weights(planned), logits_size(planned))
        model.build(layers, config, Weights(planned), logits_size(planned))
        if can_predict(values, tensors):
            model.predict(layers, config, Weights(planned), logits_size(planned))
        if models.kind(model) == models.ENCODER_DECODER:
            model.encode(layers, config, Weights(planned), logits_size(planned))
    except BadFileError as error:
        raise BadFileError(str(error), MISSING) from None


def _assist(model: ModuleType, g: Layers, c: Config, w: Weights, vocab: int) -> None:
    """Record an assistant for a model with its heads for keys, whatever that may be."""
    h, width = Hyperparameters.read(c, w), c.integer("embedding_length_out", 1, 1 << 20)
    embedding = _Shape("token_embd.weight", BY_NAME["F16"], (vocab, width), memoryview(b""))
    keys = {}
    for i, window in enumerate(windows(c, h.blocks, period=0)):
        s = (h.windowed(c) if window else h).block(i)
        keys[window] = g.cache.add_layer(s.kv_heads, s.head_dim, s.head_dim, window)
    model.assist(g, c, w, vocab, embedding, keys)


def _planned(tensor: StreamTensor) -> QTensor:
    format = stored_format(tensor.name, tensor.shape, BY_NAME["F16"])
    if format.name != "F32":
        return _Shape(tensor.name, format, tensor.shape, memoryview(b""))
    values = tensor.read(0, tensor.stream.rows)
    return QTensor(tensor.name, format, tensor.shape, memoryview(values.astype("<f4").tobytes()))
