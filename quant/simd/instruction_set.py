"""`v`, the instruction set that a kernel is built for: every intrinsic and size that kernels may use, with its meaning.

A kernel is a function `build(v: InstructionSet)`; `v` is a module of `isa/`, for which tests/test_simd.py checks that
it offers exactly this. Intrinsics that all sets share are defined beside this file, the others in `isa/`. Values are
scalars or vectors inside compiled code, hence `Any`; addresses are int64. Imports neither NumPy nor Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .few_tokens import FewTokens

if TYPE_CHECKING:
    from .vector import Vec as VectorType

Part = Callable[..., Any]  # a function that is compiled into the kernel that calls it


class InstructionSet(Protocol):
    """What every module of `isa/` offers."""

    # ---- sizes and types ---------------------------------------------------------------------------------------------

    LANES: int  # rows of a tile; lanes of f32 and i32
    f32: VectorType  # LANES lanes, as are i32, i16 and f16; i8 has four bytes for each
    i32: VectorType
    i16: VectorType
    f16: VectorType
    i8: VectorType
    row_f32: VectorType  # what a single row of weights streams through
    row_i32: VectorType
    row_i8: VectorType
    TILES: str  # the module that matrix products over tiles use instead of this one; "": none
    TOKENS: int  # of a batch that share each weight loaded: their sums fill the registers that weights leave
    FLOAT_TOKENS: int  # the same for float32 activations
    FLOAT_TILES: int  # tiles of rows that share each float32 activation loaded
    FEW_TOKENS: FewTokens  # up to so many tokens, rows are read one by one, as for a single token
    FLIP_SIGNED: bool  # whether `dot4_signed` and `tokens_dot` want signed weights with 128 added
    SUMS: bool  # whether products of int16 go by `sums_dot`
    PAIRS: bool  # whether products of 6 bits start from sums of pairs, by `pairs_dot`
    SIGNS: bool  # whether Q8 records have lines of magnitudes and signs, for `signs_dot`
    PAIR_TOKENS: int  # batches of so many tokens keep tiles in pairs of rows, for `paired_dot`; 0: none does
    REGISTER_TOKENS: int  # up to so many, interleaved weights are unpacked into registers for each TOKENS
    STORED_SUMS: int  # so many tokens' sums or more lie in memory while 32 interleaved weights are multiplied; 0: never
    PROOF: str  # the machine instruction of its byte products, to look for in compiled code; "": none of its own
    Vec: type[VectorType]
    f32x8: VectorType
    f16x8: VectorType
    i32x8: VectorType
    i32x4: VectorType
    i16x16: VectorType
    i8x32: VectorType
    i8x16: VectorType
    float32: Any  # scalar types; called, they convert a number
    int64: Any
    int32: Any
    int16: Any

    # ---- memory ------------------------------------------------------------------------------------------------------

    def load(self, kind: VectorType, p: int) -> Any:
        """The vector at address `p`, of any alignment."""

    def store(self, p: int, x: Any) -> None:
        """Write a vector or scalar to address `p`, of any alignment."""

    def load_i64(self, p: int) -> Any:
        """The int64 at address `p`."""

    def load_i32(self, p: int) -> Any:
        """The int32 at address `p`, sign-extended."""

    def load_i8(self, p: int) -> Any:
        """The int8 at address `p`, sign-extended."""

    def load_u16(self, p: int) -> Any:
        """The uint16 at address `p`."""

    def load_f32(self, p: int) -> Any:
        """The float32 at address `p`."""

    def load_f16(self, p: int) -> Any:
        """The float16 at address `p` as float32."""

    def load_splat(self, kind: VectorType, p: int) -> Any:
        """All lanes hold the one element at address `p`."""

    def load_f16_splat(self, kind: VectorType, p: int) -> Any:
        """All float32 lanes hold the float16 at address `p`."""

    def load_splat4(self, kind: VectorType, p: int) -> Any:
        """Every 32-bit lane of an int8 vector holds the same 4 bytes, those at address `p`."""

    def load_two_splats(self, kind: VectorType, p: int, q: int) -> Any:
        """The element at address `p` in the first half of the lanes, the one at `q` in the second half."""

    def load_lane(self, kind: VectorType, p: int) -> Any:
        """Lane 0 holds the element at address `p`, the others 0."""

    def load_two_lanes(self, kind: VectorType, p: int) -> Any:
        """The first lanes of both halves hold the two elements at address `p`, the others 0."""

    def load_two_halves(self, kind: VectorType, p: int) -> Any:
        """The int8 at address `p` as float32 in the first half of the lanes, the next one in the second half."""

    def load_spread_bits(self, kind: VectorType, p: int) -> Any:
        """Bit i of the bytes at address `p` as lane i: 0, or all ones."""

    def load_column(self, kind: VectorType, p: int, stride: int) -> Any:
        """Lane r holds the element at `p + r * stride`."""

    def load_indexed(self, kind: VectorType, p: int, indices: int) -> Any:
        """Lane i holds an element of the table at address `p`, the one whose number is the i-th uint16 at `indices`."""

    def load_f16_column(self, kind: VectorType, p: int, stride: int) -> Any:
        """Lane r of a float32 vector holds the float16 at `p + r * stride`."""

    def load_rows(self, kind: VectorType, p: int, stride: int) -> Any:
        """16 bytes of as many rows as the int32 vector has lanes, transposed: vector j holds dword j of every row."""

    def forget_memory(self) -> None:
        """Compute nothing, but read what was stored before from memory: LLVM would turn that into shuffles."""

    def hide(self, n: int) -> Any:
        """`n`, while LLVM sees no constant: a loop of so many rounds is not unrolled."""

    def prefetch(self, p: int) -> None:
        """Ask for the cache line at address `p`."""

    def table(self, data: bytes) -> Part:
        """The intrinsic `() -> address` of a copy of `data` that becomes part of the kernel."""

    # ---- arithmetic; + - * / & | ^ << >> work on vectors too, >> without sign ----------------------------------------

    def zero(self, kind: VectorType) -> Any:
        """All lanes 0."""

    def splat(self, kind: VectorType, x: Any) -> Any:
        """All lanes hold the scalar `x`, converted to the lane type."""

    def iota(self, kind: VectorType, n: Any) -> Any:
        """The integers 0, n, 2 n, ... as lanes."""

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x * y + z with one rounding."""

    def mul_exact(self, x: Any, y: Any) -> Any:
        """x * y, rounded: never contracted to a fused multiply-add."""

    def div_exact(self, x: Any, y: Any) -> Any:
        """x / y, correctly rounded: never replaced by a product with 1 / y."""

    def sub_exact(self, x: Any, y: Any) -> Any:
        """x - y, rounded: never contracted with a product."""

    def sqrt(self, x: Any) -> Any:
        """Square root of every lane, or of one float32."""

    def absolute(self, x: Any) -> Any:
        """Magnitude of every float32 lane."""

    def maximum(self, x: Any, y: Any) -> Any:
        """The greater of each pair of lanes, float32 or signed; a NaN in `x` stays."""

    def minimum(self, x: Any, y: Any) -> Any:
        """The lesser of each pair of float32 lanes; a NaN in `x` stays."""

    def select_gt(self, p: int, q: Any, x: Any, y: Any) -> Any:
        """`x` in lanes where p > q, `y` in the others, those with a NaN among them."""

    def round_even(self, x: Any) -> Any:
        """Every float32 lane rounded to the nearest integer, ties to even."""

    def shift_signed(self, x: Any, n: Any) -> Any:
        """Lanes shifted right, the sign kept."""

    def negate(self, x: Any, minus: Any) -> Any:
        """Bytes with another sign where `minus` is all ones, not 0; `x` is -127..127."""

    def shift_bytes(self, x: Any, n: Any) -> Any:
        """Bytes shifted right; the top n bits of each are its neighbour's: x86 shifts 16-bit lanes at least."""

    def reduce_add(self, x: Any) -> Any:
        """Sum of all lanes; the vector is folded in half until one lane is left."""

    def reduce_max(self, x: Any) -> Any:
        """Greatest lane, float32 or signed."""

    def reduce_min(self, x: Any) -> Any:
        """Least float32 lane."""

    # ---- conversions -------------------------------------------------------------------------------------------------

    def bitcast(self, kind: VectorType, x: Any) -> Any:
        """The same bits seen as another vector type."""

    def truncate(self, kind: VectorType, x: Any) -> Any:
        """The low bits of every integer lane."""

    def widen_unsigned(self, kind: VectorType, x: Any) -> Any:
        """Unsigned integers -> wider lanes."""

    def widen_signed(self, kind: VectorType, x: Any) -> Any:
        """Signed integers -> wider lanes."""

    def to_i32(self, kind: VectorType, x: Any) -> Any:
        """float32 -> int32 lanes, towards zero; callers keep values in range."""

    def to_f32(self, kind: VectorType, x: Any) -> Any:
        """Signed integers or float16 -> float32 lanes."""

    def to_f16(self, kind: VectorType, x: Any) -> Any:
        """float32 -> float16 lanes, rounded to nearest even."""

    def bits_of(self, x: Any) -> Any:
        """The bits of a float32, as an int64 that is not negative."""

    def as_f32(self, bits: Any) -> Any:
        """The float32 whose bits are an int32, or the low half of an int64, as in argument blocks."""

    def nibbles(self, x: Any) -> Any:
        """The low nibbles of all bytes, then the high ones."""

    def spread_4_bits(self, x: Any) -> Any:
        """Bits 0..3 of every int32 lane, one each as bit 0 of its 4 bytes."""

    # ---- lanes -------------------------------------------------------------------------------------------------------

    def join(self, x: Any, y: Any) -> Any:
        """The lanes of `x`, then those of `y`."""

    def low_half(self, x: Any) -> Any:
        """The first half of the lanes."""

    def high_half(self, x: Any) -> Any:
        """The last half of the lanes."""

    def swap_pairs(self, x: Any) -> Any:
        """Neighbouring lanes exchanged."""

    def zip_lanes(self, x: Any, y: Any) -> Any:
        """Lanes of `x` and `y` in turn, twice as many."""

    def splat_lane(self, x: Any, lane: int) -> Any:
        """All lanes hold one lane of `x`, its number known when the kernel runs."""

    def slice_of(self, start: int, n: int) -> Part:
        """The intrinsic `x -> lanes start .. start + n - 1 of x`."""

    def splat_of(self, lane: int) -> Part:
        """The intrinsic `x -> x with one lane of it in all`."""

    def copies_of(self, n: int) -> Part:
        """The intrinsic `x -> n copies of each lane of x`, side by side."""

    def lookup16(self, values: Sequence[int]) -> Part:
        """The intrinsic `x -> values[x]` for bytes 0..15."""

    # ---- products of integers ----------------------------------------------------------------------------------------

    def dot2(self, acc: Any, w: Any, x: Any) -> Any:
        """acc (int32) + sums of 2 products of neighbouring int16."""

    def mul_round(self, x: Any, y: Any) -> Any:
        """x * y / 2^15 of int16, rounded to nearest."""

    def dot4(self, acc: Any, w: Any, x: Any) -> Any:
        """acc (int32) + sums of 4 products of bytes: `w` 0..127, `x` -127..127."""

    def dot4_signed(self, acc: Any, w: Any, x: Any) -> Any:
        """As `dot4`, with `w` -128..127; where FLIP_SIGNED, `w` arrives with 128 added and the caller subtracts."""

    def tokens_dot(self, tokens: int, n: int, bits: int, signed: bool, weight: Part) -> Part:
        """`(sums, weights, x, stride)` -> sums + n dot4 for each token; `x` is the address of the first one's bytes.

        `weight(j, weights)` gives vector number j of the weights, when it is multiplied.
        """

    def pairs_dot(self, tokens: int, n: int, weight: Part) -> Part:
        """`(pairs, weights, x, stride)` -> n dot4 of weights less 32 for each token, of 6 bits and n 4 at most.

        For each token, `pairs` is the address of minus 32 times sums of its bytes, two int16: of those that are first
        or second of four, and of the others. Only where PAIRS.
        """

    def sums_dot(self, tokens: int, n: int) -> Part:
        """`(totals, weights, x, stride)` -> totals (int32) + n times (w0 + x0) (w1 + x1) + (w2 + x2) (w3 + x3) for
        each token: int16, of rows w0 and w2 as a vector of pairs at address `weights`, w1 and w3 as the next one, of
        the first token x0, x2, x1, x3 at `x`. Only in AVX2's sets.
        """

    def scaled_dot(self, tokens: int, n: int) -> Part:
        """`(totals, weights, scale, x, pairs, stride)` -> totals (int32) + scales times n dot4 as of `pairs_dot`.

        Addresses but the first: vectors of weights, pairs of int16 that each row's sums are multiplied by, the first
        token's bytes, and its pairs. Only in AVX2's sets.
        """

    def signs_dot(self, tokens: int, n: int, weight: Part) -> Part:
        """`(negative, weights, x, stride)` -> n dot4 of signed weights for each token, `weight` as of `tokens_dot`.

        At `x` are magnitudes of the first token's 4 n bytes, then as many bytes of all ones where they are negative; at
        `negative`, int32, the sum of those that are negative, as magnitudes. Only where SIGNS.
        """

    def paired_dot(self, tokens: int, n: int, bits: int, signed: bool, weight: Part) -> Part:
        """As `tokens_dot`, of signed weights in pairs of rows (see `zip_lanes`); not used where PAIR_TOKENS is 0."""

    def keep_row_scales(self, scaled: Any, scratch: int) -> None:
        """Store the scales of 256 weights of a row where `row_scale` reads them, if it reads memory."""

    def row_scale(self, scales: int) -> Part:
        """`(scaled, scratch, n)` -> the scales of the n-th row_f32 vector of 256 weights, `scales` for every 32."""

    # ---- functions and unrolled loops --------------------------------------------------------------------------------

    def jitable(self, function: Callable[..., Any], *, inline: bool = True) -> Part:
        """A part of a kernel: compiled into whatever calls it, always inline, so that its vectors stay in registers.

        Not `inline`, a large part with several callers that takes and returns no vectors is compiled once, and called.
        """

    def unroll_map(self, n: int, step: Callable[..., Any]) -> Part:
        """`(*args) -> (step(0, *args), ..., step(n - 1, *args))`."""

    def unroll_fold(self, n: int, step: Callable[..., Any], first: int = 0) -> Part:
        """`(state, *args)`: runs `state = step(i, state, *args)` for i = first .. first + n - 1."""

    def map_parts(self, n: int, part_of: Callable[[int], Callable[..., Any]]) -> Part:
        """As `unroll_map`, where `part_of(i)` gives the function for i, of `(*args)`."""

    def fold_parts(self, parts: list[Callable[..., Any]]) -> Part:
        """`(state, *args)`: runs `state = part(state, *args)` for each part, in order."""

    def tuple_get(self, values: Any, i: Any) -> Any:
        """Element `i` of a tuple of one type; once all is inline `i` is a constant, and no selection is left."""

    # ---- threads -----------------------------------------------------------------------------------------------------

    def take_work(self, counter: int, n: int) -> Any:
        """Take `n` pieces of work from the counter at an address; the result is the first of them."""

    def atomic_add(self, p: int, n: int) -> Any:
        """Add to the int64 at address `p`; the result is what it was before."""

    def atomic_compare_exchange(self, p: int, expected: int, new: int) -> Any:
        """Write `new` to the int64 at address `p` if that holds `expected`; the result is 1 if it did, else 0."""

    def atomic_load(self, p: int) -> Any:
        """The int64 at address `p`; what its writer wrote before is visible."""

    def atomic_store(self, p: int, n: int) -> None:
        """Write the int64 at address `p` after everything before it."""

    def call_kernel(self, kernel: int, args: int, ith: int, nth: int) -> None:
        """Call the kernel at an address (see jit.CALL)."""

    def call_plain(self, function: int) -> None:
        """Call the C function without arguments at an address."""

    def pause(self) -> None:
        """Tell the CPU that this thread spins."""
