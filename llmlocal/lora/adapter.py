"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685): W + scale * B A for weights W, and how they are merged.

An adapter is a PEFT folder, with transformers' tensor names, or a GGUF file, with GGUF's. A merged sum is computed in
float32 while rows are read; only the factors stay in memory. PEFT's variants beyond this formula are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from ..errors import BadFileError, NotFoundError
from ..gguf import GGUFFile, open_gguf
from ..hf.folder import UNPICKLED, inside
from ..hf.json_file import read_object
from ..hf.safetensors import Safetensors
from ..hf.streams import Stream, Values
from ..text import escaped, shown

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
AN_ADAPTER = "an adapter is a PEFT folder or a GGUF adapter"
# Settings of PEFT that change more than W + scale * B A, or the weights that it is added to.
REFUSED = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "megatron_config", "layer_replication", "loftq_config"),
    *("kasa_config", "velora_config", "monteclora_config", "alora_invocation_tokens", "trainable_token_indices"),
    "target_parameters",
)
MOVED_WEIGHTS = ("pissa", "olora", "loftq", "corda")  # initializations that subtract the adapter from the model
FACTOR = re.compile(r"^(.*)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.weight)?$")
SECONDS = 1.0  # for an expression that a file brings
PREFIX = re.compile(r"^(?:base_model\.model\.)?")
OTHER = "merge it with the library that made it, and convert the result"
OTHER_MODEL = "the adapter belongs to another model"
MERGE = "merge it instead: llmlocal convert FOLDER OUT --lora ADAPTER, where FOLDER is the model's from Hugging Face"
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Delta:
    """What is added to rows of one tensor: `scale * left[rows] @ right` for left (rows, rank) and right (rank, k)."""

    left: Floats
    right: Floats
    scale: float

    def check(self, shape: tuple[int, ...], where: str) -> None:
        """Raises BadFileError where a tensor has another shape."""
        own = (len(self.left), self.right.shape[1])
        if own != shape or self.left.shape[1] != len(self.right):
            raise BadFileError(f"{where}: factors of shape {own} for a tensor of {shape}", OTHER_MODEL)

    def added(self, x: Stream, where: str) -> Stream:
        """`x` plus this delta. Raises BadFileError where the shapes differ."""
        self.check(x.shape, where)

        def read(first: int, end: int) -> Values:
            change = self.left[first:end] @ self.right
            return x.read(first, end).astype(np.float32) + np.float32(self.scale) * change

        return Stream(x.shape, x.float_format, read)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in memory: `deltas` to add and tensors to replace (`replaced`), both by name of the model's tensor.

    `architecture` is None for PEFT, whose names are transformers'; else GGUF's architecture, and names are GGUF's.
    """

    where: str
    architecture: str | None
    deltas: Mapping[str, Delta]
    replaced: Mapping[str, Stream]

    def merged(self, tensors: Mapping[str, Stream]) -> dict[str, Stream]:
        """`tensors` with the adapter merged. Raises BadFileError for a tensor that the model does not have."""
        unknown = (self.deltas.keys() | self.replaced.keys()) - tensors.keys()
        if unknown:
            raise BadFileError(f"{self.where}: the model has no tensor {shown(min(unknown))}", OTHER_MODEL)
        out = {**tensors, **self.replaced}
        for name, new in self.replaced.items():
            if new.shape != tensors[name].shape:
                raise BadFileError(
                    f"{self.where}: tensor {shown(name)} is {new.shape}, in the model {tensors[name].shape}"
                )
        return out | {name: delta.added(out[name], self.where) for name, delta in self.deltas.items()}


def merge_adapters(
    tensors: dict[str, Stream], adapters: Sequence[Adapter], architecture: str | None = None
) -> dict[str, Stream]:
    """`tensors` with adapters merged into them. Raises BadFileError for an adapter of another architecture."""
    for adapter in adapters:
        if adapter.architecture != architecture:
            raise BadFileError(f"{adapter.where}: is for {adapter.architecture}, the model is {architecture}")
        tensors = adapter.merged(tensors)
    return tensors


def read_adapter(path: Path) -> Adapter:
    """Read a PEFT folder or a GGUF adapter. Raises NotFoundError, and BadFileError for what cannot be merged."""
    if path.is_dir():
        return _read_peft(path)
    with open_gguf(path) as gguf:
        return _read_gguf(gguf, escaped(str(path)))


def _read_gguf(gguf: GGUFFile, where: str) -> Adapter:
    meta = gguf.metadata
    if meta.get("general.type") != "adapter" or meta.get("adapter.type") != "lora":
        raise BadFileError(f"{where}: is not a LoRA adapter", AN_ADAPTER)
    if "adapter.alora.invocation_tokens" in meta:
        raise BadFileError(f"{where}: adapter.alora.invocation_tokens is not supported", "use another adapter")
    alpha = _alpha(meta.get("adapter.lora.alpha", 0.0), where)
    deltas = {}
    if odd := next((name for name in gguf.tensors if not name.endswith((".lora_a", ".lora_b"))), None):
        raise BadFileError(f"{where}: tensor {shown(odd)} is no LoRA factor", "use another adapter")
    for name in sorted({name.rpartition(".lora_")[0] for name in gguf.tensors}):
        a, b = gguf.tensors.get(f"{name}.lora_a"), gguf.tensors.get(f"{name}.lora_b")
        if a is not None and len(a.shape) == 3:
            raise BadFileError(f"{where}: {shown(name)}: factors of the experts of a mixture are not supported", OTHER)
        if a is None or b is None or len(a.shape) != 2 or len(b.shape) != 2:
            raise BadFileError(f"{where}: tensor {shown(name)} is not a pair of LoRA factors", OTHER)
        left, right = b.dequantize(), a.dequantize()
        scale = alpha / max(left.shape[1], 1) if alpha else 1.0
        # Rows of an embedding are tokens: its factors are stored transposed.
        deltas[name] = Delta(right, left.T, scale) if name == "token_embd.weight" else Delta(left, right, scale)
    check_finite(deltas, where)
    return Adapter(where, str(meta.get("general.architecture")), deltas, {})


def peft_files(path: Path) -> tuple[dict[str, Any], Path]:
    """A PEFT folder's configuration and the file of its weights. Raises NotFoundError, BadFileError for a pickle."""
    where = escaped(str(path))
    if not inside(path / CONFIG, path).is_file():
        raise NotFoundError(f"{where}: has no {CONFIG}", AN_ADAPTER)
    if not inside(path / WEIGHTS, path).is_file():
        if (path / "adapter_model.bin").is_file():
            raise BadFileError(f"{where}: adapter_model.bin is a pickle, which could run any code", UNPICKLED)
        raise NotFoundError(f"{where}: has no {WEIGHTS}")
    return read_object(path / CONFIG), path / WEIGHTS


