"""jinja2's immutable sandbox as transformers configures it, with further restrictions.

jinja2 compiles a template to Python. The code generator here reports every block, call, filter, comparison and new
list or text to the budget, and keeps the origin of text in every operation that moves it. Operations that cannot be
tracked, such as calls of anything but methods of plain data, are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import BuiltinMethodType, CodeType, MethodType
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.environment import Template
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension
from jinja2.lexer import Token
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Cycler, Joiner, Namespace

from . import strings
from .budget import Budget, OverBudgetError
from .filters import under_budget, under_clock
from .origin import joined, mark_user

CALLABLE = (Macro, LoopContext, BlockReference, Joiner, Undefined)
METHODS: dict[type, frozenset[str]] = {
    dict: frozenset(("copy", "get", "items", "keys", "values")),
    list: frozenset(("copy", "count", "index")),
    tuple: frozenset(("count", "index")),
    LoopContext: frozenset(("changed", "cycle")),
    Cycler: frozenset(("next", "reset")),
}
SHOWN = (str, int, float, list, tuple, dict, set, range, Undefined, type(None))
SPEC_WIDTH = 4  # digits
LOOKUPS = 64  # counted as one step
MAX_TOKENS = 10_000  # of jinja2 in a template; the largest real ones have some 4,000


class TemplateRaisedError(TemplateError):
    """The template rejects the conversation by calling raise_exception."""


class Generation(Extension):
    """{% generation %} marks assistant text for training; here its content passes unchanged. Counts tokens."""

    tags = {"generation"}  # noqa: RUF012 -- jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("passed"), [], [], body).set_lineno(line)

    def passed(self, caller: Macro) -> str:
        text: str = caller()
        return text

    def filter_stream(self, stream: Iterable[Token]) -> Iterator[Token]:
        """The tokens, each reported as it is read by the parser."""
        assert isinstance(self.environment, Sandbox)
        for i, token in enumerate(stream):
            if i == MAX_TOKENS:
                raise OverBudgetError(f"it has more than {MAX_TOKENS} words and signs")
            self.environment.tick()
            yield token


class PlainNamespace(Namespace):
    """jinja2's namespace, refusing names that begin with an underscore."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a namespace cannot hold {name!r}")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"  # its contents could be endless


