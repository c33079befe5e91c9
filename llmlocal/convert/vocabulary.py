"""The vocabulary of a Hugging Face folder as GGUF's keys `tokenizer.*`, whatever files it comes in.

`tokenizer.model`, or `spiece.model` in older folders, is SentencePiece's own file. Else tokenizer.json: byte-level BPE,
WordPiece, or SentencePiece's BPE and Unigram in JSON. RWKV, PLaMo and tiktoken have files of their own. Unused ids up
to config.json's vocab_size become `[PADn]`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import BadFileError, NotFoundError
from ..gguf.values import ValueType
from ..hf.config import LARGEST, Keys, Settings
from ..hf.folder import Folder
from ..text import escaped, shown
from ..tokenizer.vocab import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from .plamo_vocabulary import LINES, plamo_keys
from .pretokenizer_names import pretokenizer_name
from .rwkv_vocabulary import WORLD, rwkv_keys
from .sentencepiece import UNIGRAM, read_sentencepiece
from .special_tokens import special_keys, special_texts
from .tiktoken import RANKS, tiktoken_keys
from .token_table import ADDED_SCORE, PAD_SCORE, SPACE, Table, decoder_tokens, put_added, size_of, where_of

PIECES = ("tokenizer.model", "spiece.model")  # SentencePiece's own file
BYTE_TEXT = re.compile("<0x[0-9A-Fa-f]{2}>")
SQUEEZED = ({"Regex": " {2,}"}, {"Regex": r"\s{2,}|[\n\r\t]"})  # what a single space takes the place of
QUOTES = ({"String": "``"}, {"String": "''"}, {"String": " "})  # and the sign for a space
OBEYED = ("Precompiled", "Lowercase", "StripAccents", "NFC", "Strip", "Prepend", "WhitespaceSplit", "Metaspace")
UNREAD = "texts would get other tokens than the model was trained with; use a model with another tokenizer"
NO_JSON = "make one with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
# Of thinking and tool calls: part of an answer's text, as in llama.cpp's files.
SHOWN = ("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>')


def read_vocabulary(s: Settings, ranked_merges: str = "", *, needs_json: bool = False) -> Keys:
    """The keys of the folder's tokenizer. Raises NotFoundError without one, BadFileError where it is damaged.

    `ranked_merges` is the kind that SentencePiece's BPE in tokenizer.json gets with its merges, "" for scores. If it
    `needs_json`, SentencePiece's own file is not read.
    """
    folder = s.folder
    if folder.has(WORLD):
        return rwkv_keys(s)
    if folder.has(LINES):
        return plamo_keys(s)
    if needs_json and not folder.has("tokenizer.json"):
        raise NotFoundError(f"{escaped(str(folder.path))}: has no tokenizer.json", NO_JSON)
    pieces = next((name for name in PIECES if folder.has(name)), None)
    if pieces is not None and not (ranked_merges and folder.has("tokenizer.json")) and not needs_json:
        return sentencepiece_keys(s, pieces)
    if folder.has(RANKS) and not folder.has("tokenizer.json"):
        return tiktoken_keys(s)
    if not folder.has("tokenizer.json"):
        raise NotFoundError(
            f"{escaped(str(folder.path))}: has no tokenizer.json and no tokenizer.model",
            "download them into the folder",
        )
    where, model = where_of(folder, "tokenizer.json"), folder.json("tokenizer.json").get("model")
    if not isinstance(model, Mapping):
        raise BadFileError(f"{where}: has no model")
    if model.get("type") == "BPE" or (model.get("type") is None and "merges" in model):
        if model.get("byte_fallback") is not True:
            return byte_level_keys(s, model)
        return _ranked_keys(s, model, ranked_merges) if ranked_merges else _merged_sentencepiece_keys(s, model)
    if model.get("type") == "Unigram" and isinstance(model.get("vocab"), list):
        return _unigram_keys(s, model)
    if model.get("type") == "WordPiece":
        return _wordpiece_keys(s, model)
    kind = f"{model.get('type')!r:.40}"
    raise BadFileError(f"{where}: tokenizer type {kind} is not supported", "supported: BPE, Unigram, WordPiece")


def sentencepiece_keys(s: Settings, name: str = PIECES[0]) -> Keys:
    """The vocabulary of SentencePiece's file `name`, with added tokens from the JSON files."""
    folder = s.folder
    found = read_sentencepiece(folder.path / name)
    table = Table(where_of(folder, name), size_of(s, len(found.pieces)))
    for id, (text, score, type) in enumerate(found.pieces):
        table.put(id, text, NORMAL if type == USER_DEFINED else type, score)
    for text, id in folder.json("added_tokens.json").items():
        table.put(id, text, USER_DEFINED, ADDED_SCORE)
    for id, text, special in decoder_tokens(folder):
        put_added(table, id, text, special)
    for id, text, special in _added_tokens(folder):
        if isinstance(id, int) and id not in table.tokens:  # llama.cpp's converter leaves these out
            put_added(table, id, text, special)
    shape: Keys = {} if found.add_dummy_prefix else {"tokenizer.ggml.add_space_prefix": False}
    if found.kind == UNIGRAM:
        shape["tokenizer.ggml.add_space_prefix"] = found.add_dummy_prefix
        shape["tokenizer.ggml.remove_extra_whitespaces"] = found.remove_extra_whitespaces
        if found.charsmap:
            shape["tokenizer.ggml.precompiled_charsmap"] = (ValueType.U8, list(found.charsmap))
    return _scored_keys(s, table, "t5" if found.kind == UNIGRAM else "llama", shape)


