"""The formats that matrices are multiplied in, as parameters of tests.

Formats that are only decoded share their loop: two of them are tried by default, since each is a kernel to compile. How
the others are decoded is compared bit by bit by default too (test_matmul's gather).
"""

from __future__ import annotations

import pytest

from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all

load_all()
SHARED_LOOP = {n for n, f in BY_NAME.items() if f.activations == "f32" and f.block > 1} - {"IQ2_XS", "NVFP4"}
PRODUCT_FORMATS = [
    pytest.param(fmt, id=name, marks=pytest.mark.slow if name in SHARED_LOOP else ())
    for name, fmt in sorted(BY_NAME.items())
    if fmt.activations
]
