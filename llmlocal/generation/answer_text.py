"""Token ids to the parts of an answer: decoded once, cut at the first stop string, split at tags."""

from __future__ import annotations

from collections.abc import Sequence

from ..chat_format.prompt import Prompt
from ..chat_format.tag_splitter import Part, PartSplitter, Span
from ..tokenizer import StreamDecoder, Tokenizer
from ..tokenizer.vocab import CONTROL
from .stop_strings import StopFilter


class AnswerText:
    """The text of one answer to `prompt`, token by token.

    Tags are those of the prompt's thinking style, and `call_tags` where functions may be called. The continuation of a
    plain text has no tags: all of it is answer. `exact` keeps the space that some tokenizers put before a text, as the
    form of the answer may ask for it. Raises UsageError for an empty stop string.
    """

    def __init__(
        self,
        prompt: Prompt,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        call_tags: Sequence[Span] = (),
        *,
        exact: bool = False,
    ) -> None:
        spans = [*prompt.style.spans, *call_tags] if prompt.chat else []
        named = _tag_tokens(tokenizer, spans, every=bool(call_tags)) if prompt.chat else frozenset()
        self._decoder = StreamDecoder(tokenizer, continues=prompt.continues or exact, named=named)
        self._stops = StopFilter(stop)
        self._splitter = PartSplitter(spans, opened=prompt.opened) if prompt.chat else None

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._stops.hit

    @property
    def stop_string(self) -> str | None:
        """The stop string that was found."""
        return self._stops.found

    @property
    def thinking(self) -> bool:
        """Whether the next token belongs to a thought."""
        return self._splitter is not None and self._splitter.thinking

    def end_of_thoughts(self) -> None:
        """From here on all text is answer, exactly as it is generated: there are no tags in it."""
        self._splitter = None

    def only(self, spans: Sequence[Span]) -> None:
        """From here on there are no tags but these."""
        self._splitter = PartSplitter(spans)

    def push(self, id: int | None, *, final: bool = False) -> tuple[Part, ...]:
        """The parts that a token completes; with `final` all that was held back. None: a token without text."""
        text = "" if id is None else self._decoder.push(id)
        text = self._stops.push(text + (self._decoder.flush() if final else ""), final=final)
        if self._splitter is not None:
            return tuple(self._splitter.push(text, final=final or self.stopped))
        return (Part("answer", text),) if text else ()


def _tag_tokens(tokenizer: Tokenizer, spans: Sequence[Span], *, every: bool) -> frozenset[int]:
    """Control tokens to decode by name because they occur in tags; `every` one where functions may be called."""
    vocab, tags = tokenizer.vocab, "\n".join(tag for span in spans for tag in (span.opens, span.closes))
    found = (id for id in vocab.of_type(CONTROL) if vocab.tokens[id])
    return frozenset(id for id in found if every or vocab.tokens[id] in tags) - vocab.stop_ids
