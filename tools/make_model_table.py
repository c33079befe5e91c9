"""Write the lists of the models that run, from the registry: python tools/make_model_table.py

docs/models.md gets a table: an architecture's first paragraph says what it is, its conversion which Hugging Face
classes become GGUF files. README gets the names by kind of architecture.
"""

from __future__ import annotations

import inspect
import textwrap
from collections import defaultdict
from pathlib import Path

from llmlocal import models

ROOT = Path(__file__).parents[1]
README, DOCUMENT = ROOT / "README.md", ROOT / "docs" / "models.md"
BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->\n"
KINDS = {models.DECODER: "Decoders", models.ENCODER: "Encoders", models.ENCODER_DECODER: "Encoder-decoders"}
KINDS |= {models.ASSISTANT: "Assistants, for speculation"}


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


def names_by_kind() -> str:
    """A paragraph for each kind of architecture."""
    by_kind = defaultdict(list)
    for name in models.names():
        by_kind[models.kind(models.find(name, ""))].append(f"`{name}`")
    paragraphs = [f"**{title}** ({len(by_kind[kind])}): {', '.join(by_kind[kind])}." for kind, title in KINDS.items()]
    return "\n\n".join(textwrap.fill(p, 120, break_on_hyphens=False) for p in paragraphs) + "\n"


def replaced(text: str, content: str) -> str:
    """A document's text with `content` between its marks. Raises ValueError where they are missing."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{content}{END}{after}"


if __name__ == "__main__":
    README.write_text(replaced(README.read_text(), names_by_kind()))
    DOCUMENT.write_text(replaced(DOCUMENT.read_text(), table()))
