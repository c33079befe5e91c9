"""The example in docs/write-a-kernel.md: its code runs as it is printed, on every instruction set of this CPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from instruction_sets import ISAS
from naive import number, run

PAGE = (Path(__file__).parents[1] / "docs" / "write-a-kernel.md").read_text()


@pytest.mark.parametrize("isa", ISAS)
def test_the_page_runs(isa: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    # The kernel cache looks a kernel's module up; its key does not cover the page, hence an empty cache.
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    module = ModuleType(f"kernel_of_the_page_{isa}")
    vars(module).update(isa=isa, number=number, run=run)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks:
        exec(block, vars(module))
    assert "kernel" in module.assembly
