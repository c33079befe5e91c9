"""What a file and a text consist of."""

from __future__ import annotations

from typing import Annotated

from ...errors import UsageError
from ..option_groups import OptionGroup, option, positional
from .prompts import text_or_stdin

Key = Annotated[str | None, positional("KEY", "Print the whole value of this metadata key.")]
Text = Annotated[str | None, text_or_stdin("TEXT", "The text")]


class PartsShown(OptionGroup):
    """Which part of a file is shown."""

    kv: bool = option("--kv", "List the metadata; with KEY, print its whole value.", default=False)
    tensors: bool = option("--tensors", "List the tensors: name, format, shape, size.", default=False)
    template: bool = option("--template", "Print the chat template.", default=False)
    fit: bool = option(
        "--fit",
        "Check whether the model fits this machine, at which context size, and how fast it can be.",
        default=False,
    )

    def key(self, given: str | None) -> str | None:
        """The metadata key whose value is asked for. Raises UsageError for a part beside `given`, which is KEY."""
        from ...model_info.describe import TEMPLATE

        if given is not None and (self.template or self.tensors or self.fit):
            raise UsageError("KEY prints one value: --template, --tensors and --fit have no effect", "leave them out")
        return TEMPLATE if self.template else given


class TokensShown(OptionGroup):
    """What is shown of tokens."""

    ids: bool = option("--ids", "Print only the token ids, on one line.", default=False)
    pieces: bool = option("--pieces", "Print only the text of each token, one per line.", default=False)
    count: bool = option("--count", "Print only the number of tokens.", default=False)
    no_special: bool = option(
        "--no-special", "Add no BOS or EOS token, and read special tokens in TEXT as plain text.", default=False
    )
    decode: bool = option("--decode", "Decode: TEXT is token ids, print the text they stand for.", default=False)
