"""Object code into this process without LLVM, which takes longer to load than all kernels of a model together.

Kernels are self-contained: code, constants, and places in the code to which an address is written. An object with
anything else, or for another kind of machine, is left to LLVM's loader (`loader.py`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Mapping
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

HEADER = Struct("<16sHHIQQQIHHHHHH")
BEGIN, RELOCATABLE, X86_64 = b"\x7fELF\x02\x01\x01", 1, 62  # 64 bits, little-endian
SECTION, SYMBOL, RELOCATION = Struct("<IIQQQQIIQQ"), Struct("<IBBHQQ"), Struct("<QQq")
WRITTEN, HELD = 1, 2  # flags of sections: written at run time, held in memory
SYMBOLS, RELOCATIONS, NO_BYTES = 2, 4, 8  # types of sections
UNWINDING = b".eh_frame"  # how to unwind the stack, which nothing does
UNDEFINED, FIRST_RESERVED = 0, 0xFF00  # sections of symbols
WORD, SIGNED_32, MASK = Struct("<Q"), Struct("<i"), (1 << 64) - 1
ABSOLUTE, RELATIVE = {1: WORD}, {2: SIGNED_32, 4: SIGNED_32}  # types of relocations: what is written
_kept: list[mmap.mmap] = []  # code stays for the life of the process


class UnsupportedError(Exception):
    """The object needs what only LLVM's loader knows."""


class Section(NamedTuple):
    """A section header; `at` and `size` are its place in the file, `link` and `info` other sections."""

    name: int
    kind: int
    flags: int
    address: int
    at: int
    size: int
    link: int
    info: int
    align: int
    entry: int


class Symbol(NamedTuple):
    """An entry of the symbol table; `value` is its place in section number `section`."""

    name: int
    info: int
    other: int
    section: int
    value: int
    size: int


def supported() -> bool:
    """Whether objects for this machine are loaded here, and not by LLVM."""
    return os.name == "posix" and os.uname().machine == "x86_64"


def load(code: bytes, symbol: str, known: Mapping[str, int]) -> int | None:
    """Address of `symbol` in this process; `known` are the values of symbols that the object does not define.

    None where LLVM must load it.
    """
    if not supported():
        return None
    try:
        return _Object(code).load(symbol.encode(), {name.encode(): value for name, value in known.items()})
    except (UnsupportedError, StructError, ValueError, LookupError, OSError):
        return None


class _Object:
    def __init__(self, code: bytes) -> None:
        begin, kind, machine, _, _, _, at, _, _, _, _, _, count, names = HEADER.unpack_from(code)
        if not begin.startswith(BEGIN) or (kind, machine) != (RELOCATABLE, X86_64):
            raise UnsupportedError
        self._code = code
        self._sections = [Section(*SECTION.unpack_from(code, at + i * SECTION.size)) for i in range(count)]
        (table,) = (section for section in self._sections if section.kind == SYMBOLS)
        self._symbols = [Symbol(*fields) for fields in SYMBOL.iter_unpack(self._bytes(table))]
        self._texts, self._titles = self._bytes(self._sections[table.link]), self._bytes(self._sections[names])
        self._offsets, self._size = dict[int, int](), 0  # where sections lie in the memory, by their numbers
        for i, section in self._held():
            self._size += -self._size % max(section.align, 1)
            self._offsets[i], self._size = self._size, self._size + section.size

    def load(self, symbol: bytes, known: Mapping[bytes, int]) -> int:
        memory = mmap.mmap(-1, max(self._size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for i, section in self._held():
            if section.kind != NO_BYTES:
                memory[self._offsets[i] : self._offsets[i] + section.size] = self._bytes(section)
        for section in self._sections:
            if section.kind == RELOCATIONS and section.info in self._offsets:
                self._relocate(memory, base, section, known)
        if ctypes.CDLL(None).mprotect(
            ctypes.c_void_p(base), ctypes.c_size_t(len(memory)), mmap.PROT_READ | mmap.PROT_EXEC
        ):
            raise UnsupportedError
        _kept.append(memory)
        (found,) = (s for s in self._symbols if s.section != UNDEFINED and _text(self._texts, s.name) == symbol)
        return self._value(found, base, known)

    def _held(self) -> Iterator[tuple[int, Section]]:
        """Number and header of each section that is needed at run time."""
        for i, section in enumerate(self._sections):
            if section.flags & HELD and section.size and _text(self._titles, section.name) != UNWINDING:
                if section.flags & WRITTEN:
                    raise UnsupportedError
                yield i, section

    def _relocate(self, memory: mmap.mmap, base: int, section: Section, known: Mapping[bytes, int]) -> None:
        first = self._offsets[section.info]
        for place, info, addend in RELOCATION.iter_unpack(self._bytes(section)):
            value, kind, at = (
                self._value(self._symbols[info >> 32], base, known) + addend,
                info & 0xFFFFFFFF,
                first + place,
            )
            if kind in ABSOLUTE:
                ABSOLUTE[kind].pack_into(memory, at, value & MASK)
            elif kind in RELATIVE:
                RELATIVE[kind].pack_into(memory, at, value - base - at)
            else:
                raise UnsupportedError

    def _value(self, symbol: Symbol, base: int, known: Mapping[bytes, int]) -> int:
        if symbol.section == UNDEFINED:
            return known[_text(self._texts, symbol.name)]
        if symbol.section >= FIRST_RESERVED:
            raise UnsupportedError
        return base + self._offsets[symbol.section] + symbol.value

    def _bytes(self, section: Section) -> bytes:
        if section.at + section.size > len(self._code):
            raise UnsupportedError
        return self._code[section.at : section.at + section.size]


def _text(table: bytes, at: int) -> bytes:
    return table[at : table.index(b"\0", at)]
