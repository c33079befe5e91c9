"""Copies of GGUF files with other keys, another chat template or in parts; and the differences of two files.

Every change writes a new file, renamed when it is complete; the bytes of tensors are copied unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadFileError, NotFoundError, UsageError
from ..files.atomic_file import AtomicGroup, check_output
from ..quant.tensor import QTensor
from ..text import escaped, shown
from . import split
from .known_keys import ARCHITECTURE, alike, check_architecture, known_type
from .reader import GGUFFile, open_gguf
from .values import ALIGNMENT_KEY, Array, ValueType
from .writer import GGUFWriter, TensorInfo

CHUNK = 16 << 20
TEMPLATE = "tokenizer.chat_template"
TEMPLATE_NAMES, DEFAULT = "tokenizer.chat_templates", "default"
Progress = Callable[[int, int], None]  # bytes done, bytes in all


def copy_with(source: Path, out: Path, changes: Mapping[str, Any], removed: Sequence[str], tell: Progress) -> None:
    """Copy `source` to one file `out` with changed metadata. Raises NotFoundError for a missing key in `removed`."""
    with open_gguf(source) as gguf:
        metadata = dict(gguf.metadata.raw())
        for key in removed:
            if key not in metadata:
                raise NotFoundError(f"{escaped(str(source))}: has no key {shown(key)}")
            del metadata[key]
        for key in split.KEYS:
            metadata.pop(key, None)
        _write(out, metadata | dict(changes), list(gguf.tensors.values()), gguf, tell)


def renamed_template(gguf: GGUFFile, old: str, new: str) -> tuple[dict[str, Any], list[str]]:
    """(changes, removed keys) that rename chat template `old` to `new`; "default" is the key TEMPLATE itself.

    Raises NotFoundError where the file has no template `old`, UsageError where it has a template `new`.
    """
    raw, before, after = gguf.metadata.raw(), _template_key(old), _template_key(new)
    if before not in raw:
        names = [k.removeprefix(f"{TEMPLATE}.") if k != TEMPLATE else DEFAULT for k in raw if k.startswith(TEMPLATE)]
        have = f"it has {', '.join(names)}" if names else "it has none"
        raise NotFoundError(f"{escaped(str(gguf.path))}: has no chat template {shown(old)}", have)
    if raw[before][0] is not ValueType.STRING:
        kind = raw[before][0].label
        raise BadFileError(f"{escaped(str(gguf.path))}: {before} is not a text ({kind})", _removal(before))
    if after in raw:
        raise UsageError(f"the file already has a chat template {shown(new)}", _removal(after))
    others = [k.removeprefix(f"{TEMPLATE}.") for k in raw if k.startswith(f"{TEMPLATE}.") and k != before]
    names = others + ([new] if new != DEFAULT else [])
    changes: dict[str, Any] = {after: (raw[before][0], bytes(raw[before][1]))}
    if names:
        changes[TEMPLATE_NAMES] = (ValueType.STRING, names)
    return changes, [before] + ([TEMPLATE_NAMES] if not names and TEMPLATE_NAMES in raw else [])


def _removal(key: str) -> str:
    return f"llmlocal gguf set FILE {escaped(key)} --remove --in-place removes it"


def _template_key(name: str) -> str:
    return TEMPLATE if name == DEFAULT else f"{TEMPLATE}.{name}"


def typed_value(key: str, text: str, kind: str | None, metadata: Mapping[str, Any]) -> tuple[ValueType, Any]:
    """A value from the command line as (type, value); `metadata` is the file's, `raw`.

    It gets type `kind`, else that of before, else that of GGUF's own keys, else the first that fits. Raises UsageError
    where the text is not of that type, or readers expect another sort of value at this key.
    """
    known, before = known_type(key), metadata.get(key)
    if kind is None and before is not None and before[0] is ValueType.ARRAY:
        raise UsageError("arrays cannot be set", "--remove deletes the key")
    wanted = known
    if kind is not None:
        wanted = _type_named(kind)
        if known and not alike(known, wanted):
            raise UsageError(f"{shown(key)} is a {known.label}, a {wanted.label} would not be read", "leave out --type")
    elif before is not None and (known is None or alike(known, before[0])):
        wanted = before[0]
    found = (wanted, _parsed(text, wanted, own=known is None)) if wanted is not None else _guessed(text)
    if key == ARCHITECTURE:
        check_architecture(metadata, text)
    return found


def _type_named(name: str) -> ValueType:
    found = {t.label: t for t in ValueType if t is not ValueType.ARRAY}.get(name.lower())
    if found is None:
        raise UsageError(f"{shown(name)} is not a type of a value", "u32, i32, u64, i64, f32, f64, bool, string")
    return found


def _guessed(text: str) -> tuple[ValueType, Any]:
    """The first type that fits."""
    for guess in (ValueType.U32, ValueType.I32, ValueType.U64, ValueType.I64, ValueType.F32, ValueType.BOOL):
        try:
            return guess, _parsed(text, guess)
        except UsageError:
            continue
    return ValueType.STRING, text


def _parsed(text: str, kind: ValueType, *, own: bool = True) -> Any:
    """Raises UsageError for a text of another type, which the user may choose for a key of their own."""
    try:
        if kind is ValueType.STRING:
            return text
        if kind is ValueType.BOOL:
            return {"true": True, "false": False}[text.lower()]
        if kind in (ValueType.F32, ValueType.F64):
            return float(text)
        number, bits = int(text), int(kind.label[1:])
        low, high = (0, 1 << bits) if kind.label[0] == "u" else (-(1 << bits - 1), 1 << bits - 1)
        if low <= number < high:
            return number
    except (ValueError, KeyError):
        pass
    hint = "--type chooses another type" if own else ""
    raise UsageError(f"{shown(text)} is not a {kind.label}", "true or false" if kind is ValueType.BOOL else hint)


def split_file(source: Path, stem: Path, max_bytes: int, *, force: bool, tell: Progress) -> list[Path]:
    """Copy `source` to parts `stem-0000i-of-0000n.gguf` of at most `max_bytes` of tensors each; returns their paths.

    The parts appear together, when all are complete, the first part last. Raises UsageError where a file exists and
    `force` is False.
    """
    with open_gguf(source) as gguf:
        groups = split.group_tensors(gguf.tensors.values(), max_bytes, gguf.alignment)
        paths = [stem.with_name(split.part_name(stem.name, i, len(groups))) for i in range(len(groups))]
        for path in paths:
            check_output(path, *split.files_of(source), force=force)
        raw = {key: value for key, value in gguf.metadata.raw().items() if key not in split.KEYS}
        with AtomicGroup() as parts:
            for i in reversed(range(len(groups))):
                own = split.part_keys(i, len(groups), len(gguf.tensors))
                kept = raw if i == 0 else {k: v for k, v in raw.items() if k == ALIGNMENT_KEY}
                _write(paths[i], kept | own, groups[i], gguf, tell, parts)
        return paths


def _write(
    out: Path,
    metadata: Mapping[str, Any],
    tensors: list[QTensor],
    gguf: GGUFFile,
    tell: Progress,
    parts: AtomicGroup | None = None,
) -> None:
    infos = [TensorInfo(t.name, t.format, t.shape) for t in tensors]
    total, done = sum(t.nbytes for t in gguf.tensors.values()), 0
    try:
        opened = GGUFWriter(out, metadata, infos, group=parts)
    except UnicodeEncodeError as error:
        raise UsageError(f"{shown(error.object)} is not UTF-8") from error
    except ValueError as error:  # about what is set: all else comes from a file, which has the same limits
        raise UsageError(str(error)) from error
    with opened as writer:
        for tensor in tensors:
            for at in range(0, tensor.nbytes, CHUNK):
                piece = tensor.data[at : at + CHUNK]
                writer.write(tensor.name, piece)
                done += piece.nbytes
                tell(done, total)
            gguf.forget(tensor)


# ---- contents of files ---------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Key or tensor `name` (`where` is "key" or "tensor") differs: `old` and `new` describe it, None where missing."""

    where: str
    name: str
    old: str | None
    new: str | None


