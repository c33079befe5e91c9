"""OLMo 1 (Groeneveld et al. 2024, arXiv 2402.00838): Llama with layer norms without weights; queries, keys and values
may be limited."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, cuts, renames
from ..layers import Layers
from ..layers.decoder import attention_output, decoder, gated_mlp, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    most = c.number("attention.clamp_kqv", 0, 1e6, 0.0)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, limited_attention(g, h, b, g.unit_layer_norm(x, h.eps), rope, most))
        return g.add(x, gated_mlp(g, h, b, g.unit_layer_norm(x, h.eps), g.swiglu))

    return decoder(g, h, w, vocab, block, lambda g, h, _w, _name, x: g.unit_layer_norm(x, h.eps))


def limited_attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, most: float) -> Value:
    """Grouped-query attention of queries, keys and values that are limited to -most..most, unless that is 0."""
    q, k, v = (g.limited(x, most) for x in g.linears(x, *qkv_weights(h, w)))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for variants that were not published."""
    if s.items("architectures")[0] == FIRST:
        take_first_names(s)
    most = s.number("clip_qkv", default=0.0)
    return llama_keys(s) | {"attention.layer_norm_epsilon": 1e-5, "attention.clamp_kqv": most or None}


FIRST = "OLMoForCausalLM"  # of the folders that AI2 published before transformers had the model
OTHERWISE = {"layer_norm_type": "default", "activation_type": "swiglu", "block_type": "sequential"}
OTHERWISE_TRUE = ("alibi", "layer_norm_with_affine", "include_bias", "attention_layer_norm", "multi_query_attention")
OF_TRAINING = ("flash_attention", "init_cutoff_factor", "init_device", "init_fn", "init_std", "precision", "mlp_ratio")


def take_first_names(s: Settings) -> None:
    """Settings of the first folders under the names of transformers. Raises BadFileError for what they cannot say."""
    odd = [name for name in OTHERWISE_TRUE if s.flag(name)]
    odd += [name for name, value in OTHERWISE.items() if s.text(name, default=value) != value]
    if odd or not s.flag("rope", default=True):
        raise s.fail(f"{(odd or ['rope'])[0]} is not that of the published models", "")
    width = s.integer("d_model")
    fused = s.integer("mlp_hidden_size", default=s.integer("mlp_ratio", default=4) * width)
    s.find(*OF_TRAINING, "bias_for_layer_norm", "scale_logits")
    s.values |= {
        "hidden_size": width,
        "intermediate_size": fused // 2,
        "num_hidden_layers": s.integer("n_layers"),
        "num_attention_heads": s.integer("n_heads"),
        "num_key_value_heads": s.integer("n_heads"),
        "max_position_embeddings": s.integer("max_sequence_length"),
        "vocab_size": s.integer("embedding_size", default=s.integer("vocab_size")),
        "tie_word_embeddings": s.flag("weight_tying", default=True),
    }


BLOCK = r"^model\.transformer\.blocks\.(\d+)\."
CONVERSION = Conversion(
    classes=("OlmoForCausalLM", FIRST),
    defaults=UNTIED | {"rope_theta": 10000.0},
    keys=keys,
    steps={
        rf"{BLOCK}att_proj\.": renames(r"model.layers.\1.self_attn.qkv_proj."),
        rf"{BLOCK}attn_out\.": renames(r"model.layers.\1.self_attn.o_proj."),
        rf"{BLOCK}ff_proj\.": renames(r"model.layers.\1.mlp.up_gate_proj."),
        rf"{BLOCK}ff_out\.": renames(r"model.layers.\1.mlp.down_proj."),
        r"^model\.transformer\.wte\.": renames("model.embed_tokens."),
        r"^model\.transformer\.ff_out\.": renames("lm_head."),
        r"qkv_proj(?=\.)": cuts("q_proj", "k_proj", "v_proj"),
        r"up_gate_proj(?=\.)": cuts("up_proj", "gate_proj"),
        **PERMUTED_QK,
    },
)
