"""Mamba and Falcon Mamba (Gu and Dao 2023, arXiv 2312.00752): blocks of one recurrent layer, without attention."""

from __future__ import annotations

from typing import Any

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decay_rates, drops_if_tied, renames, squeezes
from ..layers import Layers
from ..layers.decoder import logits, norm
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.mamba1 import Mamba1, mamba1
from ..layers.weights import Weights
from ..runtime.graph import Value
from .mamba2 import CONTEXT


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h, m = Hyperparameters.read(c, w, hybrid=True), Mamba1.read(c)
    norms = c.flag("ssm.dt_b_c_rms", False)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    x = g.embed(embedding)

    def normed(_: str, x: Value) -> Value:
        return g.unit_norm(x, x.width, h.eps) if norms else x

    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, mamba1(g, h, m, b, norm(g, h, b, "attn_norm", x), normed))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. A model without positions has no context of its own."""
    s.find("use_associative_scan", "use_falcon_mambapy", *UNUSED)
    if s.items("architectures")[0] == "MambaLMHeadModel":
        _read_first_names(s)
    width, norms = s.integer("hidden_size"), s.text("model_type") == "falcon_mamba"
    rank, eps = s.find("time_step_rank"), s.number("layer_norm_epsilon")
    if norms and s.number("mixer_rms_eps", default=1e-6) != eps:
        s.note("mixer_rms_eps differs from layer_norm_epsilon, which GGUF has for both")
    return {
        "block_count": s.integer("num_hidden_layers"),
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": eps,
        "vocab_size": s.integer("vocab_size"),
        "ssm.conv_kernel": s.integer("conv_kernel"),
        "ssm.state_size": s.integer("state_size"),
        "ssm.inner_size": s.integer("intermediate_size", default=s.integer("expand") * width),
        "ssm.time_step_rank": -(-width // 16) if rank in (None, "auto") else s.integer("time_step_rank"),
        "ssm.dt_b_c_rms": norms,
    }


def _read_first_names(s: Settings) -> None:
    """Settings of the first checkpoints under their current names. Raises BadFileError for Mamba-2."""
    layer = s.find("ssm_cfg") or {}
    if not isinstance(layer, dict) or layer.get("layer", "Mamba1") != "Mamba1":
        raise s.fail("ssm_cfg is not that of Mamba's first layer", "get the model in transformers' own form")
    multiple = max(s.integer("pad_vocab_size_multiple", default=8), 1)
    s.values |= {"hidden_size": s.integer("d_model"), "num_hidden_layers": s.integer("n_layer")}
    s.values |= {"vocab_size": -(-s.integer("vocab_size") // multiple) * multiple}


DRAWN = ("time_step_min", "time_step_max", "time_step_floor", "time_step_scale", "time_step_init_scheme")
COPIES = ("d_model", "d_inner", "n_layer", "ssm_cfg", "rms_norm", "fused_add_norm")  # of the first checkpoints
UNUSED = (*DRAWN, *COPIES, "rescale_prenorm_residual", "residual_in_fp32", "use_bias", "use_conv_bias", "use_mambapy")
STEPS = {
    r"\.conv1d\.weight$": squeezes,
    r"\.A_log$": decay_rates,
    r"^backbone\.embedding\.": renames("backbone.embeddings."),
    r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True),
}
DEFAULTS: dict[str, Any] = {"layer_norm_epsilon": 1e-5, "conv_kernel": 4, "state_size": 16, "expand": 2}
DEFAULTS |= {"tie_word_embeddings": True}
CONVERSION = Conversion(
    classes=("MambaForCausalLM", "FalconMambaForCausalLM", "MambaLMHeadModel"),
    defaults=DEFAULTS,
    keys=keys,
    steps=STEPS,
)
