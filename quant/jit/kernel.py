"""A kernel before it is compiled: its name, the fields of its argument block, the function that builds its body."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from ..simd.instruction_set import InstructionSet
from ..simd.stretches import LINE, STRETCHES, counters_at

# Called as kernel(args, ith, nth): the address of the argument block, this thread's number, the number of threads.
CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
Builder = Callable[[InstructionSet], Callable[..., None]]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A unit of compilation: `build(isa)` gives `run(counter, ith, nth, *fields)`, every parameter an int64.

    `counter` is the address of the operation's work counter; fields are addresses, counts, or the bits of a float32.
    `pieces` names the field that is the address of the number of its pieces of work, if a piece is short: with one of
    them, a team does not wait for all its threads. With `stretches` the block ends with counters for `next_piece`.
    """

    name: str
    fields: tuple[str, ...]
    build: Builder = field(compare=False)  # the name says which kernel it is
    pieces: str = field(default="", compare=False)
    stretches: bool = field(default=False, compare=False)

    def block(self, **values: int | float) -> list[int]:
        """The argument block: the counter, then the fields in order. Raises TypeError where names do not match."""
        if set(values) != set(self.fields):
            raise TypeError(f"{self.name} takes {self.fields}, got {tuple(values)}")
        words = [0, *(float_bits(v) if isinstance(v, float) else v for v in (values[f] for f in self.fields))]
        if self.stretches:
            words += [0] * ((counters_at(len(self.fields)) + LINE * STRETCHES) // 8 - len(words))
        return words


def kernel(fields: str, pieces: str = "") -> Callable[[Builder], Kernel]:
    """Decorate a builder: its name becomes the kernel's, `fields` the names in its argument block; see `Kernel`."""
    return lambda build: Kernel(build.__name__, tuple(fields.split()), build, pieces)


def float_bits(x: float) -> int:
    """The bits of a float32 as a non-negative int: how an argument block carries a float."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])
