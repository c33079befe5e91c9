"""Tiny encoders as Hugging Face folders, as `families` has decoders: their settings, texts, and the golden results.

`tools/make_encoder_goldens.py` runs them in transformers, each text alone; `test_encoders.py` converts them and runs
the texts packed into one batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from families import CASES as CASES_OF_DECODERS
from families import DECODER, IDS, VOCAB
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "golden" / "encoders"
LENGTHS = (1, 7, 40, 2, 33)
TEXTS = [IDS[:n] if n % 2 else IDS[::-1][:n] for n in LENGTHS]
TYPES = [[0] * (n // 2) + [1] * (n - n // 2) for n in LENGTHS]  # of the texts as pairs

ENCODER = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
BERT, LABELS = {"model_type": "bert", **ENCODER}, {"id2label": {"0": "no", "1": "yes", "2": "perhaps"}}
ROBERTA = {**ENCODER, "pad_token_id": 1, "type_vocab_size": 1}
DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": VOCAB,
    "dim": 32,
    "hidden_dim": 56,
    "n_layers": 2,
    "n_heads": 4,
    "max_position_embeddings": 48,
    "activation": "gelu",
    "pad_token_id": 0,
}
MODERN = {
    key: value for key, value in ENCODER.items() if key not in ("hidden_act", "layer_norm_eps", "type_vocab_size")
}
MODERN |= {"model_type": "modernbert", "norm_eps": 1e-5, "num_hidden_layers": 5, "hidden_activation": "gelu"}
MODERN |= {
    "local_attention": 12,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 1000.0,
    "local_rope_theta": 100.0,
}
EUROBERT = DECODER | {"model_type": "eurobert"}
EUROBERT.pop("tie_word_embeddings")
NEO_BERT = {"model_type": "neobert", "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2}
NEO_BERT |= {"num_attention_heads": 4, "intermediate_size": 64, "norm_eps": 1e-5, "hidden_act": "SwiGLU"}
NEO_BERT |= {"max_length": 64, "rope": True, "rms_norm": True, "dim_head": 8, "pad_token_id": 0}
GEMMA = DECODER | CASES_OF_DECODERS["gemma3"][1] | {"use_bidirectional_attention": True, "sliding_window": 12}
GEMMA |= {"rope_scaling": None}
NOMIC = ENCODER | {"model_type": "nomic_bert", "hidden_act": "silu"}
NOMIC |= {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}
NOMIC_MOE = {"model_type": "nomic_bert", "vocab_size": VOCAB, "n_embd": 32, "n_inner": 56, "n_layer": 2, "n_head": 4}
NOMIC_MOE |= {"n_positions": 2048, "layer_norm_epsilon": 1e-5, "activation_function": "gelu", "type_vocab_size": 1}
NOMIC_MOE |= {"num_experts": 4, "moe_top_k": 2, "moe_every_n_layers": 2, "moe_normalize_expert_weights": False}
NOMIC_MOE |= {"rotary_emb_base": 300.0, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "prenorm": False}
NOMIC_MOE |= {"qkv_proj_bias": True, "mlp_fc1_bias": True, "mlp_fc2_bias": True, "max_trained_positions": 2048}
JINA_V2 = ENCODER | {"model_type": "bert", "position_embedding_type": "alibi", "feed_forward_type": "geglu"}
JINA_V2 |= {"emb_pooler": "mean"}
JINA_CODE = {"tokenizer_class": "RobertaTokenizer", "hidden_size": 48, "num_attention_heads": 3}
JINA_V3 = ENCODER | {"model_type": "jina_embeddings_v3", "pad_token_id": 1, "type_vocab_size": 1}
JINA_V3 |= {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}, "max_position_embeddings": 50}
ELECTRA = {"model_type": "electra", **ENCODER, "embedding_size": 32}
ALBERT = ENCODER | {"model_type": "albert", "hidden_act": "gelu_new", "embedding_size": 24, "num_hidden_layers": 4}
ALBERT |= {"num_hidden_groups": 2, "inner_group_num": 1}
DEBERTA = ENCODER | {"model_type": "deberta-v2", "relative_attention": True, "position_biased_input": False}
DEBERTA |= {"type_vocab_size": 0, "pos_att_type": "p2c|c2p", "max_relative_positions": -1, "position_buckets": 8}
DEBERTA |= {"share_att_key": True, "norm_rel_ebd": "layer_norm"}
DEBERTA_1 = {key: value for key, value in DEBERTA.items() if key not in ("position_buckets", "norm_rel_ebd")}
DEBERTA_1 = {**DEBERTA_1, "model_type": "deberta", "max_relative_positions": 20}
DEBERTA_1.pop("share_att_key")
XLNET = {"model_type": "xlnet", "vocab_size": VOCAB, "d_model": 32, "d_inner": 56, "n_layer": 2, "n_head": 4}
XLNET |= {"layer_norm_eps": 1e-5, "ff_activation": "gelu"}

T5 = {
    "model_type": "t5",
    "vocab_size": VOCAB,
    "d_model": 32,
    "d_ff": 56,
    "d_kv": 16,
    "num_heads": 4,
    "num_layers": 2,
    "relative_attention_num_buckets": 32,
    "layer_norm_epsilon": 1e-5,
    "feed_forward_proj": "relu",
    "n_positions": 48,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 3,
}
FLAN = T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "relative_attention_num_buckets": 8}
UMT5 = FLAN | {"model_type": "umt5"}

# name of the case -> (class of transformers, settings); the result depends on the class: states, scores, or logits
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("BertModel", BERT),
    "bert-heads-of-16": ("BertModel", BERT | {"num_attention_heads": 2}),  # their attention needs no cache
    "bert-classifier": ("BertForSequenceClassification", BERT | LABELS),
    "bert-masked": ("BertForMaskedLM", BERT),
    "roberta": ("RobertaModel", {"model_type": "roberta", **ROBERTA}),
    "roberta-masked": ("RobertaForMaskedLM", {"model_type": "roberta", **ROBERTA}),
    "xlm-roberta-classifier": (
        "XLMRobertaForSequenceClassification",
        {"model_type": "xlm-roberta", **ROBERTA, "id2label": {"0": "LABEL_0"}},
    ),
    "distilbert": ("DistilBertModel", DISTILBERT),
    "distilbert-masked": ("DistilBertForMaskedLM", DISTILBERT),
    "distilbert-classifier": ("DistilBertForSequenceClassification", DISTILBERT | LABELS),
    "modern-bert": ("ModernBertModel", MODERN),
    "modern-bert-silu": ("ModernBertModel", MODERN | {"hidden_activation": "silu", "num_hidden_layers": 2}),
    "modern-bert-masked": ("ModernBertForMaskedLM", MODERN),
    "modern-bert-classifier": ("ModernBertForSequenceClassification", MODERN | LABELS | {"classifier_pooling": "mean"}),
    "eurobert": ("EuroBertModel", EUROBERT),
    "eurobert-masked": ("EuroBertForMaskedLM", EUROBERT),
    "neo-bert": ("NeoBERTLMHead", NEO_BERT),
    "llama-embed": ("LlamaBidirectionalModel", DECODER | {"model_type": "llama_bidirec"}),
    "gemma-embedding": ("Gemma3TextModel", GEMMA),
    "qwen3": ("Qwen3Model", DECODER | {"model_type": "qwen3", "head_dim": 16, "tie_word_embeddings": True}),
    "nomic-bert": ("NomicBertModel", NOMIC),
    "nomic-bert-masked": ("NomicBertForMaskedLM", NOMIC),
    "nomic-bert-moe": ("NomicBertModel", NOMIC_MOE),
    "jina-bert-v2": ("JinaBertModel", JINA_V2),
    "jina-bert-v2-code": ("JinaBertModel", JINA_V2 | JINA_CODE),
    "jina-bert-v3": ("JinaEmbeddingsV3Model", JINA_V3),
    "jina-bert-v3-masked": ("JinaEmbeddingsV3ForMaskedLM", JINA_V3),
    "electra": ("ElectraModel", ELECTRA),
    "electra-masked": ("ElectraForMaskedLM", ELECTRA),
    "albert": ("AlbertModel", ALBERT),
    "albert-masked": ("AlbertForMaskedLM", ALBERT),
    "albert-classifier": ("AlbertForSequenceClassification", ALBERT | LABELS | {"num_hidden_groups": 1}),
    "deberta-v2": ("DebertaV2Model", DEBERTA),
    "deberta-v2-apart": (
        "DebertaV2Model",
        DEBERTA | {"share_att_key": False, "position_buckets": -1, "norm_rel_ebd": "none", "type_vocab_size": 2},
    ),
    "deberta-v2-masked": ("DebertaV2ForMaskedLM", DEBERTA),
    "deberta-v2-classifier": ("DebertaV2ForSequenceClassification", DEBERTA | LABELS),
    "deberta": ("DebertaModel", DEBERTA_1),
    "xlnet": ("XLNetModel", XLNET),
    "xlnet-classifier": ("XLNetForSequenceClassification", XLNET | LABELS),
    "t5encoder": ("T5EncoderModel", T5),
    "t5encoder-gated": ("T5EncoderModel", FLAN),
    "t5encoder-umt5": ("UMT5EncoderModel", UMT5),
}
# not in transformers
PUBLISHED_WITH_CODE = ("nomic-bert-moe", "jina-bert-v2", "jina-bert-v2-code", "neo-bert", "llama-embed")
# Models that answer the texts; the result are the logits before each token of ANSWER and after the last.
ANSWERING: dict[str, tuple[str, Mapping[str, Any]]] = {
    "t5": ("T5ForConditionalGeneration", T5),
    "t5-flan": ("T5ForConditionalGeneration", FLAN | {"num_decoder_layers": 3}),
    "t5-umt5": ("UMT5ForConditionalGeneration", UMT5),
}
ANSWER = IDS[5:35]

# Small tokenizers: (class of transformers, the tokens before the others, arguments) of each kind, and texts for them.
LETTERS = "abcdefghijklmnopqrtuvwxyzTC"
PIECES = [
    ("▁", -2.0),
    ("▁the", -3.0),
    ("▁cat", -4.0),
    ("s", -5.0),
    ("▁sat", -4.5),
    ('"', -6.0),
    (",", -6.0),
    (".", -6.0),
]
PIECES += [(letter, -7.0 - i / 10) for i, letter in enumerate(LETTERS)]
TOKENIZERS: dict[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "albert-tokenizer": ("AlbertTokenizer", ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"), {}),
    "deberta-v2-tokenizer": ("DebertaV2Tokenizer", ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"), {"unk_id": 3}),
    "xlnet-tokenizer": ("XLNetTokenizer", ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"), {}),
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
WORDS = ["the cat sat.", "The  Cát ``sat'' ", "a [MASK] cat", "  x\tthe\ncat", "", "é中the"]
PAIR = ["the cat", "a cat"]


def settings(case: str) -> dict[str, Any]:
    """config.json of a case."""
    name, own = (CASES | ANSWERING)[case]
    return {"architectures": [name], **own}


def result_of(case: str) -> str:
    """What the case gives: `states`, `scores`, or `words`."""
    name = settings(case)["architectures"][0]
    return "scores" if name.endswith("Classification") else "words" if name.endswith("MaskedLM") else "states"


def golden(case: str) -> tuple[dict[str, tuple[int, ...]], NDArray[np.float32]]:
    """Shapes of the folder's tensors, and the result: a row for each text (scores), or for each token of all texts.

    Of a model that answers, the result is (texts, 1 + tokens of ANSWER, vocabulary).
    """
    with np.load(GOLDEN / f"{case}.npz") as kept:
        shapes = json.loads(bytes(kept["shapes"]))
        return {name: tuple(shape) for name, shape in shapes.items()}, kept["result"]
