"""A prompt that is longer than the context: its middle can be left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..chat_format.prompt import Prompt, TextFile
from ..errors import PromptTooLongError
from ..tokenizer import Tokenizer
from ..tokenizer.vocab import CONTROL
from .session import ANSWER_ROOM, Session


def without_middle(prompt: Prompt, tokenizer: Tokenizer, most: int) -> tuple[Prompt, int]:
    """`prompt` with `most` tokens at most, and how many were left out.

    They lie in the middle of the longest stretch without control tokens, so that what a chat template wrote stays.
    Where that stretch is too short, the prompt stays too long.
    """
    ids, surplus = prompt.ids, len(prompt.ids) - most
    start, end = _longest_text(ids, tokenizer)
    if not 0 < surplus < end - start:
        return prompt, 0
    at = (start + end - surplus) // 2
    kept = [*ids[:at], *ids[at + surplus :]]
    text = "".join(tokenizer.decode(part, special=prompt.chat) for part in (ids[:at], ids[at + surplus :]))
    return prompt._replace(ids=kept, text=text), surplus


def _longest_text(ids: list[int], tokenizer: Tokenizer) -> tuple[int, int]:
    """Where the longest stretch without control tokens begins, and ends."""
    control = {*tokenizer.vocab.of_type(CONTROL)}
    edges = [-1, *(i for i, id in enumerate(ids) if id in control), len(ids)]
    start, end = max(pairwise(edges), key=lambda pair: pair[1] - pair[0])
    return start + 1, end


def fitted(prompt: Prompt, session: Session, max_tokens: int | None, *, cut: bool) -> Prompt:
    """`prompt`, which fits the context; with `cut`, one that does not is left without its middle, and a note says so.

    Raises PromptTooLongError.
    """
    if cut and len(prompt.ids) > session.n_ctx:
        room = min(ANSWER_ROOM if max_tokens is None else max_tokens, session.n_ctx // 2)
        shorter, left_out = without_middle(prompt, session.tokenizer, session.n_ctx - room)
        note = f"{left_out} of {len(prompt.ids)} tokens are left out in the middle of the prompt (--overflow middle)"
        prompt = shorter._replace(notes=(*shorter.notes, note)) if left_out else prompt
    try:
        session.check_room(len(prompt.ids), max_tokens)
    except PromptTooLongError as error:
        if cut:
            raise
        raise PromptTooLongError(str(error), f"{error.hint}; or leave out its middle (--overflow middle)") from None
    return prompt


def smaller(question: bytes, files: Sequence[TextFile], most: int) -> tuple[bytes, list[TextFile]]:
    """Texts of `most` bytes together, about: of those that are too large for it, the middle is left out."""
    if len(question) + sum(len(file.content) for file in files) <= most:
        return question, [*files]
    each = most // (1 + len(files))
    return _smaller(question, each), [file._replace(content=_smaller(file.content, each)) for file in files]


def _smaller(data: bytes, most: int) -> bytes:
    """`data` without its middle where it has more than `most` bytes; no character is cut."""
    if len(data) <= most:
        return data
    head, tail = data[: most // 2], data[len(data) - most // 2 :]
    return head.decode("utf-8", "ignore").encode() + tail.decode("utf-8", "ignore").encode()
