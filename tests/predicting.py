"""Tiny models with a block that predicts further tokens (MTP), in folders as they are published, and converted."""

from __future__ import annotations

import json
import re
from pathlib import Path

from families import golden, settings, write_weights
from families.converted import write_tokenizer

from llmlocal.quantize.convert import convert_model

CASES = ("qwen35", "qwen35moe", "qwen3next", "glm4moe", "deepseek2-v3")
CASES += ("ernie4_5-moe", "exaone-moe", "bailingmoe2", "step35", "mimo2", "nemotron_h_moe", "hy_v3")
APART = ("qwen35", "qwen35moe", "qwen3next", "exaone-moe")  # whose block has a part of its own in the folder
PROJECTIONS = ("eh_proj.weight", "mtp.fc.weight", "linear_proj.0.weight")
BLOCKS = {"mimo2": "model.mtp.layers.0.", "ernie4_5-moe": "model.mtp_block.0."}
NO_NORM = ("step35",)  # whose block reads what the model made before its last norm
DENSE = {"ernie4_5-moe": 0, "exaone-moe": 0, "mimo2": 0}  # the block has no experts, as this one of the others
# What else these blocks have in common with others than the last: the attention of that with a window.
WINDOWED = {"mimo2": 1, "step35": 1}
WIDTH = 32
Shapes = dict[str, tuple[int, ...]]


def write_predicting(case: str, folder: Path, *, whole: bool = True) -> None:
    """The case's folder with such a block: what it has in common with the last one, and its own tensors.

    Unless `whole`, its projection is missing.
    """
    shapes = golden(case)[0]
    more = nemotron_block(shapes) if case == "nemotron_h_moe" else usual_block(case, shapes)
    if not whole:
        more = {name: shape for name, shape in more.items() if not name.endswith(PROJECTIONS)}
    asked = settings(case) | {"num_nextn_predict_layers": 1}
    if case == "step35":  # its lists have elements for the block
        asked["layer_types"].append("sliding_attention")
        asked["partial_rotary_factors"].append(1.0)
        asked["rope_theta"].append(100.0)
    (folder / "config.json").write_text(json.dumps(asked))
    write_weights(folder, case, shapes | more)
    write_tokenizer(folder)


def usual_block(case: str, shapes: Shapes) -> Shapes:
    """The tensors of a block that is like one of the others."""
    blocks = settings(case)["num_hidden_layers"]
    last = f"model.layers.{WINDOWED.get(case, blocks - 1)}."
    behind, vector = f"model.layers.{blocks}.", (WIDTH,)
    block = {"mimo2": "model.mtp.layers.0.", "ernie4_5-moe": "model.mtp_block.0."}.get(
        case, "mtp.layers.0." if case in APART else behind
    )
    more = {name.replace(last, block): shape for name, shape in shapes.items() if name.startswith(last)}
    if case in DENSE:
        mlp = f"model.layers.{DENSE[case]}.mlp."
        more = {name: shape for name, shape in more.items() if ".mlp." not in name}
        more |= {name.replace(mlp, f"{block}mlp."): shape for name, shape in shapes.items() if name.startswith(mlp)}
    if case in APART:
        own = {"pre_fc_norm_embedding": vector, "pre_fc_norm_hidden": vector, "norm": vector, "fc": (WIDTH, 2 * WIDTH)}
        return more | {f"mtp.{name}.weight": shape for name, shape in own.items()}
    own = {"enorm": vector, "hnorm": vector, "eh_proj": (WIDTH, 2 * WIDTH)}
    if case == "ernie4_5-moe":
        named = {"enorm": "emb_norm", "hnorm": "hidden_norm", "eh_proj": "linear_proj"}
        return more | {f"model.mtp_{named[name]}.0.weight": shape for name, shape in own.items()}
    if case in ("mimo2", "bailingmoe2", "hy_v3"):
        own |= {"final_layernorm": vector}
    else:
        own |= {"shared_head.norm": vector} | dict.fromkeys(
            ("shared_head.head", "embed_tokens"), shapes["lm_head.weight"]
        )
    if case == "mimo2":
        more = {name.replace("post_attention_layernorm", "pre_mlp_layernorm"): shape for name, shape in more.items()}
    return more | {f"{block}{name}.weight": shape for name, shape in own.items()}


def nemotron_block(shapes: Shapes) -> Shapes:
    """The tensors of a block of two layers: the attention of block 4, and the experts of block 3."""
    vector, more = (WIDTH,), {}
    for i, block in enumerate((4, 3)):
        old = re.compile(rf"^(model|backbone)\.layers\.{block}\.")
        more |= {old.sub(f"mtp.layers.{i}.", name): shape for name, shape in shapes.items() if old.match(name)}
    more |= {f"mtp.layers.0.{name}.weight": vector for name in ("enorm", "hnorm")}
    return more | {"mtp.layers.0.eh_proj.weight": (WIDTH, 2 * WIDTH), "mtp.layers.1.final_layernorm.weight": vector}


def convert_predicting(case: str, folder: Path, form: str = "F32") -> Path:
    """The case's folder, converted."""
    write_predicting(case, folder)
    return convert_model(folder, folder / "m.gguf", form).path