class ReportingCode(CodeGenerator):
    """jinja2's compiler, generating code that reports its operations to the environment."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        self.environment.tick()  # type: ignore[attr-defined]  # compiling takes time, too
        return super().visit(node, *args, **kwargs)

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        self.writeline("environment.tick()")
        super().blockvisit(nodes, frame)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        self.writeline("environment.tick()")  # a loop without iterations takes time as well
        super().visit_For(node, frame)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(environment.tick() and ")
        super().visit_Compare(node, frame)
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.tilde((")
        for value in node.nodes:
            self.visit(value, frame)
            self.write(", ")
        self.write("))")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        self._held(super().visit_Tuple, node, frame, node.ctx == "load")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._held(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._held(super().visit_Dict, node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        self._held(super().visit_Getitem, node, frame, isinstance(node.arg, nodes.Slice))

    def _held(self, visit: Callable[..., None], node: nodes.Node, frame: Frame, new: bool = True) -> None:
        self.write("environment.hold(" * new)
        visit(node, frame)
        self.write(")" * new)

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible  # nothing is evaluated at compile time, where there is no budget
        return super()._output_child_to_const(node, frame, finalize)

    def _refuse(self, node: nodes.Node, frame: Frame) -> NoReturn:
        self.fail(f"a chat template cannot {type(node).__name__.lower()}", node.lineno)

    visit_Include = visit_Import = visit_FromImport = visit_Extends = visit_ScopedEvalContextModifier = _refuse


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one rendering. Without a budget it can only compile."""

    code_generator_class = ReportingCode
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self, budget: Budget | None = None, now: Callable[[], datetime] = datetime.now) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Generation, "jinja2.ext.loopcontrols"],
            optimized=False,
            finalize=self.shown,
        )
        self.budget = budget or Budget({})
        self._lookups = 0
        self.tick, self.hold = self.budget.tick, self.budget.hold
        self.filters = under_budget(self.budget, self.filters)
        self.tests = under_clock(self.budget, self.tests)
        self.globals.update(dict=self._dict, namespace=PlainNamespace, raise_exception=self._raise)
        self.globals["strftime_now"] = lambda format: self._strftime(now(), format)
        del self.globals["lipsum"]
        self._callable = {id(function) for function in self.globals.values()}

    def run(self, code: CodeType, variables: Mapping[str, Any]) -> str:
        """Render a compiled template with `variables`; each character keeps its origin."""
        template = Template.from_code(self, code, self.make_globals(None))
        return self.concat(template.root_render_func(template.new_context(dict(variables))))

    def concat(self, pieces: Iterable[str]) -> str:
        """Joins the output of a template, macro or block."""
        kept, size = [], 0
        for piece in pieces:
            kept.append(piece)
            size += len(piece)
            self.budget.allow(size)
        return joined(kept)

    def tilde(self, values: Iterable[Any]) -> str:
        """The operator `~`."""
        return self.hold(joined([self._text(value) for value in values]))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.tick()
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return self.hold(strings.added(self.budget, left, right))
        if operator == "%" and isinstance(left, str):
            return strings.percent(self.budget, left, right)
        if operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, (str, list, tuple)) and isinstance(times, int):
                    self.budget.allow(len(many) * max(times, 0))
                    return self.hold(joined([many] * times) if isinstance(many, str) else many * times)
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            self.budget.allow(left.bit_length() * abs(right) << 8)
        return self.hold(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __self.tick()
        owner = getattr(__obj, "__self__", None)
        if isinstance(__obj, BuiltinMethodType) and isinstance(owner, str):
            for scope in ("_loop_vars", "_block_vars"):  # jinja2 adds them for functions that take the context
                kwargs.pop(scope, None)
            return __self.hold(__self._string_method(owner, __obj.__name__, args, kwargs))
        if not (isinstance(__obj, CALLABLE) or id(__obj) in __self._callable or __self._is_method(__obj, owner)):
            raise SecurityError(f"a call of a {type(__obj).__name__} is not allowed")
        return __self.hold(super().call(__context, __obj, *args, **kwargs))

    def getitem(self, obj: Any, argument: Any) -> Any:
        self._lookups += 1
        if not self._lookups % LOOKUPS:  # filters look up long paths such as 'a.a.a' in every item of a list
            self.tick()
        return super().getitem(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute.startswith("__"):
            self.unsafe_undefined(obj, attribute)  # also where the attribute does not exist
        return super().getattr(obj, attribute)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"attribute {attribute!r} is not allowed")

    def wrap_str_format(self, value: Any) -> None:
        """Does nothing: `call` handles str.format."""

    def _is_method(self, function: Any, owner: Any) -> bool:
        if isinstance(owner, Generation):
            return True
        known = METHODS.get(type(owner), frozenset())
        return isinstance(function, (BuiltinMethodType, MethodType)) and function.__name__ in known

    def _string_method(self, text: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "format":
            return OriginFormatter(self).whole(text, args, kwargs)
        if name not in strings.METHODS:
            raise SecurityError(f"the method {name!r} of a text is not allowed")
        return strings.METHODS[name](self.budget, text, *args, **kwargs)

    def shown(self, value: Any) -> str:
        """The text that {{ value }} outputs."""
        if not isinstance(value, SHOWN):
            raise SecurityError(f"a {type(value).__name__} cannot be written out")
        return self._text(value)

    def _text(self, value: Any) -> str:
        return str(value) if isinstance(value, Undefined) else strings.text_of(self.budget, value)

    def _dict(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for given in (*args, kwargs):  # item by item: the keys can be chosen so that all have the same hash
            made.update(self.budget.each(given.items() if isinstance(given, Mapping) else given))
        return made

    def _raise(self, message: object) -> NoReturn:
        raise TemplateRaisedError(self._text(message))

    def _strftime(self, now: datetime, format: str) -> str:
        return strings.as_made_from(self.budget, now.strftime(format), (format,))


class OriginFormatter(SandboxedFormatter):
    """str.format, piece by piece, so that each piece keeps its origin."""

    def __init__(self, environment: Sandbox) -> None:
        super().__init__(environment)
        self._sandbox = environment

    def whole(self, text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """`text.format(*args, **kwargs)`."""
        pieces: list[str] = []
        automatic = size = 0
        for literal, name, spec, conversion in self._sandbox.budget.each(self.parse(text)):
            pieces.append(literal)
            if name is None:
                continue
            if not name or name[0] in ".[":
                name, automatic = f"{automatic}{name}", automatic + 1
            value = self.get_field(name, args, kwargs)[0]
            pieces.append(self._piece(value, spec or "", conversion))
            size += len(pieces[-1])
            self._sandbox.budget.allow(size)
        result = joined(pieces)
        return mark_user(result) if self._sandbox.budget.is_marked(text) else result

    def _piece(self, value: Any, spec: str, conversion: str | None) -> str:
        if "{" in spec or any(len(number) >= SPEC_WIDTH for number in strings.NUMBER.findall(spec)):
            raise OverBudgetError("it asks for a format that is too wide")
        shown = self._sandbox.shown(value)
        if not spec and conversion in (None, "s"):
            return shown
        return strings.as_made_from(
            self._sandbox.budget, self.format_field(self.convert_field(value, conversion), spec), (value,)
        )


def compiled(source: str) -> CodeType:
    """Compile a template for `Sandbox.run`, under a budget. Raises OverBudgetError, jinja2's and Python's errors."""
    code: CodeType = Sandbox().compile(source)
    return code
