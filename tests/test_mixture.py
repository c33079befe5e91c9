"""Kernels of mixtures of experts against their references: routing, sorting, products, sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from instruction_sets import BEST, ISAS, REST
from naive import encoded, nmse, number, run
from numpy.typing import NDArray
from test_interleave import interleaved as tiles_of

from llmlocal.ops.activations import sigmoid, sigmoid_reference
from llmlocal.ops.combine_experts import combine_experts, combine_experts_reference
from llmlocal.ops.expert_bias import add_expert_bias
from llmlocal.ops.expert_scale import scale_by_expert
from llmlocal.ops.sort_by_expert import GROUP_BYTES, groups_bytes, sort_by_expert
from llmlocal.ops.sparse_mixer import sparse_mixer, sparse_mixer_reference
from llmlocal.ops.topk_router import topk_router, topk_router_reference
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.kernels import matmul_grouped as grouped
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES
from llmlocal.quant.kernels.q8_activations import q8_bytes, q8_reference, quantize_q8
from llmlocal.runtime.buffers import aligned

load_all()
Array = NDArray[Any]
SIZES = [(1, 1, 1), (1, 8, 3), (5, 6, 6), (40, 16, 4), (300, 128, 8)]  # tokens, experts, used


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def chosen_by_kernel(scores: Array, used: int, normalize_weights: bool, factor: float, isa: str | None = None) -> Any:
    tokens, experts = scores.shape
    chosen, weights = np.full((tokens, used), -1, np.int64), np.zeros((tokens, used), np.float32)
    what = {"chosen": chosen, "weights": weights, "experts": experts, "used": used}
    run(
        topk_router,
        isa,
        2,
        tokens=number(tokens),
        scores=scores.copy(),
        normalize_weights=int(normalize_weights),
        factor=factor,
        **what,
    )
    return chosen, weights


def grouped_by_kernel(chosen: Array, experts: int) -> dict[str, Any]:
    tokens, used = chosen.shape
    out = {name: np.full(tokens * used, -1, np.int64) for name in ("token_of", "expert_of")}
    out |= {"pair_of": np.full((tokens, used), -1, np.int64), "groups": np.zeros(groups_bytes(experts) // 8, np.int64)}
    run(sort_by_expert, None, 3, tokens=number(tokens), chosen=chosen, experts=experts, used=used, **out)
    return out


def listed(groups: Array) -> list[tuple[int, int, int]]:
    """The groups as the kernel listed them."""
    count = int(groups[0])
    return [tuple(row) for row in groups[1 : 1 + GROUP_BYTES // 8 * count].reshape(count, -1).tolist()]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("normalize_weights", [True, False])
@pytest.mark.parametrize(("tokens", "experts", "used"), SIZES)
def test_topk_router(tokens: int, experts: int, used: int, normalize_weights: bool, isa: str) -> None:
    scores = normal(tokens, experts) * np.float32(3)
    chosen, weights = chosen_by_kernel(scores, used, normalize_weights, 1.5, isa)
    want, heavy = topk_router_reference(scores.astype(np.float64), used, normalize_weights, 1.5)
    assert np.array_equal(chosen, want) and nmse(weights, heavy) <= 1e-10


@pytest.mark.parametrize("band", [0.02, 0.7, 3.0])
@pytest.mark.parametrize(("tokens", "experts", "used"), SIZES)
def test_sparse_mixer(tokens: int, experts: int, used: int, band: float) -> None:
    """Bands that hold the best expert alone, some, and nearly all; scores may all be negative."""
    scores = normal(tokens, experts) - np.float32(2) * (np.arange(tokens) % 2).astype(np.float32)[:, None]
    chosen, weights = np.full((tokens, used), -1, np.int64), np.zeros((tokens, used), np.float32)
    what = {"chosen": chosen, "weights": weights, "experts": experts, "used": used, "band": band}
    run(sparse_mixer, None, 2, tokens=number(tokens), scores=scores.copy(), **what)
    want, heavy = sparse_mixer_reference(scores.astype(np.float64), used, float(np.float32(band)))
    assert np.array_equal(chosen, want) and nmse(weights, heavy) <= 1e-10


def test_sparse_mixer_keeps_nan_visible() -> None:
    scores = np.array([[1, np.nan, 3], [1, 2, 3]], np.float32)
    chosen, weights = np.full((2, 2), -1, np.int64), np.zeros((2, 2), np.float32)
    what = {"chosen": chosen, "weights": weights, "experts": 3, "used": 2, "band": 0.02}
    run(sparse_mixer, tokens=number(2), scores=scores, **what)
    assert np.isnan(weights[0]).all() and np.isfinite(weights[1]).all() and set(chosen.ravel()) <= {0, 1, 2}


def test_topk_router_with_equal_and_of_extreme_scores() -> None:
    scores = np.array([[1, 1, 1, 1], [-1e30, 1e30, 0, 0], [-3e38, -3e38, 3e38, 3e38]], np.float32)
    chosen, weights = chosen_by_kernel(scores, 3, True, 1.0)
    assert chosen.tolist()[0] == [0, 1, 2] and chosen[1, 0] == 1 and set(chosen[2, :2]) == {2, 3}
    assert np.isfinite(weights).all() and np.allclose(weights.sum(1), 1)


@pytest.mark.parametrize("normalize_weights", [True, False])
def test_nan_scores_choose_valid_experts_and_give_nan_weights(normalize_weights: bool) -> None:
    scores = normal(4, 8)
    scores[0, 3], scores[1], scores[2, 0] = np.nan, np.nan, np.inf
    chosen, weights = chosen_by_kernel(scores, 3, normalize_weights, 1.0)
    assert ((chosen >= 0) & (chosen < 8)).all()
    assert np.isnan(weights).any(1).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("tokens", "experts", "used"), SIZES)
def test_sort_by_expert_sorts_pairs_by_expert_and_token(tokens: int, experts: int, used: int) -> None:
    chosen = np.random.default_rng(4).permuted(np.tile(np.arange(experts), (tokens, 1)), axis=1)[:, :used].copy()
    got, order = grouped_by_kernel(chosen, experts), np.argsort(chosen.ravel(), kind="stable")
    assert np.array_equal(got["token_of"], order // used) and np.array_equal(got["expert_of"], chosen.ravel()[order])
    assert np.array_equal(got["pair_of"].ravel()[order], np.arange(tokens * used))
    present, first, count = np.unique(chosen.ravel()[order], return_index=True, return_counts=True)
    assert listed(got["groups"]) == list(zip(present.tolist(), first.tolist(), count.tolist(), strict=True))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [1, 7, 64, 100])
def test_combine_experts_biases_and_scales(width: int, isa: str) -> None:
    tokens, used, experts = 9, 3, 5
    x, weights, bias = normal(tokens * used, width), normal(tokens, used, seed=1), normal(experts, width, seed=2)
    pair_of = np.random.default_rng(3).permutation(tokens * used).reshape(tokens, used)
    expert_of, out, biased = np.arange(tokens * used) % experts, np.full((tokens, width), 9, np.float32), x.copy()
    what = {"pair_of": pair_of, "weights": weights, "out": out, "width": width, "used": used}
    run(combine_experts, isa, 2, tokens=number(tokens), x=x, **what)
    assert nmse(out, combine_experts_reference(x.astype(np.float64), pair_of, weights.astype(np.float64))) <= 1e-12
    run(add_expert_bias, isa, 2, pairs=number(tokens * used), x=biased, expert_of=expert_of, bias=bias, width=width)
    assert np.array_equal(biased, x + bias[expert_of])
    scaled, scales = x.copy(), normal(experts, seed=5)
    run(scale_by_expert, isa, 2, pairs=number(len(x)), x=scaled, expert_of=expert_of, scales=scales, width=width)
    assert np.array_equal(scaled, x * scales[expert_of][:, None])


@pytest.mark.parametrize("width", [1, 9])
def test_sigmoid(width: int) -> None:
    x = normal(30, width) * np.float32(20)
    out = np.empty_like(x)
    run(sigmoid, None, 2, tokens=number(30), x=x, out=out, width=width)
    assert nmse(out, sigmoid_reference(x.astype(np.float64))) <= 1e-12


GROUPS = [(0, 0, 1), (2, 1, 30), (3, 31, 2), (6, 33, 9)]  # matrices 1, 4 and 5 of 7 are not chosen


KINDS = [("Q4_0", BEST, False), ("F16", BEST, False), ("Q4_0", BEST, True)]
MORE_KINDS = [("Q4_0", isa, tiles) for isa in REST for tiles in (False, True)]
MORE_KINDS += [(kind, BEST, tiles) for kind in ("Q4_K", "MXFP4") for tiles in (False, True)] + [("IQ2_S", BEST, False)]


@pytest.mark.parametrize(
    ("kind", "isa", "interleaved"), KINDS + [pytest.param(*more, marks=pytest.mark.slow) for more in MORE_KINDS]
)
def test_matmul_grouped(kind: str, isa: str, interleaved: bool) -> None:
    fmt, rows, k, tokens = BY_NAME[kind], 96 if interleaved else 70, 512, 42
    blocks, x = encoded(fmt, normal(7, rows, k)), normal(tokens, k, seed=1)
    weights, read, want_x = fmt.dequantize(blocks), x, x
    if fmt.activations == "q8":
        read = np.zeros((tokens, q8_bytes(k)), np.uint8)
        run(quantize_q8, isa, tokens=number(tokens), x=x, out=read, k=k)
        q, scales = q8_reference(x)
        want_x = (q.reshape(tokens, -1, 32) * scales[..., None]).reshape(tokens, k)
    groups = np.array([len(GROUPS), *np.ravel(GROUPS)], np.int64)
    if interleaved:
        blocks = tiles_of(blocks.reshape(7 * rows, -1), fmt, isa)
    hidden = aligned(blocks.nbytes).reshape(7, -1)
    hidden[:] = blocks.reshape(7, -1)[::-1]  # matrices may lie anywhere, here last first
    hidden[[1, 2, 5]] = 0xFF  # what was not chosen is not read: these would be NaN
    want, seen = grouped.matmul_grouped_reference(weights, want_x, GROUPS), set()
    for threads, batch in ((1, 20), (3, 20), (3, 1)) if interleaved else ((1, 20), (3, 20)):
        y, scratch = np.full((tokens + 1, rows), 9, np.float32), np.full(threads * SCRATCH_BYTES, 0xFF, np.uint8)
        matrices = hidden.ctypes.data + hidden.shape[1] * np.arange(6, -1, -1)
        what = {"groups": groups, "matrices": matrices, "x": read, "y": y, "rows": rows}
        run(
            grouped.matmul_grouped(fmt, interleaved=interleaved),
            isa,
            threads,
            tokens=number(batch),
            k=k,
            row_bytes=fmt.row_bytes(k),
            scratch=scratch,
            **what,
        )
        assert nmse(y[:-1], want) <= 1e-11 and (y[-1] == 9).all()
        seen.add(y.tobytes())
    assert len(seen) == 1
