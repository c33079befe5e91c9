"""RWKV's vocabulary file: a line for each token, `id text length`, the text as Python writes a string or bytes."""

from __future__ import annotations

import ast
import re

from ..errors import BadFileError
from ..gguf.values import ValueType
from ..hf.config import Keys, Settings
from ..hf.json_file import read_text
from ..text import escaped, shown
from ..tokenizer.vocab import CONTROL, NORMAL, UNUSED
from .special_tokens import special_keys

WORLD = "rwkv_vocab_v20230424.txt"
LINE = re.compile(r"(\d{1,9}) (b?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")) (\d{1,9})")
MOST_BYTES, MAX_TOKENS = 16 << 20, 1 << 20
END_OF_TEXT, END_OF_TURN = 0, r"\n\n"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ {'system': 'System', 'user': 'User'}.get(message['role'], 'Assistant') }}: {{ message['content'] | trim }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def rwkv_keys(s: Settings) -> Keys:
    """The keys of the folder's RWKV vocabulary. Raises BadFileError where it is damaged.

    Token 0 begins and ends a text; an empty line ends a turn, in the chat template of RWKV World, too, which is used
    where the folder has none.
    """
    path = s.folder.path / WORLD
    texts = {END_OF_TEXT: "<s>"}
    for number, line in enumerate(read_text(path, MOST_BYTES).split("\n"), 1):
        if line := line.removesuffix("\r"):
            id, text = _token(line, f"{escaped(str(path))}, line {number}")
            texts.setdefault(id, text)
    size = s.integer("vocab_size", default=max(texts) + 1)
    if not max(texts) < size <= MAX_TOKENS:
        raise s.fail(f"vocab_size is {size}, the vocabulary has {max(texts) + 1} tokens")
    types = [CONTROL, *(NORMAL if id in texts else UNUSED for id in range(1, size))]
    ids = {text: id for id, text in texts.items()}
    special: Keys = {"tokenizer.chat_template": TEMPLATE} | special_keys(s, ids, size)
    special |= {f"tokenizer.ggml.{kind}_token_id": END_OF_TEXT for kind in ("bos", "eos")}
    if END_OF_TURN in ids:
        special["tokenizer.ggml.eot_token_id"] = ids[END_OF_TURN]
    return {
        "tokenizer.ggml.model": "rwkv",
        "tokenizer.ggml.tokens": (ValueType.STRING, [texts.get(id, f"[PAD{id}]") for id in range(size)]),
        "tokenizer.ggml.token_type": (ValueType.I32, types),
        **special,
    }


def _token(line: str, where: str) -> tuple[int, str]:
    """The id and the text of a token, as GGUF has it: bytes that are no plain ASCII as escapes."""
    found = LINE.fullmatch(line)
    try:
        value = ast.literal_eval(found[2]) if found else None
        data = value.encode() if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        data = None
    if found is None or data is None or len(data) != int(found[3]):
        raise BadFileError(f"{where}: {shown(line)} is not a token", "download the file again")
    return int(found[1]), repr(data)[2:-1]
