"""`quantize` as one call: a request is checked and planned, then written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..files.atomic_file import check_output
from ..gguf import split
from ..quant.recipes import Recipe
from .plan import GGUFPlan, plan_quantization
from .request import (
    beside,
    check_overrides,
    checked_mix,
    importance_for,
    make_recipe,
    mix_named,
    require_importance,
    size_in_bytes,
)
from .source import TensorSource, open_source
from .type_sizes import TypeSize, best_that_fits, type_sizes
from .write import Importance, TensorWritten, WriteOptions, WriteResult, write_plan


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """Arguments and options of `quantize` as given; `words` are SRC [OUT] TYPE, without TYPE with `target_size`."""

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
class PreparedQuantization:
    """A checked plan of which nothing is written yet."""

    source: TensorSource
    plan: GGUFPlan
    out: Path
    options: WriteOptions
    importance: Importance
    notes: list[str]

    def write(self, tell: Callable[[TensorWritten], None]) -> WriteResult:
        """Write the file or its parts. Raises what `write_plan` raises."""
        return write_plan(self.source, self.plan, self.out, self.options, tell, self.importance)


@contextmanager
def listed_types(request: QuantizeRequest) -> Iterator[tuple[TensorSource, list[TypeSize]]]:
    """The source, and every type with its sizes for it. Raises UsageError where more than SRC is given."""
    if len(request.words) != 1:
        raise UsageError("--list takes SRC only", "llmlocal quantize SRC --list")
    with open_source(Path(request.words[0])) as source:
        recipe = _recipe(request, "Q8_0")
        check_overrides(recipe, request.tensor_types, source.tensors)
        yield source, type_sizes(source, recipe)


@contextmanager
def prepare_quantization(request: QuantizeRequest) -> Iterator[PreparedQuantization]:
    """Plan a request, with every check that needs no tensor data. Raises UsageError, BadFileError, NotFoundError."""
    path, out, mix = _split_words(request)
    if request.effort not in ("normal", "high"):
        raise UsageError(f"--effort {request.effort} is not one of normal, high")
    split_size = size_in_bytes(request.split_size) if request.split_size else None
    with open_source(path) as source:
        if mix is None:
            assert request.target_size is not None
            rows = type_sizes(source, _recipe(request, "Q8_0"))
            mix = best_that_fits(rows, size_in_bytes(request.target_size), has_imatrix=request.imatrix is not None)
        recipe = _recipe(request, mix)
        check_overrides(recipe, request.tensor_types, source.tensors)
        plan = plan_quantization(source, recipe, allow_requantize=request.allow_requantize)
        importance, notes = importance_for(source, plan, request.imatrix) if request.imatrix else ({}, [])
        require_importance(source, plan, recipe, importance)
        out = out or beside(path, mix)
        read = (request.imatrix,) if request.imatrix else ()
        check_output(out, *split.files_of(source.path), *read, force=request.force)
        options = WriteOptions(
            request.threads, request.effort == "high", request.measure, split_size, request.force, read
        )
        yield PreparedQuantization(source, plan, out, options, importance, [*plan.notes, *notes])


def _recipe(request: QuantizeRequest, mix: str) -> Recipe:
    return make_recipe(
        mix,
        request.tensor_types,
        request.output_type,
        request.embed_type,
        pure=request.pure,
        has_imatrix=request.imatrix is not None,
    )


def _split_words(request: QuantizeRequest) -> tuple[Path, Path | None, str | None]:
    """SRC, OUT and TYPE. Raises UsageError."""
    words = list(request.words)
    mix = None
    if request.target_size is None:
        if len(words) < 2:
            raise UsageError("TYPE is missing", "quantize SRC [OUT] TYPE, as Q4_K_M; --list shows all types for SRC")
        last = words.pop()
        mix = checked_mix(last, "the type comes last: quantize SRC OUT TYPE" if any(map(mix_named, words[1:])) else "")
    elif len(words) > 1 and mix_named(words[-1]):
        raise UsageError(f"--target-size chooses the type: leave out {words[-1]}")
    if len(words) > 2:
        raise UsageError("too many arguments", "quantize SRC [OUT] TYPE")
    return Path(words[0]), Path(words[1]) if len(words) > 1 else None, mix
