"""A handler in machine code for SIGBUS, which the system raises where a mapped file was cut by another program.

It is compiled once and kept among the kernels. Addresses are put in when it is loaded, so that it is the same for every
process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from .cache import object_path
from .cpu import target
from .kept_file import keep, read
from .loader import load, machine

ROOM = "llmlocal.quant"
PREFIX = "llmlocal.bus_error."  # of symbols, so that none is the system's
Call = tuple[str, Sequence[int | str]]  # a function and its arguments: numbers, and names of addresses


def bus_error_handler(cut: tuple[int, int], calls: Sequence[Call], addresses: Mapping[str, int]) -> int:
    """Address of a handler `(number, info, context)` that makes these calls; `addresses` are those of all names.

    `cut`: where in `info` the kind of fault stands, and which it is. For another kind the handler calls `signal` to
    restore the system's default and returns, so that the fault comes again. Raises OSError where it cannot be loaded,
    ValueError as `target` does.
    """
    where, text = target(), _text(cut, calls)
    symbol = f"bus_error_{blake2b(text.encode(), digest_size=8).hexdigest()}"
    path = object_path(f"{symbol}.o", where, ROOM)
    code = read(path)
    if code is None:
        import llvmlite.binding as llvm

        host = machine(where)
        module = llvm.parse_assembly(text.replace("@handler", f'@"{symbol}"'))
        module.triple, module.data_layout = host.triple, str(host.target_data)
        code = bytes(host.emit_object(module))
        keep(path, code)
    return load(code, where, symbol, {PREFIX + name: address for name, address in addresses.items()})


def _text(cut: tuple[int, int], calls: Sequence[Call]) -> str:
    """LLVM text of the handler."""
    names = {argument for _, arguments in calls for argument in arguments if isinstance(argument, str)}
    lines = [f"call i64 {_name(function)}({', '.join(map(_argument, arguments))})" for function, arguments in calls]
    declared = {f"declare i64 {_name(function)}({', '.join(['i64'] * len(some))})" for function, some in calls}
    return "\n".join(
        [
            *(f"{_name(name)} = external global i8" for name in sorted(names)),
            *sorted(declared),
            f"declare i64 {_name('signal')}(i64, i64)",
            "define void @handler(i32 %number, i64 %info, i64 %context) {",
            f"%at = add i64 %info, {cut[0]}",
            "%place = inttoptr i64 %at to ptr",
            "%code = load i32, ptr %place",
            f"%cut = icmp eq i32 %code, {cut[1]}",
            "br i1 %cut, label %last, label %other",
            "last:",
            *lines,
            "br label %other",
            "other:",
            "%which = zext i32 %number to i64",
            f"call i64 {_name('signal')}(i64 %which, i64 0)",  # SIG_DFL
            "ret void",
            "}",
        ]
    )


def _name(name: str) -> str:
    return f'@"{PREFIX}{name}"'


def _argument(value: int | str) -> str:
    return f"i64 ptrtoint (ptr {_name(value)} to i64)" if isinstance(value, str) else f"i64 {value}"
