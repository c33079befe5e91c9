"""The format of every tensor against llama.cpp's choice, and what users change of it."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from recipe_models import MODELS, Small

from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.recipes import MIXES, ModelTraits, Recipe, TensorSpec, is_quantized

load_all()
NOT_ASKED = {"COPY+imatrix", "Q2_0+imatrix"}
GOLDENS = json.loads(lzma.decompress((Path(__file__).parent / "golden/recipes.json.xz").read_bytes()))


def specs(model: Small) -> list[TensorSpec]:
    return [
        TensorSpec(name, shape, BY_NAME["F16" if len(shape) > 1 else "F32"]) for name, shape in model.tensors().items()
    ]


def traits(model: Small) -> ModelTraits:
    return ModelTraits(model.architecture, model.layers, model.experts, model.heads // model.kv)


def chosen(model: Small, recipe: Recipe) -> dict[str, str]:
    return {name: format.name for name, format in recipe.formats(traits(model), specs(model)).items()}


@pytest.mark.parametrize("important", [False, True], ids=["plain", "imatrix"])
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_gets_llama_cpps_format(name: str, important: bool) -> None:
    for mix in MIXES:
        if mix != "COPY":
            check_formats(name, mix, important)


def check_formats(name: str, mix: str, important: bool) -> None:
    """The formats of a model's tensors in a mix are those of the golden."""
    golden = GOLDENS[name].get(mix + "+imatrix" * important)
    if mix == "Q2_0":  # its rules are TQ2_0's, for rows of whole blocks; the tool's reader does not have the type yet
        golden, shapes = GOLDENS[name]["TQ2_0" + "+imatrix" * important], MODELS[name].tensors()
        golden = {t: k.replace("TQ2_0", "Q2_0") for t, k in golden.items() if shapes[t][-1] % 256 == 0}
    if golden is None:
        assert not important, mix
    recipe = Recipe(mix, has_imatrix=important)
    got = chosen(MODELS[name], recipe)
    if not important:  # llama.cpp refuses what needs an importance matrix
        missed = any(recipe.needs_importance(tensor, BY_NAME[kind]) for tensor, kind in got.items())
        assert missed == (golden is None), mix
    if golden is None:
        return
    wrong = {tensor: (got[tensor], kind) for tensor, kind in golden.items() if got[tensor] != kind}
    assert not wrong, mix


def test_goldens_have_every_model_and_mix() -> None:
    assert set(GOLDENS) == set(MODELS)
    assert all(len(mixes) >= len(MIXES) - 2 for mixes in GOLDENS.values())
    assert all({f"{mix}+imatrix" for mix in MIXES} - {*mixes} == NOT_ASKED for mixes in GOLDENS.values())


def test_the_order_of_tensors_does_not_matter() -> None:
    model = MODELS["mixtral"]
    tensors = specs(model)
    recipe = Recipe("Q4_K_M")
    assert recipe.formats(traits(model), tensors[::-1]) == recipe.formats(traits(model), tensors)


def test_copy_changes_nothing() -> None:
    got = chosen(MODELS["llama"], Recipe("COPY"))
    assert set(got.values()) == {"F16", "F32"}


def test_pure_gives_every_matrix_the_same() -> None:
    model = MODELS["llama"]
    got = chosen(model, Recipe("Q4_K_M", pure=True))
    assert {got[t.name] for t in specs(model) if is_quantized(t)} == {"Q4_K"}


def test_overrides_go_first_and_the_first_of_them_wins() -> None:
    recipe = Recipe("Q4_K_M", [(lambda name: "ffn_down" in name, "Q8_0"), (lambda name: True, "Q5_K")])
    got = chosen(MODELS["llama"], recipe)
    assert got["blk.3.ffn_down.weight"] == "Q8_0" and got["blk.3.attn_q.weight"] == got["output.weight"] == "Q5_K"


def test_output_and_embeddings_can_be_chosen() -> None:
    got = chosen(MODELS["llama"], Recipe("Q4_K_M", output="F16", embeddings="Q8_0"))
    assert (got["output.weight"], got["token_embd.weight"]) == ("F16", "Q8_0")
    assert chosen(MODELS["llama-tied"], Recipe("Q4_K_M", output="Q8_0"))["token_embd.weight"] == "Q8_0"


def test_rows_that_fit_no_block_are_told() -> None:
    recipe = Recipe("Q4_K_M")
    chosen(MODELS["llama-odd"], recipe)
    assert ("blk.0.attn_q.weight", 96, "Q4_K", "Q5_0") in recipe.notes
    assert ("blk.0.ffn_down.weight", 172, "Q6_K", "F16") in recipe.notes
