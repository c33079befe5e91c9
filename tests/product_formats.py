"""The formats that matrices are multiplied in, as parameters of tests.

One of those that share their parts is tried by default, since each is a kernel to compile. How the bytes of the others
are made is compared bit by bit by default too (test_matmul's gather).
"""

from __future__ import annotations

import pytest

from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all

load_all()
CODEBOOKS = {name for name in BY_NAME if name.startswith(("IQ1", "IQ2", "IQ3"))}
RELATED = CODEBOOKS - {"IQ2_XS"} | {"Q1_0", "TQ1_0", "Q4_1", "Q5_0", "Q5_K", "Q3_K", "Q2_0", "IQ4_NL", "NVFP4", "BF16"}
PRODUCT_FORMATS = [
    pytest.param(fmt, id=name, marks=pytest.mark.slow if name in RELATED else ())
    for name, fmt in sorted(BY_NAME.items())
    if fmt.activations
]
