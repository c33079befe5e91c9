"""Write README's table of the models that run, from the registry: python tools/readme_models.py

An architecture's first sentence says what it is; its conversion says which Hugging Face classes become GGUF files.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from llmlocal import models

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->\n"


def table() -> str:
    """The table's lines."""
    lines = ["| `general.architecture` | models | converted from |", "| --- | --- | --- |"]
    for name in models.names():
        module = models.find(name, "")
        summary = " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split())
        conversion = getattr(module, "CONVERSION", None)
        classes = ", ".join(f"`{cls}`" for cls in conversion.classes) if conversion else ""
        lines.append(f"| `{name}` | {summary} | {classes} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """README's text with the table of today. Raises ValueError where the marks are missing."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
