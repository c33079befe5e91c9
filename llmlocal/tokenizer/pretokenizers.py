"""The pre-tokenizers of llama.cpp by their names in `tokenizer.ggml.pre`: how each splits text, and its defaults.

To add one, add a line to SCHEMES.
"""

from __future__ import annotations

from typing import NamedTuple

from .splitter import (
    HAN_LETTER,
    HAN_OTHER,
    Cut,
    L,
    M,
    N,
    P,
    Pattern,
    S,
    ascii_thousands,
    blanks_at_end,
    blanks_by_powers_of_two,
    by_characters,
    by_classes,
    by_han_classes,
    thousands,
)


class Scheme(NamedTuple):
    """One pre-tokenizer: the patterns that split text, and what it implies for the tokenizer."""

    stages: tuple[Pattern | Cut, ...]
    whole_words: bool = False  # a word that is a token is used whole, without merges
    add_bos: bool = False
    byte_level: bool = True  # tokens are written in GPT-2's 256 byte characters, not in UTF-8
    joins_words: bool = False  # spaces are `▁` as in SentencePiece, and merges may cross them
    newline_words: bool = False  # as whole_words, for newlines alone


# Parts of patterns. U and l: upper and lower case; non-ASCII letters count as both.
_OF = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_LEAD = rf"[^\r\n{L}{N}]?"
_WORD = rf"{_LEAD}[{L}]+"
_OTHERS = rf" ?[^\s{L}{N}]+"
_LINES = r"\s*[\r\n]+"
_BLANKS = r"\s+(?!\S)|\s+"
_END = rf"{_OTHERS}[\r\n]*|{_LINES}|{_BLANKS}"
_PATH_END = rf"{_OTHERS}[\r\n/]*|{_LINES}|{_BLANKS}"
_U, _l = "A-Z\x81", "a-z\x81"
_CASED = rf"{_LEAD}[{_U}]*[{_l}]+%s|{_LEAD}[{_U}]+[{_l}]*%s"
_MARKED = rf"{_LEAD}[{_U}{M}]*[{_l}{M}]+%s|{_LEAD}[{_U}{M}]+[{_l}{M}]*%s"
_MARK_WORD = rf"[!-/:-@\[-`{{-~][A-Za-z]+|[^\r\n{L}{P}{S}]?[{L}{M}]+"
_MARK_END = rf"{_LINES}|{_BLANKS}"

