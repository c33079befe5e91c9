"""Special tokens: which ones end generation, which strip whitespace beside them, and splitting a text at them.

GGUF does not state all of this; the rest follows from the tokens' texts and the model's name, as in llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# fmt: off
STOP_TEXTS = frozenset((
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>",
    "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]",
    "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
))
CONTROL_TEXTS = STOP_TEXTS | frozenset((
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
    "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
    "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
    "<|prefix|>", "<|suffix|>", "<|middle|>",
))
# fmt: on
# In these families <|end|> closes one message of several, and generation continues.
ENDS_A_PART = ({"<|return|>", "<|call|>"}, {"<|call|>", "<|flush|>"}, {"<|calls|>", "<|flush|>"})
BLANKS = " \t\n\v\f\r"


def control_texts(ids: Mapping[str, int], special: Mapping[str, int]) -> frozenset[str]:
    """Tokens among `ids` that are control tokens whatever type the file gives them: converters get it wrong."""
    return (CONTROL_TEXTS & ids.keys()) | _closing_tag(ids, special)


def stop_ids(ids: Mapping[str, int], special: Mapping[str, int]) -> frozenset[int]:
    """The ids that end generation."""
    texts = (STOP_TEXTS & ids.keys()) | _closing_tag(ids, special)
    if any(family <= texts for family in ENDS_A_PART):
        texts -= {"<|end|>"}
    named = (special[name] for name in ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep") if name in special)
    return frozenset({*(ids[text] for text in texts), *named})


def _closing_tag(ids: Mapping[str, int], special: Mapping[str, int]) -> frozenset[str]:
    """`</s>` where BOS is `<s>`; elsewhere it is only an HTML tag (llama.cpp stops at that too)."""
    closes = "</s>" in ids and "bos" in special and ids.get("<s>") == special["bos"]
    return frozenset({"</s>"} if closes else ())


@dataclass(frozen=True, slots=True)
class Special:
    """A token that is split off before the tokenizer's algorithm runs."""

    id: int
    text: str
    always: bool  # user-defined: split off even without `parse_special`
    lstrip: bool = False  # removes whitespace before it
    rstrip: bool = False  # removes whitespace after it


def partition(text: str, specials: Iterable[Special], parse_special: bool) -> list[str | int]:
    """Split `text` into ids of special tokens and the non-empty texts between them; `specials` are longest first.

    Where matches overlap, an earlier entry of `specials` wins, as in llama.cpp.
    """
    parts: list[str | int] = [text] if text else []
    there = set(text)  # rules out most of the thousands of special tokens of some vocabularies
    for special in specials:
        if not (special.always or parse_special) or special.text[0] not in there or special.text[-1] not in there:
            continue
        if special.text in text:
            parts = [piece for part in parts for piece in (_cut(part, special) if isinstance(part, str) else (part,))]
    return parts


def _cut(text: str, special: Special) -> list[str | int]:
    parts: list[str | int] = []
    start = 0
    while (at := text.find(special.text, start)) >= 0:
        before = text[start:at].rstrip(BLANKS) if special.lstrip else text[start:at]
        parts += [before, special.id] if before else [special.id]
        start = at + len(special.text)
        while special.rstrip and start < len(text) and text[start] in BLANKS:
            start += 1
    return [*parts, text[start:]] if start < len(text) else parts


def strips(metadata: Mapping[str, Any], text: str) -> dict[str, bool]:
    """The strip flags of a special token. GGUF lacks them, so llama.cpp's rules by model name are used."""
    name, pre, architecture = (
        str(metadata.get(key, "")) for key in ("general.name", "tokenizer.ggml.pre", "general.architecture")
    )
    name = name.lower()
    if "phi-3" in name or "phi3" in name:
        return {"rstrip": text not in ("<unk>", "<s>", "<|endoftext|>")}
    if text == "<mask>":
        return {"lstrip": pre.startswith("jina-v2-") or architecture in ("nomic-bert-moe", "jina-bert-v3")}
    return {"lstrip": text == "[MASK]" and "modern-bert" in name}
