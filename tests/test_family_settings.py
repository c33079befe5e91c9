"""Settings of folders of every family: those that a file cannot say are refused, none is called unused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from families import CASES, golden, settings, write_weights
from families.converted import write_tokenizer

from llmlocal.convert.hf_source import open_hf
from llmlocal.errors import BadFileError, LlmlocalError
from llmlocal.quantize.plan import plan_conversion


@pytest.mark.parametrize("case", CASES)
def test_no_setting_of_a_usual_folder_is_called_unused(case: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings(case)))
    write_weights(tmp_path, case, golden(case)[0])
    write_tokenizer(tmp_path)
    with open_hf(tmp_path) as source:
        assert not [note for note in source.notes if "not used" in note]


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
    ("opt", {"do_layer_norm_before": False}),
    ("opt", {"activation_function": "gelu"}),
    ("opt", {"enable_bias": False}),
    ("gptneo", {"attention_types": [[["global"], 3]]}),
    ("gptneo", {"attention_types": [[["global", "strided"], 2]]}),
    ("persimmon", {"qk_layernorm": False}),
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
    *((case, {"hidden_act": "tanh"}) for case in CASES),
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