def differences(old: GGUFFile, new: GGUFFile) -> Iterator[Difference]:
    """Keys, then tensors, that differ, in the order of the first file."""
    before, after = old.metadata.raw(), new.metadata.raw()
    for key in [*before, *(k for k in after if k not in before)]:
        one, two = before.get(key), after.get(key)
        if _stored(one) != _stored(two):
            yield Difference("key", key, _said(one), _said(two))
    for name in [*old.tensors, *(n for n in new.tensors if n not in old.tensors)]:
        a, b = old.tensors.get(name), new.tensors.get(name)
        if a is None or b is None or (a.format, a.shape) != (b.format, b.shape):
            yield Difference("tensor", name, _shape(a), _shape(b))
        elif a.data != b.data:
            yield Difference("tensor", name, f"{_shape(a)}", f"{_shape(b)}, other values")
        for gguf, tensor in ((old, a), (new, b)):
            if tensor is not None:
                gguf.forget(tensor)


def digests(gguf: GGUFFile, tell: Progress) -> Iterator[tuple[str, str]]:
    """(name, sha256 of its bytes) of each tensor, then ("", sha256 of all of them in the order of the file)."""
    total, done, every = sum(t.nbytes for t in gguf.tensors.values()), 0, hashlib.sha256()
    for tensor in gguf.tensors.values():
        one = hashlib.sha256()
        for at in range(0, tensor.nbytes, CHUNK):
            piece = tensor.data[at : at + CHUNK]
            one.update(piece)
            every.update(piece)
            done += piece.nbytes
            tell(done, total)
        gguf.forget(tensor)
        yield tensor.name, one.hexdigest()
    yield "", every.hexdigest()


def _stored(entry: tuple[ValueType, Any] | None) -> Any:
    if entry is None:
        return None
    kind, value = entry
    if isinstance(value, Array):
        return kind, value.type, bytes(value.raw)
    return kind, bytes(value) if isinstance(value, memoryview) else repr(value)


def _said(entry: tuple[ValueType, Any] | None) -> str | None:
    if entry is None:
        return None
    kind, value = entry
    if isinstance(value, Array):
        digest = hashlib.sha256(value.raw).hexdigest()[:8]
        return f"{len(value)} x {value.type.label} (sha256 {digest})"
    return str(value, "utf-8", "replace") if kind is ValueType.STRING else str(value)


def _shape(tensor: QTensor | None) -> str | None:
    return None if tensor is None else f"{tensor.format.name} {' x '.join(map(str, tensor.shape))}"
