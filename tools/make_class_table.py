"""List the classes of models that others know and `convert` refuses: tests/golden/classes.json, docs/conversion.md.

    python tools/make_class_table.py [CONVERSION]

With CONVERSION, the file conversion/__init__.py of llama.cpp, and transformers installed the names are read anew; they
are kept in tests/golden/classes.json as {kind: [name, ...]}, and kinds of text models that are parts of others in
tests/golden/text_parts.json as {name: kind}. Without it only the page is written, from names known.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES, PAGE = ROOT / "tests/golden/classes.json", ROOT / "docs/conversion.md"
TEXT_PARTS = ROOT / "tests/golden/text_parts.json"
BEGIN, END = "<!-- classes: begin -->\n", "<!-- classes: end -->\n"
LLAMA_CPP = "llama.cpp"
KINDS = {  # mappings of transformers that hold classes of models of text; a name counts in the first that has it
    "CAUSAL_LM": "next tokens",
    "SEQ_TO_SEQ_CAUSAL_LM": "encoder and decoder",
    "MASKED_LM": "masked words",
    "SEQUENCE_CLASSIFICATION": "classes of texts",
    "TOKEN_CLASSIFICATION": "classes of tokens",
    "QUESTION_ANSWERING": "spans of answers",
    "IMAGE_TEXT_TO_TEXT": "images and text",
}
PUBLISHED_WITH_CODE = {  # of which transformers does not have the whole
    "KimiK25ForConditionalGeneration": "deepseek_v3",
    "KimiVLForConditionalGeneration": "deepseek_v3",
    "Sarashina2VisionForCausalLM": "llama",
}


def names_of_others(conversion: Path) -> dict[str, list[str]]:
    """Names by kind: those that llama.cpp's converter has, and the others of transformers."""
    from transformers.models.auto import modeling_auto

    found: dict[str, list[str]] = {}
    for node in ast.parse(conversion.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TEXT_MODEL_MAP" and node.value:
            found[LLAMA_CPP] = sorted(ast.literal_eval(node.value))
    seen = set(found[LLAMA_CPP])
    for mapping, kind in KINDS.items():
        classes: list[str] = []
        for value in getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES").values():
            classes += [value] if isinstance(value, str) else value
        found[kind] = sorted(set(classes) - seen)
        seen |= set(classes)
    return found


def kinds_of_text_parts() -> dict[str, str]:
    """The kind (`model_type`) of the text model that is part of another, by the class of the whole."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    found = dict(PUBLISHED_WITH_CODE)
    for mapping in ("IMAGE_TEXT_TO_TEXT", "SEQ_TO_SEQ_CAUSAL_LM", "MULTIMODAL_LM"):
        for kind, name in getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES").items():
            text = getattr(AutoConfig.for_model(kind), "text_config", None)
            if isinstance(name, str) and hasattr(text, "model_type"):
                found[name] = text.model_type
    return dict(sorted(found.items()))


def message(name: str, part: str | None = None) -> tuple[str, str]:
    """What `convert` says of a folder of this class, and its hint; empty for a class that can be converted.

    `part`: the kind of its text model, if the class has one as a part.
    """
    from llmlocal.convert.hf_source import classes, open_hf
    from llmlocal.errors import BadFileError
    from llmlocal.hf.text_part import text_class

    config = {"architectures": [name], "text_config": {"model_type": part}}
    if name in classes() or text_class(config, classes()):
        return "", ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "config.json").write_text(json.dumps({"architectures": [name]}))
        (path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        try:
            with open_hf(path):
                raise AssertionError(name)
        except BadFileError as error:
            return str(error).removeprefix(f"{path}/"), error.hint


def table(names: dict[str, list[str]]) -> str:
    """The page's table: classes of each kind, those that are refused by what the hint says."""
    parts = json.loads(TEXT_PARTS.read_text())
    lines = ["| kind | known | converted | refused |", "| --- | --- | --- | --- |"]
    details = []
    for kind, classes in names.items():
        refused = {name: hint for name in classes if (hint := message(name, parts.get(name))[1])}
        lines.append(f"| {kind} | {len(classes)} | {len(classes) - len(refused)} | {len(refused)} |")
        details += [f"\n### Known as: {kind}\n"] if refused else []
        hints: dict[str, list[str]] = {}
        for name, hint in refused.items():
            hints.setdefault(hint, []).append(f"`{name}`")
        details += [f'- {", ".join(group)}: "{hint}"' for hint, group in sorted(hints.items(), key=lambda x: x[1])]
    return "\n".join([*lines, *details]) + "\n"


def main() -> None:
    if len(sys.argv) > 1:
        NAMES.write_text(json.dumps(names_of_others(Path(sys.argv[1])), indent=0) + "\n")
        TEXT_PARTS.write_text(json.dumps(kinds_of_text_parts(), indent=0) + "\n")
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}{table(json.loads(NAMES.read_text()))}{END}{after}")


if __name__ == "__main__":
    main()
