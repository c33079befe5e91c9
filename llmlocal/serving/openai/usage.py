"""Numbers of tokens in OpenAI's notation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...generation.events import Finished


@dataclass(slots=True)
class Usage:
    """Tokens of the prompt (read once for all answers), of the answers, of thoughts, and those found in the cache."""

    prompt: int = 0
    completion: int = 0
    reasoning: int = 0
    cached: int = 0

    def add(self, end: Finished) -> None:
        """Count an answer that has ended."""
        self.prompt = max(self.prompt, end.prompt_tokens)
        self.cached = self.cached if self.completion else end.reused_tokens
        self.completion += end.generated_tokens

    def body(self) -> dict[str, Any]:
        """The field `usage`."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }

    def of_response(self) -> dict[str, Any]:
        """The field `usage` of `/v1/responses`."""
        return {
            "input_tokens": self.prompt,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": 0},
            "output_tokens": self.completion,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.prompt + self.completion,
        }
