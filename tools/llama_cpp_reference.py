"""Logits of tiny models in llama.cpp, for classes whose code transformers does not have.

A folder is converted by llama.cpp's own converter and run by llama-cpp-python. Names of tensors are those of the
published folders; the converter reads no vocabulary.

    python tools/llama_cpp_reference.py MODEL LOGITS ID ...    # logits of tokens of a GGUF file, as LOGITS.npy
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = "model.layers.{i}."
LLAMA = {"model.embed_tokens.weight": "V w", "model.norm.weight": "w", "lm_head.weight": "V w"}
LLAMA |= {BLOCK + f"{name}_layernorm.weight": "w" for name in ("input", "post_attention")}
ATTENTION = {BLOCK + f"self_attn.{name}_proj.weight": f"{name} w" for name in "qkv"}
ATTENTION[BLOCK + "self_attn.o_proj.weight"] = "w q"
MLP = {BLOCK + f"mlp.{name}_proj.weight": "f w" for name in ("gate", "up")} | {BLOCK + "mlp.down_proj.weight": "w f"}
EXPERTS = {BLOCK + f"mlp.experts.{{e}}.{name}_proj.weight": "m w" for name in ("gate", "up")}
EXPERTS |= {BLOCK + "mlp.experts.{e}.down_proj.weight": "w m", BLOCK + "mlp.gate.weight": "e w"}
EXPERTS |= {BLOCK + f"mlp.shared_experts.{name}_proj.weight": "s w" for name in ("gate", "up")}
EXPERTS[BLOCK + "mlp.shared_experts.down_proj.weight"] = "w s"
MIXTRAL = {BLOCK + f"block_sparse_moe.experts.{{e}}.{name}.weight": "f w" for name in ("w1", "w3")}
MIXTRAL |= {BLOCK + "block_sparse_moe.experts.{e}.w2.weight": "w f", BLOCK + "block_sparse_moe.gate.weight": "e w"}


def under(prefix: str, layout: Mapping[str, str]) -> dict[str, str]:
    """The layout under another prefix than model.layers."""
    return {name.replace("model.layers.", prefix): shape for name, shape in layout.items()}


def _grok() -> dict[str, str]:
    norms = {BLOCK + f"{name}_norm.weight": "w" for name in ("pre_attn", "post_attn", "pre_moe", "post_moe")}
    shared = {name: shape for name, shape in LLAMA.items() if "layernorm" not in name}
    return shared | norms | ATTENTION | MLP | MIXTRAL


def _arctic() -> dict[str, str]:
    residual = {BLOCK + f"residual_mlp.{name}.weight": "w w" for name in ("w1", "w2", "w3")}
    residual[BLOCK + "residual_layernorm.weight"] = "w"
    return LLAMA | ATTENTION | MIXTRAL | residual


OUTSIDE = {  # of the folders that name tensors as GPT-2 does: what is not attention or MLP
    "transformer.h.{i}.ln_1.weight": "w", "transformer.h.{i}.ln_2.weight": "w", "transformer.ln_f.weight": "w",
    "transformer.wte.weight": "V w", "lm_head.weight": "V w",
}  # fmt: skip


def _exaone() -> dict[str, str]:
    block = "transformer.h.{i}."
    attention = {block + f"attn.attention.{name}_proj.weight": f"{name} w" for name in "qkv"}
    attention[block + "attn.attention.out_proj.weight"] = "w q"
    mlp = {block + f"mlp.c_fc_{n}.weight": "f w" for n in "01"} | {block + "mlp.c_proj.weight": "w f"}
    return attention | mlp | OUTSIDE


def _qwen() -> dict[str, str]:
    block = "transformer.h.{i}."
    attention = {block + "attn.c_attn.weight": "3w w", block + "attn.c_attn.bias": "3w"}
    attention[block + "attn.c_proj.weight"] = "w w"
    mlp = {block + f"mlp.w{n}.weight": "half w" for n in "12"} | {block + "mlp.c_proj.weight": "w half"}
    return attention | mlp | OUTSIDE


def _codeshell() -> dict[str, str]:
    block = "transformer.h.{i}."
    out = {"transformer.wte.weight": "V w", "lm_head.weight": "V w"}
    linears = {"attn.c_attn": "qkv w", "attn.c_proj": "w q", "mlp.c_fc": "f w", "mlp.c_proj": "w f"}
    linears |= {"ln_1": "w", "ln_2": "w"}
    for name, shape in {**{block + name: shape for name, shape in linears.items()}, "transformer.ln_f": "w"}.items():
        out |= {f"{name}.weight": shape, f"{name}.bias": shape.split()[0]}
    return out


def _refact() -> dict[str, str]:
    block = "transformer.h.{i}."
    linears = {"attn.q": "q w", "attn.kv": "2k w", "attn.c_proj": "w q", "ln_1": "w", "ln_2": "w"}
    linears |= {"mlp.gate_up_proj": "2r w", "mlp.c_proj": "w r"}
    out = {f"{block}{name}.weight": shape for name, shape in linears.items()}
    return out | {"transformer.wte.weight": "V w", "lm_head.weight": "V w", "transformer.ln_f.weight": "w"}


def _pangu() -> dict[str, str]:
    biases = {BLOCK + f"self_attn.{name}_proj.bias": name for name in "qkv"} | {BLOCK + "self_attn.o_proj.bias": "w"}
    return LLAMA | ATTENTION | MLP | biases


def _orion() -> dict[str, str]:
    biases = {name.replace("weight", "bias"): shape for name, shape in LLAMA.items() if "norm" in name}
    return LLAMA | biases | ATTENTION | MLP


def _bailing() -> dict[str, str]:
    attention = {BLOCK + "attention.query_key_value.weight": "qkv w", BLOCK + "attention.dense.weight": "w q"}
    embedding = {"model.word_embeddings.weight": "V w"}
    return {name: x for name, x in LLAMA.items() if "embed" not in name} | embedding | attention | EXPERTS


def _rwkv6qwen2() -> dict[str, str]:
    at = BLOCK + "self_attn."
    mix = {at + f"time_maa_{name}": "1 1 w" for name in "xrkvwg"}
    mix |= {at + "time_maa_w1": "w 160", at + "time_maa_w2": "5 32 w"}
    mix |= {at + "time_decay": "1 1 w", at + "time_decay_w1": "w 64", at + "time_decay_w2": "64 w"}
    mix |= {at + f"{name}_proj.bias": name for name in "qkv"}
    return LLAMA | ATTENTION | MLP | mix | {at + "gate.weight": "w w"}


def _arwkv7() -> dict[str, str]:
    at = BLOCK + "self_attn.time_mixer."
    mix = {at + f"x_{name}": "1 1 w" for name in "rwkvag"} | {at + f"{name}0": "1 1 w" for name in "wav"}
    for name, rank in {"w": 64, "a": 64, "v": 32, "g": 128}.items():
        mix |= {at + f"{name}1": f"w {rank}", at + f"{name}2": f"{rank} w"}
    mix |= {at + name: "1 1 w" for name in ("k_k", "k_a")} | {at + "r_k": "heads dim"}
    mix |= {at + f"{name}.weight": "w w" for name in ("receptance", "key", "value", "output")}
    return LLAMA | MLP | mix | {at + f"ln_x.{part}": "w" for part in ("weight", "bias")}


def _kormo() -> dict[str, str]:
    norms = {BLOCK + f"pre_{name}_layernorm.weight": "w" for name in ("attention", "mlp")}
    return {name: x for name, x in LLAMA.items() if "layernorm" not in name} | norms | ATTENTION | MLP


def _openelm() -> dict[str, str]:
    block = "transformer.layers.{i}."
    out = {block + f"{name}.weight": "w" for name in ("attn_norm", "ffn_norm")}
    out |= {block + f"attn.{name}_norm.weight": "dim" for name in "qk"}
    out |= {block + "attn.qkv_proj.weight": "qkv w", block + "attn.out_proj.weight": "w q"}
    out |= {block + "ffn.proj_1.weight": "2f w", block + "ffn.proj_2.weight": "w f"}
    return out | {"transformer.token_embeddings.weight": "V w", "transformer.norm.weight": "w"}


def _maincoder() -> dict[str, str]:
    return LLAMA | ATTENTION | MLP | {BLOCK + f"self_attn.{name}_norm.weight": "dim" for name in "qk"}


def _plm() -> dict[str, str]:
    at = BLOCK + "self_attn."
    attention = {at + "q_proj.weight": "mla_q w", at + "kv_a_proj_with_mqa.weight": "latent_key w"}
    attention |= {at + "kv_a_layernorm.weight": "latent", at + "kv_b_proj.weight": "mla_kv latent"}
    attention[at + "o_proj.weight"] = "w mla_v"
    return LLAMA | attention | {name: shape for name, shape in MLP.items() if "gate" not in name}


def _deci() -> dict[str, str]:
    return LLAMA | ATTENTION | MLP | {BLOCK + "self_attn.linear_attn.weight": "w w"}


def _jais() -> dict[str, str]:
    block = "transformer.h.{i}."
    linears = {"attn.c_attn": ("w 3w", "3w"), "attn.c_proj": ("w w", "w"), "ln_1": ("w", "w"), "ln_2": ("w", "w")}
    linears |= {"mlp.c_fc": ("w f", "f"), "mlp.c_fc2": ("w f", "f"), "mlp.c_proj": ("f w", "w")}
    names = {block + name: shapes for name, shapes in linears.items()} | {"transformer.ln_f": ("w", "w")}
    out = {
        f"{name}.{part}": shape
        for name, parts in names.items()
        for part, shape in zip(("weight", "bias"), parts, strict=True)
    }
    out |= {"transformer.wte.weight": "V w", "lm_head.weight": "V w"}
    return out


def _plamo() -> dict[str, str]:
    block = "model.layers.layers.{i}."
    outside = {name: x for name, x in LLAMA.items() if "layers" not in name}
    return outside | {block + "norm.weight": "w"} | under(block.removesuffix("{i}."), ATTENTION | MLP)


def _plamo3() -> dict[str, str]:
    block = "model.layers.layers.{i}."
    norms = {block + f"{when}_{what}_norm.weight": "w" for when in ("pre", "post") for what in ("mixer", "mlp")}
    mixer = {block + "mixer.qkv_proj.weight": "qkv w", block + "mixer.o_proj.weight": "w q"}
    mixer |= {block + f"mixer.{name}_norm.weight": "dim" for name in "qk"}
    mlp = {block + "mlp.gate_up_proj.weight": "2f w", block + "mlp.down_proj.weight": "w f"}
    return {name: x for name, x in LLAMA.items() if "layers" not in name} | norms | mixer | mlp


def _plamo2() -> dict[str, str]:
    at = "model.layers.layers.{i}.mixer."
    attention = {at + "q_weight": "heads_q dim", at + "k_weight": "heads_k dim"}
    mamba = {at + "in_proj.weight": "2i w", at + "conv1d.weight": "i 1 4", at + "out_proj.weight": "w i"}
    mamba |= {at + "bcdt_proj.weight": "bcdt i", at + "dt_proj.weight": "ssm_heads rank"}
    mamba |= {at + name: "ssm_heads" for name in ("dt_bias", "A_log", "D")}
    mamba |= {at + "dt_norm_weight": "rank", at + "B_norm_weight": "state", at + "C_norm_weight": "state"}
    return (
        {name: x for name, x in _plamo3().items() if "_norm.weight" not in name or "mixer." not in name}
        | attention
        | mamba
    )


def _step35() -> dict[str, str]:
    attention = {BLOCK + f"self_attn.{name}_norm.weight": "dim" for name in "qk"}
    attention[BLOCK + "self_attn.g_proj.weight"] = "heads_q w"
    moe = {BLOCK + f"moe.{name}_proj.weight": "e m w" for name in ("gate", "up")}
    moe |= {BLOCK + "moe.down_proj.weight": "e w m", BLOCK + "moe.gate.weight": "e w", BLOCK + "moe.router_bias": "e"}
    shared = {BLOCK + f"share_expert.{name}_proj.weight": "s w" for name in ("gate", "up")}
    shared[BLOCK + "share_expert.down_proj.weight"] = "w s"
    return LLAMA | ATTENTION | MLP | attention | moe | shared


def _deepseek() -> dict[str, str]:
    return LLAMA | ATTENTION | MLP | EXPERTS


LAYOUTS = {
    "ArcticForCausalLM": _arctic,
    "BailingMoeForCausalLM": _bailing,
    "CodeShellForCausalLM": _codeshell,
    "DeciLMForCausalLM": _deci,
    "DeepseekForCausalLM": _deepseek,
    "ExaoneForCausalLM": _exaone,
    "GPTRefactForCausalLM": _refact,
    "GrokForCausalLM": _grok,
    "JAISLMHeadModel": _jais,
    "KORMoForCausalLM": _kormo,
    "MaincoderForCausalLM": _maincoder,
    "MiniCPMForCausalLM": lambda: LLAMA | ATTENTION | MLP,
    "OpenELMForCausalLM": _openelm,
    "OrionForCausalLM": _orion,
    "PLMForCausalLM": _plm,
    "Plamo2ForCausalLM": _plamo2,
    "Plamo3ForCausalLM": _plamo3,
    "PlamoForCausalLM": _plamo,
    "PanguEmbeddedForCausalLM": _pangu,
    "QWenLMHeadModel": _qwen,
    "RWKV6Qwen2ForCausalLM": _rwkv6qwen2,
    "RwkvHybridForCausalLM": _arwkv7,
    "Step3p5ForCausalLM": _step35,
    "XverseForCausalLM": lambda: LLAMA | ATTENTION | MLP,
}


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a folder, by name."""
    blocks = next(n for key in ("num_hidden_layers", "n_layer", "num_transformer_layers") if (n := config.get(key)))
    out = {}
    for i in range(blocks):
        sizes, without = _sizes({**config, **_block(config, i)}), re.compile(_absent(config, i) or "$.")
        for name, shape in LAYOUTS[config["architectures"][0]]().items():
            if without.search(name) or (i and "{i}" not in name):
                continue
            size = tuple(sizes[part] if part in sizes else int(part) for part in shape.split())
            out |= {name.format(i=i, e=e): size for e in range(sizes["e"] if "{e}" in name else 1)}
    if config.get("tie_word_embeddings"):
        out.pop("lm_head.weight", None)
    return out


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """What the names in layouts mean, by the settings of a block."""
    width = next(n for key in ("hidden_size", "n_embd", "model_dim") if (n := config.get(key)))
    heads = config.get("num_attention_heads") or config["n_head"]
    ffn = config.get("intermediate_size") or config.get("n_inner") or 4 * width
    dim = config.get("head_dim") or config.get("head_size") or width // heads
    groups = config.get("num_query_groups") or (1 if config.get("multi_query") else config.get("num_key_value_heads"))
    if "n_shared_head" in config:
        groups = heads // config["n_shared_head"]
    kv, experts = (groups or heads) * dim, config.get("num_experts") or config.get("moe_num_experts")
    experts = experts or config.get("num_local_experts") or config.get("n_routed_experts") or 0
    expert_ffn = config.get("moe_intermediate_size") or ffn
    shared = expert_ffn * (config.get("num_shared_experts") or config.get("n_shared_experts") or 0)
    shared = config.get("share_expert_dim") or shared
    sizes = {"V": config["vocab_size"], "w": width, "3w": 3 * width, "f": ffn, "half": ffn // 2, "q": heads * dim}
    refact = -(-(8 * width // 3) // 256) * 256
    sizes |= {"k": kv, "v": kv, "qkv": heads * dim + 2 * kv, "e": experts, "m": expert_ffn, "s": shared}
    sizes |= {"heads": width // dim, "dim": dim, "2k": 2 * kv, "r": refact, "2r": 2 * refact, "2f": 2 * ffn}
    return (
        sizes
        | {"heads_q": heads, "heads_k": groups or heads}
        | _latent_sizes(config, heads)
        | _mamba_sizes(config, width)
    )


def _latent_sizes(config: Mapping[str, Any], heads: int) -> dict[str, int]:
    if "kv_lora_rank" not in config:
        return {}
    plain, rotary = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    latent, value = config["kv_lora_rank"], config["v_head_dim"]
    sizes = {"mla_q": heads * (plain + rotary), "latent_key": latent + rotary, "latent": latent}
    return sizes | {"mla_kv": heads * (plain + value), "mla_v": heads * value}


def _mamba_sizes(config: Mapping[str, Any], width: int) -> dict[str, int]:
    if "mamba_num_heads" not in config:
        return {}
    heads, state, rank = config["mamba_num_heads"], config["mamba_d_state"], max(64, width // 16)
    inner = heads * config["hidden_size_per_head"]
    return {"i": inner, "2i": 2 * inner, "state": state, "rank": rank, "bcdt": 2 * state + rank, "ssm_heads": heads}


def _block(config: Mapping[str, Any], i: int) -> dict[str, Any]:
    """The settings of a block that other blocks have otherwise."""
    if "num_query_heads" in config:
        ffn = int(config["ffn_multipliers"][i] * config["model_dim"])  # no rounding in tiny models
        return {
            "num_attention_heads": config["num_query_heads"][i],
            "num_key_value_heads": config["num_kv_heads"][i],
            "intermediate_size": ffn,
        }
    if "num_key_value_heads_per_layer" in config:
        return {"num_key_value_heads": config["num_key_value_heads_per_layer"][i]}
    if "attention_other_setting" in config:
        other = dict(config["attention_other_setting"]) if config["layer_types"][i] == "sliding_attention" else config
        return {
            "num_attention_heads": other["num_attention_heads"],
            "num_key_value_heads": other["num_attention_groups"],
        }
    if "block_configs" in config:
        own = config["block_configs"][i]
        group, factor = own["attention"]["n_heads_in_group"] or 1, own["ffn"]["ffn_mult"] or 0
        ffn = -(-int(2 * factor * config["hidden_size"] / 3) // 256) * 256
        return {"num_key_value_heads": config["num_attention_heads"] // group, "intermediate_size": ffn}
    return {}


def _absent(config: Mapping[str, Any], i: int) -> str:
    """An expression for the tensors that a block does not have, "" for none."""
    dense = config.get("first_k_dense_replace", 0)
    if dense:
        return r"\.mlp\.(experts|shared_experts|gate\.)" if i < dense else r"\.mlp\.(gate|up|down)_proj"
    if "moe_layers_enum" in config:
        return r"\.mlp\." if str(i) in config["moe_layers_enum"] else r"\.(moe|share_expert)\."
    if "mamba_step" in config:
        return r"mixer\.(qkv_|o_|[qk]_w)" if i % 2 == 0 else r"mixer\.(in_|out_|conv|bcdt|dt_|A_|B_|C_|D)"
    if "block_configs" not in config:
        return "linear_attn"
    own = config["block_configs"][i]
    linear, mlp = own["attention"]["replace_with_linear"], own["ffn"]["ffn_mult"]
    attention = (
        "linear_attn" if own["attention"]["n_heads_in_group"] else "[qkvo]_proj|" if linear else "self_attn|input_"
    )
    return attention.removesuffix("|") + ("" if mlp else r"|\.mlp\.|post_attention")


def converted(checkout: Path, folder: Path, out: Path) -> None:
    """Run the converter of a checkout of llama.cpp in this process, without the vocabulary."""
    sys.path[:0] = [str(checkout), str(checkout / "gguf-py")]
    import convert_hf_to_gguf
    from conversion import get_model_class
    from conversion.base import ModelBase

    hparams = ModelBase.load_hparams(folder, False)
    model = get_model_class(hparams["architectures"][0])

    def no_vocabulary(self: Any) -> None:
        self._set_vocab_none()
        if "vocab_size" not in str(self.gguf_writer.kv_data):
            self.gguf_writer.add_vocab_size(hparams["vocab_size"])

    model.set_vocab = no_vocabulary
    before, sys.argv = sys.argv, ["convert", str(folder), "--outfile", str(out), "--outtype", "f32"]
    try:
        convert_hf_to_gguf.main()
    finally:
        sys.argv = before


def logits(path: Path, ids: list[int]) -> NDArray[np.float32]:
    """Logits (tokens, vocabulary) of `ids`, with a cache of float32."""
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_threads = 64, 64, 64, 1
    params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # which rounds queries and keys to half floats
    context = llama_cpp.llama_init_from_model(model, params)
    out = []
    for id in ids:
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one((llama_cpp.llama_token * 1)(id), 1)):
            raise SystemExit(f"llama.cpp cannot run {path}")
        vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        out.append(np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (vocab,)).copy())
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return np.array(out)


if __name__ == "__main__":
    np.save(sys.argv[2], logits(Path(sys.argv[1]), [int(id) for id in sys.argv[3:]]))
