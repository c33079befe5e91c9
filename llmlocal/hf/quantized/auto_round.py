"""AutoRound (Cheng et al. 2023, arXiv 2309.05516), Intel's: it packs weights as GPTQ or AWQ do."""

from __future__ import annotations

from ..streams import Stream
from . import awq, gptq
from .weights import QuantizedWeights

METHODS = ("auto-round", "intel/auto-round")
PACKED_AS = {"auto_round:auto_gptq": gptq.decoded, "auto_round:auto_awq": awq.decoded}


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with packed weights decoded. Raises BadFileError for other packings and numbers."""
    packing, kind = q.config.get("packing_format", "auto_round:auto_gptq"), q.config.get("data_type", "int")
    if not isinstance(packing, str) or packing not in PACKED_AS or kind != "int":
        raise q.refuse(f"packing_format {packing!r:.40} with data_type {kind!r:.40} is not supported")
    return PACKED_AS[packing](q)
