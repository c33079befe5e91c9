"""The vocabulary file of tiktoken: a line for each token, its bytes in base64 and its rank, which is its id.

The file says neither how a text is split into words nor the special tokens. Of the models that are published with it,
Kimi's are known: their folder names the class of their tokenizer.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from heapq import heapify, heappop, heappush

from ..errors import BadFileError
from ..gguf.values import ValueType
from ..hf.config import Keys, Settings
from ..hf.folder import Folder
from ..hf.json_file import read_text
from ..text import escaped, shown
from ..tokenizer.bpe import SIGNS
from ..tokenizer.vocab import CONTROL, NORMAL
from .special_tokens import special_keys
from .token_table import Table, decoder_tokens, put_added, size_of

RANKS = "tiktoken.model"
PRE_TOKENIZERS = {"tokenization_kimi.TikTokenTokenizer": "kimi-k2"}  # by the class of the tokenizer
RESERVED = 256  # ids after the ranks that are special tokens, with or without a name
LONGEST, MOST_BYTES = 256, 16 << 20  # bytes of a token, and of a file; Kimi's have 128 and 3 million


def tiktoken_keys(s: Settings) -> Keys:
    """The keys of a folder with a file of ranks. Raises BadFileError for a damaged file and an unknown tokenizer."""
    where = escaped(str(s.folder.path / RANKS))
    name = _pre_tokenizer(s.folder, where)
    ranks = _ranks(read_text(s.folder.path / RANKS, MOST_BYTES), where)
    table = Table(where, size_of(s, len(ranks) + RESERVED))
    merges: list[str] = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        table.put(rank, _spelled(token), NORMAL)
        if len(parts := _parts(token, ranks)) == 2:
            merges.append(" ".join(map(_spelled, parts)))
    for id in range(len(ranks), len(ranks) + RESERVED):
        table.put(id, f"<|reserved_token_{id}|>", CONTROL)
    for id, text, special in decoder_tokens(s.folder):
        put_added(table, id, text, special)
    kind: Keys = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name}
    merged: Keys = {"tokenizer.ggml.merges": (ValueType.STRING, merges)}
    keys, ids = special_keys(s, table.ids, table.size), table.ids
    end = s.folder.json("tokenizer_config.json").get("eos_token")
    if isinstance(end, str) and end in ids:  # wins over config.json, whose chat models name the end of a turn
        keys["tokenizer.ggml.eos_token_id"] = ids[end]
    return kind | table.keys(scores=False) | merged | keys


def _pre_tokenizer(folder: Folder, where: str) -> str:
    classes = folder.json("tokenizer_config.json").get("auto_map")
    named = classes.get("AutoTokenizer") if isinstance(classes, Mapping) else None
    for text in named if isinstance(named, list) else [named]:
        if isinstance(text, str) and text in PRE_TOKENIZERS:
            return PRE_TOKENIZERS[text]
    said = f"{where}: the tokenizer's class is not known ({', '.join(PRE_TOKENIZERS)} is)"
    raise BadFileError(said, "tokenizer.json would say how words are split: make one with transformers")


def _ranks(text: str, where: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(filter(None, text.splitlines()), 1):
        try:
            token, rank = line.split()
            ranks[b64decode(token, validate=True)] = int(rank)
        except ValueError:
            raise BadFileError(f"{where}, line {number}: {shown(line)} is not a token with its rank") from None
    if sorted(ranks.values()) != list(range(len(ranks))) or not ranks or not 0 < max(map(len, ranks)) <= LONGEST:
        raise BadFileError(f"{where}: ranks are not 0, 1 and so on, each once, or a token is too long")
    return ranks


def _spelled(token: bytes) -> str:
    """Bytes in GPT-2's characters."""
    return token.decode("latin-1").translate(SIGNS)


def _parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """What merges of lower ranks make of the bytes of a token: two parts, where a merge of them gives it.

    The time is that of sorting its bytes: files of long tokens that begin alike would take days otherwise.
    """
    n, limit = len(token), ranks[token]
    ends, before = [*range(1, n + 1)], [*range(-1, n - 1)]  # of the part that begins at a byte; where the last one does
    pairs = [(ranks.get(token[i : i + 2], limit), i) for i in range(n - 1)]
    heapify(pairs)
    left = n
    while left > 2 and pairs[0][0] < limit:
        rank, i = heappop(pairs)
        second = ends[i]
        if not second < n or ranks.get(token[i : ends[second]]) != rank:  # one of the two is another part by now
            continue
        ends[i], ends[second], left = ends[second], n, left - 1
        if ends[i] < n:
            before[ends[i]] = i
            heappush(pairs, (ranks.get(token[i : ends[ends[i]]], limit), i))
        if i:
            heappush(pairs, (ranks.get(token[before[i] : ends[i]], limit), before[i]))
    parts, at = list[bytes](), 0
    while at < n:
        parts.append(token[at : ends[at]])
        at = ends[at]
    return parts
