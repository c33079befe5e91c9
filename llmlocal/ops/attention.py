"""Attention over the KV cache, chunk by chunk with an online softmax. Dao et al. 2022, arXiv 2205.14135.

The query heads that share a key head (GQA) and neighbouring tokens of a sequence are rows of one small matrix product,
so that each key and value is loaded once for all of them. Each chunk of the cache gives each row a partial result (see
`softmax`). In a batch of few tokens threads take chunks as well, and `attention_merge` merges the partial results
(flash decoding); otherwise a row is merged as it goes. Both merge chunks in the order of positions, so a token's result
depends neither on the number of threads nor on the rest of the batch.

Sequences may have a prefix in the cells of one of them. Tokens of such sequences that follow one another in a batch are
rows of one product over those cells, which are read once for all; each sequence goes on with cells of its own, in the
same order of keys, so a token's result is that of a sequence which has all cells to itself, bit for bit.

Latent attention (DeepSeek-AI 2024, arXiv 2405.04434) has one key head: keys are rows of the cache, and values the first
numbers of the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .attention_chunk import CHUNK, ROW, Layer, attend_chunk, end_of_sequence
from .kv.kv_type import ALIGN, KVType, padded
from .kv.rows import float_query
from .softmax import TAIL, merge, normalize, partial_bytes, start

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_ROWS, BLOCK_TOKENS = 128, 64  # of a work item at most: rows (tokens x heads of a group), and tokens
ITEMS, FEWEST_ROWS = 2, 16  # work items for each thread at least, unless they would have fewer rows
NO_RING = 1 << 62  # for cells that are not used in turn
SPLIT_TOKENS = 16  # in batches of at most so many tokens, chunks are work items of their own


class Arguments(NamedTuple):
    """Keys and values of a layer as `kv_type` lays them out; `chunks` of a full context."""

    tokens: int  # address of their number
    first_keys: int  # (tokens,) int64: position of the first key that a token attends to, and of the last;
    last_keys: int  # the last is its own in causal attention
    sequence_starts: int  # (tokens,) int64: first cell of each token's sequence, a multiple of ALIGN
    prefix_starts: int  # (tokens,) int64: where the first `prefix_lengths` (tokens,) int64 positions of the sequence
    prefix_lengths: int  # lie instead; multiples of ALIGN. They are before all tokens of the batch; 0 for none
    q: int  # (tokens, heads, head_dim) float32, or Q8 records
    keys: int
    values: int
    sinks: int  # (heads,) float32, NO_SINK for none
    softcap: int  # a float: scores become softcap * tanh(score / softcap); 0 leaves them as they are
    biases: int  # float32, added to scores unless this is 0: that of query, head and key position lies
    bias_starts: int  # at bias_starts[query] + head * bias_stride + position; as many positions are read as there are
    bias_stride: int  # keys, rounded up to a multiple of ALIGN. bias_starts is (tokens,) int64
    out: int  # (tokens, heads, value_dim) float32
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    cells: int
    ring: int  # position p lies in cell p % ring of its sequence: a multiple of CHUNK, or not below the context
    scale: int  # a float that multiplies scores
    scratch: int
    scratch_bytes: int  # of each thread
    partials: int  # (kv_heads, chunks, SPLIT_TOKENS * heads / kv_heads) partial results
    chunks: int


class MergeArguments(NamedTuple):
    """As `Arguments`."""

    tokens: int
    first_keys: int
    last_keys: int
    sinks: int
    out: int
    heads: int
    kv_heads: int
    value_dim: int
    scratch: int
    scratch_bytes: int
    partials: int
    chunks: int


class Segment(NamedTuple):
    """Tokens first .. last - 1 of a batch, of one sequence or with the same prefix, with chunks begin .. end - 1 of
    their keys and one key head.

    If `split`, each chunk's partial result goes to `partials`, otherwise the merged result goes to `out`.
    """

    first: int
    last: int
    begin: int
    end: int
    kv_head: int
    split: bool


def block_tokens(group: int) -> int:
    """Tokens of one work item if `group` query heads share a key head."""
    return max(1, min(BLOCK_TOKENS, BLOCK_ROWS // group))


def scratch_bytes(
    kv_type: KVType, heads: int, kv_heads: int, head_dim: int, value_dim: int, *, latent: bool = False
) -> int:
    """Scratch bytes of each thread: queries, scores twice, and two partial results of every row."""
    group, query_bytes = heads // kv_heads, 4 * padded(head_dim) if latent else kv_type.query_bytes(head_dim)
    return group * block_tokens(group) * (query_bytes + 2 * ROW + 2 * partial_bytes(value_dim))


def partials_bytes(heads: int, value_dim: int, n_ctx: int) -> int:
    """Bytes of the partial results of SPLIT_TOKENS tokens over a context of `n_ctx` tokens."""
    return SPLIT_TOKENS * heads * chunks(n_ctx) * partial_bytes(value_dim)


def chunks(n_ctx: int) -> int:
    """Chunks of a context of `n_ctx` tokens."""
    return -(-n_ctx // CHUNK)


def attention_reference(
    q: NDArray[np.float64],
    k: NDArray[np.float64],
    v: NDArray[np.float64],
    window: int | None = None,
    softcap: float = 0.0,
    sinks: NDArray[np.float64] | None = None,
    causal: bool = True,
    biases: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Attention of the last tokens of a sequence; the result is (tokens, heads, value_dim).

    q (tokens, heads, head_dim), k (length, kv_heads, head_dim), v (length, kv_heads, value_dim). A token attends to
    the last `window` keys, its own included; unless `causal`, to keys at most window // 2 before and after it. Scores
    become softcap * tanh(score / softcap) (Gemma 2, arXiv 2408.00118). `sinks` (heads,) are scores that take part in
    the softmax without a value (gpt-oss, arXiv 2508.10925). `biases` (heads, tokens, length) are added to scores.
    """
    import numpy as np

    tokens, heads, head_dim = q.shape
    k, v = (np.repeat(a, heads // a.shape[1], axis=1) for a in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head_dim)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    ahead = np.arange(len(k) - tokens, len(k))[:, None] - np.arange(len(k))[None, :]
    reach = window or 2 * len(k)
    if biases is not None:
        scores += biases
    scores[:, (ahead < 0) | (ahead >= reach) if causal else np.abs(ahead) > reach // 2] = -np.inf
    sink = np.full((heads, 1, 1), -np.inf) if sinks is None else sinks[:, None, None]
    top = np.maximum(scores.max(-1, keepdims=True), sink)
    scores = np.exp(scores - top)
    total = scores.sum(-1, keepdims=True) + np.exp(sink - top)
    out: NDArray[np.float64] = np.einsum("hqk,khd->qhd", scores / total, v)
    return out


def attention(kv_type: KVType) -> Kernel:
    """The kernel for a cache type, with `Arguments`.

    For at most SPLIT_TOKENS tokens it leaves `out` to `attention_merge`.
    """
    return Kernel(f"attention_{kv_type.name}", Arguments._fields, lambda v: _build(v, _attend(v, kv_type)))


def latent_attention(kv_type: KVType) -> Kernel:
    """As `attention` for one key head, whose keys and values are the same memory, rows of `head_dim` numbers stored as
    values are; `q` is always float32."""
    name = f"latent_attention_{kv_type.name}"
    return Kernel(name, Arguments._fields, lambda v: _build(v, _attend(v, kv_type, latent=True)))


def _blocks(v: InstructionSet) -> Any:
    """`(count, group, parts, nth)`: in how many blocks, of nearly the same size, `count` tokens are cut.

    Each has `parts` work items, by key heads and chunks; a key head has a `group` of heads.
    """

    def run(count, group, parts, nth):
        most = max(1, min(BLOCK_TOKENS, BLOCK_ROWS // group))
        wanted = min((ITEMS * nth + parts - 1) // parts, count * group // FEWEST_ROWS)
        return min(count, max((count + most - 1) // most, wanted))

    return v.jitable(run)


def _build(v: InstructionSet, attend: Any) -> Any:
    end_of_group, chunk_range, blocks_of = _end_of_group(v), _chunk_range(v), _blocks(v)

    def run(counter, ith, nth, *fields):
        a = Arguments(*fields)
        count, scratch = v.load_i64(a.tokens), a.scratch + ith * a.scratch_bytes
        low, high = chunk_range(a, 0, count) if count <= SPLIT_TOKENS else (0, 1)
        split, parts = high - low > 1, a.kv_heads * (high - low)
        blocks = blocks_of(count, a.heads // a.kv_heads, max(parts, 1), nth)  # no keys, no parts
        item = v.take_work(counter, 1)
        while item < blocks * parts:
            chunk, kv_head = low + item % (high - low), item // (high - low) % a.kv_heads
            n = blocks - 1 - item // parts  # the longest first
            first, stop = count * n // blocks, count * (n + 1) // blocks
            while first < stop:  # a block may hold several sequences
                last = end_of_group(a, first, stop)
                begin, end = chunk_range(a, first, last)
                if split:
                    begin, end = max(begin, chunk), min(end, chunk + 1)
                if begin < end:
                    attend(a, Segment(first, last, begin, end, kv_head, split), scratch)
                first = last
            item = v.take_work(counter, 1)

    return run


def _end_of_group(v: InstructionSet) -> Any:
    """As `end_of_sequence`, of tokens whose sequences have the same prefix, or that belong to one sequence."""
    sequence_end = end_of_sequence(v)

    def run(a, first, stop):
        last, length = sequence_end(a, first, stop), v.load_i64(a.prefix_lengths + 8 * first)
        while (
            length > 0
            and last < stop
            and v.load_i64(a.prefix_lengths + 8 * last) == length
            and v.load_i64(a.prefix_starts + 8 * last) == v.load_i64(a.prefix_starts + 8 * first)
        ):
            last = sequence_end(a, last, stop)
        return last

    return v.jitable(run)


def _chunk_range(v: InstructionSet) -> Any:
    """`(a, first, last)`: the chunks (begin, end) that tokens first .. last - 1 attend to."""

    def run(a, first, last):
        low, high = v.load_i64(a.first_keys + 8 * first), v.load_i64(a.last_keys + 8 * first)
        for t in range(first + 1, last):
            low, high = min(low, v.load_i64(a.first_keys + 8 * t)), max(high, v.load_i64(a.last_keys + 8 * t))
        return low // CHUNK, high // CHUNK + 1

    return v.jitable(run)


def _load_rows(v: InstructionSet, load_query: Callable[..., Any], query_bytes: int) -> Any:
    """`(a, segment, width, value_width, queries, results)`: load queries, and initialize results that saw no key."""
    start_row = start(v)

    def run(a, s, width, value_width, queries, results):
        group = a.heads // a.kv_heads
        for row in range((s.last - s.first) * group):
            t, head = s.first + row // group, s.kv_head * group + row % group
            target = queries + query_bytes * width * row
            load_query(a.q, t, head, a.heads, a.head_dim, width, v.as_f32(a.scale), target)
            start_row(results + 4 * (value_width + 2 * TAIL) * row, value_width, v.load_f32(a.sinks + 4 * head))

    return v.jitable(run)


def _attend(v: InstructionSet, kv_type: KVType, *, latent: bool = False) -> Any:
    """`(a, segment, scratch)`: attention of a segment, for the query heads that share its key head."""
    kernels, block_bytes = kv_type.kernels(v), kv_type.block_bytes
    load_query, query_bytes = kernels.load_query, 2 if kv_type.q8_queries else 4
    if latent:
        load_query, query_bytes = v.jitable(float_query(v)), 4
    load_rows = _load_rows(v, load_query, query_bytes)
    run_chunk = attend_chunk(v, kernels, kv_type.element_bytes, latent=latent)
    merge_row, normalize_row = merge(v), normalize(v)

    def run(a, s, scratch):
        group = a.heads // a.kv_heads
        width, value_width = -(-a.head_dim // ALIGN) * ALIGN, -(-a.value_dim // ALIGN) * ALIGN
        rows, nbytes = (s.last - s.first) * group, 4 * (value_width + 2 * TAIL)
        queries, scores = scratch, scratch + query_bytes * width * rows
        results = scores + 2 * ROW * rows
        keys = a.keys + s.kv_head * a.cells * (width // ALIGN) * block_bytes
        values = a.values + s.kv_head * a.cells * (value_width // ALIGN) * block_bytes
        layer = Layer(keys, values, width, value_width, query_bytes * width)
        load_rows(a, s, width, value_width, queries, results)
        for chunk in range(s.begin, s.end):
            at, partials = chunk * CHUNK, results + nbytes * rows
            if s.split:
                partials = a.partials + nbytes * ((s.kv_head * a.chunks + chunk) * SPLIT_TOKENS + s.first) * group
            run_chunk(a, s, chunk, layer, queries, scores, partials)
            if not s.split:
                for r in range(rows):
                    t = s.first + r // group
                    if v.load_i64(a.last_keys + 8 * t) >= at and v.load_i64(a.first_keys + 8 * t) - at < CHUNK:
                        merge_row(results + nbytes * r, partials + nbytes * r, value_width)
        if not s.split:
            for r in range(rows):
                at = a.heads * (s.first + r // group) + s.kv_head * group + r % group
                normalize_row(results + nbytes * r, value_width, a.out + 4 * a.value_dim * at, a.value_dim)

    return v.jitable(run)


def _build_merge(v: InstructionSet) -> Any:
    start_row, merge_row, normalize_row, chunk_range = start(v), merge(v), normalize(v), _chunk_range(v)

    def run(counter, ith, nth, *fields):
        a = MergeArguments(*fields)
        count, group, result = v.load_i64(a.tokens), a.heads // a.kv_heads, a.scratch + ith * a.scratch_bytes
        low, high = chunk_range(a, 0, count) if count <= SPLIT_TOKENS else (0, 1)
        width = -(-a.value_dim // ALIGN) * ALIGN
        nbytes = 4 * (width + 2 * TAIL)
        item = v.take_work(counter, 1) if high - low > 1 else count * a.heads
        while item < count * a.heads:
            t, head = item // a.heads, item % a.heads
            first, last = v.load_i64(a.first_keys + 8 * t), v.load_i64(a.last_keys + 8 * t)
            row = t * group + head % group
            start_row(result, width, v.load_f32(a.sinks + 4 * head))
            for chunk in range(first // CHUNK, last // CHUNK + 1):
                at = (head // group * a.chunks + chunk) * SPLIT_TOKENS * group + row
                merge_row(result, a.partials + nbytes * at, width)
            normalize_row(result, width, a.out + 4 * a.value_dim * item, a.value_dim)
            item = v.take_work(counter, 1)

    return run


# Merges the partial results of `attention` into `out` for at most SPLIT_TOKENS tokens with several chunks; does nothing
# for others.
attention_merge = Kernel("attention_merge", MergeArguments._fields, _build_merge)