# Whole patterns.
_GPT2 = by_classes(rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{L}]+| ?[{N}]+|{_OTHERS}|\s+(?!\S)")
_LLAMA3 = by_classes(rf"{_OF}|{_WORD}|[{N}]{{1,3}}|{_END}")
_QWEN2 = by_classes(rf"{_OF}|{_WORD}|[{N}]|{_END}")
_QWEN35 = by_classes(rf"{_OF}|{_LEAD}[{L}{M}]+|[{N}]| ?[^\s{L}{M}{N}]+[\r\n]*|{_MARK_END}")
_GPT4O = by_classes(rf"{_CASED % (_OF + '?', _OF + '?')}|[{N}]{{1,3}}|{_PATH_END}")
_TEKKEN = by_classes(rf"{_CASED % ('', '')}|[{N}]|{_PATH_END}")
_GRANITE = by_classes(rf"{_MARKED % (_OF + '?', _OF + '?')}|[{N}]{{1,3}}|{_PATH_END}")
_TINY_AYA = by_classes(rf"{_LEAD}[{L}{M}]+{_OF}?|[{N}]{{1,3}}|{_PATH_END}")
_YOUTU = by_classes(rf"{_LEAD}[{L}{M}]+{_OF}?|[{N}]|{_PATH_END}")
_DEEPSEEK3 = by_classes(rf"{_MARK_WORD}| ?[{P}{S}]+[\r\n]*|{_MARK_END}")
_SPARK = by_classes(rf"{_MARK_WORD}| ?[{P}{S}]+|[\r\n]|{_BLANKS}")
_BAILING = by_classes(rf"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|{_WORD}|[{N}]|{_OTHERS}[\r\n]*|\s*[\r\n]|{_BLANKS}")
_SEED = by_classes(rf"{_OF}|{_WORD}|[{N}]| ?[^\s{L}{N}\r\n]+|{_LINES}|{_BLANKS}")
_UFAKZEKA = by_classes(rf"{_WORD}|[{N}]|{_END}")
_MINICPM5 = by_classes(rf"{_OF}|{_WORD}|[{N}]+|{_END}")
_EXAONE_MOE = by_classes(
    rf"{_OF}|{_LEAD}[{L}][{L}{M}]*+(?: [{L}][{L}{M}]*+)*+|[{N}]|{_OTHERS}[\r\n/]?|\s*[\r\n]|{_BLANKS}"
)
_KIMI = by_han_classes(
    rf"[{HAN_LETTER}{HAN_OTHER}]+|[^\r\n{L}{N}{HAN_LETTER}]?[{L}]+{_OF}?|[{N}]{{1,3}}"
    rf"| ?[^\s{L}{N}{HAN_LETTER}]+[\r\n]*|{_MARK_END}"
)
_DIGIT, _DIGITS, _THREE_DIGITS = map(by_classes, (f"[{N}]", f"[{N}]+", f"[{N}]{{1,3}}"))
_THREE_ASCII_DIGITS = by_classes("[0-9][0-9][0-9]")
_NEWLINE = by_classes(r"[\r\n]")
_RUNS_OF_NEWLINES = by_classes(r"[^\n]+|\n+")
_HAN_KANA = by_characters(r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+")
_HAN_HANGUL = by_characters(r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")
_NO_PUNCTUATION = by_characters(r" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+")
_EUROPEAN = by_characters(
    r"\s?[A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    r"\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    r"\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    r"\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    r"\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    r"\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    r"\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    r"\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    r"\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    r"\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+"
)
_WIDE_PUNCTUATION = by_characters(r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+")
_EAST_ASIAN = by_characters(
    r"[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
_YOUTU_SCRIPTS = by_characters(
    r"[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
)

_STARCODER = (_DIGIT, _GPT2)
_DEEPSEEK_V3 = (_THREE_DIGITS, _HAN_KANA, _DEEPSEEK3)

MISSING = "default"  # used where the file names none
SCHEMES = {
    "default": Scheme((by_classes(rf"[{P}$+<=>\^~|]+"), _GPT2, _DIGITS, _THREE_ASCII_DIGITS)),
    "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert": Scheme((_GPT2,)),
    "jina-v1-en jina-v2-code roberta-bpe mpt olmo jais exaone4 trillion granite-docling": Scheme((_GPT2,)),
    "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2": Scheme(_STARCODER),
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano": Scheme(
        (_LLAMA3,), whole_words=True, add_bos=True
    ),
    "dbrx smaug-bpe chatglm-bpe": Scheme((_LLAMA3,)),
    "glm4 glm5": Scheme((_LLAMA3,), whole_words=True),
    "jais-2": Scheme((_LLAMA3, blanks_by_powers_of_two)),
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2": Scheme((_QWEN2,)),
    "qwen35": Scheme((_QWEN35,)),
    "deepseek-llm": Scheme((_NEWLINE, _EUROPEAN, _WIDE_PUNCTUATION, blanks_at_end, _HAN_HANGUL, _DIGITS)),
    "deepseek-coder": Scheme((_NEWLINE, by_classes(rf"\s?[{L}]+"), by_classes(rf"\s?[{P}]+"), _HAN_HANGUL, _DIGIT)),
    "deepseek-v3 hunyuan-dense hy_v4 joyai-llm": Scheme(_DEEPSEEK_V3),
    "spark2_5": Scheme((_THREE_DIGITS, _HAN_KANA, _SPARK, _DIGIT)),
    "youtu": Scheme((_YOUTU_SCRIPTS, _YOUTU), whole_words=True),
    "falcon": Scheme((by_classes(rf"[{P}$+<=>\^~|`]+"), _GPT2, _THREE_ASCII_DIGITS)),
    "poro-chat bloom gpt3-finnish": Scheme((_NO_PUNCTUATION,)),
    "viking": Scheme((_NO_PUNCTUATION, _DIGIT)),
    "tekken": Scheme((_TEKKEN,), whole_words=True, add_bos=True),
    "chameleon": Scheme(
        (
            by_classes("<sentinel:[0-9]+>"),
            by_classes("IMGIMG[A-I]{1,4}Z"),
            by_classes("[\t\n]|    |  "),
            _DIGIT,
            by_classes(rf"[{P}!-/:-@\[-`{{-~]"),
            _GPT2,
        ),
        add_bos=True,
    ),
    "gpt-4o llama4 kanana2 talkie minimax-m2": Scheme((_GPT4O,)),
    "granite-embed-multi-97m": Scheme((_GRANITE,), whole_words=True),
    "tiny_aya cohere2moe": Scheme((thousands, _TINY_AYA)),
    "kimi-k2": Scheme((_KIMI,)),
    "superbpe": Scheme((_DIGITS, ascii_thousands)),
    "bailingmoe bailingmoe2 llada-moe": Scheme((_BAILING,)),
    "seed-coder": Scheme((_SEED,)),
    "ufakzeka": Scheme((_UFAKZEKA,)),
    "minicpm5": Scheme((_THREE_DIGITS, _MINICPM5), whole_words=True),
    "afmoe": Scheme((thousands, _EAST_ASIAN, _DEEPSEEK3)),
    "laguna": Scheme((_RUNS_OF_NEWLINES, _QWEN2)),
    "exaone-moe": Scheme((_EXAONE_MOE,)),
    "whitespace": Scheme((by_characters(r"\S+"),), byte_level=False),
    "sarvam-moe": Scheme((_RUNS_OF_NEWLINES,), byte_level=False, joins_words=True),
    "gemma4 granite-embed-multi-311m": Scheme(
        (_RUNS_OF_NEWLINES,), add_bos=True, byte_level=False, joins_words=True, newline_words=True
    ),
}
BY_NAME = {name: scheme for names, scheme in SCHEMES.items() for name in names.split()}
