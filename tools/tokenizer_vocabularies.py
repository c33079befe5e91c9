"""Small random vocabularies of the kinds for which no real file is at hand, as GGUF metadata."""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import pack, unpack
from typing import Any

from llmlocal.gguf.values import ValueType
from llmlocal.tokenizer.bpe import SIGNS

ALPHABET = "▁▁▁aabbeehlost'.,1209éß日本👍\u0301"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _words(rng: random.Random, n: int, longest: int = 6, alphabet: str = ALPHABET) -> list[str]:
    words = ("".join(rng.choice(alphabet) for _ in range(rng.randint(1, longest))) for _ in range(n))
    return list(dict.fromkeys([*dict.fromkeys(alphabet), *words]))


def _metadata(model: str, tokens: list[str], types: list[int], **more: Any) -> dict[str, Any]:
    values = {"model": model, "tokens": tokens, "token_type": (ValueType.I32, types), **more}
    return {"general.architecture": "llama", **{f"tokenizer.ggml.{key}": value for key, value in values.items()}}


def unigram(rng: random.Random) -> dict[str, Any]:
    """Scores with many equal ones; some tokens user-defined or unused; with and without replacements."""
    words = _words(rng, rng.choice((30, 300)))
    rng.shuffle(words)
    words = words[: rng.randint(len(words) // 2, len(words))]
    tokens = ["<pad>", "</s>", "<unk>", *words, "[user]", "[users]"]
    grain = rng.choice((0.5, 0.001))
    scores = [unpack("f", pack("f", -round(rng.uniform(1, 12) / grain) * grain))[0] for _ in tokens]
    types = [3, 3, 2, *(rng.choice((1, 1, 1, 1, 1, 5)) for _ in words), 4, 4]
    more: dict[str, Any] = {"add_space_prefix": rng.random() < 0.5, "remove_extra_whitespaces": rng.random() < 0.5}
    if rng.random() < 0.7:
        keys = ["e\u0301", "\u3000", "\xa0", "ｈ", "ｈｏ", "\n", "\t", "①", "...", "日本", "\u200b", "İ", "'s"]
        chosen = {key: rng.choice((" ", "", "e", "lo", "é", "日")) for key in keys if rng.random() < 0.6}
        more["precompiled_charsmap"] = (ValueType.U8, list(charsmap({"Å": "ab", **chosen})))
    return _metadata("t5", tokens, types, scores=scores, **more)


def charsmap(replacements: dict[str, str]) -> bytes:
    """SentencePiece's precompiled map of characters: a compact double array of the keys, then the replacements."""
    trie: dict[Any, Any] = {}
    texts = b""
    for key, text in replacements.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)  # the place of the replacement; no key holds a zero byte
        texts += text.encode() + b"\0"
    units = {0: 0}
    waiting, bases = [(0, trie)], iter(range(256, 1 << 20, 256))  # wasteful: every node has a page of its own
    while waiting:
        at, node = waiting.pop()
        base = next(bases)
        units[at] |= (at ^ base) << 10 | (0 in node) << 8
        for byte, child in node.items():
            units[base ^ byte] = child | 1 << 31 if byte == 0 else byte
            if byte:
                waiting.append((base ^ byte, child))
    size = max(units) // 256 * 256 + 256
    return pack(f"<I{size}I", 4 * size, *(units.get(at, 0xFF) for at in range(size))) + texts


def rwkv(rng: random.Random) -> dict[str, Any]:
    """All bytes and some words with escapes. No control tokens: llama.cpp finds them in any text, llmlocal does not."""
    words = _words(rng, 300, alphabet=" \n\t\\abehlost'1209é日")
    texts = [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in words if len(word.encode()) > 1)]
    tokens = ["".join(map(_escaped, text)) for text in texts]
    return _metadata("rwkv", tokens, [1] * len(texts))


def _escaped(byte: int) -> str:
    named = {10: "\\n", 9: "\\t", 13: "\\r", 92: "\\\\"}
    return named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")


