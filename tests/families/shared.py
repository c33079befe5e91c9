"""Settings that cases of several files take: the usual decoder, and kinds of blocks and of rotary embedding."""

from __future__ import annotations

VOCAB = 40

DECODER = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 1000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}
SHORT, LONG = [1.0, 1.05, 1.1, 1.2], [1.5, 2.0, 3.0, 6.5]
LONGROPE = {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MINISTRAL = YARN | {"type": "yarn", "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}
MINISTRAL |= {"llama_4_scaling_beta": 0.1, "rope_theta": 1000.0}
GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 3, "n_shared_experts": 2}
GROUPS |= {"moe_intermediate_size": 24, "first_k_dense_replace": 1, "num_hidden_layers": 3}
