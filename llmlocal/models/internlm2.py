"""InternLM2 and 2.5 (Shanghai AI Laboratory 2024, arXiv 2403.17297): Llama; folders have queries, keys and values in
one tensor, group by group."""

from __future__ import annotations

from ..hf.config import Settings
from ..hf.conversion import UNTIED, Conversion, groups_apart, pairs_turned
from ..hf.streams import Stream, split
from .llama import build

__all__ = ["CONVERSION", "build"]
PERIOD = 0  # no block has full attention where files say a window


def projections(s: Settings, x: Stream) -> dict[str, Stream]:
    """wqkv as the projections to queries, keys and values, rows of the first two in interleaved pairs."""
    heads, kv_heads = s.integer("num_attention_heads"), s.kv_heads
    together = groups_apart(lambda s: s.kv_heads)(s, x)
    assert isinstance(together, Stream)
    rows = together.rows // max(1, heads + 2 * kv_heads)
    q, k, v = split(together, [heads * rows, kv_heads * rows, kv_heads * rows])
    turned = pairs_turned("num_attention_heads")(s, q), pairs_turned("num_key_value_heads", "num_attention_heads")(s, k)
    assert isinstance(turned[0], Stream) and isinstance(turned[1], Stream)
    return {"wq": turned[0], "wk": turned[1], "wv": v}


CONVERSION = Conversion(
    classes=("InternLM2ForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    steps={r"wqkv(?=\.weight$)": projections},
)
