"""Special token ids, which of them are added to a text, and chat templates, from the tokenizer's JSON files.

The rules are those of llama.cpp's converter: tokenizer.json's post-processor wins over tokenizer_config.json, and
that over config.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import BadFileError
from ..gguf.values import ValueType
from ..hf.config import Keys, Settings, text_config
from ..hf.folder import Folder
from ..hf.json_file import read_text
from ..text import escaped
from ..tokenizer.special import stop_ids

KINDS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
SPELLED = {"unk": "unknown", "sep": "seperator", "pad": "padding"}  # in GGUF's keys
ADDED = ("bos", "eos", "sep", "cls")
MAX_TEMPLATE = 4 << 20


def special_keys(s: Settings, texts: Mapping[str, int], tokens: int) -> Keys:
    """The keys for a vocabulary of `tokens` tokens, `texts` with their ids.

    Ends of an answer that cannot be stored get a note. Raises BadFileError for a malformed chat template.
    """
    folder = s.folder
    named, added = _named(folder)
    ids = {text: id for text, id in _added_ids(folder).items() if id < tokens}
    keys: Keys = {}
    for kind, text in named.items():
        if text in ids:
            keys[_key(kind)] = ids[text]
    nested = text_config(s.values)
    for kind in named.keys() | set(KINDS):
        id = s.values.get(f"{kind}_token_id", nested.get(f"{kind}_token_id"))
        id = id[0] if isinstance(id, list) and id else id
        if type(id) is int and 0 <= id < tokens:
            keys.setdefault(_key(kind), id)
    _add_ends(s, keys, texts, tokens)
    keys = {_key(kind): keys[_key(kind)] for kind in (*KINDS, "eot", "eom") if _key(kind) in keys}
    keys |= {f"tokenizer.ggml.add_{kind}_token": added[kind] for kind in ADDED if kind in added}
    return keys | _template_keys(folder) | _normalizer_keys(folder.json("tokenizer.json").get("normalizer"))


def _add_ends(s: Settings, keys: Keys, texts: Mapping[str, int], tokens: int) -> None:
    """Make every end of an answer that the configs list one that readers of the file know.

    What readers do not know by its text becomes the token that ends a turn or a message (eot, eom). A single id in
    config.json that names an ordinary token is left over from another vocabulary.
    """
    own, added = s.find("eos_token_id"), _added_ids(s.folder).values()
    listed: list[Any] = [*own] if isinstance(own, list) else [own] if own in added else []
    generation = s.folder.json("generation_config.json").get("eos_token_id")
    listed += generation if isinstance(generation, list) else [generation]
    special = {kind: keys[_key(kind)] for kind in (*KINDS, "eot", "eom") if _key(kind) in keys}
    known = stop_ids(texts, special)
    ids = [id for id in listed if type(id) is int and 0 <= id < tokens]
    ends = [id for id in dict.fromkeys(ids) if id not in known]
    for kind in ("eos", "eot", "eom"):
        if ends and _key(kind) not in keys:
            keys[_key(kind)] = ends.pop(0)
    if ends:
        s.note(f"answers also end with tokens {', '.join(map(str, ends))}, for which GGUF has no key: give --stop")


def special_texts(folder: Folder) -> set[str]:
    """Texts of all tokens that the JSON files declare special."""
    out: set[str] = set()
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        config = folder.json(file)
        out |= {text for kind in KINDS if (text := _text(config.get(f"{kind}_token"))) is not None}
        for name in ("additional_special_tokens", "extra_special_tokens"):
            more = config.get(name)
            values = more.values() if isinstance(more, dict) else more if isinstance(more, list) else ()
            out |= {text for value in values if (text := _text(value)) is not None}
    return out


def _key(kind: str) -> str:
    return f"tokenizer.ggml.{SPELLED.get(kind, kind)}_token_id"


def _text(value: Any) -> str | None:
    """The text of a token, given as a string or as an object with `content`."""
    value = value.get("content") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else None


def _named(folder: Folder) -> tuple[dict[str, str], dict[str, bool]]:
    """Texts of the special tokens by kind, and whether each kind is added to a text."""
    tokenizer, config = folder.json("tokenizer.json"), folder.json("tokenizer_config.json")
    texts = {kind: text for kind in KINDS if (text := _text(config.get(f"{kind}_token"))) is not None}
    added: dict[str, bool] = {}
    if tokenizer:
        for kind, other in (("bos", "cls"), ("eos", "sep")):
            if kind not in texts and other in texts:
                texts[kind] = texts[other]
        processor = tokenizer.get("post_processor")
        inner = processor.get("processors", [processor]) if isinstance(processor, Mapping) else []
        for part in inner if isinstance(inner, list) else []:
            if isinstance(part, Mapping):
                _processed(part, texts, added, known=bool(config))
    for kind in KINDS:
        adds = config.get(f"add_{kind}_token")
        if isinstance(adds, bool):
            added.setdefault(kind, adds)
    return texts, added


def _processed(part: Mapping[str, Any], texts: dict[str, str], added: dict[str, bool], *, known: bool) -> None:
    """Add what one post-processor says to `texts` and `added`. `known`: the folder has a tokenizer_config.json."""
    match part.get("type"):
        case "ByteLevel":
            added.setdefault("bos", False)
            added.setdefault("eos", False)
        case "RobertaProcessing":
            added |= {"bos": True, "eos": True, "sep": True}
        case "TemplateProcessing":
            single, pair = part.get("single"), part.get("pair")
            single = single if isinstance(single, list) and len(single) > 1 else []
            first, last = (_special(single[0]), _special(single[-1])) if single else (None, None)
            if first is not None:
                if known and first not in (texts.get("bos"), texts.get("cls")):
                    texts.setdefault("bos", first)
                    texts.setdefault("cls", first)
                added["bos"] = not known or first in (texts.get("bos"), texts.get("cls"))
            if last is not None:
                if known and last != texts.get("eos"):
                    spare = next((kind for kind in ("eot", "eom") if kind not in texts), None)
                    if spare is not None and "eos" in texts:
                        texts[spare] = texts["eos"]
                    texts["eos"] = last
                added["eos"] = True
            if len(single) > 2 and last is not None and (separator := _special(single[-2])) is not None:
                texts |= {"eos": separator, "sep": separator, "cls": last}  # both follow a text, in this order
                added |= {"eos": True, "cls": True}
                return
            between = _between(pair, first, last)
            if between is not None:
                ends = (texts.get("sep"), texts.get("eos"))
                added["sep"] = (between[0] in ends and last is None) or (between[1:2] != [] and between[1] in ends)


def _between(pair: Any, first: str | None, last: str | None) -> list[str | None] | None:
    """The special tokens between the two texts of a pair; None where there are none or the form is another."""
    if not isinstance(pair, list) or not pair:
        return None
    if first is not None and _special(pair[0]) == first:
        pair = pair[1:]
    if last is not None and pair and _special(pair[-1]) == last:
        pair = pair[:-1]
    ends = [part.get("Sequence") if isinstance(part, Mapping) else None for part in (*pair[:1], *pair[-1:])]
    ids = [end.get("id") if isinstance(end, Mapping) else None for end in ends]
    return [_special(part) for part in pair[1:-1]] or None if ids == ["A", "B"] else None


def _special(part: Any) -> str | None:
    """The special token of a template's piece, None for other pieces."""
    token = part.get("SpecialToken") if isinstance(part, Mapping) else None
    id = token.get("id") if isinstance(token, Mapping) else None
    return id if isinstance(id, str) else None