def byte_level_keys(s: Settings, model: Mapping[str, Any]) -> Keys:
    """The vocabulary of a tokenizer.json whose tokens are written in GPT-2's 256 byte characters."""
    folder = s.folder
    tokenizer, where = folder.json("tokenizer.json"), where_of(folder, "tokenizer.json")
    table = _json_table(s, model.get("vocab"), where)
    special = special_keys(s, table.ids, table.size)
    name = pretokenizer_name(tokenizer, where=where, like=s.text("model_type", default=""))
    merges = [_merge(pair, where) for pair in _merges(model, where) or _merges_file(folder)]
    kind = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name}
    return kind | table.keys(scores=False) | {"tokenizer.ggml.merges": (ValueType.STRING, merges)} | special


def _merged_sentencepiece_keys(s: Settings, model: Mapping[str, Any]) -> Keys:
    """SentencePiece's BPE in tokenizer.json: the earlier a merge, the higher the score of its result."""
    folder = s.folder
    where = where_of(folder, "tokenizer.json")
    table = _json_table(s, model.get("vocab"), where)
    scores: dict[str, float] = {}
    for rank, pair in enumerate(_merges(model, where)):
        scores.setdefault(_merge(pair, where).replace(" ", ""), -float(rank))
    for id, (text, type, _) in table.tokens.items():
        if type == NORMAL:
            is_byte = BYTE_TEXT.fullmatch(text)
            table.tokens[id] = (text, BYTE, 0.0) if is_byte else (text, NORMAL, scores.get(text, PAD_SCORE * 1000))
    unknown = model.get("unk_token")
    for id in [id for id, (text, _, _) in table.tokens.items() if text == unknown]:
        table.tokens[id] = (str(unknown), UNKNOWN, 0.0)
    shape = {} if _prepends(folder.json("tokenizer.json")) else {"tokenizer.ggml.add_space_prefix": False}
    return _scored_keys(s, table, "llama", shape)


def _ranked_keys(s: Settings, model: Mapping[str, Any], kind: str) -> Keys:
    """SentencePiece's BPE in tokenizer.json with its merges in order, for words with `▁` in the place of a space."""
    where = where_of(s.folder, "tokenizer.json")
    table = _json_table(s, model.get("vocab"), where)
    for id, (text, type, _) in table.tokens.items():
        type = USER_DEFINED if text in SHOWN else BYTE if BYTE_TEXT.fullmatch(text) else type
        table.tokens[id] = (text, type, ADDED_SCORE)
    merges = [_merge(pair, where) for pair in _merges(model, where)]
    shape = {"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": True}
    first: Keys = {"tokenizer.ggml.model": kind} | table.keys(scores=True)
    first["tokenizer.ggml.merges"] = (ValueType.STRING, merges)
    return first | special_keys(s, table.ids, table.size) | shape


