"""What sentence-transformers keeps beside a model, as GGUF's keys: pooling, normalization, prompts, length of texts.

`embedding/settings.py` lists the keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..gguf.values import ValueType
from ..hf.config import Keys, Settings, as_integer

PREFIX = "sentence_transformers."
POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}  # GGUF's pooling types
OLD = {  # flags that stood in the place of pooling_mode before
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
KNOWN = ("Transformer", "Pooling", "Normalize")


def sentence_keys(s: Settings, own: Collection[str]) -> Keys:
    """The keys of a folder that has modules.json, none for others.

    `own` are the kinds of modules that the architecture reads itself. Raises BadFileError for other modules.
    """
    modules = [module for module in s.folder.json_list("modules.json") if isinstance(module, Mapping)]
    if not modules:
        return {}
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if unknown := next((kind for kind in kinds if kind not in (*KNOWN, *own)), None):
        raise s.fail(f"modules.json names a module {unknown!r:.40}, which is not supported", "")
    keys: Keys = {PREFIX + "normalize": "Normalize" in kinds}
    if "Pooling" in kinds:
        keys["pooling_type"] = (ValueType.U32, _pooling(s, modules[kinds.index("Pooling")]))
    longest = s.folder.json("sentence_bert_config.json").get("max_seq_length")
    if longest is not None:
        keys[PREFIX + "max_seq_length"] = (ValueType.U32, as_integer(s, "max_seq_length", longest))
    return keys | _prompt_keys(s)


def with_default_prompt(keys: Keys, name: str, text: str) -> Keys:
    """`keys` with a prompt that is used where none is named."""
    names, texts = (keys.get(PREFIX + key, (ValueType.STRING, []))[1] for key in ("prompt_names", "prompts"))
    prompts = dict(zip(names, texts, strict=True)) | {name: text}
    return keys | {
        PREFIX + "prompt_names": (ValueType.STRING, list(prompts)),
        PREFIX + "prompts": (ValueType.STRING, list(prompts.values())),
        PREFIX + "default_prompt_name": name,
    }


def _pooling(s: Settings, module: Mapping[str, Any]) -> int:
    config = s.folder.json(f"{module.get('path')}/config.json")
    named = config.get("pooling_mode")
    modes = {named} if isinstance(named, str) else {OLD.get(name) for name, on in config.items() if name in OLD and on}
    known = POOLING.keys() & modes
    if len(modes) != 1 or not known or config.get("include_prompt") is False:
        raise s.fail("this kind of pooling (modules.json) is not supported", "supported: mean, cls, last token")
    return POOLING[known.pop()]


def _prompt_keys(s: Settings) -> Keys:
    config = s.folder.json("config_sentence_transformers.json")
    prompts, default = config.get("prompts"), config.get("default_prompt_name")
    named = {name: text for name, text in prompts.items() if isinstance(text, str)} if isinstance(prompts, dict) else {}
    if not named:
        return {}
    keys: Keys = {
        PREFIX + "prompt_names": (ValueType.STRING, list(named)),
        PREFIX + "prompts": (ValueType.STRING, list(named.values())),
    }
    return keys | ({PREFIX + "default_prompt_name": default} if isinstance(default, str) and default in named else {})
