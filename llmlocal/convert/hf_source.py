"""A Hugging Face folder as a source of tensors under GGUF's names, with GGUF's metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import models
from ..errors import BadFileError
from ..gguf.values import ValueType
from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..hf.folder import CONFIG, Folder
from ..hf.names import is_dropped, is_of_tower, named_for_gguf
from ..hf.predictors import with_predictors
from ..hf.quantized import decoded
from ..hf.safetensors import UNQUANTIZED
from ..hf.settings_check import check_settings, note_unused
from ..hf.streams import Stream
from ..hf.text_part import text_class, text_tensors
from ..lora.adapter import Adapter, merge_adapters
from ..quant.format import BY_NAME
from ..quant.formats import load_all
from ..quant.recipes import TensorSpec
from ..text import escaped, shown
from .card import general_keys, why_unread
from .completeness import MISSING, check_complete
from .sentence_transformers import PREFIX as SENTENCE
from .sentence_transformers import sentence_keys
from .stored_format import stored_format
from .stream_tensor import StreamTensor
from .task_adapters import read_adapters, task_keys
from .vocabulary import read_vocabulary

# READS take the residual stream as input, so their rows have embedding_length values; WRITES have as many rows.
READS = ("attn_q", "attn_k", "attn_v", "attn_qkv", "ffn_gate", "ffn_up", "token_embd", "output")
SCALES = ("_scale", "_scale_inv", ".scales", ".qzeros", ".g_idx", ".absmax", ".quant_state")  # of quantized tensors
UNKNOWN_CLASS = "the README lists the models that run; docs/add-an-architecture.md says how to add one"
HEAD = re.compile("For(?=[A-Z])|Model|LMHead|EncoderModel")
WRITES = ("attn_output", "ffn_down")


class HFSource:
    """A `TensorSource`: the tensors of a folder under GGUF's names. Its metadata lacks `general.file_type`.

    The format of a spec is what a conversion without rounding gives the tensor: F32 for vectors and what must be
    precise, else what the folder stores (F32, F16, BF16, or the blocks of quantized weights).
    """

    def __init__(
        self, path: Path, metadata: dict[str, Any], streams: Mapping[str, Stream], notes: Sequence[str] = ()
    ) -> None:
        self.path, self.metadata, self.notes = path, metadata, list(notes)
        self.values = {key: _value(value) for key, value in metadata.items()}
        self.held = {name: StreamTensor(name, BY_NAME[x.format], x) for name, x in streams.items()}
        self.tensors = [
            TensorSpec(t.name, t.shape, stored_format(t.name, t.shape, t.format)) for t in self.held.values()
        ]
        self.kept = frozenset(t.name for t in self.held.values() if t.holds_blocks)

    def tensor(self, name: str) -> StreamTensor:
        return self.held[name]

    def release(self, name: str) -> None:
        """Streams keep nothing in memory."""


def _value(value: Any) -> Any:
    """The value of a metadata entry without its type."""
    return value[1] if isinstance(value, tuple) and value and isinstance(value[0], ValueType) else value


@contextmanager
def open_hf(path: str | Path, lora: Sequence[str | Path] = ()) -> Iterator[HFSource]:
    """Open a Hugging Face folder, with LoRA adapters merged into it: PEFT folders, GGUF files, or tasks of its own.

    Raises NotFoundError where files are missing; BadFileError where it is damaged, holds pickles or quantized numbers,
    has an architecture that is not supported, or where an adapter belongs to another model.
    """
    folder = Folder(Path(path))
    with folder.tensors() as tensors:
        adapters, task = read_adapters(folder, tensors, lora)
        yield _source(folder, tensors, adapters, task)


def classes() -> dict[str, list[tuple[str, Conversion]]]:
    """(architecture, conversion) of every class of transformers that can be converted, by the name of the class."""
    out: dict[str, list[tuple[str, Conversion]]] = {}
    for arch in models.names():
        conversion: Conversion | None = getattr(models.find(arch, ""), "CONVERSION", None)
        if conversion is not None:
            for name in conversion.classes:
                out.setdefault(name, []).append((arch, conversion))
    return out


def _source(
    folder: Folder, tensors: dict[str, Stream], adapters: Sequence[Adapter], task: str | None = None
) -> HFSource:
    load_all()
    architecture, conversion, s, inside = _conversion(folder)
    whole, tensors = len(tensors), text_tensors(s, tensors) if inside else tensors
    left_out = whole - len(tensors)
    tensors = decoded(s, tensors)
    _refuse_quantized(s, tensors, conversion)
    keys, extra = conversion.keys(s) | sentence_keys(s, conversion.modules), dict(conversion.extra(s))
    keys = task_keys(s, keys, task)
    if models.predicts(architecture):
        tensors, keys = with_predictors(tensors, keys, conversion.of_predictor(s))
    check_settings(s, conversion, keys, extra)
    if towers := left_out + sum(is_of_tower(name) for name in tensors):
        s.note(f"{towers} tensors for images or sound are left out: the model reads and writes text")
    tensors = merge_adapters(tensors, [a for a in adapters if a.architecture is None])
    streams = extra | named_for_gguf(tensors, conversion, architecture, _blocks(s, keys, tensors), s)
    streams = merge_adapters(streams, [a for a in adapters if a.architecture is not None], architecture)
    merges, needs_json = conversion.ranked_merges, conversion.needs_json
    vocabulary = (
        conversion.vocabulary(s) if conversion.vocabulary else read_vocabulary(s, merges, needs_json=needs_json)
    )
    _check_shapes(s, streams, keys, vocabulary.get("tokenizer.ggml.tokens", ("", []))[1])
    # What embeds has no output matrix, what judges has two rows of it, what reads lists has a projector.
    headless = str(s.items("architectures")[0]).endswith("Model")
    headless |= not {"cls.output.weight", "dense_3.weight"}.isdisjoint(streams)
    if s.find("tie_word_embeddings") is False and "output.weight" not in streams and not headless:
        raise s.fail("tensor 'output.weight' is missing (lm_head), and tie_word_embeddings is false", MISSING)
    metadata = _metadata(architecture, keys, general_keys(folder, streams), vocabulary)
    s.notes += filter(None, [why_unread(folder)])
    note_unused(s)
    source = HFSource(folder.path, metadata, streams, s.notes)
    check_complete(folder.path, models.find(architecture, ""), source.values, source.held)
    return source


def _check_shapes(s: Settings, streams: dict[str, Stream], keys: Keys, tokens: list[str]) -> None:
    """Raises BadFileError where a tensor's shape contradicts the settings or the vocabulary."""
    width = keys["embedding_length"]
    reads = READS if "token_embedding_length" not in keys else READS[:-2]  # embeddings have a width of their own
    for name, x in streams.items():
        stem = name.removesuffix(".weight").split(".")[-1]
        is_matrix = len(x.shape) == 2 and name.endswith(".weight")
        if (is_matrix and stem in reads and x.k != width) or (is_matrix and stem in WRITES and x.rows != width):
            raise s.fail(f"tensor {shown(name)} is {x.shape}, but hidden_size is {width}")
        if name in ("token_embd.weight", "output.weight") and tokens and x.rows != len(tokens):
            raise s.fail(f"tensor {shown(name)} has {x.rows} rows for a vocabulary of {len(tokens)} tokens")