def _unigram_keys(s: Settings, model: Mapping[str, Any]) -> Keys:
    folder = s.folder
    tokenizer, where = folder.json("tokenizer.json"), where_of(folder, "tokenizer.json")
    table = Table(where, size_of(s, len(model["vocab"])))
    for id, piece in enumerate(model["vocab"]):
        match piece:
            case [str(text), int() | float() as score] if -LARGEST <= score <= LARGEST:
                type = UNKNOWN if id == model.get("unk_id") else BYTE if BYTE_TEXT.fullmatch(text) else NORMAL
                table.put(id, text, type, float(score))
            case _:
                raise BadFileError(f"{where}: entry {id} of the vocabulary is not a text with a score")
    for id, text, special in _added_tokens(folder):
        if id != model.get("unk_id"):
            put_added(table, id, text, special)
    shape: Keys = {"tokenizer.ggml.add_space_prefix": _prepends(tokenizer)}
    normalizers = _parts(tokenizer.get("normalizer"), "normalizers")
    pretokenizers = _parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    settings = folder.json("tokenizer_config.json")
    if unread := next((part for part in (*normalizers, *pretokenizers) if not _is_obeyed(part, normalizers)), None):
        what = f"the step {shown(str(unread.get('type')))} is not supported before a Unigram vocabulary"
        raise BadFileError(f"{where}: {what}", UNREAD)
    if settings.get("split_by_punct") is True:
        raise BadFileError(f"{where_of(folder, 'tokenizer_config.json')}: split_by_punct is not supported", UNREAD)
    if settings.get("do_lower_case") is True and all(part.get("type") != "Lowercase" for part in normalizers):
        s.note("do_lower_case of tokenizer_config.json is not used: tokenizer.json keeps upper case")
    if any(part.get("type") == "WhitespaceSplit" for part in pretokenizers):
        shape["tokenizer.ggml.remove_extra_whitespaces"] = True
    for part in normalizers:
        if part.get("type") == "NFC":
            shape["tokenizer.ggml.normalizer.nfc"] = True
        if part.get("type") == "Replace" and part.get("pattern") in SQUEEZED:
            shape["tokenizer.ggml.remove_extra_whitespaces"] = True
        if part.get("type") == "Precompiled" and isinstance(part.get("precompiled_charsmap"), str):
            try:
                charsmap = b64decode(part["precompiled_charsmap"], validate=True)
            except ValueError:
                raise BadFileError(f"{where}: precompiled_charsmap is not base64") from None
            if charsmap:
                shape["tokenizer.ggml.precompiled_charsmap"] = (ValueType.U8, list(charsmap))
    return _scored_keys(s, table, "t5", shape)


def _is_obeyed(part: Mapping[str, Any], normalizers: list[Mapping[str, Any]]) -> bool:
    """Whether a part of a normalizer or pre-tokenizer is said by a key, or is what Unigram's tokenizer does anyway."""
    match part:
        case {"type": "NFKD"}:
            return any(other.get("type") == "StripAccents" for other in normalizers)  # which does both
        case {"type": "Replace", "pattern": pattern}:
            return pattern in SQUEEZED or pattern in QUOTES
        case {"type": str(kind)}:
            return kind in OBEYED
    return False


def _wordpiece_keys(s: Settings, model: Mapping[str, Any]) -> Keys:
    """BERT's vocabulary in tokenizer.json. A token that begins a word gets `▁`, one that goes on loses its `##`."""
    where, prefix = where_of(s.folder, "tokenizer.json"), model.get("continuing_subword_prefix", "##")
    table = _json_table(s, model.get("vocab"), where)
    special = special_keys(s, table.ids, table.size)
    if not isinstance(prefix, str) or not prefix:
        raise BadFileError(f"{where}: continuing_subword_prefix must be a text")
    for id, (text, type, score) in table.tokens.items():
        if type != CONTROL:
            inner = text.startswith(prefix)
            table.tokens[id] = (text.removeprefix(prefix) if inner else SPACE + text, type, score)
    kind = {"tokenizer.ggml.model": "bert", "tokenizer.ggml.pre": "default"}
    return kind | table.keys(scores=False) | special


