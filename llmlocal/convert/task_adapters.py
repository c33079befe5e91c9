"""Adapters of tasks that Jina's embedding models bring in their own folders, each chosen by the name of its task.

Version 3 (Sturua et al. 2024, arXiv 2409.10173) has the factors of all tasks beside the weights that they change,
version 5 a PEFT folder for each task in `adapters`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadFileError, NotFoundError, UsageError
from ..hf.config import Keys, Settings
from ..hf.folder import CONFIG, Folder
from ..hf.streams import Stream
from ..lora.adapter import Adapter, Delta, check_finite, read_adapter
from ..text import escaped, shown
from .sentence_transformers import with_default_prompt

PLACE = "adapters"
FIRST_FACTOR = re.compile(r"^(.*\.parametrizations\.weight)\.0\.lora_A$")


def task_names(folder: Folder) -> list[str]:
    """The tasks that a folder has adapters for, none for most models."""
    config = folder.json(CONFIG)
    own, others = config.get("lora_adaptations"), config.get("task_names")
    if isinstance(own, list):
        return [name for name in own if isinstance(name, str)]
    names = [name for name in others if isinstance(name, str)] if isinstance(others, list) else []
    return [name for name in names if folder.has(f"{PLACE}/{name}/adapter_config.json")]


def read_adapters(
    folder: Folder, tensors: Mapping[str, Stream], lora: Sequence[str | Path]
) -> tuple[list[Adapter], str | None]:
    """The adapters that `lora` names, by paths or by tasks of the folder's own, and the task among them, if any.

    Raises what `read_adapter` raises; UsageError for two tasks, NotFoundError for what is neither a path nor a task.
    """
    tasks, adapters, chosen = task_names(folder), list[Adapter](), list[str]()
    for name in map(str, lora):
        if name in tasks:
            chosen.append(name)
            adapters.append(_of_task(folder, tensors, tasks, name))
        elif tasks and not Path(name).exists():
            raise NotFoundError(f"{escaped(name)}: no such adapter", f"the model's own are: {', '.join(tasks)}")
        else:
            adapters.append(read_adapter(Path(name)))
    if len(chosen) > 1:
        raise UsageError(
            f"--lora names two tasks, {shown(chosen[0])} and {shown(chosen[1])}", "convert the model twice"
        )
    return adapters, next(iter(chosen), None)


def task_keys(s: Settings, keys: Keys, task: str | None) -> Keys:
    """`keys` with what a chosen task asks for: its instruction is the prompt that goes before a text by default."""
    tasks, instructions = task_names(s.folder), s.find("task_instructions")
    s.find("task_names")
    if task is None:
        if tasks:
            s.note(f"vectors are those without a task: --lora TASK merges the adapter of one of {', '.join(tasks)}")
        return keys
    text = instructions.get(task) if isinstance(instructions, dict) else None
    return with_default_prompt(keys, task, text) if isinstance(text, str) else keys


def _of_task(folder: Folder, tensors: Mapping[str, Stream], tasks: Sequence[str], name: str) -> Adapter:
    if folder.has(f"{PLACE}/{name}/adapter_config.json"):
        adapter = read_adapter(folder.path / PLACE / name)
        # PEFT names the modules of the model without a head, whose tensors may be stored as with one.
        named = {key if key in tensors else f"model.{key}": delta for key, delta in adapter.deltas.items()}
        return Adapter(adapter.where, None, named, adapter.replaced)
    where = f"{escaped(str(folder.path))}, task {shown(name)}"
    alpha, number = _alpha(folder, where), tasks.index(name)
    deltas = {}
    for stem in [found[1] for key in tensors if (found := FIRST_FACTOR.match(key))]:
        weight, a, b = (tensors.get(f"{stem}.{end}") for end in ("original", "0.lora_A", "0.lora_B"))
        if weight is None or a is None or b is None or len(a.shape) != 3 or len(b.shape) != 3:
            raise BadFileError(f"{where}: {shown(stem)} is not a pair of LoRA factors")
        if min(a.shape[0], b.shape[0]) < len(tasks):
            raise BadFileError(f"{where}: {shown(stem)} has factors of {a.shape[0]} tasks, not of {len(tasks)}")
        first, second = _one_of(a, number), _one_of(b, number)
        # Of an embedding, whose rows are tokens, the first factor has a row for each.
        of_tokens = first.shape[0] == weight.rows and second.shape[1] == weight.k
        left, right = (first, second) if of_tokens else (second, first)
        deltas[f"{stem}.original"] = Delta(left, right, alpha / max(len(right), 1))
    if not deltas:
        raise BadFileError(f"{where}: the folder has no factors of this adapter", "download the folder again")
    check_finite(deltas, where)
    return Adapter(where, None, deltas, {})


def _one_of(x: Stream, number: int) -> Any:
    """The factor (rows, columns) of one task among those of all."""
    rows = x.shape[1]
    return np.ascontiguousarray(x.read(number * rows, (number + 1) * rows), np.float32)


def _alpha(folder: Folder, where: str) -> float:
    alpha = folder.json(CONFIG).get("lora_alpha", 1)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e9:
        raise BadFileError(f"{where}: lora_alpha is {alpha!r:.40}, not a number")
    return float(alpha)
