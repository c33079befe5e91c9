"""DeBERTa (He et al. 2020, arXiv 2006.03654), the first version: as DeBERTa v2, with a vector for each distance, which
projections of their own make queries and keys of."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, renames
from ..hf.streams import Stream, take
from . import ENCODER, deberta_v2
from .bert import FILLS, SORTS

KIND = ENCODER
DISTANCE_TABLES = 2  # of vectors that each block has
build = deberta_v2.build
classifier, word_logits = deberta_v2.classifier, deberta_v2.word_logits


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    if s.flag("talking_head"):
        raise s.fail("talking_head is true, which is not supported", "")
    return deberta_v2.keys(s) | {"attention.relative_shared": False, "attention.relative_norm": False}


def by_head(s: Settings, x: Stream) -> dict[str, Stream]:
    """The rows of a fused projection, which lie head by head, as those of queries, of keys and of values."""
    heads = s.integer("num_attention_heads")
    if not heads or x.rows % (3 * heads):
        raise s.fail(f"a fused tensor of {x.rows} rows cannot be divided into {heads} heads")
    rows = np.arange(x.rows).reshape(heads, 3, -1)
    return {f".self.{name}.weight": take(x, rows[:, i].reshape(-1)) for i, name in enumerate(("query", "key", "value"))}


STEPS: dict[str, TensorRule] = {
    r"\.self\.in_proj\.weight$": by_head,
    r"\.self\.q_bias$": renames(".self.query.bias"),
    r"\.self\.v_bias$": renames(".self.value.bias"),
    r"\.self\.pos_proj\.": renames(".self.pos_key_proj."),
    r"\.self\.pos_q_proj\.": renames(".self.pos_query_proj."),
}
CONVERSION = Conversion(
    classes=tuple(f"Deberta{end}" for end in ("Model", SORTS, FILLS)),
    defaults=deberta_v2.CONVERSION.defaults,
    keys=keys,
    steps=STEPS | dict(deberta_v2.STEPS),
    named_as="bert",
    needs_json=True,
    own_names=deberta_v2.CONVERSION.own_names,
    activations=deberta_v2.CONVERSION.activations,
)
