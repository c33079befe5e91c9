"""The instruction sets that kernels are tried on: the best of this machine, and in the slow lane its others.

By default every intrinsic is compared with NumPy on all of them (test_simd), and a kernel of each kind runs on the
others (`OTHERS` of test_matmul and test_encode); to compile all kernels for all of them takes minutes.
"""

from __future__ import annotations

import pytest

from llmlocal.quant.jit import cpu

BEST, *REST = cpu.offered()
OTHERS = [pytest.param(isa, marks=pytest.mark.slow) for isa in REST]
ISAS = [BEST, *OTHERS]
