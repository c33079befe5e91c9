"""GGUF containers by hand, right or wrong, without the project's writer: tests of the reader must not trust it."""

from __future__ import annotations

from struct import pack

CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
U8, U16, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 2, 4, 5, 6, 7, 8, 9, 10


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return pack("<Q", len(data)) + data


def value(kind: int, x: object) -> bytes:
    """A value's bytes; `x` is (element type, items) for an array."""
    if kind == STRING:
        assert isinstance(x, str | bytes)
        return string(x)
    if kind == ARRAY:
        assert isinstance(x, tuple)
        return pack("<IQ", x[0], len(x[1])) + b"".join(value(x[0], item) for item in x[1])
    return pack("<" + CODES[kind], x)


def entry(key: str | bytes, kind: int, x: object) -> bytes:
    return string(key) + pack("<I", kind) + value(kind, x)


def record(name: str | bytes, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return string(name) + pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def container(
    entries: list[bytes],
    records: list[bytes],
    data: bytes = b"",
    *,
    version: int = 3,
    magic: bytes = b"GGUF",
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A file; `counts` are the numbers of tensors and entries that the header claims."""
    head = magic + pack("<IQQ", version, *(counts or (len(records), len(entries))))
    out = head + b"".join(entries) + b"".join(records)
    return out + bytes(-len(out) % alignment) * bool(records) + data


def sample() -> bytes:
    """A small legal file with every value type, arrays, and three tensors of two formats; ends with the last tensor."""
    entries = [entry(f"scalar.{kind}", kind, 1) for kind in CODES]
    entries += [entry(f"array.{kind}", ARRAY, (kind, [0, 1, 1])) for kind in CODES]
    entries += [entry("text", STRING, "ab\0ç"), entry("texts", ARRAY, (STRING, ["", "x", b"\xff\xfe", "日本"]))]
    records = [record("a", [32, 2], 0, 0), record("b", [64], 8, 256), record("c", [8, 1, 2, 1], 0, 352)]
    return container(entries, records, bytes(range(256)) + bytes(96) + bytes(64))
