"""BERT (Devlin et al. 2018, arXiv 1810.04805) and models of its form: RoBERTa, XLM-RoBERTa, DistilBERT, ELECTRA, and
what was trained from them, such as MiniLM, BGE and E5. An encoder with learned positions and norms after sublayers."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, decoder_keys, drops, drops_if_tied, head_keys, renames
from ..hf.streams import Stream, part
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    positions = g.embed_positions(w.matrix("position_embd.weight", h.context, h.width))
    x = blocks.norm(g, h, w, "token_embd_norm", g.add(blocks.embedding(g, h, w, vocab), positions))
    return blocks.post_norm_encoder(
        g, h, w, x, lambda h, b, x: blocks.attention(g, h, b, x), lambda h, b, x: blocks.mlp(g, h, b, x)
    )


def classifier(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of pooled states (outputs, width)."""
    activation = g.relu if c.flag("classifier.relu", False) else g.tanh
    return blocks.dense_classifier(g, Hyperparameters.read(c, w), w, x, activation)


def word_logits(g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of the states of masked tokens (outputs, width)."""
    return blocks.masked_word_logits(g, Hyperparameters.read(c, w), w, vocab, x, blocks.norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    if s.integer("embedding_size", default=s.integer(*WIDTHS)) != s.integer(*WIDTHS):
        raise s.fail("embedding_size differs from hidden_size, which is not supported", "")
    if s.text("activation", default="gelu") != "gelu":
        raise s.fail("activation must be gelu", "")
    context = s.integer("max_position_embeddings") - first_position(s)
    epsilon = s.number("layer_norm_eps", default=1e-12)
    own = {"context_length": context, "attention.layer_norm_epsilon": epsilon, "attention.causal": False}
    types = {"tokenizer.ggml.token_type_count": s.integer("type_vocab_size", default=1)}
    return decoder_keys(s) | own | types | head_keys(s) | _relu_keys(s)


def _relu_keys(s: Settings) -> Keys:
    """What the classifier of DistilBERT computes in the place of tanh, for which GGUF has no key."""
    if s.items("architectures")[0] != f"DistilBert{SORTS}":
        return {}
    s.note("the classifier computes ReLU, in the place of which llama.cpp computes tanh")
    s.find("seq_classif_dropout")
    return {"classifier.relu": True}


WIDTHS = ("hidden_size", "dim")
# Of these the table of positions begins with rows for padding, or would if there were one.
OFFSET = ("roberta", "xlm-roberta", "camembert", "jina_embeddings_v3")


def first_position(s: Settings) -> int:
    """The row of the position table that belongs to the first token."""
    return s.integer("pad_token_id", default=1) + 1 if s.text("model_type") in OFFSET else 0


def has_task_adapters(s: Settings) -> bool:
    """Whether a folder is that of Jina Embeddings 3, another architecture of the class XLMRobertaModel."""
    return bool(s.find("lora_adaptations"))


def positions_from_first(s: Settings, x: Stream) -> Stream:
    """The position table without the rows before the first token."""
    if x.rows <= first_position(s):
        raise s.fail(f"position_embeddings has {x.rows} rows, too few for pad_token_id")
    return part(x, first_position(s), x.rows)


def only_in(ending: str, name: str) -> TensorRule:
    """Rename to `name` in folders whose class has this ending, such as ForMaskedLM; leave the tensor out elsewhere."""
    return lambda s, x: {name: x} if str(s.items("architectures")[0]).endswith(ending) else {}


SORTS, FILLS = "ForSequenceClassification", "ForMaskedLM"


def head_steps(pooler: str, dense: str, norm: str, bias: str, output: str) -> dict[str, TensorRule]:
    """Steps for the heads of an encoder: one that classifies, and one that fills masks; the patterns name its parts."""
    return {
        rf"^{pooler}\.": only_in(SORTS, "cls."),
        r"^classifier\.(weight|bias)$": only_in(SORTS, r"cls.output.\1"),
        rf"^({dense})\.": only_in(FILLS, "mlm_dense."),
        rf"^({norm})\.": only_in(FILLS, "mlm_norm."),
        rf"^({bias})\.bias$": only_in(FILLS, "lm_head.bias"),
        rf"^({output})\.weight$": only_in(FILLS, "lm_head.weight"),
        r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True),
    }


# What the classes call the parts of their heads for masked words.
DENSE = r"cls\.predictions\.transform\.dense|lm_head\.dense|vocab_transform|generator_predictions\.dense"
NORM = r"cls\.predictions\.transform\.LayerNorm|lm_head\.layer_norm|vocab_layer_norm|generator_predictions\.LayerNorm"
BIAS = r"cls\.predictions|lm_head|vocab_projector|generator_lm_head"
OUTPUT = r"cls\.predictions\.decoder|lm_head\.decoder|vocab_projector|generator_lm_head"
STEPS: dict[str, TensorRule] = {
    r"^(bert|roberta|distilbert|electra)\.": renames(""),
    r"\.gamma$": renames(".weight"),
    r"\.beta$": renames(".bias"),
    r"^cls\.seq_relationship\.|\.decoder\.bias$|^discriminator_predictions\.": drops(),
    r"^embeddings\.position_embeddings\.weight$": positions_from_first,
    **head_steps(r"(?:pooler\.dense|pre_classifier)", DENSE, NORM, BIAS, OUTPUT),
}
CONVERSION = Conversion(
    classes=(
        *(f"{kind}{end}" for kind in ("Bert", "Roberta", "XLMRoberta", "Camembert") for end in ("Model", SORTS, FILLS)),
        *(f"{kind}{end}" for kind in ("DistilBert", "Electra") for end in ("Model", FILLS)),
        f"DistilBert{SORTS}",
        "ElectraForPreTraining",
    ),
    applies=lambda s: not has_task_adapters(s),
    keys=keys,
    steps=STEPS,
    own_names=("mlm_dense", "mlm_norm"),
    activations=("gelu",),
)
