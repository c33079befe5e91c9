"""A chat with a scripted model: what it says, token by token, comes from a file. Run as a program by tests.

    python chatting.py SCRIPT.json chat m --template chatml

SCRIPT: answers (a text for each prompt, the last one again and again), delay (seconds a token), n_ctx, template,
loading (until this file exists), failure (of loading, in words).
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent))
from scripted import EOS, ScriptedEngine
from vocabularies import spm

from llmlocal import tokenizer as tokenizers
from llmlocal.engine import Engine
from llmlocal.errors import ResourceError
from llmlocal.generation.session import Session
from llmlocal.gguf import GGUFFile

FIRST_BYTE = 3  # id of the token of byte 0


class Speaker(ScriptedEngine):
    """Says one text for each prompt, a byte a token."""

    def __init__(self, answers: list[str], delay: float, n_ctx: int) -> None:
        super().__init__((), n_ctx, FIRST_BYTE + 256 + 2)
        self.answers, self.delay, self.asked = answers, delay, 0
        self.loading = self.failure = ""

    def reuse(self, tokens: Any) -> int:
        text = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        self.script = [*(FIRST_BYTE + byte for byte in text.encode()), EOS]
        return super().reuse(tokens)

    def load(self) -> None:
        while self.loading and not Path(self.loading).exists():
            sleep(0.02)
        if self.failure:
            raise ResourceError(self.failure, "try /model NAME")

    def decode(self, token: int) -> Any:
        sleep(self.delay)
        return super().decode(token)


def opened(script: dict[str, Any]) -> Session:
    """A session on a scripted model."""
    n_ctx = script.get("n_ctx", 4096)
    engine = Speaker(script["answers"], script.get("delay", 0), n_ctx)
    engine.gguf.path = Path("m")
    engine.loading, engine.failure = script.get("loading", ""), script.get("failure", "")
    if "template" in script:
        engine.gguf.metadata["tokenizer.chat_template"] = script["template"]
    # Names of tags are tokens of their own, as in real vocabularies.
    vocabulary = spm("<|im_start|>", "<|im_end|>", token_type=[2, 3, 3] + [6] * 256 + [3, 3], add_space_prefix=False)
    load = partial(cast, Engine, engine)
    return Session(cast(GGUFFile, engine.gguf), tokenizers.load(vocabulary), n_ctx, load)


def main() -> int:
    script = json.loads(Path(sys.argv[1]).read_text())
    Session.open = lambda *_, **__: opened(script)  # type: ignore[method-assign,assignment]
    from llmlocal.cli.main import main

    return main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