def _conversion(folder: Folder) -> tuple[str, Conversion, Settings, bool]:
    """The architecture and its conversion, the settings, and whether they are those of the text model inside another.

    Raises BadFileError for a class that is not supported.
    """
    where, config = escaped(str(folder.path / CONFIG)), folder.json(CONFIG)
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise BadFileError(f"{where}: does not name the model's class (architectures)")
    known = classes()
    inner = "" if named[0] in known else text_class(config, known) or ""
    if not inner and named[0] not in known:
        alike = sorted(name for name in known if _family(name) == _family(named[0]))
        hint = f"of this family {', '.join(alike)} can be converted" if alike else UNKNOWN_CLASS
        raise BadFileError(f"{where}: {shown(named[0])} is not supported", hint)
    found = [(arch, one, one.settings(folder, inner)) for arch, one in known[inner or named[0]]]
    arch, conversion, s = next((each for each in found if each[1].applies(each[2])), found[0])
    if inner:
        s.note(f"of {shown(named[0])} the text model is converted, {inner}")
    return arch, conversion, s, bool(inner)


def _family(name: str) -> str:
    """The part of a class's name that says which model it is, without what its head is for."""
    return HEAD.split(name, maxsplit=1)[0]


def _metadata(architecture: str, keys: Keys, general: Keys, vocabulary: Keys) -> dict[str, Any]:
    """All keys in GGUF's order: general, vocabulary, hyper-parameters. Hyper-parameters override the others."""
    own = {
        key if key.startswith(("general.", "tokenizer.", "xielu.", SENTENCE)) else f"{architecture}.{key}": value
        for key, value in keys.items()
    }
    first = {"general.architecture": architecture, "general.type": "model"}
    whole = first | general | {"general.quantization_version": 2} | vocabulary | own
    return {key: value for key, value in whole.items() if value is not None}


def _refuse_quantized(s: Settings, tensors: dict[str, Stream], conversion: Conversion) -> None:
    """Raises BadFileError for tensors that are not plain numbers, or that scales beside them multiply."""
    config = s.find("quantization_config")
    kept = {name: x for name, x in tensors.items() if not is_dropped(name) and name not in conversion.integers}
    known = re.compile("|".join(conversion.steps) or "$.")  # some architectures have scales of their own
    beside = {f"{name.removesuffix('weight')}scale" for name in kept if name.endswith(".weight")}
    scales = {name for name in kept if (name.endswith(SCALES) or name in beside) and not known.search(name)}
    odd = next((name for name, x in kept.items() if not _is_computed(x) or name in scales), None)
    if odd is not None and isinstance(config, dict):
        raise BadFileError(f"{s.path}: is quantized by {shown(str(config.get('quant_method')))}", UNQUANTIZED)
    if odd is not None:
        what = "" if _is_computed(kept[odd]) else f"is {kept[odd].format}, "
        raise BadFileError(f"{s.path}: tensor {shown(odd)} {what}belongs to a quantized model", UNQUANTIZED)
    empty = next((name for name, x in kept.items() if 0 in x.shape), None)
    if empty is not None:
        raise BadFileError(f"{s.path}: tensor {shown(empty)} is empty", "download the folder again")


def _is_computed(x: Stream) -> bool:
    """Whether models are computed with tensors of this format: floats and blocks, not plain integers."""
    return x.format in BY_NAME and BY_NAME[x.format].activations is not None


def _blocks(s: Settings, keys: Keys, tensors: dict[str, Stream]) -> int:
    """The number of layers, checked: every layer has at least one tensor."""
    blocks = keys.get("block_count")
    if not isinstance(blocks, int) or not 1 <= blocks <= len(tensors):
        raise s.fail(f"{blocks} layers in a model of {len(tensors)} tensors")
    if not isinstance(keys.get("embedding_length"), int):
        raise s.fail("hidden_size is missing")
    behind: int = keys.get("decoder_block_count", blocks)
    if not 1 <= behind <= len(tensors):
        raise s.fail(f"{behind} layers of the decoder in a model of {len(tensors)} tensors")
    return max(blocks, behind)
