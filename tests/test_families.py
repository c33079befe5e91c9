"""Tiny models of every family, converted and run, against the logits that transformers computed."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from families import CASES, IDS, VOCAB, draw, golden, settings, write_weights
from hf_folders import write_bpe
from naive import nmse

from llmlocal.cli.views.hf_folder import folder_facts
from llmlocal.convert.hf_source import open_hf
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError, LlmlocalError
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.model_info.memory import memory
from llmlocal.quant.tensor import QTensor
from llmlocal.quantize.convert import convert_model
from llmlocal.quantize.plan import plan_conversion

sys.path.append(str(Path(__file__).parents[1] / "tools"))
bench_protocol = import_module("bench_protocol")
BOUND = 1e-6
EXACT = "f32"  # a cache that rounds nothing: what half floats round would hide smaller faults


def write_tokenizer(folder: Path) -> None:
    """A tokenizer cut to VOCAB tokens: texts do not matter here."""
    write_bpe(folder)
    t = json.loads((folder / "tokenizer.json").read_text())
    added = t["added_tokens"]
    kept = [*list(t["model"]["vocab"])[: VOCAB - len(added) - 1], "!!"]
    t["model"] |= {"vocab": {token: i for i, token in enumerate(kept)}, "merges": [["!", "!"]]}
    for i, token in enumerate(added):
        token["id"] = len(kept) + i
    first = t["post_processor"]["processors"][1]["special_tokens"]
    first[added[0]["content"]]["ids"] = [len(kept)]
    (folder / "tokenizer.json").write_text(json.dumps(t))


def write_folder(case: str, folder: Path) -> None:
    """The case's settings, weights and tokenizer."""
    (folder / "config.json").write_text(json.dumps(settings(case)))
    write_weights(folder, case, golden(case)[0])
    write_tokenizer(folder)


def write_converted(case: str, folder: Path) -> Path:
    """The case's folder, converted."""
    write_folder(case, folder)
    return convert_model(folder, folder / "m.gguf", "F32").path


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    case = request.param
    return case, write_converted(case, tmp_path_factory.mktemp(case))


# Of each block a case, and what was built last: in the others the checks of keys and tensors find the same words.
THOROUGH = (
    *("afmoe", "bitnet", "command-r-plus", "dbrx", "deepseek2-lite", "falcon", "gemma2-short-window", "gemma3n"),
    *("gemma4-experts", "glm4moe", "gpt-oss", "gpt2", "granitehybrid", "grok", "jamba", "kimi-linear", "lfm2moe"),
    *("llama", "mamba2", "minicpm3", "mpt", "nemotron_h", "phi3", "plamo2", "qwen35", "rwkv7", "stablelm", "step35"),
)