def _added_ids(folder: Folder) -> dict[str, int]:
    added = folder.json("tokenizer.json").get("added_tokens")
    ids: dict[str, int] = {}
    for token in added if isinstance(added, list) else []:
        match token:
            case {"id": int(id), "content": str(text)}:
                ids.setdefault(text, id)
    return ids


def _template_keys(folder: Folder) -> Keys:
    """The chat template, and named templates; a file of its own wins over tokenizer_config.json, as in transformers."""
    template = folder.json("tokenizer_config.json").get("chat_template")
    if folder.has("chat_template.jinja"):
        template = read_text(folder.path / "chat_template.jinja", MAX_TEMPLATE)
        others = folder.files("additional_chat_templates/*.jinja")
        if others:
            more = [{"name": path.stem, "template": read_text(path, MAX_TEMPLATE)} for path in others[:64]]
            template = [{"name": "default", "template": template}, *more]
    elif template is None:
        template = folder.json("chat_template.json").get("chat_template")
    if template is None or isinstance(template, str):
        return {"tokenizer.chat_template": template} if template else {}
    keys: Keys = {}
    for entry in template if isinstance(template, list) else []:
        match entry:
            case {"name": str(name), "template": str(text)} if name:
                name = re.sub("[^A-Za-z0-9]", "_", name)
                keys["tokenizer.chat_template" if name == "default" else f"tokenizer.chat_template.{name}"] = text
            case _:
                where = escaped(str(folder.path / "tokenizer_config.json"))
                raise BadFileError(f"{where}: chat_template must be a string or a list of {{name, template}}")
    names = sorted(key.split(".", 2)[2] for key in keys if key.count(".") > 1)
    return keys | ({"tokenizer.chat_templates": (ValueType.STRING, names)} if names else {})


def _normalizer_keys(normalizer: Any) -> Keys:
    match normalizer:
        case {"type": "Lowercase"}:
            return {"tokenizer.ggml.normalizer.lowercase": True}
        case {"type": "StripAccents"}:
            return {"tokenizer.ggml.normalizer.strip_accents": True}
        case {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}:
            return {"tokenizer.ggml.normalizer.quotes": True}
        case {"type": "BertNormalizer"}:
            flags = {name: normalizer.get(name) for name in ("lowercase", "strip_accents")}
            return {f"tokenizer.ggml.normalizer.{name}": on for name, on in flags.items() if isinstance(on, bool)}
        case {"type": "Sequence", "normalizers": list(inner)}:
            return {key: on for part in inner for key, on in _normalizer_keys(part).items()}
    return {}
