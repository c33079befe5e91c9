"""Special tokens: which ones end generation, which strip whitespace beside them, and splitting a text at them.

GGUF does not state all of this; the rest follows from the tokens' texts and the model's name, as in llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from .prefixes import Prefixes

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


class Special(NamedTuple):
    """A token that is split off before the tokenizer's algorithm runs."""

    id: int
    text: str
    always: bool  # user-defined: split off even without `parse_special`
    lstrip: bool = False  # removes whitespace before it
    rstrip: bool = False  # removes whitespace after it


class SpecialTokens:
    """The special tokens of a vocabulary. The longest in bytes is split off first wherever it stands, as in llama.cpp.

    `split` takes near linear time; it raises BadFileError for a vocabulary that forbids that, see `Prefixes`.
    """

    def __init__(self, specials: Iterable[Special]) -> None:
        self._ranked = sorted(specials, key=lambda special: -len(special.text.encode("utf-8", "surrogateescape")))
        self._indexes: dict[tuple[bool, bool], tuple[re.Pattern[str], Prefixes[str]]] = {}

    def __iter__(self) -> Iterator[Special]:
        return iter(self._ranked)

    def split(self, text: str, *, user_defined: bool = True, control: bool = True) -> list[str | int]:
        """Split a text into ids of special tokens, of the kinds asked for, and the non-empty texts between them."""
        parts: list[str | int] = []
        start = 0
        for first, end, id in self._spans(text, *self._index(user_defined, control)):
            parts += [text[start:first], id] if first > start else [id]
            start = end
        return [*parts, text[start:]] if start < len(text) else parts

    def _index(self, user_defined: bool, control: bool) -> tuple[re.Pattern[str], Prefixes[str]]:
        """A pattern that finds where special tokens may begin, and their ranks by text."""
        key = user_defined, control
        if key not in self._indexes:
            ranked = enumerate(self._ranked)
            ranks = {one.text: rank for rank, one in ranked if (user_defined if one.always else control)}
            firsts = "".join(map(re.escape, {text[0] for text in ranks}))
            self._indexes[key] = re.compile(f"[{firsts}]" if firsts else "(?!)"), Prefixes(ranks)
        return self._indexes[key]

    def _spans(self, text: str, starts: re.Pattern[str], ranks: Prefixes[str]) -> list[tuple[int, int, int]]:
        """(Start, end, id) of the special tokens in a text, stripped blanks included, from left to right."""
        waiting = []  # at each place the longest token that may still stand there: rank, start, end
        for at in map(re.Match.start, starts.finditer(text)):
            if found := ranks.longest(text, at):
                waiting.append((found[1], at, found[0]))
        heapify(waiting)
        taken, spans = bytearray(len(text)), []
        while waiting:
            rank, at, end = heappop(waiting)
            limit = taken.find(1, at, end)
            if limit > at:  # a longer token begins within this one
                fitting = ((rank, at, at + n) for n, rank in ranks.matches(text, at) if n <= limit - at)
                if shorter := next(fitting, None):
                    heappush(waiting, shorter)
            elif limit < 0:
                special = self._ranked[rank]
                while special.lstrip and at and not taken[at - 1] and text[at - 1] in BLANKS:
                    at -= 1
                while special.rstrip and end < len(text) and not taken[end] and text[end] in BLANKS:
                    end += 1
                taken[at:end] = b"\1" * (end - at)
                spans.append((at, end, special.id))
        return sorted(spans)


def strips(metadata: Mapping[str, Any]) -> Callable[[str], dict[str, bool]]:
    """The strip flags of a special token by its text. GGUF lacks them, so llama.cpp's rules by model name are used."""
    name, pre, architecture = (
        str(metadata.get(key, "")) for key in ("general.name", "tokenizer.ggml.pre", "general.architecture")
    )
    name = name.lower()
    if "phi-3" in name or "phi3" in name:
        return lambda text: {"rstrip": text not in ("<unk>", "<s>", "<|endoftext|>")}
    mask = pre.startswith("jina-v2-") or architecture in ("nomic-bert-moe", "jina-bert-v3")
    upper = "modern-bert" in name
    return lambda text: {"lstrip": (text == "<mask>" and mask) or (text == "[MASK]" and upper)}
