"""`convert` as one call: a source in, a GGUF file of one stored type out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.atomic_file import check_output
from ..gguf.split import files_of
from .plan import plan_conversion
from .source import open_source
from .write import TensorWritten, WriteOptions, write_plan


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """What `convert_model` made: bytes of the file, and of its tensors by format; notes are for the user."""

    path: Path
    architecture: str
    tensors: int
    nbytes: int
    by_format: dict[str, int]
    notes: list[str]


def convert_model(
    path: Path,
    out: Path,
    type_name: str = "auto",
    *,
    lora: Sequence[Path] = (),
    threads: int | None = None,
    force: bool = False,
    tell: Callable[[TensorWritten], None] = lambda _: None,
) -> ConvertedModel:
    """Write the model at `path`, a Hugging Face folder or a GGUF file, to `out` with matrices of one type.

    `type_name` and the errors of a type are those of `plan_conversion`; `lora` are adapters to merge. Raises what
    `open_source` and `write_plan` raise.
    """
    adapters = [file for adapter in lora for file in files_of(adapter)]
    check_output(out, *files_of(path), *adapters, force=force)
    with open_source(path, lora) as source:
        plan = plan_conversion(source, type_name)
        result = write_plan(source, plan, out, WriteOptions(threads, force=force, also_read=adapters), tell)
        by_format: Counter[str] = Counter()
        for info in plan.tensors:
            by_format[info.format.name] += info.nbytes
        architecture = str(source.values.get("general.architecture"))
        return ConvertedModel(out, architecture, len(plan.tensors), result.nbytes, dict(by_format), plan.notes)
