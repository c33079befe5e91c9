"""Renders chat templates of real models with transformers and writes what comes out: the golden file of the tests.

    python tools/make_template_goldens.py FOLDER OUT.json.xz

FOLDER holds `*.jinja` files named after their models, such as llama.cpp's models/templates. Run it where transformers
is installed; of this project it needs nothing. The clock stands still at NOW.
"""

from __future__ import annotations

import json
import lzma
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers.utils import chat_template_utils

NOW = datetime(2025, 7, 26, 12, 34, 56)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
ARGUMENTS = {"city": "Zürich <b>&amp;", "days": 3, "units": None, "deep": {"list": [1, 2.5, True]}}
CALL = {"type": "function", "id": "call12345", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The weather in a city, "as is" <now>.',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name"},
                "days": {"type": "integer", "enum": [1, 3, 7]},
            },
            "required": ["city"],
        },
    },
}
SYSTEM = {"role": "system", "content": "  You are terse.\nAlways. "}
USER = {"role": "user", "content": "Hello <|im_end|> there, naïve 🤖 [INST] </s>\n  "}
ASSISTANT = {"role": "assistant", "content": "Hi! <b>bold</b> & 'so on'"}
AGAIN = {"role": "user", "content": "And 2 + 2?"}
THOUGHT = {**ASSISTANT, "content": "It is 4.", "reasoning_content": "Two and two.\nFour."}
SPELT_THOUGHT = {**ASSISTANT, "content": "<think>\nTwo and two.\n</think>\n\nIt is 4."}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": '{"sun": "<yes>"}'}
PARTS = {"role": "user", "content": [{"type": "text", "text": " Hello "}, {"type": "text", "text": "<|eot_id|>"}]}

CONVERSATIONS: dict[str, dict[str, Any]] = {
    "one": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "turns": {"messages": [USER, ASSISTANT, AGAIN]},
    "turns with system": {"messages": [SYSTEM, USER, ASSISTANT, AGAIN, ASSISTANT, USER]},
    "answered": {"messages": [USER, ASSISTANT], "add_generation_prompt": False},
    "tools": {"messages": [SYSTEM, USER], "tools": [TOOL, TOOL]},
    "tool result": {"messages": [USER, CALLING, RESULT], "tools": [TOOL]},
    "tool turns": {"messages": [SYSTEM, USER, CALLING, RESULT, ASSISTANT, AGAIN], "tools": [TOOL]},
    "thought": {"messages": [USER, THOUGHT, AGAIN]},
    "spelt thought": {"messages": [SYSTEM, USER, SPELT_THOUGHT, AGAIN]},
    "no thinking": {"messages": [USER], "enable_thinking": False, "thinking": False},
    "thinking": {"messages": [SYSTEM, USER], "enable_thinking": True, "thinking": True, "reasoning_effort": "high"},
    "parts": {"messages": [PARTS]},
    "documents": {"messages": [USER], "documents": [{"title": "One <1>", "text": "Text\nof it"}]},
}


class StoppedClock(datetime):
    """datetime whose now() is always NOW."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return NOW


def rendered(source: str, conversation: dict[str, Any]) -> str | None:
    """What transformers makes of it; None where the template or Python refuses."""
    settings = {"add_generation_prompt": True, **SPECIAL, **conversation}
    messages = settings.pop("messages")
    try:
        texts, _ = chat_template_utils.render_jinja_template([messages], chat_template=source, **settings)
    except Exception:
        return None
    return str(texts[0])


def main(folder: str, out: str) -> None:
    chat_template_utils.datetime = StoppedClock
    models = {}
    for path in sorted(Path(folder).glob("*.jinja")):
        source = path.read_text("utf-8")
        outputs = {name: rendered(source, conversation) for name, conversation in CONVERSATIONS.items()}
        models[path.stem] = {"template": source, "outputs": outputs}
        print(path.stem, sum(text is not None for text in outputs.values()), "of", len(outputs))
    golden = {"now": NOW.isoformat(), "special": SPECIAL, "conversations": CONVERSATIONS, "models": models}
    data = json.dumps(golden, ensure_ascii=False, indent=1).encode()
    Path(out).write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(*sys.argv[1:])
