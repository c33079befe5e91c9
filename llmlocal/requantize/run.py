"""`quantize` as one call: words of the command line in, what came of it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..quant.recipes import Recipe
from .plan import Listed, Plan, best_that_fits, list_mixes, make_plan
from .request import beside, checked_mix, importance_for, make_recipe, mix_named, size_in_bytes
from .source import Model, open_source
from .write import Done, Importance, Result, Way, check_output, write


@dataclass(frozen=True, slots=True)
class Request:
    """The words and options of a command line; `words` are SRC [OUT] TYPE, TYPE missing where a size chooses it."""

    words: Sequence[str]
    tensor_types: Sequence[str] = ()
    output_type: str | None = None
    embed_type: str | None = None
    pure: bool = False
    imatrix: Path | None = None
    target_size: str | None = None
    split_size: str | None = None
    allow_requantize: bool = False
    force: bool = False
    effort: str = "normal"
    threads: int | None = None
    measure: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """A plan, checked: nothing is read or written yet."""

    model: Model
    plan: Plan
    out: Path
    way: Way
    importance: Importance
    notes: list[str]

    def write(self, tell: Callable[[Done], None]) -> Result:
        """Make the file. Raises what `write.write` raises."""
        return write(self.model, self.plan, self.out, self.way, self.importance, tell)


@contextmanager
def listed(request: Request) -> Iterator[tuple[Model, list[Listed]]]:
    """The source, and every mix for it. Raises UsageError where more than SRC is given."""
    if len(request.words) != 1:
        raise UsageError("--list takes SRC alone")
    with open_source(Path(request.words[0])) as model:
        yield model, list_mixes(model, _recipe(request, "Q8_0"))


@contextmanager
def prepared(request: Request) -> Iterator[Ready]:
    """Everything that can be wrong before work begins is found here. Raises UsageError, BadFileError, NotFoundError."""
    source, out, mix = _words(request)
    if request.effort not in ("normal", "high"):
        raise UsageError(f"--effort {request.effort} is neither normal nor high")
    split_size = size_in_bytes(request.split_size) if request.split_size else None
    with open_source(source) as model:
        if mix is None:
            assert request.target_size is not None
            mix = best_that_fits(list_mixes(model, _recipe(request, "Q8_0")), size_in_bytes(request.target_size))
        plan = make_plan(model, _recipe(request, mix), allow_requantize=request.allow_requantize)
        importance, notes = importance_for(model, plan, request.imatrix) if request.imatrix else ({}, [])
        if mix == "Q2_K_S" and not importance:
            notes.append("Q2_K_S is meant for an importance matrix (--imatrix); without one Q2_K is better")
        out = out or beside(source, mix)
        check_output(model, out, force=request.force)
        way = Way(request.threads, request.effort == "high", request.measure, split_size, request.force)
        yield Ready(model, plan, out, way, importance, [*plan.notes, *notes])


def _recipe(request: Request, mix: str) -> Recipe:
    return make_recipe(
        mix,
        request.tensor_types,
        request.output_type,
        request.embed_type,
        pure=request.pure,
        important=request.imatrix is not None,
    )


def _words(request: Request) -> tuple[Path, Path | None, str | None]:
    """SRC, OUT and TYPE. Raises UsageError."""
    words = list(request.words)
    mix = None
    if request.target_size is None:
        if len(words) < 2:
            raise UsageError("which type?", "quantize SRC [OUT] TYPE, as Q4_K_M; --list shows them all for this model")
        mix = checked_mix(words.pop())
    elif len(words) > 1 and mix_named(words[-1]):
        raise UsageError(f"--target-size chooses the type: leave {words[-1]} out")
    if len(words) > 2:
        raise UsageError("too many words", "quantize SRC [OUT] TYPE")
    return Path(words[0]), Path(words[1]) if len(words) > 1 else None, mix
