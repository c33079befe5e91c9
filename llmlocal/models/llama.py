"""Llama (Touvron et al. 2023, arXiv 2302.13971) and what shares its shape. Read this architecture first.

With experts it is Mixtral (Jiang et al. 2024, arXiv 2401.04088).
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, llama3_factors, pairs_turned, renames
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, gated, logits, mixture, norm, queries_keys_values
from ..layers.hyperparameters import Experts, Hyper
from ..layers.metadata import Config
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    e = Experts.read(c, h) if c.integer("expert_count", 0, 1 << 12, 0) else None
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=True)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        n = norm(g, h, b, "ffn_norm", x)
        x = g.add(x, mixture(g, h, e, b, n, g.swiglu, renormed=True) if e else gated(g, h, b, n, g.swiglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with rotary positions, biases where the file has them."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


# What the files of two families leave out, known by the size of their vocabularies: where Code Llama's filling ends,
# and that StarCoder's vocabulary, as SmolLM and small Granites have it, takes no BOS.
VOCABULARIES: dict[int, Keys] = {
    32016: {"tokenizer.ggml.eot_token_id": 32010},
    49152: {"tokenizer.ggml.add_bos_token": False},
}


def llama_keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder; Llama's relatives begin with them."""
    sizes = {"attention.key_length": s.head_dim, "attention.value_length": s.head_dim}
    sizes |= {"vocab_size": s.integer("vocab_size"), "rope.dimension_count": s.head_dim}
    return decoder_keys(s) | sizes | VOCABULARIES.get(sizes["vocab_size"], {})


TURNED = {
    r"q_proj\.(weight|bias)$": pairs_turned("num_attention_heads"),
    r"k_proj\.(weight|bias)$": pairs_turned("num_key_value_heads", "num_attention_heads"),
}
CONVERSION = Conversion(
    classes=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=llama_keys,
    steps=TURNED | {r"^model\.(.*)\.block_sparse_moe\.experts\.": renames(r"\1.feed_forward.experts.")},
    extra=llama3_factors,
)
