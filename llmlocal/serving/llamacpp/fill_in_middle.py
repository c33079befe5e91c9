"""Prompts for text between a beginning and an end, for models that were trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...chat_format.prompt import Prompt
from ...errors import UsageError
from ...tokenizer import Tokenizer

# Names of special ids -> texts of such tokens, where a file does not name them.
TEXTS: Mapping[str, tuple[str, ...]] = {
    "fim_pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|prefix|>"),
    "fim_suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|suffix|>"),
    "fim_mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|middle|>"),
    "fim_sep": ("<|file_sep|>",),
}


def fill_in_middle(tokenizer: Tokenizer, before: str, after: str, files: Sequence[tuple[str, str]] = ()) -> Prompt:
    """The prompt for the text between `before` and `after`; `files` are names and texts that it may depend on.

    Raises UsageError where the model has no tokens for this.
    """
    special = {name: _token(tokenizer, name) for name in TEXTS}
    beginning, end, middle, file = special.values()
    if beginning is None or end is None or middle is None:
        raise UsageError("the model was not trained to fill in the middle: it has no tokens for that")
    if files and file is None:
        raise UsageError("the model has no token between files; leave out input_extra")
    ids = list(tokenizer.vocab.prefix_and_suffix()[0])
    for name, text in files:
        assert file is not None
        ids += [file, *tokenizer.encode(f"{name}\n{text}", add_special=False)]
    ids += [beginning, *tokenizer.encode(before, add_special=False)]
    ids += [end, *tokenizer.encode(after, add_special=False), middle]
    return Prompt("", ids, True)


def _token(tokenizer: Tokenizer, name: str) -> int | None:
    """The special id of a name."""
    vocab = tokenizer.vocab
    found = (vocab.ids[text] for text in TEXTS[name] if text in vocab.ids)
    return vocab.special.get(name, next(found, None))
