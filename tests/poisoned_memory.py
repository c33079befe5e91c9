"""Memory of an engine that holds NaN until it is written, so that what is read too early shows in the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmlocal.ops.kv.kv_type import ALIGN, padded
from llmlocal.runtime import graph
from llmlocal.runtime.buffers import aligned, large_pages
from llmlocal.runtime.kv_cache import KVCache, LayerCache
from llmlocal.runtime.state_cache import ZEROS, StateCache

NAN = 0xFF  # of bytes of any type of float


def poison(patch: pytest.MonkeyPatch) -> None:
    """Do so for engines and encoders that are opened from here on: activations, keys and values, recurrent states.

    What must be 0 stays so: the state before the first token, and what fills heads up to a multiple of ALIGN.
    """
    add_layer, allocate = KVCache.add_layer, StateCache.allocate

    def filled(make: Callable[[int], NDArray[np.uint8]]) -> Callable[[int], NDArray[np.uint8]]:
        def run(nbytes: int) -> NDArray[np.uint8]:
            memory = make(nbytes)
            memory[:] = NAN
            return memory

        return run

    def add_filled_layer(cache: KVCache, *args: Any, **options: Any) -> LayerCache:
        there, layer = len(cache.layers), add_layer(cache, *args, **options)
        if len(cache.layers) > there:  # not one that shares the memory of another
            fill_cells(layer)
        return layer

    def allocate_filled(cache: StateCache) -> None:
        allocate(cache)
        for layer in cache.layers:
            layer.slots[ZEROS + 1 :] = NAN

    for make in (aligned, large_pages):
        patch.setattr(graph, make.__name__, filled(make))
    patch.setattr(KVCache, "add_layer", add_filled_layer)
    patch.setattr(StateCache, "allocate", allocate_filled)


def fill_cells(layer: LayerCache) -> None:
    """The cells of a layer; only heads of float caches have padding."""
    heads, nbytes = layer.kv_heads, layer.kv_type.element_bytes
    layer.keys[:], layer.values[:] = NAN, NAN
    if layer.keys.size and layer.head_dim % ALIGN:
        layer.keys.reshape(heads, -1, padded(layer.head_dim), ALIGN * nbytes)[:, :, layer.head_dim :] = 0
    if layer.value_dim % ALIGN:
        layer.values.reshape(heads, -1, padded(layer.value_dim) * nbytes)[:, :, layer.value_dim * nbytes :] = 0
