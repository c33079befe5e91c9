"""Jina Embeddings 3 (Sturua et al. 2024, arXiv 2409.10173): XLM-RoBERTa with rotary embedding. The published folder
has a LoRA adapter for each task beside the weights, which `convert` merges: `convert/task_adapters.py`."""

from __future__ import annotations

from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, decoder_keys, drops, head_keys, renames
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .bert import BIAS, DENSE, NORM, OUTPUT, first_position, has_task_adapters, head_steps
from .nomic_bert import rotary_encoder

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    return rotary_encoder(g, c, w, vocab, partial(blocks.mlp, g))


def word_logits(g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of the states of masked tokens (outputs, width)."""
    return blocks.masked_word_logits(g, Hyperparameters.read(c, w), w, vocab, x, blocks.norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    if s.text("position_embedding_type", default="rotary") != "rotary":
        raise s.fail("position_embedding_type must be rotary", "")
    s.find("lora_adaptations", "lora_alpha", "lora_rank", "lora_main_params_trainable", "load_trained_adapters")
    s.find("task_instructions", "matryoshka_dimensions", "truncate_dim", "emb_pooler", "use_flash_attn")
    context = s.integer("max_position_embeddings") - first_position(s)
    types = {"tokenizer.ggml.token_type_count": s.integer("type_vocab_size", default=1)}
    return decoder_keys(s) | {"context_length": context, "attention.causal": False} | types | head_keys(s)


STEPS: dict[str, TensorRule] = {
    r"\.lora_[AB]$": drops(),
    r"^roberta\.": renames(""),
    r"^pooler\.": drops(),
    r"\.decoder\.bias$": drops(),
    **head_steps(r"pooler\.dense", DENSE, NORM, BIAS, OUTPUT),
    r"\.parametrizations\.(weight|bias)\.original$": renames(r".\1"),
}
CONVERSION = Conversion(
    classes=("XLMRobertaModel", "JinaEmbeddingsV3Model", "JinaEmbeddingsV3ForMaskedLM"),
    applies=lambda s: has_task_adapters(s) or s.text("model_type") == "jina_embeddings_v3",
    defaults={"layer_norm_eps": 1e-5, "rotary_emb_base": 20000.0, "max_position_embeddings": 8194},
    keys=keys,
    steps=STEPS,
    own_names=("mlm_dense", "mlm_norm"),
    activations=("gelu",),
)
