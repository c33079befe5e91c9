"""Attention over one chunk of keys: scores, their weights, and sums of values, for all rows of a work item.

Rows of sequences with the same prefix are one product over its cells; then each sequence goes on with cells of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..quant.simd.instruction_set import InstructionSet
from .kv.kv_type import ALIGN, KVKernels, Scores
from .softmax import TAIL, exponentiate, softcap_scores

CHUNK = 256  # keys of a partial result
BEGIN = 4096  # bytes of keys and of values that are asked for before the first is multiplied: no stream has begun yet
ROW = 4 * CHUNK + 64  # bytes from row to row of scores: 1024 bytes would keep rows in few sets of the L1 cache


class Layer(NamedTuple):
    """Memory of one key head: keys and values, their padded dims, and the bytes of a query."""

    keys: int
    values: int
    width: int
    value_width: int
    query_bytes: int


def end_of_sequence(v: InstructionSet) -> Any:
    """`(a, first, stop)`: the end of the tokens from `first` on, before `stop`, that belong to one sequence."""

    def run(a, first, stop):
        last = first + 1
        while last < stop and v.load_i64(a.sequence_starts + 8 * last) == v.load_i64(a.sequence_starts + 8 * first):
            last += 1
        return last

    return v.jitable(run)


def _first_key(v: InstructionSet) -> Any:
    """`(a, first, stop)`: the first position that tokens first .. stop - 1 attend to, down to a multiple of ALIGN.

    What lies before a window may never have been written, or hold what is not finite: times 0 it would be NaN.
    """

    def run(a, first, stop):
        key = v.load_i64(a.first_keys + 8 * first)
        for t in range(first + 1, stop):
            key = min(key, v.load_i64(a.first_keys + 8 * t))
        return key // ALIGN * ALIGN

    return v.jitable(run)


def _add_biases(v: InstructionSet) -> Any:
    """`(scores, count, biases)`: scores (count,) float32 += biases; `count` is a multiple of ALIGN."""
    f32 = v.f32

    def run(scores, count, biases):
        for i in range(0, 4 * count, 4 * v.LANES):
            v.store(scores + i, v.load(f32, scores + i) + v.load(f32, biases + i))

    return v.jitable(run)


def _exponentiate_rows(v: InstructionSet) -> Any:
    """`(a, first, kv_head, at, scores, partials, nbytes, width)`: weights of keys from position `at` on, for tokens
    from `first` on."""
    exponentiate_row, softcap_row, bias_row = exponentiate(v), softcap_scores(v), _add_biases(v)

    def run(a, first_token, kv_head, at, scores, partials, nbytes, width):
        group, count = a.heads // a.kv_heads, -(-scores.keys // ALIGN) * ALIGN
        for r in range(scores.rows):
            t, row = first_token + r // group, scores.address + scores.stride * r
            first, last = v.load_i64(a.first_keys + 8 * t), v.load_i64(a.last_keys + 8 * t)
            if a.softcap != 0:
                softcap_row(row, count, v.as_f32(a.softcap))
            if a.biases != 0:
                start = v.load_i64(a.bias_starts + 8 * t) + (kv_head * group + r % group) * a.bias_stride
                bias_row(row, count, a.biases + 4 * (start + at))
            exponentiate_row(row, count, first - at, last + 1 - at, partials + nbytes * r, width)

    return v.jitable(run)


def _own(v: InstructionSet) -> Any:
    """`(a, first, last, at, stop, shared, group, row, scores)`: the scores of one sequence's rows for keys in cells of
    its own, and the first of these cells."""

    def run(a, first, last, at, stop, shared, group, row, scores):
        length = v.load_i64(a.last_keys + 8 * (last - 1)) + 1
        count = max(min(stop, length) - at - shared, 0)
        cell = v.load_i64(a.sequence_starts + 8 * first) + (at + shared) % a.ring
        return Scores(scores + ROW * row + 4 * shared, ROW, (last - first) * group, count), cell

    return v.jitable(run)


def _fetch_begin(v: InstructionSet, nbytes: int, *, latent: bool) -> Any:
    """`(layer, cell, count)`: ask for the first bytes of keys and of values of `count` cells from `cell` on."""

    @v.jitable
    def fetch(at, size):
        for line in range(at, at + min(size, BEGIN), 64):
            v.prefetch(line)

    def run(layer, cell, count):
        if not latent:
            fetch(layer.keys + nbytes * layer.width * cell, nbytes * layer.width * count)
        fetch(layer.values + nbytes * layer.value_width * cell, nbytes * layer.value_width * count)

    return v.jitable(run)


def attend_chunk(v: InstructionSet, kernels: KVKernels, nbytes: int, *, latent: bool) -> Any:
    """`(a, segment, chunk, layer, queries, scores, partials)`: partial results of all rows over one chunk.

    `segment` is a `Segment` of `attention`, `layer` a `Layer`; `scores` has room for two matrices (rows, CHUNK), whose
    rows are ROW bytes apart.
    """
    multiply_values, multiply_keys = kernels.multiply_values, kernels.multiply_rows if latent else kernels.multiply_keys
    sequence_end, first_key, exponentiate_rows = end_of_sequence(v), _first_key(v), _exponentiate_rows(v)
    own, fetch_begin = _own(v), _fetch_begin(v, nbytes, latent=latent)

    def run(a, s, chunk, layer, queries, scores, partials):
        group, nbytes, stop = a.heads // a.kv_heads, 4 * (layer.value_width + 2 * TAIL), (chunk + 1) * CHUNK
        at = max(first_key(a, s.first, s.last), chunk * CHUNK)
        rows, spare = (s.last - s.first) * group, scores + ROW * (s.last - s.first) * group
        shared = max(min(stop, v.load_i64(a.prefix_lengths + 8 * s.first)) - at, 0)
        cell = v.load_i64(a.prefix_starts + 8 * s.first) + at
        block = Scores(scores, ROW, rows, shared)
        if shared > 0:
            multiply_keys(layer.keys, cell, a.cells, layer.width, queries, block)
        first = s.first
        while first < s.last:
            last, row = sequence_end(a, first, s.last), (first - s.first) * group
            mine, from_cell = own(a, first, last, at, stop, shared, group, row, scores)
            if mine.keys > 0:
                fetch_begin(layer, from_cell, mine.keys)
                rows_queries = queries + layer.query_bytes * row
                multiply_keys(layer.keys, from_cell, a.cells, layer.width, rows_queries, mine)
            seen = Scores(scores + ROW * row, ROW, mine.rows, shared + mine.keys)
            if seen.keys > 0:
                exponentiate_rows(a, first, s.kv_head, at, seen, partials + nbytes * row, nbytes, layer.value_width)
            first = last
        stored = layer.width if latent else layer.value_width
        if shared > 0:
            sums = partials, nbytes, spare, False
            multiply_values(layer.values, cell, a.cells, stored, layer.value_width, block, *sums)
        first = s.first
        while first < s.last:
            last, row = sequence_end(a, first, s.last), (first - s.first) * group
            mine, from_cell = own(a, first, last, at, stop, shared, group, row, scores)
            if mine.keys > 0:
                sums = partials + nbytes * row, nbytes, spare, shared > 0
                multiply_values(layer.values, from_cell, a.cells, stored, layer.value_width, mine, *sums)
            first = last

    return v.jitable(run)
