"""Grammars in GBNF constrain as in llama.cpp: the same tokens may come next, all along random walks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmlocal import tokenizer as tokenizers
from llmlocal.constraints.grammar import of_grammar
from llmlocal.gguf import open_gguf
from llmlocal.tokenizer import Tokenizer
from llmlocal.tokenizer.vocab import CONTROL, UNKNOWN

WALKER = Path(__file__).parents[1] / "tools" / "walk_grammars.py"
GRAMMARS = (
    'root ::= (sum "\\n")+\nsum ::= part ([-+*/] part)*\npart ::= [a-z] [a-z0-9]* ws | [0-9]+ ws | "(" ws sum ")" ws\n'
    "ws ::= [ \\t\\n]*",
    'root ::= line+\nline ::= "* " [^\\r\\n]+ "\\n" # a list',
    "root ::= [^a-e\\u00e9\\u2028]+",
    'root ::= pair ("," pair)*\npair ::= "\\"" char{1,8} "\\":" (text | list | "true" | "null")\n'
    'text ::= "\\"" char* "\\""\nchar ::= [^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\n] | "u" [0-9a-f]{4})\n'
    'list ::= "[" (text ("," text)*)? "]"',
    'root ::= letter+ (gap letter+){2,5}\nletter ::= [a-zA-Z] | [Α-ω] | [ぁ-ん]\ngap ::= [ \\t] | "\\n\\n"',
    'root ::= "let " name ws? "=" ws? term ";" root?\nname ::= [a-z]+\n'
    'term ::= "let" | name | "(" term ")"\nws ::= " "+',
    'root ::= .{3} [0-9]{2,4} ("-" [0-9]{2})*',
)


def differing(tokenizer: Tokenizer, grammar: str, tokens: list[int], masks: Any) -> tuple[int, list[str]]:
    """How many steps were compared, and the differences that have no known reason.

    Known ones: what is forced is read at once, in one way; llama.cpp never allows NUL, allows bytes that are not
    UTF-8, and does not allow a beginning of a character that a class excludes where others begin alike.
    """
    constraint, before, found = of_grammar(grammar).start(tokenizer), b"", list[str]()
    special = np.isin(np.arange(tokenizer.n_vocab), list(tokenizer.vocab.of_type(CONTROL, UNKNOWN)))
    for n, (id, packed) in enumerate(zip(tokens, masks, strict=True)):
        there = np.unpackbits(packed)[: tokenizer.n_vocab].astype(bool)
        here = np.isfinite(constraint.masked(np.zeros(tokenizer.n_vocab, np.float32)))
        for other in [] if constraint.forced() else np.flatnonzero((there != here) & ~special).tolist():
            piece = tokenizer.piece(other)
            if b"\0" not in piece and whole(before + piece):
                found.append(f"{grammar!r} after {before!r}: {piece!r} only {'here' if here[other] else 'there'}")
        if not constraint.allows(id):
            return n, [*found, f"{before!r}"] if whole(before + tokenizer.piece(id)) else found
        constraint.advance(id)
        before += tokenizer.piece(id)
    return len(tokens), found


def whole(text: bytes) -> bool:
    """Whether bytes are characters, none of them cut off."""
    return text.decode(errors="ignore").encode() == text


@pytest.mark.slow
def test_masks_are_those_of_llama_cpp(data: Path, tmp_path: Path) -> None:
    python = os.environ.get("LLMLOCAL_PEER_PYTHON")
    if not python:
        pytest.skip("set LLMLOCAL_PEER_PYTHON to an interpreter that has llama-cpp-python")
    model = data / "vocab" / "ggml-vocab-gpt-2.gguf"
    (tmp_path / "grammars.json").write_text(json.dumps(GRAMMARS))
    words = [python, WALKER, model, tmp_path / "grammars.json", tmp_path / "walks.npz"]
    subprocess.run(words, check=True, timeout=250)
    with open_gguf(model) as gguf:
        tokenizer = tokenizers.load(gguf.metadata)
    steps, wrong = 0, list[str]()
    with np.load(tmp_path / "walks.npz") as walks:
        for key in (key for key in walks if not key.endswith(":masks")):
            grammar = GRAMMARS[int(key.partition(":")[0])]
            compared, found = differing(tokenizer, grammar, walks[key].tolist(), walks[f"{key}:masks"])
            steps, wrong = steps + compared, wrong + found
    assert wrong == [] and steps > 400
