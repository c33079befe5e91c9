"""Which tensor gets which format, by name and shape: a mix is a table of rules, the first that applies decides.

A mix has one format for most tensors; those that errors hurt most (values of attention, what leads back into the
residual stream, the output) get more bits in some layers. The rules are llama.cpp's (src/llama-quant.cpp), so that a
mix's name means the same everywhere; a rule's condition is a property of `TensorContext`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .format import BY_NAME, Format
from .formats import load_all

# A name that users give -> the format of most tensors ("": every tensor as it is).
MIXES = {
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K",
    "Q5_1": "Q5_1",
    "Q5_0": "Q5_0",
    "Q4_K_M": "Q4_K",
    "Q4_K_S": "Q4_K",
    "Q4_1": "Q4_1",
    "Q4_0": "Q4_0",
    "IQ4_NL": "IQ4_NL",
    "IQ4_XS": "IQ4_XS",
    "MXFP4_MOE": "MXFP4",
    "Q3_K_L": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_S": "Q3_K",
    "IQ3_M": "IQ3_S",
    "IQ3_S": "IQ3_S",
    "IQ3_XS": "IQ3_S",
    "IQ3_XXS": "IQ3_XXS",
    "Q2_K": "Q2_K",
    "Q2_K_S": "Q2_K",
    "IQ2_M": "IQ2_S",
    "IQ2_S": "IQ2_XS",
    "IQ2_XS": "IQ2_XS",
    "IQ2_XXS": "IQ2_XXS",
    "IQ1_M": "IQ1_M",
    "IQ1_S": "IQ1_S",
    "TQ1_0": "TQ1_0",
    "TQ2_0": "TQ2_0",
    "Q2_0": "Q2_0",
    "COPY": "",
}
ALIASES = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}
LOW_BIT = ("IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")  # below 3 bits: rules of their own
TERNARY = ("TQ1_0", "TQ2_0", "Q2_0")  # for weights that were trained as -1, 0 and 1: of others little is left
FLOATS = ("F32", "F16", "BF16")  # single numbers, no blocks: every matrix gets the same

# Names of matrices that stay as they are: small, or not the weights of a matrix product.
KEPT_PARTS = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight",
    "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight",
    "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight",
    "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
    "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd",
    ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
)  # fmt: skip
KEPT_NAMES = ("position_embd.weight", "token_types.weight")
# Role of a tensor in the rules, by a part of its name; the first that fits.
ROLES = (
    ("attn_qkv.weight", "attn_v"),
    ("attn_kv_b.weight", "attn_v"),
    ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"),
    ("attn_q.weight", "attn_q"),
    ("attn_output.weight", "attn_output"),
    ("ffn_up", "ffn_up"),
    ("ffn_gate", "ffn_gate"),
    ("ffn_down", "ffn_down"),
)
EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
# Their format where a mix has too few bits for them.
OF_EMBEDDINGS = dict.fromkeys(TERNARY, "Q4_K")
OF_EMBEDDINGS |= dict.fromkeys(("IQ3_XXS", "IQ2_M", "IQ2_S"), "IQ3_S")
OF_EMBEDDINGS |= dict.fromkeys(("IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"), "Q2_K")
# Where the block does not divide a row: a format of blocks of 32 with as many bits, or the next more.
FALLBACK = {"IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
FALLBACK |= dict.fromkeys(TERNARY, "Q4_0")
FALLBACK |= dict.fromkeys(("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"), "IQ4_NL")


class ModelTraits(NamedTuple):
    """What the rules ask of a model. `queries_per_value`: attention heads that share a head of values (GQA)."""

    architecture: str
    layers: int
    experts: int = 0
    queries_per_value: int = 1

    @property
    def is_70b(self) -> bool:
        """80 layers with shared value heads: attn_v is small there, so more bits cost little."""
        return self.architecture in ("llama", "qwen2") and self.layers == 80 and self.queries_per_value > 1


@dataclass(frozen=True, slots=True)
class TensorContext:
    """A tensor as a rule sees it: its number among the `count` tensors of its role, in the order of the layers."""

    model: ModelTraits
    index: int
    count: int
    has_imatrix: bool

    @property
    def grouped(self) -> bool:
        return self.model.queries_per_value >= 4

    @property
    def eight_experts(self) -> bool:
        return self.model.experts == 8

    @property
    def falcon(self) -> bool:
        return self.model.architecture == "falcon"

    @property
    def more_bits(self) -> bool:
        """The first and the last eighth of the layers, and every third between."""
        eighth = self.count // 8
        return self.index < eighth or self.index >= 7 * self.count // 8 or (self.index - eighth) % 3 == 2

    @property
    def middle(self) -> bool:
        """Neither in the first nor in the last eighth."""
        return self.count // 8 <= self.index < 7 * self.count // 8

    def first(self, parts: int) -> bool:
        """Whether it is among the first count / parts."""
        return self.index < self.count // parts


class Rule(NamedTuple):
    """In these mixes, where `when` holds, a tensor of the role gets the format."""

    role: str
    mixes: str
    format: str
    when: Callable[[TensorContext], bool] = lambda context: True


RULES = (
    Rule("attn_v", " ".join(LOW_BIT), "Q4_K", lambda p: p.grouped or p.model.experts >= 4),
    Rule("attn_v", "IQ2_M IQ2_S", "IQ3_S"),
    Rule("attn_v", "IQ2_XS IQ2_XXS IQ1_M IQ1_S", "Q2_K"),
    Rule("attn_k", " ".join(LOW_BIT), "Q4_K", lambda p: p.eight_experts),
    Rule("ffn_down", "IQ2_M IQ2_S", "IQ3_S", lambda p: p.first(8)),
    Rule("ffn_down", "IQ2_XS IQ2_XXS IQ1_M IQ1_S", "Q2_K", lambda p: p.first(8)),
    Rule("attn_output", " ".join(LOW_BIT), "Q5_K", lambda p: p.eight_experts),
    Rule("attn_output", "IQ2_M IQ2_S", "IQ3_S"),
    Rule("attn_output", "IQ1_M IQ1_S", "IQ2_XXS"),
    Rule("attn_v", " ".join(mix for mix in MIXES if mix not in LOW_BIT), "Q8_0", lambda p: p.eight_experts),
    Rule("attn_v", "IQ3_M", "Q5_K", lambda p: p.model.is_70b),
    Rule("attn_v", "IQ3_S IQ3_XS IQ3_XXS", "Q5_K", lambda p: p.model.is_70b and p.grouped),
    Rule("attn_v", "IQ3_M", "Q4_K"),
    Rule("attn_v", "IQ3_S IQ3_XS IQ3_XXS", "Q4_K", lambda p: p.grouped),
    Rule("attn_v", "IQ3_XXS", "IQ3_S", lambda p: not p.has_imatrix),
    Rule("attn_v", "Q2_K", "Q5_K", lambda p: p.model.is_70b),
    Rule("attn_v", "Q2_K_S", "Q5_K", lambda p: p.model.is_70b and p.grouped),
    Rule("attn_v", "Q2_K Q2_K_S", "Q4_K", lambda p: p.grouped),
    Rule("attn_v", "Q2_K", "Q3_K"),
    Rule("attn_v", "Q3_K_M", "Q5_K", lambda p: p.index < 2 or p.model.is_70b),
    Rule("attn_v", "Q3_K_M", "Q4_K"),
    Rule("attn_v", "Q3_K_L", "Q5_K"),
    Rule("attn_v", "IQ4_NL IQ4_XS", "Q5_K", lambda p: p.grouped),
    Rule("attn_v", "Q4_K_M Q5_K_M", "Q6_K", lambda p: p.more_bits),
    Rule("attn_v", "Q4_K_S", "Q5_K", lambda p: p.index < 4),
    Rule("attn_v", "Q3_K_S Q4_K_S Q4_K_M", "Q5_K", lambda p: p.model.is_70b),
    Rule("attn_k", " ".join(MIXES), "Q8_0", lambda p: p.eight_experts),
    Rule("attn_k", "IQ3_XS", "IQ3_XXS"),
    Rule("attn_k", "IQ3_XXS", "IQ2_S"),
    Rule("attn_q", "IQ3_XS", "IQ3_XXS"),
    Rule("attn_q", "IQ3_XXS", "IQ2_S"),
    Rule("ffn_gate", "IQ3_XS", "IQ3_XXS", lambda p: p.middle),
    Rule("ffn_up", "IQ3_XS", "IQ3_XXS", lambda p: p.middle),
    Rule("ffn_down", "IQ3_XXS", "Q4_K", lambda p: p.first(8) and not p.has_imatrix),
    Rule("ffn_down", "IQ3_XXS", "Q3_K", lambda p: not p.has_imatrix),
    Rule("ffn_down", "IQ3_M", "Q4_K", lambda p: p.first(8) or (p.eight_experts and p.more_bits)),
    Rule("ffn_down", "Q2_K", "Q3_K"),
    Rule("ffn_down", "Q2_K_S", "Q4_K", lambda p: p.first(8)),
    Rule("ffn_down", "Q3_K_M", "Q5_K", lambda p: p.first(16)),
    Rule("ffn_down", "Q3_K_M", "Q4_K", lambda p: not p.falcon or p.more_bits),
    Rule("ffn_down", "Q3_K_L", "Q4_K", lambda p: p.falcon),
    Rule("ffn_down", "Q3_K_L", "Q5_K"),
    Rule("ffn_down", "Q4_K_M", "Q6_K", lambda p: p.first(16) if p.falcon else p.more_bits),
    Rule("ffn_down", "Q4_K_M", "Q5_K", lambda p: p.falcon and p.more_bits),
    Rule("ffn_down", "IQ4_NL IQ4_XS", "Q5_K", lambda p: p.first(8) and not p.has_imatrix),
    Rule("ffn_down", "Q5_K_M", "Q6_K", lambda p: p.more_bits),
    Rule("ffn_down", "Q4_K_S", "Q5_K", lambda p: p.first(8) and not p.falcon),
    Rule("ffn_down", "Q4_0", "Q4_1", lambda p: p.first(8) and p.has_imatrix),
    Rule("ffn_down", "Q5_0", "Q5_1", lambda p: p.first(8) and p.has_imatrix),
    Rule("attn_output", "Q3_K_L", "Q4_K", lambda p: p.falcon),
    Rule(
        "attn_output",
        "Q2_K IQ3_XXS IQ3_XS IQ3_S IQ3_M Q3_K_S Q3_K_M IQ4_NL IQ4_XS Q4_K_S Q4_K_M",
        "Q5_K",
        lambda p: p.eight_experts and not p.falcon,
    ),
    Rule("attn_output", "Q2_K", "Q3_K", lambda p: not p.eight_experts and not p.falcon),
    Rule("attn_output", "IQ3_XXS", "IQ3_S", lambda p: not p.eight_experts and not p.falcon),
    Rule("attn_output", "Q3_K_M IQ3_M", "Q4_K", lambda p: not p.eight_experts and not p.falcon),
    Rule("attn_output", "Q3_K_L", "Q5_K", lambda p: not p.eight_experts and not p.falcon),
)


class TensorSpec(NamedTuple):
    """Name, shape in NumPy's order, and the format that the tensor is stored in now."""

    name: str
    shape: tuple[int, ...]
    format: type[Format]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A mix and a user's changes to it. `overrides`: (test of a name, format) pairs, the first that passes decides.

    `output` and `embeddings` are formats of these tensors, "" for the mix's choice; `pure` gives every matrix the mix's
    own format; `has_imatrix`: columns will be weighted by an importance matrix, which some rules depend on.
    """

    mix: str
    overrides: Sequence[tuple[Callable[[str], bool], str]] = ()
    output: str = ""
    embeddings: str = ""
    pure: bool = False
    has_imatrix: bool = False
    notes: list[tuple[str, int, str, str]] = field(default_factory=list, compare=False)

    def formats(self, model: ModelTraits, tensors: Iterable[TensorSpec]) -> dict[str, type[Format]]:
        """The format of every tensor, by name. `notes` gains (name, row, wanted, got) where a row's length decided."""
        load_all()
        held = sorted(tensors, key=lambda t: _order(t.name))
        tied = all(t.name != "output.weight" for t in held)
        counts = {"attn_v": sum(role_of(t.name) == "attn_v" for t in held)}
        seen: dict[str, int] = {}
        chosen = {}
        for tensor in held:
            chosen[tensor.name] = tensor.format
            if self.mix != "COPY" and is_quantized(tensor):
                chosen[tensor.name] = BY_NAME[self._format(model, tensor, tied, counts, seen)]
        return chosen

    def own_option(self, name: str) -> str | None:
        """The format that `embeddings` or `output` gives the tensor of this name, which no override changes."""
        if self.embeddings and name in EMBEDDINGS:
            return self.embeddings
        return self.output if self.output and name == "output.weight" else None

    def needs_importance(self, name: str, format: type[Format]) -> bool:
        """Whether a tensor in this format is refused without an importance matrix, as llama-quantize does."""
        if name in EMBEDDINGS or name == "output.weight":
            return False
        return format.needs_importance or (self.mix == "Q2_K_S" and format.name == "Q2_K")

    def _format(
        self, model: ModelTraits, tensor: TensorSpec, tied: bool, counts: Mapping[str, int], seen: dict[str, int]
    ) -> str:
        name, role = tensor.name, role_of(tensor.name)
        usual, is_output = MIXES[self.mix], name == "output.weight" or (tied and name in EMBEDDINGS)
        if (own := self.own_option(name)) is not None:
            return self._fitting(tensor, own)
        manual = next((format for fits, format in self.overrides if fits(name)), None)
        manual = manual or (self.output if is_output else None)
        if manual or self.pure or usual in FLOATS:
            return self._fitting(tensor, manual or usual)
        if is_output:
            return self._fitting(tensor, self._output(model, tensor, usual))
        if self.mix == "MXFP4_MOE":
            return self._fitting(tensor, "MXFP4" if len(tensor.shape) > 2 and tensor.shape[-3] > 1 else "Q8_0")
        if name in EMBEDDINGS:
            return self._fitting(tensor, OF_EMBEDDINGS.get(self.mix, usual))
        index = seen.get(role, 0)
        seen[role] = index + 1
        if role.startswith("ffn") and model.experts > 1 and self.mix not in LOW_BIT:
            index = _order(name)[0]  # experts of a layer may be many tensors
        context = TensorContext(model, index, counts.get(role, model.layers), self.has_imatrix)
        format = usual
        for rule in RULES:
            if rule.role == role and self.mix in rule.mixes.split() and rule.when(context):
                format = rule.format
                break
        return self._fitting(tensor, format)

    def _output(self, model: ModelTraits, tensor: TensorSpec, usual: str) -> str:
        """The format of the output matrix: at least five bits, since its errors go straight into the logits."""
        cut = tensor.shape[-1] % BY_NAME[usual].block != 0
        if self.mix in ("MXFP4_MOE", "Q8_0") or model.architecture == "falcon" or cut:
            return "Q8_0"
        return "Q5_K" if self.mix in (*LOW_BIT, "IQ3_XXS") else "Q6_K"

    def _fitting(self, tensor: TensorSpec, format: str) -> str:
        """`format`, or its fallback where its block does not divide a row."""
        found, k = format, tensor.shape[-1]
        if k % BY_NAME[found].block:
            found = FALLBACK.get(found, "F16")
        if k % BY_NAME[found].block:
            found = "F16"
        if found != format:
            self.notes.append((tensor.name, k, format, found))
        return found


def is_quantized(tensor: TensorSpec) -> bool:
    """Whether mixes apply to this tensor: the weights of a matrix product (one matrix or a stack)."""
    name = tensor.name
    return (
        any(n > 1 for n in tensor.shape[:-1])
        and name.endswith("weight")
        and name not in KEPT_NAMES
        and not any(part in name for part in KEPT_PARTS)
    )


def role_of(name: str) -> str:
    """The role that rules give a tensor of this name, "" for none."""
    return next((role for part, role in ROLES if part in name), "")


def _order(name: str) -> tuple[int, str]:
    """Sort key: tensors outside the layers first, then layer by layer."""
    found = re.match(r"blk\.(\d{1,9})\.", name)
    return (int(found[1]) if found else -1), name
