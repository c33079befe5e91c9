"""Decisions between options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..option_groups import OptionGroup, option
from .prompts import System, Template, text_or_stdin

AskedQuestion = Annotated[str | None, text_or_stdin("QUESTION", "The question")]


class QuestionContext(OptionGroup):
    """What stands around a question."""

    file: list[Path] | None = option("-f --file FILE", "Put this text file before the question; may be repeated.")
    system: System = None
    template: Template = None


class DecisionOptions(OptionGroup):
    """What is decided between."""

    yes_no: bool = option("--yes-no", "Answer yes (exit code 0) or no (exit code 1).", default=False)
    options: str | None = option(
        "--options A,B,...", "Answer with one of these, separated by commas.", show_default=False
    )
    threshold: float | None = option(
        "--threshold P",
        "How probable the answer must be: yes, or the best of --options; otherwise the exit code is 1. "
        "Default: 0.5 for --yes-no, none for --options.",
        min=0,
        max=1,
    )

    @property
    def limit(self) -> float:
        """The threshold, or its default."""
        return self.threshold if self.threshold is not None else 0.5 * self.yes_no
