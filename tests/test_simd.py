"""Every intrinsic against its NumPy twin, in every instruction set that this CPU offers."""

from __future__ import annotations

import ast
import hashlib
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intrinsic_cases import CASES, RUNS, SLOT, Case, F, H
from naive import run
from numpy.typing import NDArray

from llmlocal.quant.jit import cpu
from llmlocal.quant.jit.kernel import Kernel
from llmlocal.quant.simd import arithmetic as simd
from llmlocal.quant.simd import float16 as halves
from llmlocal.quant.simd import load_store as memory
from llmlocal.quant.simd.callee import Intrinsic
from llmlocal.quant.simd.few_tokens import FEW_TOKENS
from llmlocal.quant.simd.float16 import float16_intrinsics, narrow_by_integers, widen_by_integers
from llmlocal.quant.simd.instruction_set import InstructionSet

Array = NDArray[Any]
ISAS = cpu.offered()
# The cache knows kernels by name, and its key covers the package's sources only: this file's text is in the name.
FILES = (Path(__file__), Path(__file__).with_name("intrinsic_cases.py"))
VERSION = hashlib.sha256(b"".join(file.read_bytes() for file in FILES)).hexdigest()[:12]


def build(v: InstructionSet) -> Any:
    """All bodies in a row; written as text, because a function for each step would take Numba half a minute."""
    size = RUNS * SLOT
    calls = [f"        case{i}(x + {size * i} + at, out + {size * i} + at)" for i in range(len(CASES))]
    names = {f"case{i}": v.jitable(case.body(v)) for i, case in enumerate(CASES)}
    head = ["def main(counter, ith, nth, x, out):", f"    for at in range(0, {size}, {SLOT}):"]
    exec("\n".join([*head, *calls]), names)
    return names["main"]


INTRINSICS = Kernel(f"test_intrinsics_{VERSION}", ("x", "out"), build)