@pytest.fixture(scope="module", params=[c if c in THOROUGH else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def checked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A model whose keys and tensors are looked at one by one."""
    case = request.param
    return case, write_converted(case, tmp_path_factory.mktemp(case))


@pytest.mark.parametrize("case", CASES)
def test_no_setting_of_a_usual_folder_is_called_unused(case: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings(case)))
    write_weights(tmp_path, case, golden(case)[0])
    write_tokenizer(tmp_path)
    with open_hf(tmp_path) as source:
        assert not [note for note in source.notes if "not used" in note]


def test_logits_are_those_of_transformers(model: tuple[str, Path]) -> None:
    case, path = model
    engine = Engine.open(path, n_ctx=48, n_threads=2, ubatch=64, max_outputs=64, kv_type=EXACT)
    got, (_, want) = engine.all_logits(IDS), golden(case)
    with open_gguf(path) as gguf:
        assert memory(gguf.metadata, gguf.tensors, 48, EXACT).cache == engine._cache.nbytes
    engine.close()
    assert want.shape == (len(IDS), VOCAB) and np.array_equal(got.argmax(-1), want.argmax(-1))
    assert nmse(got, want) <= BOUND


def test_a_few_tokens_have_the_same_bits_together(checked: tuple[str, Path]) -> None:
    """As many as `Engine.same_bits` says: speculation relies on it."""
    engine = Engine.open(checked[1], n_ctx=48, n_threads=2, ubatch=64, max_outputs=64, kv_type=EXACT, verified=64)
    few = min(engine.verifiable, 64)
    assert 1 < few < 64
    engine.prefill(IDS[:20])
    alone = [engine.decode(id).tobytes() for id in IDS[20 : 20 + few]]
    engine.truncate(20)
    assert [logits.tobytes() for logits in engine.verify(IDS[20 : 20 + few])] == alone
    engine.close()


def test_logits_through_the_cache(model: tuple[str, Path]) -> None:
    """Odd batches, one token at a time, and a second sequence between them."""
    case, path = model
    engine, (_, want), at = Engine.open(path, n_ctx=48, n_threads=2, n_seqs=2, ubatch=7, kv_type=EXACT), golden(case), 0
    for size in (1, 3, 13, 1, 1, 5, 9, *[1] * 7):
        got = engine.prefill(IDS[at : at + size])
        engine.prefill(IDS[::-1][at : at + size], 1)
        at += size
        assert nmse(got, want[at - 1]) <= BOUND
    engine.close()
    assert at == len(IDS)


def test_threads_change_no_bit(checked: tuple[str, Path]) -> None:
    seen = set()
    for threads in (1, 2, 5):
        engine = Engine.open(checked[1], n_ctx=48, n_threads=threads, ubatch=16, max_outputs=16)
        seen.add(engine.all_logits(IDS[:30]).tobytes() + engine.decode(5).tobytes() + engine.decode(6).tobytes())
        engine.close()
    assert len(seen) == 1


def test_sizes_of_a_block_that_predicts_further_tokens_are_not_read(tmp_path: Path) -> None:
    """Nemotron's arrays have an element for it. It is neither run nor counted; a folder is converted without it."""
    case = "nemotron_h_moe"
    write_folder(case, tmp_path)
    write_weights(tmp_path, case, golden(case)[0] | {"mtp.layers.0.eh_proj.weight": (32, 64)})
    path = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path
    with open_gguf(path) as gguf:
        meta = {**gguf.metadata.raw(), f"{case}.block_count": 6, f"{case}.nextn_predict_layers": 1}
        for key, more in ((f"{case}.attention.head_count_kv", 2), (f"{case}.feed_forward_length", 24)):
            meta[key] = [*gguf.metadata[key], more]
        write_gguf(tmp_path / "with.gguf", meta, gguf.tensors.values())
    engine = Engine.open(tmp_path / "with.gguf", n_ctx=48, n_threads=1, ubatch=64, max_outputs=64, kv_type=EXACT)
    assert nmse(engine.all_logits(IDS), golden(case)[1]) <= BOUND
    with open_gguf(tmp_path / "with.gguf") as gguf:
        assert memory(gguf.metadata, gguf.tensors, 48, EXACT).cache == engine._cache.nbytes
    engine.close()


# ---- refusals ------------------------------------------------------------------------------------------------------


def opened(path: Path, keys: Mapping[str, Any] = {}, tensors: Mapping[str, QTensor | None] = {}) -> str:
    """What is said of the file with other keys and tensors (None takes one away), empty where it is accepted.

    Anything but a refusal of the file fails the test.
    """
    with open_gguf(path) as gguf:
        odd: Any = SimpleNamespace(
            path=path,
            metadata={k: v for k, v in {**gguf.metadata, **keys}.items() if v is not None},
            tensors={k: v for k, v in {**gguf.tensors, **tensors}.items() if v is not None},
        )
        try:
            Engine(odd, n_ctx=16, n_threads=1, n_seqs=1, ubatch=16, max_outputs=1, kv_type="f16")
        except BadFileError as error:
            assert error.exit_code == 5 and "\n" not in str(error)
            return str(error)
    return ""


ODD = (0, 1 << 31, 3, 7.5, float("nan"), float("inf"), -1.0, 1e30, "4", True, [1, 2])
# Tensors say it in StableLM; the others name an order of rows, of which these architectures have one.
NOT_READ = ("vocab_size", "stablelm.use_parallel_residual", "orion.tensor_data_layout", "xverse.tensor_data_layout")


def test_every_odd_hyper_parameter_is_refused_or_understood(checked: tuple[str, Path]) -> None:
    """A text in the place of a number is always refused, whatever reads the key; a model as it was is accepted."""
    path = checked[1]
    assert not opened(path)
    with open_gguf(path) as gguf:
        arch = gguf.metadata["general.architecture"]
        keys = [key for key in gguf.metadata if key.startswith(f"{arch}.") and not key.endswith(NOT_READ)]
    assert len(keys) >= 6
    for key in keys:
        said = {repr(odd): opened(path, {key: odd}) for odd in ODD}
        wrong = "7.5" if key.endswith(("rope.scaling.type",)) else "'4'"
        assert said[wrong], key
    needed = ["embedding_length", "block_count", "attention.head_count", "context_length"]
    if arch not in ("qwen35moe", "qwen3next"):  # every feed-forward is a mixture of experts
        needed.append("feed_forward_length")
    for key in needed:
        assert f"{arch}.{key} is missing" in opened(path, {f"{arch}.{key}": None})


def test_a_value_may_be_an_array_of_equal_ones(checked: tuple[str, Path]) -> None:
    """Some converters repeat a value for each layer, or write a single one as an array."""
    path = checked[1]
    with open_gguf(path) as gguf:
        arch = gguf.metadata["general.architecture"]
        values = {key: value for key, value in gguf.metadata.items() if key.startswith(f"{arch}.")}
    assert f"{arch}.attention.head_count_kv" in values or f"{arch}.attention.head_count" in values
    values = {key: value for key, value in values.items() if type(value) in (int, float)}
    for times in (1, values[f"{arch}.block_count"]):
        assert not opened(path, {key: [value] * times for key, value in values.items()})
    for key in ("attention.head_count", "feed_forward_length"):
        value, count = values.get(f"{arch}.{key}", 64), values[f"{arch}.block_count"] + 1
        assert f"{arch}.{key} has {count} elements" in opened(path, {f"{arch}.{key}": [value] * count})


def test_each_layer_may_have_sizes_of_its_own(checked: tuple[str, Path]) -> None:
    """The shapes that are asked for in the last layer follow the last element of an array."""
    path = checked[1]
    with open_gguf(path) as gguf:
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
    said = opened(path, {f"{arch}.attention.head_count": [*all_heads[:-1], 2 * all_heads[-1]], **size})
    assert re.search(rf"'blk.{last}.attn_\w+.weight' is .*, must be", said)
    if dense:
        said = opened(path, {f"{arch}.feed_forward_length": [*sizes[:-1], 2 * sizes[-1]]})
        assert re.search(rf"'blk.{last}.ffn_\w+.weight' is .*, must be", said)


def test_every_misshapen_tensor_is_refused(checked: tuple[str, Path]) -> None:
    with open_gguf(checked[1]) as gguf:
        tensors = dict(gguf.tensors)
        for i, (name, tensor) in enumerate(tensors.items()):
            *rows, k = tensor.shape
            shape = ((*rows, k + 1), (*rows, k, 2)[-4:], (*rows[:-1], 3 * k))[i % 3]
            other = QTensor(name, tensor.format, shape, memoryview(bytes(4 * math.prod(shape))))
            assert f"'{name}' is" in opened(checked[1], tensors={name: other}), shape


GEMMA4 = ("gemma4-shared-keys", "gemma4-experts")
OPTIONAL = ("bias", "output.weight", "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
OPTIONAL += ("layer_output_scale.weight", "ffn_down_exps.scale")
# Of models that have it, when others of the architecture do not.
MAY_LACK = {"command-r-plus": "attn_q_norm.weight", "falcon-two-norms": "attn_norm_2.weight"}
MAY_LACK |= {"stablelm": "ffn_norm.weight", "glm4moe-norms": "attn_q_norm.weight"}
MAY_LACK |= dict.fromkeys(GEMMA4, "attn_v.weight")
MAY_LACK |= {"falcon-h1-norm": "ssm_norm.weight", "grok": "ffn_up.weight", "arwkv7": "time_mix_ln.weight"}
MAY_LACK |= {"mimo2": "attn_sinks.weight"}


def test_every_missing_tensor_is_refused(checked: tuple[str, Path]) -> None:
    case, path = checked
    with open_gguf(path) as gguf:
        names = [name for name in gguf.tensors if not name.endswith(OPTIONAL)]
    assert len(names) >= 10
    for name in names:
        if not name.endswith(MAY_LACK.get(case, "-")):
            said = opened(path, tensors={name: None})
            asked = (name, name.replace("qkv", "q"), name.replace("gate_up", "gate"))
            assert any(f"'{missing}' is missing" in said for missing in asked)


UNSAID = [
    ("gemma2-short-window", {"query_pre_attn_scalar": 20}),
    ("gemma3", {"query_pre_attn_scalar": 20}),
    ("smollm3", {"no_rope_layers": [1, 0, 1, 1, 1]}),
    ("qwen2moe", {"norm_topk_prob": True}),
    ("qwen3moe", {"norm_topk_prob": False}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    ("qwen3moe", {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8}),
    ("granite", {"layer_types": ["sliding_attention"] * 2, "sliding_window": 8}),
    ("command-r", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("gpt2", {"scale_attn_weights": False}),
    ("olmoe", {"norm_topk_prob": True}),
    ("olmoe", {"clip_qkv": 8.0}),
    ("falcon", {"alibi": True}),
    ("phi2", {"qk_layernorm": True}),
    ("stablelm", {"qk_layernorm": True}),
    ("cohere2", {"position_embedding_type": "absolute"}),
    ("deepseek2-lite", {"n_group": 2}),
    ("deepseek2-v2", {"norm_topk_prob": True}),
    ("deepseek2-v3", {"scoring_func": "softmax"}),
    ("deepseek2-v3", {"rope_interleave": False}),
    ("kimi-linear", {"moe_renormalize": False}),
    ("kimi-linear", {"moe_router_activation_func": "softmax"}),
    ("kimi-linear", {"linear_attn_config": {"num_heads": 2, "head_dim": 16, "full_attn_layers": [3]}}),
    ("kimi-linear", {"mlp_layer_types": ["sparse", "dense", "sparse", "sparse", "sparse"]}),
    ("rwkv6", {"attention_hidden_size": 64}),
    ("rwkv6", {"head_size_divisor": 4}),
    ("rwkv7", {"norm_eps": 1e-6}),
    ("rwkv7", {"attn": {"layers": [1], "num_heads": 2}}),
    ("minicpm3", {"scale_depth": 1.0}),
    ("bloom", {"apply_residual_connection_post_layernorm": True}),
    ("mpt", {"expansion_ratio": 2}),
    ("llama4", {"num_experts_per_tok": 2}),
    ("llama4", {"no_rope_layers": [1, 1, 1, 1, 1]}),
    ("bailingmoe2", {"score_function": "sqrtsoftplus"}),
    ("phimoe", {"router_jitter_noise": 0.1}),
    ("phimoe", {"num_experts_per_tok": 3}),
    ("hunyuan-moe", {"moe_topk": [1, 2]}),
    ("ernie4_5-moe", {"moe_layer_end_index": 1}),
    ("qwen2", {"layer_types": ["full_attention", "chunked_attention"]}),
    ("gemma4-experts", {"use_bidirectional_attention": "all"}),
    ("gemma3n", {"altup_correct_scale": False}),
    ("gpt-oss", {"swiglu_limit": 3.0}),
    ("gemma3", {"use_bidirectional_attention": True}),
    *((case, {"hidden_act": "relu"}) for case in CASES),
    ("phi3-longrope", {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": "x"}}),
]


@pytest.mark.parametrize(("case", "other"), UNSAID, ids=lambda value: value if isinstance(value, str) else "")
def test_settings_that_gguf_cannot_say_are_refused(case: str, other: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is converted into a file that would compute something else."""
    write_weights(tmp_path, case, golden(case)[0])
    write_tokenizer(tmp_path)
    config = settings(case)
    if "text_config" in config:
        config["text_config"] |= other
    (tmp_path / "config.json").write_text(json.dumps(config | other))
    said = next(iter(other)).replace("rope_scaling", "long_factor|'linear' is not supported")
    said = re.sub("use_sliding_window|layer_types", "a sliding window of 8 tokens|layer_types has", said)
    with pytest.raises(BadFileError, match=said), open_hf(tmp_path):
        pytest.fail("the folder was accepted")


ANYTHING: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    16,
    1 << 31,
    1 << 32,
    1 << 63,
    10**30,
    0.5,
    -0.5,
    1e308,
    1e39,
    "",
    "x",
]
ANYTHING += ["\ud800", [], [1], [None], {}, {"a": 1}, ["sliding_attention"], {"rope_type": "yarn", "factor": 1e308}]
ANYTHING += [{"type": "longrope", "short_factor": [1], "long_factor": []}, {"full_attention": 3}, 1 << 1100]
MORE = [
    "head_dim",
    "sliding_window",
    "rope_scaling",
    "rope_parameters",
    "layer_types",
    "use_sliding_window",
    "max_window_layers",
]
MORE += [
    "partial_rotary_factor",
    "hidden_act",
    "vocab_size",
    "num_experts",
    "eos_token_id",
    "text_config",
    "rope_local_base_freq",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
def test_any_setting_is_converted_or_refused_in_one_line(case: str, seed: int, tmp_path: Path) -> None:
    """Odd values in every setting: never another exception, never a warning of a library."""
    write_weights(tmp_path, case, golden(case)[0])
    write_tokenizer(tmp_path)
    rng = Random(f"{case} {seed}")
    for _ in range(100):
        config, generation = settings(case), {"eos_token_id": rng.choice(ANYTHING)}
        for _ in range(rng.choice((1, 1, 2))):
            config[rng.choice([*config, *MORE])] = rng.choice(ANYTHING)
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
        try:
            with open_hf(tmp_path) as source:
                assert plan_conversion(source, "auto").nbytes
        except LlmlocalError as error:
            assert "\n" not in str(error), config


@pytest.mark.parametrize("case", ["gemma", "gemma2-long-window", "gemma3"])
def test_an_output_matrix_of_its_own_is_kept(case: str, tmp_path: Path) -> None:
    """With tie_word_embeddings false, as transformers does; where it is true, the embedding is used."""
    write_weights(tmp_path, case, golden(case)[0] | {"lm_head.weight": (VOCAB, 32)})
    write_tokenizer(tmp_path)
    for tied in (True, False):
        (tmp_path / "config.json").write_text(json.dumps(settings(case) | {"tie_word_embeddings": tied}))
        with open_hf(tmp_path) as source:
            assert ("output.weight" in {t.name for t in source.tensors}) is not tied
            assert [note for note in source.notes if "llama.cpp" not in note] == []
            assert bool(source.notes) is (not tied and case != "gemma3")  # llama.cpp reads it for Gemma 3


def test_folders_of_internlm2_mean_the_llama_with_the_same_numbers(tmp_path: Path) -> None:
    """Queries, keys and values of each group lie in one tensor; all other tensors have other names only."""
    from safetensors.numpy import load_file, save_file

    config = settings("llama") | {"rope_scaling": None}
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    names = {"self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2"}
    names |= {"mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "lm_head": "output"}
    names |= {"post_attention_layernorm": "ffn_norm", "embed_tokens": "tok_embeddings"}
    logits = []
    for name in ("LlamaForCausalLM", "InternLM2ForCausalLM"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | {"architectures": [name]}))
        write_weights(folder, "llama", golden("llama")[0])
        write_tokenizer(folder)
        if name == "InternLM2ForCausalLM":
            tensors = load_file(folder / "model.safetensors")
            for i in range(config["num_hidden_layers"]):
                parts = (tensors.pop(f"model.layers.{i}.self_attn.{kind}_proj.weight") for kind in "qkv")
                q, k, v = (part.reshape(groups, -1, 8, part.shape[1]) for part in parts)
                together = np.concatenate([q, k, v], axis=1)
                assert together.shape[:2] == (groups, heads // groups + 2)
                tensors[f"model.layers.{i}.attention.wqkv.weight"] = together.reshape(-1, together.shape[-1])
            for old, new in names.items():
                tensors = {key.replace(old, new): tensor for key, tensor in tensors.items()}
            save_file({key: np.ascontiguousarray(t) for key, t in tensors.items()}, folder / "model.safetensors")
        engine = Engine.open(convert_model(folder, folder / "m.gguf", "F32").path, n_ctx=48, n_threads=1, kv_type=EXACT)
        assert engine.gguf.metadata["general.architecture"] == ("llama" if not logits else "internlm2")
        logits.append(engine.prefill(IDS).copy())
        engine.close()
    assert np.array_equal(*logits)


def test_experts_of_qwen3_vl_may_lie_on_their_side(tmp_path: Path) -> None:
    """Published folders have them (experts, inputs, outputs), transformers 5 writes (experts, outputs, inputs)."""
    from safetensors.numpy import load_file, save_file

    files = []
    for name in ("written", "published"):
        folder = tmp_path / name
        folder.mkdir()
        write_folder("qwen3vlmoe", folder)
        if name == "published":
            tensors = load_file(folder / "model.safetensors")
            turned = {key: np.ascontiguousarray(x.swapaxes(1, 2)) for key, x in tensors.items() if ".experts." in key}
            assert len(turned) == 4
            save_file(tensors | turned, folder / "model.safetensors")
        with open_gguf(convert_model(folder, folder / "m.gguf", "F32").path) as gguf:
            files.append({tensor.name: tensor.dequantize() for tensor in gguf.tensors.values()})
    assert files[0].keys() == files[1].keys()
    assert all(np.array_equal(x, files[1][name]) for name, x in files[0].items())


def test_weights_of_bitnet_have_three_values(tmp_path: Path) -> None:
    """Where transformers rounds them as it reads them; a scale beside them, as some files have it, changes nothing."""
    write_folder("bitnet", tmp_path)
    config = settings("bitnet") | {"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    path, logits = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path, []
    with open_gguf(path) as gguf:
        apart = {t.name: t for t in gguf.tensors.values()}
        for name, tensor in gguf.tensors.items():
            if "_norm" not in name and name.startswith("blk."):
                values = tensor.dequantize()
                low, none, high = np.unique(values)
                assert low == -high and none == 0
                scale = QTensor(name.replace("weight", "scale"), tensor.format, (1,), memoryview(high.tobytes()))
                signs = memoryview(np.sign(values).tobytes())
                apart |= {name: QTensor(name, tensor.format, tensor.shape, signs), scale.name: scale}
        assert len(apart) == len(gguf.tensors) + 7 * config["num_hidden_layers"]
        whole = gguf.tensors["blk.1.attn_k.weight"].dequantize()
        write_gguf(tmp_path / "apart.gguf", gguf.metadata.raw(), apart.values())
    for file in (path, tmp_path / "apart.gguf"):
        engine = Engine.open(file, n_ctx=48, n_threads=1, kv_type=EXACT)
        logits.append(engine.prefill(IDS).copy())
        engine.close()
    assert nmse(logits[1], logits[0]) <= 1e-11
    name = "model.layers.1.self_attn.k_proj.weight"
    drawn = draw("bitnet", name, whole.shape)
    mean = np.abs(drawn).mean()
    assert np.allclose(whole, np.clip(np.rint(drawn / mean), -1, 1) * mean, rtol=1e-6)


def write_baichuan(folder: Path, blocks: int, vocab: int = VOCAB, heads: int = 4) -> dict[str, Any]:
    """A folder of Baichuan, and the tensors of the Llama with the same numbers, by name."""
    from safetensors.numpy import save_file

    folder.mkdir()
    config = settings("llama") | {"rope_scaling": None, "num_hidden_layers": blocks, "vocab_size": vocab}
    config |= {"num_attention_heads": heads, "num_key_value_heads": None, "hidden_size": 8 * heads}
    parts = {"mlp.gate_proj": (56, 8 * heads), "mlp.up_proj": (56, 8 * heads), "mlp.down_proj": (8 * heads, 56)}
    parts |= {f"self_attn.{kind}_proj": (8 * heads, 8 * heads) for kind in "qkvo"}
    parts |= dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (8 * heads,))
    names = {f"model.layers.{i}.{part}.weight": shape for i in range(blocks) for part, shape in parts.items()}
    names |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (vocab, 8 * heads))
    tensors = {
        name: draw("llama", name, shape) for name, shape in (names | {"model.norm.weight": (8 * heads,)}).items()
    }
    packed = {name: x for name, x in tensors.items() if not re.search("[qkv]_proj", name)}
    for i in range(blocks):
        qkv = [tensors[f"model.layers.{i}.self_attn.{kind}_proj.weight"] for kind in "qkv"]
        packed[f"model.layers.{i}.self_attn.W_pack.weight"] = np.concatenate(qkv)
    save_file(packed, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BaichuanForCausalLM"]}))
    write_tokenizer(folder)
    return {"config": config, "tensors": tensors}


def test_folders_of_baichuan_mean_the_llama_with_the_same_numbers(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    same = write_baichuan(tmp_path / "baichuan", 2)
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(same["config"]))
    save_file(same["tensors"], tmp_path / "llama" / "model.safetensors")
    write_tokenizer(tmp_path / "llama")
    logits = []
    for name in ("llama", "baichuan"):
        path = convert_model(tmp_path / name, tmp_path / f"{name}.gguf", "F32").path
        engine = Engine.open(path, n_ctx=48, n_threads=1, kv_type=EXACT)
        assert engine.gguf.metadata["general.architecture"] == name
        logits.append(engine.prefill(IDS).copy())
        engine.close()
    assert np.array_equal(*logits)


def test_baichuan_of_40_blocks_has_linear_biases(tmp_path: Path) -> None:
    """Against the formulas in float64; heads that are no power of two, as in the 13B models."""
    heads = 6
    same = write_baichuan(tmp_path / "folder", 40, heads=heads)
    engine = Engine.open(
        convert_model(tmp_path / "folder", tmp_path / "m.gguf", "F32").path, n_ctx=48, n_threads=2, kv_type=EXACT
    )
    got = engine.prefill(IDS).copy()
    engine.close()
    w = {name: x.astype(np.float64) for name, x in same["tensors"].items()}
    slopes = [2.0 ** -(8 / 4 * k) for k in (1, 2, 3, 4)] + [2.0 ** -(8 / 8 * k) for k in (1, 3)]
    at = np.arange(len(IDS))
    bias = np.where(at[:, None] >= at, -np.array(slopes)[:, None, None] * (at[:, None] - at), -np.inf)

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * w[f"{name}.weight"]

    x = w["model.embed_tokens.weight"][IDS]
    for i in range(40):
        block, read = f"model.layers.{i}.", norm(x, f"model.layers.{i}.input_layernorm")
        q, k, v = ((read @ w[f"{block}self_attn.{n}_proj.weight"].T).reshape(len(IDS), heads, 8) for n in "qkv")
        scores = np.exp(np.einsum("qhd,khd->hqk", q, k) / 8**0.5 + bias)
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(2, keepdims=True), v).reshape(len(IDS), -1)
        x = x + mixed @ w[f"{block}self_attn.o_proj.weight"].T
        read = norm(x, f"{block}post_attention_layernorm")
        gate, up = (read @ w[f"{block}mlp.{n}_proj.weight"].T for n in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{block}mlp.down_proj.weight"].T
    assert nmse(got, norm(x, "model.norm")[-1] @ w["lm_head.weight"].T) <= BOUND


def test_the_output_matrix_of_baichuan_2_has_rows_of_length_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vocabulary tells it from the first Baichuan."""
    monkeypatch.setattr("llmlocal.models.baichuan.VOCABULARY_2", VOCAB)
    drawn = write_baichuan(tmp_path / "folder", 1)["tensors"]["lm_head.weight"]
    with open_gguf(convert_model(tmp_path / "folder", tmp_path / "m.gguf", "F32").path) as gguf:
        output = gguf.tensors["output.weight"].dequantize()
    assert np.allclose(output, drawn / np.linalg.norm(drawn, axis=1, keepdims=True), atol=1e-6)


def test_states_of_rwkv_may_be_halved_between_blocks(tmp_path: Path) -> None:
    """As llama.cpp's converter writes them, with weights divided by as much."""
    path, factor = write_converted("rwkv6", tmp_path), {0: 1, 1: 1, 2: 2}
    with open_gguf(path) as gguf:
        tensors = dict(gguf.tensors)
        for i, by in factor.items():
            for name in (f"blk.{i}.time_mix_output.weight", f"blk.{i}.channel_mix_value.weight"):
                less = np.ascontiguousarray(tensors[name].dequantize() / by)
                tensors[name] = QTensor(name, tensors[name].format, tensors[name].shape, memoryview(less.tobytes()))
        meta = gguf.metadata.raw() | {"rwkv6.rescale_every_n_layers": 2}
        write_gguf(tmp_path / "halved.gguf", meta, tensors.values())
    engine = Engine.open(tmp_path / "halved.gguf", n_ctx=48, n_threads=2, ubatch=64, max_outputs=64)
    assert nmse(engine.all_logits(IDS), golden("rwkv6")[1]) <= BOUND
    engine.close()


SMALL_THINKER = {"architectures": ["SmallThinkerForCausalLM"], "moe_num_primary_experts": 6, "rope_scaling": None}
SMALL_THINKER |= {"moe_num_active_primary_experts": 2, "moe_ffn_hidden_size": 24, "head_dim": 8, "hidden_act": None}
SMALL_THINKER |= {"num_hidden_layers": 5, "intermediate_size": None, "moe_enable_early_router": True}
ALTERNATING = {"sliding_window_layout": [0, 1, 1, 1, 0], "rope_layout": [0, 1, 1, 1, 0], "sliding_window_size": 8}


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("layout", [{}, ALTERNATING], ids=["plain", "windows"])
def test_smallthinker(layout: dict[str, Any], softmax: bool, tmp_path: Path) -> None:
    """Against the formulas in float64: routers read what attention reads, before its norm."""
    from safetensors.numpy import save_file

    config = settings("llama") | SMALL_THINKER | layout | {"moe_primary_router_apply_softmax": softmax}
    sizes = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32)}
    sizes |= {"self_attn.o_proj": (32, 32), "input_layernorm": (32,), "post_attention_layernorm": (32,)}
    sizes["block_sparse_moe.primary_router"] = (6, 32)
    for e in range(6):
        shapes = {"gate": (24, 32), "up": (24, 32), "down": (32, 24)}
        sizes |= {f"block_sparse_moe.experts.{e}.{name}": shape for name, shape in shapes.items()}
    names = {f"model.layers.{i}.{part}.weight": shape for i in range(5) for part, shape in sizes.items()}
    names |= {"model.embed_tokens.weight": (VOCAB, 32), "lm_head.weight": (VOCAB, 32), "model.norm.weight": (32,)}
    tensors = {name: draw("llama", name, shape) for name, shape in names.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_tokenizer(tmp_path)
    made = convert_model(tmp_path, tmp_path / "m.gguf", "F32")
    assert not [note for note in made.notes if "not used" in note]
    engine = Engine.open(made.path, n_ctx=48, n_threads=2, ubatch=7, kv_type=EXACT)
    got = engine.prefill(IDS).copy()
    engine.close()
    w, at = {name: x.astype(np.float64) for name, x in tensors.items()}, np.arange(len(IDS))
    angles = at[:, None, None] * 1000.0 ** (-np.arange(4) / 4)

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * w[f"{name}.weight"]

    def turned(x: Any) -> Any:
        low, high = x[..., :4], x[..., 4:]
        rotated = low * np.cos(angles) - high * np.sin(angles), high * np.cos(angles) + low * np.sin(angles)
        return np.concatenate(rotated, -1)

    x = w["model.embed_tokens.weight"][IDS]
    for i in range(5):
        block, slides = f"model.layers.{i}.", bool(layout) and i % 4 != 0
        scores = x @ w[f"{block}block_sparse_moe.primary_router.weight"].T
        read = norm(x, f"{block}input_layernorm")
        q, k, v = ((read @ w[f"{block}self_attn.{n}_proj.weight"].T).reshape(len(IDS), -1, 8) for n in "qkv")
        if slides or not layout:
            q, k = turned(q), turned(k)
        behind = at[:, None] - at
        seen = (behind >= 0) & (behind < (8 if slides else len(IDS)))
        heads = np.exp(np.einsum("qhd,khd->hqk", q, np.repeat(k, 2, 1)) / 8**0.5) * seen
        mixed = np.einsum("hqk,khd->qhd", heads / heads.sum(2, keepdims=True), np.repeat(v, 2, 1))
        x = x + mixed.reshape(len(IDS), -1) @ w[f"{block}self_attn.o_proj.weight"].T
        read, made_by = norm(x, f"{block}post_attention_layernorm"), np.zeros_like(x)
        for t, row in enumerate(scores):
            best = np.argsort(-row)[:2]
            weights = np.exp(row[best]) if softmax else 1 / (1 + np.exp(-row[best]))
            for e, weight in zip(best, weights / weights.sum(), strict=True):
                gate, up, down = (w[f"{block}block_sparse_moe.experts.{e}.{n}.weight"] for n in ("gate", "up", "down"))
                made_by[t] += weight * down @ (np.maximum(gate @ read[t], 0) * (up @ read[t]))
        x = x + made_by
    assert nmse(got, norm(x, "model.norm")[-1] @ w["lm_head.weight"].T) <= BOUND
    for wrong in ({"rope_layout": [1] * 4 + [0]}, {"moe_enable_secondary_experts": True}):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(BadFileError, match=r"not supported|no other"), open_hf(tmp_path):
            pytest.fail("the folder was accepted")


@pytest.mark.parametrize("case", ["gemma3n", "gemma4-experts"])
def test_towers_are_left_out_and_said(case: str, tmp_path: Path) -> None:
    write_folder(case, tmp_path)
    towers = {f"model.{kind}_tower.layers.0.weight": (4, 4) for kind in ("vision", "audio")}
    write_weights(tmp_path, case, golden(case)[0] | towers | {"model.embed_vision.embedding_projection.weight": (4, 4)})
    with open_hf(tmp_path) as source:
        assert folder_facts(source)["notes"] == [
            "3 tensors for images or sound are left out: the model reads and writes text"
        ]
        assert not [t.name for t in source.tensors if "tower" in t.name or "vision" in t.name]


@pytest.mark.parametrize(("first", "accepted"), [(0.25, True), (0.3, False)])
def test_slopes_of_jais_are_the_usual_ones(first: float, accepted: bool, tmp_path: Path) -> None:
    """They are tensors of the folder, and follow from one number in a file: 2^(-8 / 4) for six heads."""
    from safetensors.numpy import save_file

    write_folder("jais", tmp_path)
    tensors = {name: draw("jais", name, shape) for name, shape in golden("jais")[0].items()}
    slopes = np.array([first**k for k in (1, 2, 3, 4, 0.5, 1.5)], np.float32)
    save_file(tensors | {"transformer.relative_pe.slopes": slopes}, tmp_path / "model.safetensors")
    if not accepted:
        with pytest.raises(BadFileError, match="slopes"), open_hf(tmp_path):
            pytest.fail("the folder was accepted")
        return
    with open_hf(tmp_path) as source:
        assert source.values["jais.attention.max_alibi_bias"] == 8


# ---- another engine ------------------------------------------------------------------------------------------------

# Norms of heads are read in models of 64 blocks and more only; sizes of Gemma 3n are those of its two models; groups of
# experts are as good as their two best in DeepSeek-V2, too; queries without a latent are read in models of 27 blocks;
# phimoe has other norms and other weights of experts; gptj has a name there, and no graph; plamo2's run does not end.
UNKNOWN_THERE = ("command-r-plus", "gemma3n", "deepseek2-v2", "deepseek2-lite", "phimoe", "gptj", "plamo2")
# What llama.cpp needs otherwise: names of tokens that it looks up, and a yarn that it does not round.
THERE: dict[str, dict[str, Any]] = {
    "phi3": {"phi3.attention.sliding_window": None},  # it sees everything
    "starcoder2": {"starcoder2.attention.sliding_window": None},
    "exaone4-windows": {"exaone4.attention.sliding_window": None},  # it has the window in models of 64 blocks only
    "llama4": {
        f"llama4.attention.{key}": None for key in ("sliding_window", "temperature_scale", "temperature_length")
    },
    "bitnet": {"bitnet.hidden_activation": None},  # it computes SiLU
    "gpt-oss": {"gpt-oss.rope.scaling.type": None, "gpt-oss.rope.scaling.factor": None},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in UNKNOWN_THERE])
def test_logits_are_those_of_llama_cpp(case: str, tmp_path: Path) -> None:
    """In its own process, over its own cache of half floats, on the same file."""
    python = os.environ.get("LLMLOCAL_PEER_PYTHON")
    if not python:
        pytest.skip("set LLMLOCAL_PEER_PYTHON to an interpreter that has llama-cpp-python")
    path = write_converted(case, tmp_path)
    with open_gguf(path) as gguf:
        tokens = ["<|endoftext|>", "<unk>", "<s>", *list(gguf.metadata["tokenizer.ggml.tokens"])[3:]]
        meta: dict[str, Any] = {**gguf.metadata.raw(), "tokenizer.ggml.tokens": tokens, **THERE.get(case, {})}
        write_gguf(tmp_path / "there.gguf", {k: v for k, v in meta.items() if v is not None}, gguf.tensors.values())
    script = Path(__file__).parents[1] / "tools" / "bench_llama_cpp.py"
    with bench_protocol.Worker("llama.cpp", Path(python), script, tmp_path / "there.gguf", 1, 512) as worker:
        worker.ask("logits", n=len(IDS), path=str(tmp_path / "logits.npy"))
    want = np.load(tmp_path / "logits.npy")
    engine = Engine.open(tmp_path / "there.gguf", n_ctx=48, n_threads=1, ubatch=64, max_outputs=64)
    assert nmse(engine.all_logits(bench_protocol.token_ids(len(IDS), VOCAB)), want) <= BOUND
    engine.close()
