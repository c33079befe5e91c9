"""What a scheduler has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """What a scheduler has done so far, in tokens and steps."""

    prompt_tokens: int = 0  # read by the model
    reused_tokens: int = 0  # found in a sequence
    read_again_tokens: int = 0  # found, but before what sliding windows still hold
    generated_tokens: int = 0
    proposed_tokens: int = 0
    accepted_tokens: int = 0  # of those proposed
    steps: int = 0