def gemma4(rng: random.Random) -> dict[str, Any]:
    """Random merges, also over blanks; words and characters that are no tokens fall back to bytes."""
    symbols = list(dict.fromkeys(ALPHABET + "\n"))
    merges: list[str] = []
    joined = rng.random() < 0.5
    for _ in range(rng.choice((20, 200))):
        left, right = rng.choice(symbols), rng.choice(symbols)
        crosses = "▁" in (left + right).lstrip("▁")
        if len(left + right) < 9 and "\n" not in left + right and (joined or not crosses):
            merges.append(f"{left} {right}")
            symbols.append(left + right)
    merges = list(dict.fromkeys(merges))
    words = [word for word in dict.fromkeys([*symbols, "\n\n", "\n\n\n"]) if rng.random() < 0.9]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *BYTES, *words]
    types = [3, 3, 3, 2] + [6] * 256 + [1] * len(words)
    ids = {"bos_token_id": 2, "eos_token_id": 1, "unknown_token_id": 3}
    return _metadata("gemma4", tokens, types, merges=merges, **ids)


def bpe(rng: random.Random) -> dict[str, Any]:
    """Byte-level with random merges, whose results may be no tokens and whose ranks are in no sensible order."""
    symbols = [*SIGNS]
    likely = [SIGNS[byte] for byte in b" aabehlost1209'\n"]
    merges = []
    for _ in range(rng.choice((20, 300))):
        left, right = rng.choice(likely), rng.choice(likely)
        if len(left + right) < 9:
            merges.append(f"{left} {right}")
            likely.append(left + right)
    rng.shuffle(merges)
    words = [text for text in dict.fromkeys(likely) if text not in symbols]
    tokens = [*symbols, *words, "<s>"]
    pre = rng.choice(("gpt-2", "llama-bpe", "qwen2", "superbpe"))
    more = {"bos_token_id": len(tokens) - 1, "eos_token_id": len(tokens) - 1, "add_bos_token": True}
    return _metadata("gpt2", tokens, [1] * (len(tokens) - 1) + [3], merges=list(dict.fromkeys(merges)), pre=pre, **more)


def probe() -> dict[str, Any]:
    """Any two bytes merge, so that ids show nearly every place where a word ends."""
    pairs = [(left, right) for left in SIGNS for right in SIGNS]
    random.Random(0).shuffle(pairs)
    tokens = [*SIGNS, *(left + right for left, right in pairs), "<s>"]
    ids = {"bos_token_id": len(tokens) - 1, "eos_token_id": len(tokens) - 1}
    merges = [f"{left} {right}" for left, right in pairs]
    return _metadata("gpt2", tokens, [1] * (len(tokens) - 1) + [3], merges=merges, pre="gpt-2", **ids)


def plamo2(rng: random.Random) -> dict[str, Any]:
    """Words with scores of which many are equal. Those of control tokens keep llama.cpp from using them in texts."""
    words = _words(rng, rng.choice((30, 300)))
    tokens = ["<unk>", "<s>", "</s>", "<pad>", *BYTES, *words]
    scores = [-9999.0] * 260 + [float(-rng.randint(1, 12)) for _ in words]
    return _metadata("plamo2", tokens, [2, 3, 3, 3] + [6] * 256 + [1] * len(words), scores=scores)


def wordpiece(rng: random.Random) -> dict[str, Any]:
    """A lacking alphabet, so that the unknown token is frequent; all settings of the normalizer."""
    words = [word for word in _words(rng, 300, alphabet="▁abehlost'.,1209éßÉA日本") if rng.random() < 0.8]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    ids = {"bos": 2, "cls": 2, "unknown": 1, "seperator": 3, "padding": 0, "mask": 4}
    more: dict[str, Any] = {f"{name}_token_id": id for name, id in ids.items()}
    if rng.random() < 0.7:
        more["normalizer.lowercase"] = rng.random() < 0.5
    if rng.random() < 0.7:
        more["normalizer.strip_accents"] = rng.random() < 0.5
    return _metadata("bert", tokens, [3] * 5 + [1] * len(words), **more)


KINDS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "unigram": unigram,
    "rwkv": rwkv,
    "gemma4": gemma4,
    "bpe": bpe,
    "wordpiece": wordpiece,
    "plamo2": plamo2,
}
