"""Files of every family with odd keys and odd tensors: refused in one line, or understood."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from families.refusals import NOT_READ, ODD, opened

from llmlocal.gguf import GGUFFile, open_gguf
from llmlocal.quant.tensor import QTensor


@pytest.fixture
def gguf(checked: tuple[str, Path]) -> Iterator[GGUFFile]:
    """The file of a case."""
    with open_gguf(checked[1]) as file:
        yield file


def test_every_odd_hyper_parameter_is_refused_or_understood(gguf: GGUFFile) -> None:
    """A text in the place of a number is always refused, whatever reads the key; a model as it was is accepted."""
    assert not opened(gguf)
    arch = gguf.metadata["general.architecture"]
    keys = [key for key in gguf.metadata if key.startswith(f"{arch}.") and not key.endswith(NOT_READ)]
    assert len(keys) >= 6
    for key in keys:
        said = {repr(odd): opened(gguf, {key: odd}) for odd in ODD}
        wrong = "7.5" if key.endswith(("rope.scaling.type",)) else "'4'"
        assert said[wrong], key
    needed = ["embedding_length", "block_count", "attention.head_count", "context_length"]
    if arch not in ("qwen35moe", "qwen3next"):  # every feed-forward is a mixture of experts
        needed.append("feed_forward_length")
    for key in needed:
        assert f"{arch}.{key} is missing" in opened(gguf, {f"{arch}.{key}": None})


def test_a_value_may_be_an_array_of_equal_ones(gguf: GGUFFile) -> None:
    """Some converters repeat a value for each layer, or write a single one as an array."""
    arch = gguf.metadata["general.architecture"]
    values = {key: value for key, value in gguf.metadata.items() if key.startswith(f"{arch}.")}
    assert f"{arch}.attention.head_count_kv" in values or f"{arch}.attention.head_count" in values
    values = {key: value for key, value in values.items() if type(value) in (int, float)}
    for times in (1, values[f"{arch}.block_count"]):
        assert not opened(gguf, {key: [value] * times for key, value in values.items()})
    for key in ("attention.head_count", "feed_forward_length"):
        value, count = values.get(f"{arch}.{key}", 64), values[f"{arch}.block_count"] + 1
        assert f"{arch}.{key} has {count} elements" in opened(gguf, {f"{arch}.{key}": [value] * count})


def test_each_layer_may_have_sizes_of_its_own(gguf: GGUFFile) -> None:
    """The shapes that are asked for in the last layer follow the last element of an array."""
    arch = gguf.metadata["general.architecture"]
    last, heads = gguf.metadata[f"{arch}.block_count"] - 1, gguf.metadata[f"{arch}.attention.head_count"]
    if not heads:
        recurrent = ("mamba", "mamba2", "rwkv6", "rwkv7", "rwkv6qwen2", "arwkv7")
        assert arch in recurrent  # have no heads of attention
        return
    all_heads = [heads] * (last + 1) if isinstance(heads, int) else list(heads)
    head_dim = gguf.tensors[f"blk.{last}.attn_output.weight"].k // all_heads[-1]
    size = {f"{arch}.attention.{kind}_length": head_dim for kind in ("key", "value")}
    if f"{arch}.attention.key_length" in gguf.metadata:  # the file says the sizes, which may differ
        size = {}
    ffn = gguf.metadata[f"{arch}.feed_forward_length"]
    sizes = [ffn] * (last + 1) if isinstance(ffn, int) else list(ffn)
    dense = f"blk.{last}.ffn_up.weight" in gguf.tensors and arch != "arctic"  # whose MLP is as wide as the model
    said = opened(gguf, {f"{arch}.attention.head_count": [*all_heads[:-1], 2 * all_heads[-1]], **size})
    assert re.search(rf"'blk.{last}.attn_\w+.weight' is .*, must be", said)
    if dense:
        said = opened(gguf, {f"{arch}.feed_forward_length": [*sizes[:-1], 2 * sizes[-1]]})
        assert re.search(rf"'blk.{last}.ffn_\w+.weight' is .*, must be", said)


def test_every_misshapen_tensor_is_refused(gguf: GGUFFile) -> None:
    for i, (name, tensor) in enumerate(gguf.tensors.items()):
        *rows, k = tensor.shape
        shape = ((*rows, k + 1), (*rows, k, 2)[-4:], (*rows[:-1], 3 * k))[i % 3]
        other = QTensor(name, tensor.format, shape, memoryview(bytes(4 * math.prod(shape))))
        assert f"'{name}' is" in opened(gguf, tensors={name: other}), shape


GEMMA4 = ("gemma4-shared-keys", "gemma4-experts")
OPTIONAL = ("bias", "output.weight", "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
OPTIONAL += ("layer_output_scale.weight", "ffn_down_exps.scale")
# Of models that have it, when others of the architecture do not.
MAY_LACK = {"command-r-plus": "attn_q_norm.weight", "falcon-two-norms": "attn_norm_2.weight"}
MAY_LACK |= {"stablelm": "ffn_norm.weight", "glm4moe-norms": "attn_q_norm.weight"}
MAY_LACK |= dict.fromkeys(GEMMA4, "attn_v.weight")
MAY_LACK |= {"falcon-h1-norm": "ssm_norm.weight", "grok": "ffn_up.weight", "arwkv7": "time_mix_ln.weight"}
MAY_LACK |= {"mimo2": "attn_sinks.weight"}


def test_every_missing_tensor_is_refused(checked: tuple[str, Path], gguf: GGUFFile) -> None:
    case = checked[0]
    names = [name for name in gguf.tensors if not name.endswith(OPTIONAL)]
    assert len(names) >= 10
    for name in names:
        if not name.endswith(MAY_LACK.get(case, "-")):
            said = opened(gguf, tensors={name: None})
            asked = (name, name.replace("qkv", "q"), name.replace("gate_up", "gate"))
            assert any(f"'{missing}' is missing" in said for missing in asked)
