"""VaultGemma 1B (Google 2025, arXiv 2510.15001), trained with differential privacy: Gemma 2 without its later norms."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, norm
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gemma2 import CONVERSION as GEMMA2
from .gemma2 import attention
from .gemma2 import keys as gemma2_keys

PERIOD = 2  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    cap, all_windows = c.number("attn_logit_softcapping", 0, 1e6), windows(c, h.blocks, period=PERIOD)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, all_windows[i], cap))
        return g.add(x, gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.geglu))

    out = decoder(g, h, w, vocab, block, embedding_scale=h.width**0.5)
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6))


def keys(s: Settings) -> Keys:
    """Gemma 2's metadata."""
    s.note("llama.cpp does not know this architecture")
    return gemma2_keys(s)


CONVERSION = Conversion(
    classes=("VaultGemmaForCausalLM",),
    defaults=GEMMA2.defaults,
    keys=keys,
    steps=GEMMA2.steps,
    activations=TANH_GELU,
    named_as="gemma2",
)
