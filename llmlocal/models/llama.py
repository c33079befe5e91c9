"""Llama (Touvron et al. 2023, arXiv 2302.13971) and models of the same structure. Read this file first.

With a mixture of experts it is Mixtral (Jiang et al. 2024, arXiv 2401.04088); with a sliding window in some blocks
Ministral 8B (Mistral AI 2024) and CWM (FAIR 2025, arXiv 2510.02387); Helium (Kyutai 2025) has the pairs interleaved.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import (
    MAX_LAYERS,
    UNTIED,
    Conversion,
    TensorRule,
    decoder_keys,
    llama3_factors,
    pairs_turned,
    plain_window_keys,
    renames,
)
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, mixture_of_experts, norm, rope_attention
from ..layers.hyperparameters import Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

PERIOD = 0  # no block has full attention where files say a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h) if c.integer("expert_count", 0, 1 << 12, 0) else None
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    all_windows = windows(c, h.blocks, period=PERIOD)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window=all_windows[i]))
        normed = norm(g, h, b, "ffn_norm", x)
        if e:
            return g.add(x, mixture_of_experts(g, h, e, b, normed, g.swiglu, normalize_weights=True))
        return g.add(x, gated_mlp(g, h, b, normed, g.swiglu))

    return decoder(g, h, w, vocab, block)


# Keys that the folders of two families leave out, recognized by vocabulary size: Code Llama's end-of-infill token, and
# that StarCoder's vocabulary (SmolLM, small Granite models) has no BOS token.
VOCABULARIES: dict[int, Keys] = {
    32016: {"tokenizer.ggml.eot_token_id": 32010},
    49152: {"tokenizer.ggml.add_bos_token": False},
}


def llama_keys(s: Settings) -> Keys:
    """Metadata from config.json; models derived from Llama extend it."""
    sizes = {"attention.key_length": s.head_dim, "attention.value_length": s.head_dim}
    sizes |= {"vocab_size": s.integer("vocab_size"), "rope.dimension_count": s.head_dim}
    return decoder_keys(s) | sizes | VOCABULARIES.get(sizes["vocab_size"], {})


def keys(s: Settings) -> Keys:
    """Metadata from config.json; some classes have a sliding window, in all layers or those of `layer_types`."""
    name = str(s.items("architectures")[0])
    if name == "MistralForCausalLM":
        s.values.setdefault("sliding_window", 4096)  # transformers' default for this class alone
    if name == "CwmForCausalLM":
        blocks = min(s.integer("num_hidden_layers"), MAX_LAYERS)
        kinds = ["sliding_attention" if i % 4 else "full_attention" for i in range(blocks)]
        s.values.setdefault("layer_types", kinds)
    return llama_keys(s) | ({} if "llama" in name.lower() else plain_window_keys(s))


def turned_unless_helium(rule: TensorRule) -> TensorRule:
    """`rule`, except in Helium, whose folders have the pairs next to each other; a GGUF file names no class."""
    return lambda s, x: x if "HeliumForCausalLM" in s.values.get("architectures", ()) else rule(s, x)


PERMUTED_QK = {
    r"q_proj\.(weight|bias)$": pairs_turned("num_attention_heads"),
    r"k_proj\.(weight|bias)$": pairs_turned("num_key_value_heads", "num_attention_heads"),
}
CONVERSION = Conversion(
    classes=(
        *("LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel"),
        *("MistralForCausalLM", "MistralModel", "MixtralForCausalLM", "InternLM3ForCausalLM"),
        "IQuestCoderForCausalLM",
        "MinistralForCausalLM",
        "CwmForCausalLM",
        "HeliumForCausalLM",
    ),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps={name: turned_unless_helium(rule) for name, rule in PERMUTED_QK.items()}
    | {r"^model\.(.*)\.block_sparse_moe\.experts\.": renames(r"\1.feed_forward.experts.")},
    extra=llama3_factors,
)
