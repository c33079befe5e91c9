"""The kernels that `convert` writes its types with give NumPy's bytes, at every rounding boundary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.formats import load_all
from llmlocal.quant.quantizer import ErrorStats, Quantizer
from llmlocal.quantize.plan import STORED_TYPES
from llmlocal.runtime.executor import ThreadTeam
from llmlocal.runtime.program import KernelCall, Program

load_all()
Floats = NDArray[np.float32]
K = 256


@dataclass(frozen=True)
class InMemory:
    """A `RowReader` over an array (rows, k)."""

    values: Floats
    name: str = "x.weight"

    @property
    def format(self) -> type[Format]:
        return BY_NAME["F32"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self, first: int, last: int) -> Floats:
        return self.values[first:last]

    @property
    def holds_blocks(self) -> bool:
        return False

    def blocks(self, first: int, last: int) -> NDArray[np.uint8]:
        raise ValueError("is not held in blocks")


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    team = ThreadTeam(2)
    yield Quantizer(lambda calls: team.run(Program.of(KernelCall(kernel, fields) for kernel, fields in calls)), 2)
    team.close()


def both_signs(values: Floats) -> Floats:
    whole = np.concatenate([values.reshape(-1), -values.reshape(-1)])
    return np.resize(whole, (-(-whole.size // K), K))


def around_halves() -> Floats:
    """Every finite half, every middle between two of them, and the next float32 on both sides of it."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (halves[:-1] + halves[1:]) / 2
    up, down = np.float32(np.inf), np.float32(-np.inf)
    return both_signs(np.concatenate([halves, middle, np.nextafter(middle, up), np.nextafter(middle, down)]))


def around_upper_halves() -> Floats:
    """Every finite upper half of a float32 with the lower halves next to the middle and to the ends."""
    upper = np.arange(0x7F7F, dtype=np.uint32) << np.uint32(16)
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return both_signs((upper[:, None] | lower).view(np.float32))


def around_steps() -> Floats:
    """Blocks of 32 for Q8_0 of many scales: whole steps, halves between them, and their neighbours."""
    scales = np.arange(1, 0x5FD0, 7, dtype=np.uint16).view(np.float16).astype(np.float32)[:, None]
    steps = np.random.default_rng(0).integers(-127, 127, (len(scales), 31)).astype(np.float32) + np.float32(0.5)
    ties = np.concatenate([np.full_like(scales, 127), steps], axis=1) * scales
    near = np.nextafter(ties, np.float32(0))
    whole = np.trunc(steps) * scales
    drawn = np.random.default_rng(1).standard_t(3, (1 << 12, 32)).astype(np.float32)
    return both_signs(np.concatenate([ties, near, np.concatenate([whole, whole[:, :1]], axis=1), drawn]))


VALUES = {"F32": around_upper_halves, "BF16": around_upper_halves, "F16": around_halves, "Q8_0": around_steps}


@pytest.mark.parametrize("name", STORED_TYPES)
def test_kernel_gives_numpys_bytes(name: str, quantizer: Quantizer) -> None:
    values = VALUES[name]()
    got = np.concatenate(
        [data.copy().reshape(-1) for data in quantizer.stream(InMemory(values), BY_NAME[name], None, ErrorStats())]
    )
    assert np.array_equal(got, BY_NAME[name].quantize(values).reshape(-1))
    if name != "F32":
        theirs = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
        assert np.array_equal(got, np.ascontiguousarray(theirs).view(np.uint8).reshape(-1))
