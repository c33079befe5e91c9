"""config.json of a Hugging Face folder: every setting is checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import BadFileError
from ..text import escaped

if TYPE_CHECKING:
    from .folder import Folder

Keys = dict[str, Any]  # metadata of a GGUF file: value, or (ValueType, value), by key
HINT = "the folder is damaged or holds a model that is not supported; get it again"
MAX_HEAD_DIM = 1 << 12  # what models are built with; tables are made of it before any tensor is looked at
LARGEST = 3.4e38  # what a float32 holds
NESTED = ("text_config", "llm_config", "lm_config", "language_config")


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the text model inside a multimodal one, empty where there is none."""
    return next((own for key in NESTED if isinstance(own := config.get(key), dict)), {})


class Settings:
    """The settings of the text model; in a multimodal config those of its text part override the others.

    Methods take the names that a setting may have, the first one present counts; null counts as absent. `defaults`
    are those of transformers. `folder.json("tokenizer_config.json")` reads other files.

    `own`: the config of the text model alone, without defaults; `outer`: the whole. `used`: names that were asked for.
    `notes`: what the user should know about the conversion, one line each. `once`: names of tensors that may come but
    once.
    """

    def __init__(self, folder: Folder, defaults: Mapping[str, Any]) -> None:
        from .folder import CONFIG

        values = folder.json(CONFIG)
        if isinstance(thinker := values.get("thinker_config"), dict):  # of Qwen Omni, which speaks by another model
            values = {**values, **thinker, "architectures": values.get("architectures")}
        nested = text_config(values)
        self.values = {**defaults, **values, **nested}
        if isinstance(tied := values.get("tie_word_embeddings"), bool):
            self.values["tie_word_embeddings"] = tied  # of the whole, as in transformers
        self.own, self.outer = nested or values, values
        self.used: set[str] = set()
        self.once: set[str] = set()
        self.notes: list[str] = []
        self.folder, self.path = folder, escaped(str(folder.path / CONFIG))

    def fail(self, what: str, hint: str = HINT) -> BadFileError:
        """The error to raise for settings that cannot be right, or that cannot be converted."""
        return BadFileError(f"{self.path}: {what}", hint)

    def note(self, what: str) -> None:
        """Tell the user about a setting."""
        self.notes.append(what)

    def find(self, *names: str) -> Any:
        """The unchecked value, None where none of the names is present."""
        self.used.update(names)
        return next((self.values[name] for name in names if self.values.get(name) is not None), None)

    def integer(self, *names: str, default: int | None = None) -> int:
        """A non-negative integer. Raises BadFileError for other values, and where it is missing without a default."""
        return as_integer(self, names[0], self._there(names, default))

    def number(self, *names: str, default: float | None = None) -> float:
        """A finite number. Raises BadFileError as `integer` does."""
        return as_number(self, names[0], self._there(names, default))

    def flag(self, *names: str, default: bool = False) -> bool:
        """True or false. Raises BadFileError for anything else."""
        value = self._there(names, default)
        if not isinstance(value, bool):
            raise self.fail(f"{names[0]} must be true or false")
        return value

    def text(self, *names: str, default: str = "") -> str:
        """A string. Raises BadFileError for anything else."""
        value = self._there(names, default)
        if not isinstance(value, str):
            raise self.fail(f"{names[0]} must be a string")
        return value

    def items(self, *names: str) -> list[Any]:
        """A list, empty where there is none. Raises BadFileError for anything else."""
        value = self._there(names, [])
        if not isinstance(value, list):
            raise self.fail(f"{names[0]} must be a list")
        return value

    @property
    def head_dim(self) -> int:
        """Size of an attention head."""
        heads = self.integer("num_attention_heads", "n_head")
        if not heads:
            raise self.fail("num_attention_heads must be positive")
        size = self.integer("head_dim", default=self.integer("hidden_size", "n_embd") // heads)
        if not 1 <= size <= MAX_HEAD_DIM:
            raise self.fail(f"attention heads have {size} values, must be 1 to {MAX_HEAD_DIM}")
        return size

    def layer_size(self, name: str, in_layer: str, default: int) -> int:
        """The size `name` of some layers alone; transformers 5 writes it as `in_layer` of each of them.

        Raises BadFileError for a value that cannot be the size of heads.
        """
        layers = self.find("per_layer_config")
        configs = layers.values() if isinstance(layers, dict) else ()
        given = [config[in_layer] for config in configs if isinstance(config, dict) and in_layer in config]
        value = as_integer(self, name, self.find(name) or (given or [default])[0])
        if not 1 <= value <= MAX_HEAD_DIM:
            raise self.fail(f"{name} is {value}, must be 1 to {MAX_HEAD_DIM}")
        return value

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads, by default the number of attention heads."""
        return self.integer("num_key_value_heads", "n_head_kv", default=self.integer("num_attention_heads", "n_head"))

    @cached_property
    def rope(self) -> dict[str, Any]:
        """Rotary settings of layers with full attention by current name: rope_theta, rope_type, factor, ..."""
        return self._rope("full_attention", ("rope_theta", "global_rope_theta", "rotary_emb_base"))

    @cached_property
    def local_rope(self) -> dict[str, Any]:
        """Rotary settings of layers with sliding attention, empty where the config does not separate them."""
        return self._rope("sliding_attention", ("rope_local_base_freq", "local_rope_theta", "swa_rope_theta"))

    def _rope(self, kind: str, bases: tuple[str, ...]) -> dict[str, Any]:
        scaling = self.find("rope_parameters", "rope_scaling")
        scaling = {} if scaling is None else scaling
        if not isinstance(scaling, dict) or not isinstance(scaling.get(kind, {}), dict):
            raise self.fail("rope_parameters must be an object")
        if {"full_attention", "sliding_attention"} & scaling.keys():
            return dict(scaling.get(kind) or {})
        out = dict(scaling) if kind == "full_attention" else {}
        if (base := self.find(*bases)) is not None:
            out.setdefault("rope_theta", base)
        if kind == "full_attention":
            renamed = {"rope_type": scaling.get("type")}
            for name in ("partial_rotary_factor", "original_max_position_embeddings"):
                renamed[name] = self.find(name)
            out |= {name: value for name, value in renamed.items() if value is not None and out.get(name) is None}
        return out

    def _there(self, names: tuple[str, ...], default: Any) -> Any:
        value = self.find(*names)
        value = default if value is None else value
        if value is None:
            raise self.fail(f"{names[0]} is missing")
        return value


def as_integer(s: Settings, name: str, value: Any) -> int:
    """`value` of setting `name`, an integer that is not negative. Raises BadFileError."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise s.fail(f"{name} must be an integer, not {value!r:.40}")
    return value


def as_number(s: Settings, name: str, value: Any) -> float:
    """`value` of setting `name`, a number that float32 holds. Raises BadFileError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise s.fail(f"{name} must be a number, not {value!r:.40}")
    return float(value)
