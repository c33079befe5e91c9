"""From a Python function to Numba's intermediate representation with types: the passes of Numba that kernels need.

Numba's own passes are run but for what no part has: closures within functions, `with`, exceptions, array expressions,
literal unrolling, parallel loops, dictionaries. What each of them looks for costs a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import FunctionType
from typing import Any

from numba.core import bytecode, interpreter, ir, ir_utils, typed_passes, typeinfer
from numba.core.analysis import dead_branch_prune, rewrite_semantic_constants
from numba.core.compiler import StateDict
from numba.core.rewrites.static_getitem import RewriteConstGetitems
from numba.core.ssa import reconstruct_ssa
from numba.core.transforms import canonicalize_cfg

from .contexts import TARGET, TYPING

OTHERS = interpreter.peep_hole_delete_with_exit, interpreter.peep_hole_fuse_dict_add_updates  # of `with`, `{**a, **b}`


class _Interpreter(interpreter.Interpreter):  # type: ignore[misc]
    def post_process(self, peepholes: Sequence[Callable[[Any], Any]], func_ir: Any) -> Any:
        return super().post_process([peephole for peephole in peepholes if peephole not in OTHERS], func_ir)


class _NoWarnings:
    """In the place of Numba's collector of warnings, which it enters at each operation: kernels cause none."""

    _nothing = nullcontext()

    def catch_warnings(self, **_: Any) -> AbstractContextManager[None]:
        return self._nothing


def typed(function: FunctionType, args: tuple[Any, ...]) -> tuple[Any, dict[str, Any], Any, dict[Any, Any]]:
    """The function's representation, the types of its variables, the type of its result, the signatures of its calls.

    `args`: the types of its arguments. Raises Numba's TypingError where a type cannot be found.
    """
    made = _interpreted(function, args)
    infer = typeinfer.TypeInferer(TYPING, made, _NoWarnings())
    with TYPING.callstack.register(TARGET.target, infer, made.func_id, args):
        for index, (name, kind) in enumerate(zip(made.arg_names, args, strict=True)):
            infer.seed_argument(name, index, kind)
        infer.build_constraint()
        infer.propagate()
        types, result, calls = infer.unify()
    made = typed_passes.PreLowerStripPhis()._strip_phi_nodes(made)
    made._definitions = ir_utils.build_definitions(made.blocks)
    return made, types, result, calls


def _interpreted(function: FunctionType, args: tuple[Any, ...]) -> Any:
    """Numba's intermediate representation; each variable is assigned in one place."""
    identity = bytecode.FunctionIdentity.from_function(function)
    made = _Interpreter(identity).interpret(bytecode.ByteCode(identity))
    made.generator_info = None
    made.blocks = canonicalize_cfg(made.blocks)
    rewrite_semantic_constants(made, args)
    dead_branch_prune(made, args)
    rewrite = RewriteConstGetitems(StateDict(func_ir=made))
    for label, block in list(made.blocks.items()):
        while rewrite.match(made, block, None, None):
            made.blocks[label] = block = rewrite.apply()
    if not _assigned_once(made.blocks):
        made = reconstruct_ssa(made)
    made._definitions = ir_utils.build_definitions(made.blocks)
    return made


def _assigned_once(blocks: dict[int, Any]) -> bool:
    """Whether there is one block, and nothing in it is assigned twice: most parts are so."""
    if len(blocks) > 1:
        return False
    (block,) = blocks.values()
    names = [statement.target.name for statement in block.find_insts(ir.Assign)]
    return len(set(names)) == len(names)