def _read_peft(path: Path) -> Adapter:
    where = escaped(str(path))
    config, weights = peft_files(path)
    if config.get("peft_type") != "LORA":
        raise BadFileError(f"{where}: a {config.get('peft_type')!r:.40} adapter, only LORA can be merged", OTHER)
    if setting := next((key for key in REFUSED if config.get(key)), None):
        raise BadFileError(f"{where}: {setting} is not supported", OTHER)
    if str(config.get("init_lora_weights")).lower().startswith(MOVED_WEIGHTS):
        raise BadFileError(
            f"{where}: init_lora_weights {shown(str(config['init_lora_weights']))} changed the model's own weights",
            OTHER,
        )
    with closing(Safetensors(weights)) as file:
        return _peft_adapter(where, config, file.tensors)


def _peft_adapter(where: str, config: Mapping[str, Any], tensors: Mapping[str, Stream]) -> Adapter:
    factors: dict[str, dict[str, Floats]] = {}
    replaced: dict[str, Stream] = {}
    for whole, x in tensors.items():
        name = PREFIX.sub("", whole)
        values = _all_rows(x)
        if found := FACTOR.match(name):
            factors.setdefault(found[1], {})[(found[2] or "") + found[3]] = values
        elif "lora_" in name:
            raise BadFileError(f"{where}: {shown(name)} is not supported", OTHER)
        else:
            name = re.sub(r"\.(modules_to_save|original_module)(\.default)?|\.base_layer", "", name)
            replaced[name] = Stream(x.shape, "F32", _reader(values))
    deltas = {f"{name}.weight": _delta(name, pair, config, where) for name, pair in factors.items()}
    check_finite(deltas, where)
    return Adapter(where, None, deltas, replaced)


def _delta(name: str, pair: Mapping[str, Floats], config: Mapping[str, Any], where: str) -> Delta:
    """The delta of a module's two factors, scaled as in PEFT."""
    embedding = "embedding_A" in pair
    a, b = (pair.get(("embedding_" if embedding else "") + letter) for letter in "AB")
    if a is None or b is None or a.ndim != 2 or b.ndim != 2 or b.shape[1] != len(a) or not len(a):
        raise BadFileError(f"{where}: {shown(name)} is not a pair of LoRA factors", OTHER)
    alpha = _alpha(_own_alpha(name, config, where), where)
    scale = alpha / (len(a) ** 0.5 if config.get("use_rslora") else len(a))
    transposed = embedding or config.get("fan_in_fan_out") is True
    return Delta(a.T, b.T, scale) if transposed else Delta(b, a, scale)


def _own_alpha(name: str, config: Mapping[str, Any], where: str) -> Any:
    """The value of the first expression of alpha_pattern that the end of a module's name matches, or lora_alpha."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise BadFileError(f"{where}: alpha_pattern must be an object", OTHER)
    for pattern, value in patterns.items():
        try:
            if regex.match(rf"(?:.*\.)?(?:{pattern})$", name, timeout=SECONDS):
                return value
        except (regex.error, TimeoutError, RecursionError):
            raise BadFileError(
                f"{where}: alpha_pattern {shown(pattern)} is no expression that can be used", OTHER
            ) from None
    return config.get("lora_alpha")


def _all_rows(x: Stream) -> Floats:
    return x.read(0, x.rows).astype(np.float32).reshape(x.shape)


def _reader(values: Floats) -> Callable[[int, int], Values]:
    flat = values.reshape(-1, values.shape[-1])
    return lambda first, end: flat[first:end]


def _alpha(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise BadFileError(f"{where}: alpha is {value!r:.40}, not a number")
    return float(value)


def check_finite(deltas: Mapping[str, Delta], where: str) -> None:
    """Raises BadFileError for factors that are not finite."""
    for name, delta in deltas.items():
        if not (np.isfinite(delta.left).all() and np.isfinite(delta.right).all()):
            raise BadFileError(f"{where}: the factors of {shown(name)} contain NaN or infinity", "train it again")