def _scored_keys(s: Settings, table: Table, kind: str, shape: Keys) -> Keys:
    first = {"tokenizer.ggml.model": kind, "tokenizer.ggml.pre": "default"}
    prefix = s.folder.json("tokenizer_config.json").get("add_prefix_space")
    stated = {"tokenizer.ggml.add_space_prefix": prefix} if isinstance(prefix, bool) else {}
    return first | table.keys(scores=True) | shape | stated | special_keys(s, table.ids, table.size)


def _json_table(s: Settings, vocab: Any, where: str) -> Table:
    """The tokens of tokenizer.json's `vocab` and `added_tokens`, and of the other files' added tokens."""
    folder = s.folder
    if not isinstance(vocab, dict) or not vocab:
        raise BadFileError(f"{where}: has no vocabulary")
    added = list(_added_tokens(folder))
    ids = [id for id in (*vocab.values(), *(id for id, _, _ in added)) if type(id) is int]
    table = Table(where, size_of(s, max(ids, default=0) + 1))
    if max(ids, default=0) >= table.size:
        raise BadFileError(f"{where}: id {max(ids)} in a vocabulary of {table.size} tokens")
    for text, id in vocab.items():
        table.put(id, text, NORMAL, 0.0)
    for id, text, special in added:
        put_added(table, id, text, special)
    texts = special_texts(folder)
    for id, (text, type_, score) in table.tokens.items():
        if type_ in (NORMAL, USER_DEFINED) and text in texts:
            table.tokens[id] = (text, CONTROL, score)
    return table


def _added_tokens(folder: Folder) -> Iterator[tuple[Any, Any, bool]]:
    """(id, text, special) of every added token; those of tokenizer.json come last and win."""
    yield from ((id, text, False) for text, id in folder.json("added_tokens.json").items())
    yield from decoder_tokens(folder)
    added = folder.json("tokenizer.json").get("added_tokens")
    for token in added if isinstance(added, list) else ():
        if isinstance(token, Mapping):
            yield token.get("id"), token.get("content"), token.get("special") is True


def _merges(model: Mapping[str, Any], where: str) -> list[Any]:
    merges = model.get("merges") or []
    if not isinstance(merges, list):
        raise BadFileError(f"{where}: merges must be a list")
    return merges


def _merge(pair: Any, where: str) -> str:
    """A merge as in GGUF: two texts with a space between; a space inside a text becomes its byte character."""
    match pair:
        case str():
            return pair
        case [str(left), str(right)]:
            return f"{left.replace(' ', 'Ġ')} {right.replace(' ', 'Ġ')}"
    raise BadFileError(f"{where}: {shown(repr(pair))} is not a merge")


def _merges_file(folder: Folder) -> Iterable[str]:
    """The lines of merges.txt, which old folders have beside tokenizer.json."""
    if not folder.has("merges.txt"):
        raise BadFileError(f"{where_of(folder, 'tokenizer.json')}: holds no merges")
    from ..hf.json_file import read_text

    lines = read_text(folder.path / "merges.txt").splitlines()
    return [line for line in lines if len(line.split()) == 2 and not line.startswith("#version")]


def _prepends(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a space is added in front of a text."""
    parts = [
        *_parts(tokenizer.get("normalizer"), "normalizers"),
        *_parts(tokenizer.get("pre_tokenizer"), "pretokenizers"),
    ]
    for part in parts:
        if part.get("type") == "Prepend":
            return True
        if part.get("type") == "Metaspace":
            return part.get("add_prefix_space", True) is True and part.get("prepend_scheme", "always") != "never"
    return False


def _parts(stage: Any, inner: str) -> list[Mapping[str, Any]]:
    """The parts of a normalizer or pre-tokenizer: those of a sequence, or itself."""
    if not isinstance(stage, Mapping):
        return []
    parts = stage.get(inner, [stage])
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
