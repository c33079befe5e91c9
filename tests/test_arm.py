"""64-bit ARM from any machine: kernels compiled for it and read, and the choice of the instruction set.

`tools/arm_lane.sh` runs the kernels themselves under emulation.
"""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.jit import cpu
from llmlocal.quant.jit.compiler import compile_assembly
from llmlocal.quant.kernels.matmul import matmul

load_all()
LINUX = "aarch64-unknown-linux-gnu"
PRODUCTS = ("sdot", "smmla", "smull", "smull2", "smlal", "smlal2", "fmla")
BRANCH = re.compile(r"(?:b|b\.\w+|cbn?z|tbn?z)\s.*?(\.L\w+)$")


def lines_of(assembly: str) -> list[str]:
    """Labels and instructions."""
    lines = [line.split("//")[0].strip() for line in assembly.splitlines()]
    return [line for line in lines if line and (line.endswith(":") or not line.startswith("."))]


def loops(lines: list[str]) -> list[list[str]]:
    """The innermost loops: from a label to a branch back to it, with no other such pair between."""
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    branches = [(labels.get(m[1], i), i) for i, line in enumerate(lines) if (m := BRANCH.match(line))]
    back = [(a, b) for a, b in branches if a < b]
    inner = [(a, b) for a, b in back if not any((c, d) != (a, b) and a <= c and d <= b for c, d in back)]
    return [lines[a : b + 1] for a, b in inner]


def count(lines: list[str], *names: str) -> int:
    return sum(line.split()[0] in names for line in lines)


@pytest.mark.parametrize(
    ("isa", "name", "product"),
    [
        ("neon_i8mm", "Q4_0", "smmla"),
        pytest.param("neon_dot", "Q4_0", "sdot", marks=pytest.mark.slow),
        ("neon_dot", "F16", "fmla"),
        pytest.param("neon", "Q4_0", "smlal", marks=pytest.mark.slow),
        pytest.param("neon", "Q8_0", "smull", marks=pytest.mark.slow),
    ],
)
def test_products_stay_in_registers(isa: str, name: str, product: str) -> None:
    lines = lines_of(compile_assembly(matmul(BY_NAME[name]), cpu.arm(isa, LINUX)))
    busy = [loop for loop in loops(lines) if count(loop, *PRODUCTS) >= 8]
    assert len(busy) >= 2 and any(count(loop, product) for loop in busy)  # a row, and tiles of rows
    assert product != "smmla" or any(count(loop, "sdot") for loop in busy)  # by `sdot` the row
    assert not any("[sp" in line for loop in busy for line in loop)
    assert not count(lines, "bl", "blr")
    assert bool(count(lines, "sdot")) == (product in ("sdot", "smmla"))
    assert bool(count(lines, "fcvtl"))  # halves by the machine


def test_generic_kernels_call_nothing_on_arm_either() -> None:
    lines = lines_of(compile_assembly(matmul(BY_NAME["F16"]), cpu.arm("generic", LINUX)))
    assert count(lines, "fmul", "fadd") and not count(lines, "bl", "blr", "fcvtl")


# ---- the choice ----------------------------------------------------------------------------------------------------


# How Linux, macOS and Windows say that a CPU has a feature.
WAYS: dict[str, tuple[tuple[int, int], bytes, int]] = {
    "dotprod": ((16, 20), b"hw.optional.arm.FEAT_DotProd", 43),
    "i8mm": ((26, 13), b"hw.optional.arm.FEAT_I8MM", 66),
}


def libraries(features: set[str]) -> SimpleNamespace:
    """What `ctypes.CDLL` gives on a machine with these features."""
    ways = [WAYS[name] for name in features]

    def getauxval(entry: int) -> int:
        return sum(1 << bit for (at, bit), *_ in ways if at == entry)

    def sysctlbyname(name: bytes, value: Any, *_: Any) -> int:
        value._obj.value = int(name in [known for _, known, _ in ways])
        return 0

    def present(number: int) -> int:
        return int(number in [known for *_, known in ways])

    return SimpleNamespace(getauxval=getauxval, sysctlbyname=sysctlbyname, IsProcessorFeaturePresent=present)


@pytest.mark.parametrize("features", [{"dotprod", "i8mm"}, {"dotprod"}, set()])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_features_are_asked_of_the_system(system: str, features: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libraries(features))
    assert cpu.arm_features() == {"neon", *features}


def test_a_system_that_cannot_be_asked_has_neon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert cpu.arm_features() == {"neon"}


@pytest.mark.parametrize(
    ("features", "sets"),
    [
        ({"neon", "dotprod", "i8mm"}, ["neon_i8mm", "neon_dot", "neon", "generic"]),
        ({"neon", "dotprod"}, ["neon_dot", "neon", "generic"]),
        ({"neon"}, ["neon", "generic"]),
    ],
)
def test_arm_offers_its_own_sets(features: set[str], sets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(cpu, "host_features", lambda: frozenset(features))
    monkeypatch.setenv("LLMLOCAL_ISA", "")
    choose = cpu.target.__wrapped__
    assert cpu.offered() == sets
    assert choose() == cpu.arm(sets[0])
    assert [choose(isa).isa for isa in sets] == sets
    with pytest.raises(ValueError, match=f"this CPU offers {', '.join(sets)}"):
        choose("avx2")
