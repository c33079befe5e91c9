"""PLaMo's vocabulary file: a line of JSON for each token, `[text, score, type, ...]`."""

from __future__ import annotations

import json
import math

from ..errors import BadFileError
from ..gguf.values import ValueType
from ..hf.config import Keys, Settings
from ..hf.json_file import read_text
from ..text import escaped, shown
from ..tokenizer.vocab import BYTE, CONTROL, NORMAL, UNKNOWN
from .special_tokens import special_keys
from .token_table import ADDED_SCORE, Table, size_of

LINES = "tokenizer.jsonl"
MOST_BYTES = 64 << 20
TYPES = {"UNKNOWN": UNKNOWN, "CONTROL": CONTROL, "BYTE": BYTE}
END_OF_TURN = 4  # <|plamo:op|>


def plamo_keys(s: Settings) -> Keys:
    """The keys of the folder's vocabulary. Raises BadFileError where it is damaged."""
    path = s.folder.path / LINES
    lines = [line for line in read_text(path, MOST_BYTES).split("\n") if line.strip()]
    table = Table(escaped(str(path)), size_of(s, len(lines)))
    for id, line in enumerate(lines):
        text, score, kind = _token(line, f"{table.where}, line {id + 1}")
        control = text.startswith("<|plamo:") and text.endswith("|>")
        table.put(id, text, TYPES.get(kind, CONTROL if control else NORMAL), score)
    missing = range(len(lines), table.size)
    keys = table.keys(scores=True)
    kind, scores = keys["tokenizer.ggml.scores"]
    keys["tokenizer.ggml.scores"] = (kind, [*scores[: len(lines)], *(ADDED_SCORE for _ in missing)])
    names = [f"[PAD{number}]" for number in range(1, len(missing) + 1)]
    keys["tokenizer.ggml.tokens"] = (ValueType.STRING, [*keys["tokenizer.ggml.tokens"][1][: len(lines)], *names])
    first: Keys = {"tokenizer.ggml.model": "plamo2", "tokenizer.ggml.pre": "default"}
    named = {f"tokenizer.ggml.{name}_token_id": id for name, id in _named(s, table).items()}
    return first | keys | special_keys(s, table.ids, table.size) | named | {"tokenizer.ggml.eot_token_id": END_OF_TURN}


def _named(s: Settings, table: Table) -> dict[str, int]:
    """Ids of the special tokens whose texts tokenizer_config.json says."""
    config, ids = s.folder.json("tokenizer_config.json"), table.ids
    kinds = {"bos": "bos", "eos": "eos", "pad": "padding", "sep": "seperator", "unk": "unknown"}  # in GGUF's keys
    return {name: ids[text] for kind, name in kinds.items() if (text := config.get(f"{kind}_token")) in ids}


def _token(line: str, where: str) -> tuple[str, float, str]:
    """Text, score and type of a token."""
    try:
        token = json.loads(line)
    except ValueError:
        token = None
    if not isinstance(token, list) or len(token) < 2 or not isinstance(token[0], str) or not _is_score(token[1]):
        raise BadFileError(f"{where}: {shown(line)} is not a token", "download the file again")
    return token[0], float(token[1]), str(token[2]) if len(token) > 2 else ""


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
