"""Nomic Embed 2 (Nussbaum and Duderstadt 2025, arXiv 2502.07972): BERT with rotary embedding, in which every second
block has a mixture of experts in the place of its feed-forward."""

from __future__ import annotations

from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule
from ..hf.streams import Stream, reshaped, transposed
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import rope_attention
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.moe import combine, expert_linears, route, sorted_expert_linear
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .nomic_bert import has_experts, rotary_keys

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e, period = Experts.read(c, h), c.integer("moe_every_n_layers", 2, 1 << 12)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    x = blocks.norm(g, h, w, "token_embd_norm", blocks.embedding(g, h, w, vocab))
    attention, kinds = partial(rope_attention, g, rope=rope), (partial(blocks.mlp, g), partial(experts, g, e))
    for i in range(h.blocks):
        x = blocks.post_norm_block(g, h.block(i), w.block(i), x, attention, kinds[i % period == 1])
    return x


def experts(g: Layers, e: Experts, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """Weighted sum of down(gelu_erf(up(x))) of each token's best experts, and a bias; weights do not sum to 1."""
    scores = g.linear(x, *w.linear("ffn_gate_inp", e.count, h.width))
    routing = route(g, scores, e.used, normalize_weights=False, factor=e.factor)
    (up,) = expert_linears(g, x, routing, w.stack("ffn_up", e.count, e.ffn, h.width))
    down = w.stack("ffn_down", e.count, h.width, e.ffn)
    x = combine(g, sorted_expert_linear(g, g.gelu_erf(up), routing, down), routing)
    bias = w.maybe_vector("ffn_exps.bias", h.width)
    return x if bias is None else g.plus_bias(x, bias)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    own = {"expert_used_count": s.integer("moe_top_k"), "moe_every_n_layers": s.integer("moe_every_n_layers")}
    fixed = {"moe_normalize_expert_weights": False, "num_shared_experts": 0, "expert_choice_router": False}
    return rotary_keys(s, {"activation_function": "gelu"} | fixed, trained=512) | own


def of_experts(name: str, *, turned: bool) -> TensorRule:
    """The matrices of all experts, which lie one below the other, as a stack."""

    def step(s: Settings, x: Stream) -> dict[str, Stream]:
        count = s.integer("num_experts")
        if not count or x.rows % count:
            raise s.fail(f"a tensor of {x.rows} rows cannot be divided among num_experts = {count}")
        stack = reshaped(x, count, x.rows // count, x.k)
        return {name: transposed(stack) if turned else stack}

    return step


BIAS = "the biases of experts are kept; llama.cpp, which ignores them, does not load files that have them"


def expert_bias(s: Settings, x: Stream) -> dict[str, Stream]:
    """The bias of a block's experts, which is left out where it adds nothing."""
    if not x.read(0, 1).any():
        return {}
    if BIAS not in s.notes:
        s.note(BIAS)
    return {r"blk.\1.ffn_exps.bias": x}


EXPERTS = r"^encoder\.layers\.(\d+)\.mlp\.experts\."
CONVERSION = Conversion(
    classes=("NomicBertModel",),
    applies=has_experts,
    defaults={"rotary_emb_base": 10000.0},
    keys=keys,
    steps={
        rf"{EXPERTS}mlp\.w1$": of_experts(r"encoder.layers.\1.mlp.experts.mlp.w1.weight", turned=False),
        rf"{EXPERTS}mlp\.w2$": of_experts(r"encoder.layers.\1.mlp.experts.mlp.w2.weight", turned=True),
        rf"{EXPERTS}bias$": expert_bias,
    },
    own_names=("blk.{}.ffn_exps",),
    activations=("gelu",),
)
