"""An engine that says what it is told to, for tests of all that lies above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from vocabularies import N_FIXED, spm

from llmlocal import tokenizer as tokenizers
from llmlocal.engine import Engine
from llmlocal.generation.session import Session
from llmlocal.gguf import GGUFFile
from llmlocal.quant.jit.parallel_compile import Compilation
from llmlocal.runtime.batch import batch_sizes
from llmlocal.runtime.ring import Ring

WORDS = ("▁a", "▁b", "▁c", "d", "e", "▁the", "end", "STOP", "ST", "OP", "▁")
EOS = 2


def word(text: str) -> int:
    """The id of one of WORDS."""
    return N_FIXED + WORDS.index(text)


class ScriptedEngine:
    """Its answers are `script`, whatever the prompt; it keeps the tokens it was given."""

    def __init__(self, script: Sequence[int] = (), n_ctx: int = 64, n_vocab: int = N_FIXED + len(WORDS)) -> None:
        self.script, self.n_ctx, self.n_vocab, self.n_threads = list(script), n_ctx, n_vocab, 2
        self.tokens: list[int] = []
        self.calls: list[tuple[str, int]] = []
        self.prompt, self.closed, self.cache_format, self.state_bytes = 0, False, "none", 0
        self.ring = Ring(None, n_ctx, 1, 1)
        metadata = {"general.architecture": "llama", "llama.context_length": 128}
        self.gguf = SimpleNamespace(
            metadata=metadata, tensors={}, path=Path("scripted.gguf"), files=lambda: iter(()), close=lambda: None
        )

    reads_whole, predictor, verifiable = False, None, 1

    def check_predicts(self) -> None:
        pass

    def pieces(self, n: int, most: int) -> Iterator[int]:
        return batch_sizes(n, most)

    def length(self, seq: int = 0) -> int:
        return len(self.tokens)

    def history(self, seq: int = 0) -> list[int]:
        return list(self.tokens)

    def cells(self, n: int, seq: int = 0) -> list[Any]:
        return []

    def states(self, seq: int = 0) -> dict[int, Any]:
        return {}

    def adopt(self, tokens: Sequence[int], seq: int = 0, states: Any = (), windows: Any = ()) -> None:
        self.tokens = list(tokens)

    def truncate(self, length: int, seq: int = 0) -> None:
        del self.tokens[length:]
        self.prompt = min(self.prompt, length)

    def reusable(self, tokens: Sequence[int], seq: int = 0) -> int:
        n = 0
        while n < min(len(tokens) - 1, len(self.tokens)) and self.tokens[n] == tokens[n]:
            n += 1
        return n

    def behind_window(self, tokens: Sequence[int], seq: int = 0) -> int:
        return 0

    def reuse(self, tokens: Sequence[int], seq: int = 0) -> int:
        self.truncate(self.reusable(tokens))
        self.prompt = len(tokens)
        return len(self.tokens)

    def prefill(self, tokens: Sequence[int]) -> Any:
        self.calls.append(("prefill", len(tokens)))
        if not self.tokens:
            self.prompt = max(self.prompt, len(tokens))
        return self._append(tokens)

    def decode(self, token: int) -> Any:
        self.calls.append(("decode", 1))
        return self._append([token])

    def run(self, parts: Sequence[tuple[int, Sequence[int]]], outputs: Sequence[int]) -> Any:
        ((_, (token,)),) = parts
        return self.decode(token)[None]

    def checked(self, logits: Any) -> Any:
        return logits

    def all_logits(self, tokens: Sequence[int]) -> Any:
        return np.stack([self._append([token]) for token in tokens])

    def compile_ahead(self) -> Compilation:
        return Compilation([], 1)

    def load(self) -> None:
        pass

    def pages(self) -> str:
        return "mapped, 0 % in large pages"

    def close(self) -> None:
        self.closed = True

    def _append(self, tokens: Sequence[int]) -> Any:
        self.tokens += tokens
        assert len(self.tokens) <= self.n_ctx
        logits = np.zeros(self.n_vocab, np.float32)
        if self.script:
            said = max(0, len(self.tokens) - self.prompt)  # tokens after the prompt, those that were put there included
            logits[self.script[said % len(self.script)]] = 50
        return logits


def session(
    script: Sequence[int] = (), *, n_ctx: int = 64, template: str | None = None, **vocabulary: Any
) -> tuple[Session, ScriptedEngine]:
    """A session on a scripted engine whose vocabulary has WORDS besides bytes; `template` is its chat template."""
    engine, metadata = ScriptedEngine(script, n_ctx), spm(*WORDS, **vocabulary)
    if template is not None:
        engine.gguf.metadata["tokenizer.chat_template"] = template
    load = partial(cast, Engine, engine)
    return Session(cast(GGUFFile, engine.gguf), tokenizers.load(metadata), n_ctx, load), engine
