"""Numba's passes that kernels need, and no others: most of the time of compiling a kernel is spent in passes."""

from __future__ import annotations

from typing import Any

from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)

PASSES = (
    (TranslateByteCode, "analyze bytecode"),
    (FixupArgs, "fix up arguments"),
    (IRProcessing, "process IR"),
    (RewriteSemanticConstants, "rewrite semantic constants"),
    (DeadBranchPrune, "prune dead branches"),
    (GenericRewrites, "rewrite items of tuples"),
    (ReconstructSSA, "static single assignment"),
    (NopythonTypeInference, "infer types"),
    (PreLowerStripPhis, "remove phi nodes"),
    (IRLegalization, "legalize IR"),
    (NativeLowering, "lower to LLVM"),
    (NoPythonBackend, "finish"),
)


class Passes(PassManager):  # type: ignore[misc]
    """Passes that leave each other what they need: Numba's own manager analyses a function again after each of them."""

    _ENFORCING = False


class KernelPipeline(CompilerBase):  # type: ignore[misc]
    """Left out: closures within functions, `with`, exceptions, array expressions, literal unrolling, parallel loops."""

    def define_pipelines(self) -> list[Any]:
        manager = Passes("kernel")
        for step, name in PASSES:
            manager.add_pass(step, name)
        manager.finalize()
        return [manager]
