"""README lists what runs: the registry, no more and no less."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from llmlocal import models

sys.path.append(str(Path(__file__).parents[1] / "tools"))
readme_models = import_module("readme_models")


def test_readme_lists_the_models_that_run() -> None:
    text = readme_models.README.read_text()
    assert readme_models.with_table(text) == text, "run tools/readme_models.py"
    assert all(f"| `{name}` | " in text for name in models.names())


def test_names_are_files_and_known_to_gguf() -> None:
    import gguf

    own = {name for name in models.names() if models.find(name, "").CONVERSION.named_as}  # described in docs
    assert set(models.names()) - own <= set(gguf.MODEL_ARCH_NAMES.values())
    assert own == {"albert", "deberta", "deberta-v2", "xlnet"}
    assert {"llama", "command-r", "gpt-oss"} <= set(models.names())
