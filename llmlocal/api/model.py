"""A model that is open: text and conversations in, answers, tokens and logits out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from .. import guide
from ..chat.chat import Chat as ModelChat
from ..chat.chat import ChatSettings
from ..chat.conversation import Conversation, Turn
from ..chat_format.chat_template import choose
from ..chat_format.prompt import Prompt, PromptRequest
from ..draft.choice import AUTO
from ..embedding.embedder import Embedder
from ..errors import UsageError
from ..generation.events import Events
from ..generation.session import Session
from ..hub.names import find_local, model_not_found
from ..model_info.weight_memory import MODES
from ..ops.kv import find
from ..speculation.speculation import MODES as SPECULATE
from .access import Access
from .adapters import Adapters, adapters
from .answer import Answer, Stream, whole
from .chat import Chat, ContextEnd, checked
from .options import Logits, Options, PromptOptions, given, require, settings

LOGITS_AT_ONCE = 32  # tokens whose logits are computed together


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    ctx: int | None = None,
    threads: int | None = None,
    kv_type: Literal["f16", "q8_0", "f32"] = "f16",
    weights: Literal["auto", "map", "copy"] = "auto",
    speculate: Literal["auto", "off", "ngram", "draft", "mtp"] = "auto",
    draft: str | os.PathLike[str] | None = None,
    lora: Adapters = (),
    force: bool = False,
) -> Model:
    """Open a model: a GGUF file, a name or an alias as `llmlocal run` takes it, or "hf:org/repo" that was pulled.

    Without a name it is the built-in guide, which answers questions about llmlocal. Nothing is downloaded.
    `ctx` is the context in tokens; default: what the model was trained for, at most 4096. `threads` defaults to the
    physical cores. `kv_type` is the type of the KV cache. `weights`: "map" reads them from the file as they are needed,
    "copy" loads them into memory in an order that makes generation faster, "auto" copies where memory suffices.
    `speculate`: "auto" checks several proposed tokens in one step where that is faster, "ngram" wherever the text
    repeats itself, "draft" always with a draft, "mtp" always with the block of the file that predicts further tokens,
    "off" never; the text is the same. `draft` is a smaller model of the same vocabulary, or the model's assistant, that
    proposes tokens with "auto" and "draft"; "auto" takes the smallest on this machine with at most a fifth of the
    weights, if there is one.
    `lora`: LoRA adapters (PEFT folders or GGUF files) whose sum is added to the weights: a path, or several, each alone
    or with a factor, such as `[("style.gguf", 0.5), "facts"]`. `force` loads where memory seems too small.

    The file is mapped, so this returns at once; the engine is prepared by the first call that needs it. Raises
    NotFoundError where the model is not on this machine, BadFileError for a file that cannot be used, UsageError.
    """
    for name, value in (("ctx", ctx), ("threads", threads)):
        whole_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
        require(value is None or whole_number, name, value, "a whole number, 1 or more")
    require(weights in MODES, "weights", weights, "one of auto, map, copy")
    require(speculate in SPECULATE, "speculate", speculate, f"one of {', '.join(SPECULATE)}")
    find(kv_type)
    path = _located(name_or_path)
    outputs = min(LOGITS_AT_ONCE, ctx or LOGITS_AT_ONCE)
    return Model(
        Session.open(
            path,
            n_ctx=ctx,
            n_threads=threads,
            max_outputs=outputs,
            kv_type=kv_type,
            weights=weights,
            speculate=speculate,
            draft=draft if draft in (None, AUTO) else _located(draft),
            lora=adapters(lora),
            force=force,
        ),
        threads,
    )


Asked = str | Sequence[Mapping[str, Any]]  # a text, or messages


class Model:
    """A model that is open. `load` makes one; `with load(...) as model:` closes it at the end.

    One call at a time: while an answer is made or a stream is not read to its end, another call that needs the engine
    raises UsageError, from whichever thread. `tokenize` and `detokenize` may be called at any time. All of its methods
    raise UsageError when it is closed.
    """

    def __init__(self, session: Session, threads: int | None = None) -> None:
        self._access, self._threads = Access(session), threads
        self._embedder: Embedder | None = None
        self._path, self._ctx = session.gguf.path, session.n_ctx

    @overload
    def generate(
        self, prompt: Asked, *, stream: Literal[False] = False, **options: Unpack[PromptOptions]
    ) -> Answer: ...
    @overload
    def generate(self, prompt: Asked, *, stream: Literal[True], **options: Unpack[PromptOptions]) -> Stream: ...
    @overload
    def generate(self, prompt: Asked, *, stream: bool, **options: Unpack[PromptOptions]) -> Answer | Stream: ...
    def generate(self, prompt: Asked, *, stream: bool = False, **options: Unpack[PromptOptions]) -> Answer | Stream:
        """Answer a prompt: the whole `Answer`, or with `stream` an iterator of pieces of its text.

        A text is what the user says where the model has a chat template, and is continued where it has none, or with
        `raw`. A list of messages, {"role": ..., "content": ...}, is a conversation that the model is to go on with.

        Raises PromptTooLongError, UsageError for arguments without meaning, NotFoundError for an unknown template,
        BadFileError for a damaged model, ResourceError where memory does not suffice, IncompleteError for an answer
        that ended before it had the form that `schema`, `grammar` or `regex` asks for; a stream raises it at its end.
        """
        session = self._access.session
        system, raw = options.pop("system", None), options.pop("raw", False)
        require(system is None or isinstance(system, str), "system", system, "a text")
        chosen, choice = settings(session, given(options))
        if raw and (chosen.think != "auto" or chosen.think_budget is not None):
            raise UsageError("raw text is continued as it is: think and think_budget have no effect", "leave them out")
        if chosen.tools and raw:
            raise UsageError("raw text is continued as it is: tools have no effect", "leave them out")
        if isinstance(prompt, str) and chosen.tools:
            talk = Conversation(system, [Turn([{"role": "user", "content": prompt}])])
            made = Stream(self._access, choice, lambda: _messages(ModelChat(session, talk, chosen)), chosen.tools)
        elif isinstance(prompt, str):
            request = PromptRequest(_encoded(prompt), system, (), raw, chosen.template, chosen.think)
            made = Stream(self._access, choice, lambda: _text(session, request, chosen))
        else:
            if raw or system is not None:
                hint = 'begin the messages with {"role": "system", ...}' if not raw else "give a text"
                raise UsageError("raw and system go with a text, not with messages", hint)
            talk = Conversation(turns=[Turn(checked(prompt))])
            made = Stream(self._access, choice, lambda: _messages(ModelChat(session, talk, chosen)), chosen.tools)
        return made if stream else whole(made)

    def chat(
        self,
        system: str | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] = (),
        context_end: ContextEnd = "stop",
        **options: Unpack[Options],
    ) -> Chat:
        """A conversation, new or going on after `messages`. `options` hold for every answer.

        `context_end` is what happens when it no longer fits the context: "stop" raises PromptTooLongError, "drop" lets
        the model see only the newest turns. Raises UsageError where the model has no chat template.
        """
        return Chat(self._access, system, messages, context_end, options)

    def tokenize(self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text. `add_special`: with the BOS and EOS that the model wants around a text.

        `parse_special`: names of control tokens in the text, such as <|im_end|>, become these tokens. Leave it off for
        text that you did not write.
        """
        require(isinstance(text, str | bytes), "text", text, "a str or bytes")
        return self._access.session.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, ids: Iterable[int], *, special: bool = False, continues: bool = False) -> str:
        """As `detokenize_bytes`, as a str: U+FFFD stands for bytes that are not UTF-8, such as half a character."""
        return self.detokenize_bytes(ids, special=special, continues=continues).decode("utf-8", "replace")

    def detokenize_bytes(self, ids: Iterable[int], *, special: bool = False, continues: bool = False) -> bytes:
        """The bytes that token ids stand for. `special`: control tokens by their names, otherwise they are left out.

        Some tokenizers put a space before a text; it is removed again, unless `continues` says that the ids go on in
        the middle of a text. Raises UsageError for an id outside the vocabulary.
        """
        tokenizer, listed = self._access.session.tokenizer, self._ids(ids)
        if not continues:
            return tokenizer.decode_bytes(listed, special=special)
        shown = (tokenizer.visible_piece(id, first=False, special=special) for id in listed)
        return b"".join(piece for piece in shown if piece is not None)

    def logits(self, text_or_ids: str | Iterable[int]) -> NDArray[np.float32]:
        """Logits (tokens, vocab_size) float32 after every token; row i predicts token i + 1.

        A text is tokenized as `tokenize` does. Raises PromptTooLongError, UsageError for an id outside the vocabulary.
        """
        ids = self._read(text_or_ids)
        with self._access.exclusive() as session:
            session.engine.truncate(0)
            self._access.context = ids
            return session.engine.all_logits(ids)

    def next_logits(self, text_or_ids: str | Iterable[int] | None = None) -> Logits:
        """Logits (vocab_size,) float32 of the token that comes next, after `text_or_ids` or, without it, `context`.

        What the ids share with those of the call before is not read again: adding one id costs one step. Raises as
        `logits`.
        """
        ids = None if text_or_ids is None else self._read(text_or_ids)
        with self._access.exclusive() as session:
            ids = self._access.context if ids is None else ids
            require(bool(ids), "text_or_ids", text_or_ids, "given, as nothing was read yet")
            read = session.engine.history()
            goes_on = len(ids) > len(read) > 0 and ids[: len(read)] == read
            shared = len(read) if goes_on else session.engine.reuse(ids)
            self._access.context = ids
            return session.engine.prefill(ids[shared:])

    def embed(
        self,
        texts: str | Iterable[str],
        *,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool = False,
    ) -> NDArray[np.float32]:
        """Vectors (texts, width) float32 of texts, in their order; of a single text (1, width).

        Pooling, and by default `normalize` (scaled to length 1) and the prompt before each text, are those that the
        model's metadata names. `dimensions` keeps the first numbers of each vector. `truncate` cuts texts that are too
        long, which otherwise raise PromptTooLongError. Raises UsageError for an unknown prompt, BadFileError.
        """
        listed = [texts] if isinstance(texts, str) else list(texts)
        for text in listed:
            require(isinstance(text, str), "texts", text, "a text, or texts")
        with self._access.exclusive() as session:
            if session.lora:
                raise UsageError("vectors of a model with LoRA adapters are not supported", "load it without lora")
            if self._embedder is None:
                self._embedder = Embedder.open(self._path, n_threads=self._threads)
            embedder = self._embedder
            options: dict[str, Any] = {"normalize": normalize, "dimensions": dimensions, "truncate": truncate}
            groups = embedder.embed(listed, prompt=embedder.settings.prompt(prompt_name), **options)
            rows = [group.rows for group in groups]
        return np.concatenate(rows) if rows else np.zeros((0, dimensions or embedder.width), np.float32)

    @property
    def context(self) -> list[int]:
        """Ids that the last call read and generated, as a copy; the end token of an answer included."""
        self._access.session  # noqa: B018  raises when the model is closed
        return list(self._access.context)

    @property
    def path(self) -> Path:
        """The GGUF file."""
        return self._path

    @property
    def ctx(self) -> int:
        """The context in tokens."""
        return self._ctx

    @property
    def vocab_size(self) -> int:
        """Tokens in the vocabulary: ids are 0 to vocab_size - 1."""
        return self._access.session.tokenizer.n_vocab

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an answer: end of sequence, of turn, of message."""
        return self._access.session.tokenizer.stop_ids

    @property
    def has_chat_template(self) -> bool:
        """Whether the model can chat without `template`."""
        session = self._access.session
        return choose(session.gguf.metadata, session.tokenizer, None) is not None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata of the file, such as "general.name"."""
        return self._access.session.gguf.metadata

    def close(self) -> None:
        """Free the memory, end the threads and unmap the file; an answer that is being streamed ends.

        May be called more than once.
        """
        self._access.close()
        if self._embedder is not None:
            self._embedder.close()
            self._embedder = None

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<llmlocal.Model {str(self._path)!r}, ctx={self._ctx}>"

    def _read(self, text_or_ids: str | Iterable[int]) -> list[int]:
        return self.tokenize(text_or_ids) if isinstance(text_or_ids, str) else self._ids(text_or_ids)

    def _ids(self, ids: Iterable[int]) -> list[int]:
        """Ids as a list of int. Raises UsageError for what is none of this vocabulary."""
        n = self.vocab_size
        try:
            listed = [index(id) for id in ids]
        except TypeError:
            raise UsageError(f"ids are {ids!r}: must be whole numbers", "tokenize makes ids of a text") from None
        if bad := [id for id in listed if not 0 <= id < n]:
            raise UsageError(f"{bad[0]} is not a token id of this model: ids are 0 to {n - 1}")
        return listed


def _located(name: str | os.PathLike[str] | None) -> Path:
    if name is None:
        return guide.path()
    if not isinstance(name, str):
        require(isinstance(name, os.PathLike), "name_or_path", name, "a name or a path")
        return Path(name)
    path = find_local(name)
    if path is None:
        raise model_not_found(name)
    return path


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"the prompt has half a character at {error.start}: it is not valid Unicode") from None


def _text(session: Session, request: PromptRequest, chosen: ChatSettings) -> tuple[Prompt, Events]:
    ready, s = session.prompt(request), chosen
    events = session.answer(
        ready,
        grammar=s.grammar,
        max_tokens=s.max_tokens,
        sampling=s.sampling,
        stop=s.stop,
        think_budget=s.think_budget,
        sampler=s.sampler,
    )
    return ready, events


def _messages(chat: ModelChat) -> tuple[Prompt, Events]:
    ready = chat.prompt()
    return ready, chat.reply(ready)
