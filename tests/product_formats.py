"""The formats that matrices are multiplied in, as parameters of tests.

Formats of codebooks share their loops: one of them is tried by default, since each is a kernel to compile. How the
bytes of the others are made is compared bit by bit by default too (test_matmul's gather).
"""

from __future__ import annotations

import pytest

from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all

load_all()
SHARED_LOOP = {name for name in BY_NAME if name.startswith(("IQ1", "IQ2", "IQ3"))} - {"IQ2_XS"} | {"Q1_0", "TQ1_0"}
PRODUCT_FORMATS = [
    pytest.param(fmt, id=name, marks=pytest.mark.slow if name in SHARED_LOOP else ())
    for name, fmt in sorted(BY_NAME.items())
    if fmt.activations
]
