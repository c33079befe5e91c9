"""Which pre-tokenizer a tokenizer.json describes, by the name that GGUF gives it.

The pre-tokenizer is normalized to a tuple of stages and looked up; to add one, add a line to STAGES. Where several
names have the same stages, `ignore_merges` decides, and then the model's family.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import BadFileError
from ..text import shown
from ..tokenizer.pretokenizers import BY_NAME
from ..tokenizer.splitter import Pattern

# Parts of patterns as tokenizer.json has them.
_OF = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_WORD = rf"{_LEAD}\p{{L}}+"
_OTHERS = r" ?[^\s\p{L}\p{N}]+"
_LINES = r"\s*[\r\n]+"
_BLANKS = r"\s+(?!\S)|\s+"
_END = rf"{_OTHERS}[\r\n]*|{_LINES}|{_BLANKS}"
_PATH_END = rf"{_OTHERS}[\r\n/]*|{_LINES}|{_BLANKS}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"{_LEAD}{_UPPER}*{_LOWER}+%s|{_LEAD}{_UPPER}+{_LOWER}*%s"
_PIECES = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
_FALLING = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2"))
_FALLING += r"|\s{1}"

GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+|{_OTHERS}|{_BLANKS}"
DIGIT, DIGITS, THREE_DIGITS = r"\p{N}", r"\p{N}+", r"\p{N}{1,3}"
_HAN_KANA = "[一-龥぀-ゟ゠-ヿ]+"
_HAN_HANGUL = "[一-龥ࠀ-一가-퟿]+"
_PUNCTUATION = "punctuation, Contiguous"
_LLAMA3 = rf"{_OF}|{_WORD}|\p{{N}}{{1,3}}|{_END}"
_QWEN2 = rf"{_OF}|{_WORD}|\p{{N}}|{_END}"
_ESCAPE = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")
_EUROPEAN, _WIDE_PUNCTUATION = (  # long alphabets, characters there and escapes here
    _ESCAPE.sub(lambda found: chr(int(found[0][2:], 16)), str(stage[0]))
    for stage in BY_NAME["deepseek-llm"].stages[1:3]
    if isinstance(stage, Pattern)
)
_CASED_WORDS = rf"{_CASED % (_OF + '?', _OF + '?')}|\p{{N}}{{1,3}}|{_PATH_END}"

# Stages -> a name in `pretokenizers.SCHEMES`; others of the same line there may be meant.
STAGES: dict[tuple[str, ...], str] = {
    (GPT2,): "gpt-2",
    (DIGIT, GPT2): "starcoder",
    (_LLAMA3,): "llama-bpe",
    (_QWEN2,): "qwen2",
    (rf"{_OF}|{_LEAD}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}|{_BLANKS}",): "qwen35",
    (_CASED_WORDS,): "gpt-4o",
    (rf"{_CASED % ('', '')}|\p{{N}}|{_PATH_END}",): "tekken",
    (r"\d{1,3}(?=(?:\d{3})*\b)", _CASED_WORDS): "tiny_aya",
    (THREE_DIGITS, _HAN_KANA, rf"{_PIECES}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}|{_BLANKS}"): "deepseek-v3",
    (r"[\r\n]", _EUROPEAN, _WIDE_PUNCTUATION, r"\s+$", _HAN_HANGUL, DIGIT): "deepseek-llm",
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN_HANGUL, DIGIT): "deepseek-coder",
    (_PUNCTUATION, GPT2, DIGITS, "[0-9][0-9][0-9]"): "falcon",
    (" ?[^(\\s|[.,!?…。，、।۔،])]+",): "bloom",
    (rf"{_OF}|{_WORD}|\p{{N}}{{1,3}}|{_OTHERS}[\r\n]*|{_LINES}|{_FALLING}",): "jais-2",
    (rf"'(?i:[sdmt]|ll|ve|re)|{_WORD}|\p{{N}}|{_OTHERS}[\r\n]*|\s*[\r\n]|{_BLANKS}",): "bailingmoe",
    (rf"{_OF}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_LINES}|{_BLANKS}",): "seed-coder",
    (rf"{_WORD}|\p{{N}}|{_END}",): "ufakzeka",
    (THREE_DIGITS, rf"{_OF}|{_WORD}|\p{{N}}+|{_END}"): "minicpm5",
    (r"[^\n]+|[\n]+", _QWEN2): "laguna",
}
# Spellings of the same pattern.
SPELLINGS = (
    ("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", _OF),
    ("(?i:'s)|(?i:'t)|(?i:'re)|(?i:'ve)|(?i:'m)|(?i:'ll)|(?i:'d)", _OF),
    ("'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])", "'(?i:[sdmt]|ll|ve|re)"),
    ("\r", r"\r"),
    ("\n", r"\n"),
    ("?+", "?"),
    ("++", "+"),
    (r"\p{N}{1}|", r"\p{N}|"),
    (r"\p{L}{1,}", r"\p{L}+"),
)


def pretokenizer_name(tokenizer: Mapping[str, Any], *, where: str, like: str = "") -> str:
    """GGUF's name for the pre-tokenizer of a byte-level tokenizer.json; `like` wins where it has the same stages.

    Raises BadFileError for an unknown pre-tokenizer: a wrong guess would tokenize differently without a word.
    """
    stages = stages_of(tokenizer.get("pre_tokenizer"))
    name = STAGES.get(stages)
    if name is None:
        told = shown(" | ".join(stages)) if stages else "nothing"
        raise BadFileError(f"{where}: pre-tokenizer {told} is not known", "use a GGUF that its publisher converted")
    model = tokenizer.get("model")
    whole_words = isinstance(model, Mapping) and model.get("ignore_merges") is True
    cuts = BY_NAME[name].stages
    same = [other for other, scheme in BY_NAME.items() if scheme.stages == cuts and scheme.byte_level]
    fitting = [other for other in same if BY_NAME[other].whole_words == whole_words]
    return like if like in fitting else name if name in fitting or not fitting else fitting[0]


def stages_of(pre_tokenizer: Any) -> tuple[str, ...]:
    """The stages of a `pre_tokenizer` in order, in one spelling; a stage of another kind is its type."""
    if not isinstance(pre_tokenizer, Mapping):
        return ()
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": list(inner)}:
            return tuple(stage for part in inner for stage in stages_of(part))
        case {"type": "ByteLevel"}:
            return (GPT2,) if pre_tokenizer.get("use_regex", True) else ()
        case {"type": "Digits"}:
            return (DIGIT,) if pre_tokenizer.get("individual_digits") else (DIGITS,)
        case {"type": "Punctuation"}:
            return (f"punctuation, {pre_tokenizer.get('behavior', 'Isolated')}",)
        case {"type": "Split", "pattern": {"Regex": str(pattern)}}:
            cut = pre_tokenizer.get("behavior"), bool(pre_tokenizer.get("invert"))
            return (_spelled(pattern),) if cut in (("Isolated", False), ("Removed", True)) else (f"split, {cut[0]}",)
    return (str(pre_tokenizer.get("type")),)


def _spelled(pattern: str) -> str:
    for other, spelling in SPELLINGS:
        pattern = pattern.replace(other, spelling)
    return pattern