def operands(case: Case, seed: int) -> Array:
    """Random bytes, among them every kind of float; or floats of moderate size with some that are not."""
    rng = np.random.default_rng(seed)
    if not case.floats:
        return rng.integers(0, 256, (RUNS, SLOT), np.uint8)
    x = (rng.normal(size=(RUNS, SLOT // 4)) * 10.0 ** rng.integers(-6, 6, (RUNS, 1))).astype(F)
    x[1] = np.round(x[1]) + F(0.5)
    x[2, ::3], x[3, ::5], x[4, 1::7] = 0, np.inf, -1e-40
    return x.view(np.uint8)


@pytest.mark.parametrize("isa", ISAS)
def test_intrinsics_equal_numpy(isa: str) -> None:
    x = np.stack([operands(case, i) for i, case in enumerate(CASES)])
    out = np.zeros_like(x)
    run(INTRINSICS, isa, x=x, out=out)
    with np.errstate(all="ignore"):
        for case, rows, results in zip(CASES, x, out, strict=True):
            for row, result in zip(rows, results, strict=True):
                want = case.reference(row)
                want = want.astype(F) if want.dtype == np.float64 else want
                got = result[: want.nbytes].view(want.dtype)
                np.testing.assert_allclose(got, want, case.rtol, 0, err_msg=f"{case.name} in {isa}")


def test_every_intrinsic_has_a_case() -> None:
    names = {name for m in (simd, memory, halves) for name, x in vars(m).items() if isinstance(x, Intrinsic)}
    elsewhere = {"call_kernel", "call_plain", "to_f16"}  # in test_engine's programs, and below
    assert names - {case.name.split()[0] for case in CASES} == elsewhere


LISTED = {name: x for name, x in vars(InstructionSet).items() if callable(x) and not name.startswith("_")}
CONSTANTS = set(InstructionSet.__annotations__)
MODULES = sorted({*cpu.NEEDS, *(t for name in cpu.NEEDS if (t := import_module(f"llmlocal.quant.isa.{name}").TILES))})


def parameters(function: Any) -> list[str]:
    """Names of the parameters that a caller gives: of a Protocol's method, an intrinsic or a plain function."""
    names = list(inspect.signature(function).parameters)
    return names[1:] if names[:1] == ["self"] else names


@pytest.mark.parametrize("name", MODULES)
def test_an_instruction_set_offers_what_is_listed(name: str) -> None:
    """Every name, with the same parameters, and no public intrinsic beside them."""
    module = import_module(f"llmlocal.quant.isa.{name}")
    offered = {n for n, x in vars(module).items() if isinstance(x, Intrinsic) and not n.startswith("_")}
    assert offered <= set(LISTED), "intrinsics that instruction_set.py does not list"
    assert {n for n in {*LISTED, *CONSTANTS} if not hasattr(module, n)} == set(), "listed, but not offered"
    wrong = {
        n: parameters(getattr(module, n)) for n, x in LISTED.items() if parameters(getattr(module, n)) != parameters(x)
    }
    assert not wrong


@pytest.mark.parametrize("name", FEW_TOKENS)
def test_tokens_that_go_row_by_row_are_those_of_the_table(name: str) -> None:
    """An instruction set that takes over another's names takes over its numbers, too."""
    assert FEW_TOKENS[name] == import_module(f"llmlocal.quant.isa.{name}").FEW_TOKENS


def test_shared_intrinsics_are_described_as_where_they_are_defined() -> None:
    for module in (simd, memory, halves):
        for name, x in vars(module).items():
            if isinstance(x, Intrinsic):
                assert LISTED[name].__doc__ == x.__doc__.splitlines()[0], name


def test_kernels_use_only_what_is_listed() -> None:
    root, used = Path(__file__).parents[1], set()
    for path in [p for folder in ("quant", "llmlocal") for p in (root / folder).rglob("*.py")]:
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or "v" not in [a.arg for a in node.args.args]:
                continue
            (kind,) = [a.annotation for a in node.args.args if a.arg == "v"]
            if kind is not None and ast.unparse(kind) == "InstructionSet":
                found = [x for x in ast.walk(node) if isinstance(x, ast.Attribute) and ast.unparse(x.value) == "v"]
                used |= {x.attr for x in found}
    assert used - {*LISTED, *CONSTANTS} == set()
    assert CONSTANTS - used == {"PROOF"}  # for `doctor`


def build_halves(v: InstructionSet) -> Any:
    """Widen and narrow by the intrinsics of the set, then by integers, which every set could use."""
    by_integers = float16_intrinsics(widen_by_integers, narrow_by_integers)
    widen, narrow, f16x8, f32x8 = by_integers[0], by_integers[1], v.f16x8, v.f32x8

    def main(counter, ith, nth, count, halves, widened, also_widened, singles, narrowed, also_narrowed):
        for i in range(0, count, 8):
            v.store(widened + 4 * i, v.to_f32(f32x8, v.load(f16x8, halves + 2 * i)))
            v.store(also_widened + 4 * i, widen(f32x8, v.load(f16x8, halves + 2 * i)))
            v.store(narrowed + 2 * i, v.to_f16(f16x8, v.load(f32x8, singles + 4 * i)))
            v.store(also_narrowed + 2 * i, narrow(f16x8, v.load(f32x8, singles + 4 * i)))

    return main


HALVES = Kernel(
    f"test_halves_{VERSION}",
    ("count", "halves", "widened", "also_widened", "singles", "narrowed", "also_narrowed"),
    build_halves,
)


def awkward_singles(halves: Array) -> Array:
    """Halves, the ties between neighbours, what lies just beside those, and bits of any kind."""
    finite = np.sort(halves.astype(F)[np.isfinite(halves)])
    ties = np.append((finite[1:] + finite[:-1]) / 2, F(65520))
    bits = np.random.default_rng(1).integers(0, 1 << 32, len(halves), np.uint32).view(F)
    return np.concatenate([ties, np.nextafter(ties, F(np.inf)), np.nextafter(ties, F(-np.inf)), bits, halves.astype(F)])


@pytest.mark.parametrize("isa", ISAS)
def test_every_half_float_is_widened_and_narrowed(isa: str) -> None:
    singles = awkward_singles(np.arange(1 << 16, dtype=np.uint16).view(H))
    singles = singles[: len(singles) // 8 * 8]
    halves = np.resize(np.arange(1 << 16, dtype=np.uint16).view(H), len(singles))
    out = {name: np.empty(len(singles), F) for name in ("widened", "also_widened")}
    out |= {name: np.empty(len(singles), H) for name in ("narrowed", "also_narrowed")}
    run(HALVES, isa, count=len(singles), halves=halves, singles=singles, **out)
    with np.errstate(all="ignore"):
        want = {F: halves.astype(F), H: singles.astype(H)}
    for name, got in out.items():
        expected = want[got.dtype.type]
        nan = np.isnan(expected)
        assert np.array_equal(np.isnan(got), nan), name
        assert got[~nan].tobytes() == expected[~nan].tobytes(), name
