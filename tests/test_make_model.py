"""Models with random weights: legal files, complete metadata, copied vocabularies, the same bytes every time."""

from __future__ import annotations

import math
import sys
from importlib import import_module
from pathlib import Path

import gguf
import numpy as np
import pytest

from llmlocal.engine import Engine
from llmlocal.gguf.reader import open_gguf
from llmlocal.gguf.values import ValueType

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
llama31_factors = import_module("model_tensors").llama31_factors
TINY = sorted(name for name in make_model.SHAPES if name.startswith("tiny-"))
VARIED = {"granitehybrid", "gemma4"}  # not every block has all tensors of the architecture


@pytest.mark.parametrize("name", [name for name in TINY if make_model.SHAPES[name].architecture not in VARIED])
def test_file_is_what_the_reference_reader_expects(name: str, tmp_path: Path) -> None:
    make_model.make_model(name, tmp_path / "m.gguf")
    reader, s = gguf.GGUFReader(tmp_path / "m.gguf"), make_model.SHAPES[name]
    field = {key: f.contents() for key, f in reader.fields.items()}
    a = field["general.architecture"]
    assert (a, field["general.file_type"]) == (s.architecture, gguf.LlamaFileType.MOSTLY_F16)
    assert field[f"{a}.attention.head_count_kv"] == s.kv_heads
    assert field[f"{a}.rope.freq_base"] == s.theta
    assert reader.fields[f"{a}.rope.freq_base"].types == [gguf.GGUFValueType.FLOAT32]
    assert reader.fields[f"{a}.block_count"].types == [gguf.GGUFValueType.UINT32]
    expected = {
        pattern.format(bid=i) + ".weight"
        for i in range(s.layers)
        for kind in gguf.MODEL_TENSORS[gguf.MODEL_ARCH[a.upper()]]
        if "{bid}" in (pattern := gguf.TENSOR_NAMES[kind])
        and "rot" not in pattern
        and ("exp" in pattern) <= bool(s.experts)
    }
    names = {t.name: t for t in reader.tensors}
    assert {n for n in names if n.startswith("blk.")} == {n for n in expected if s.experts or "inp" not in n}
    assert list(names["token_embd.weight"].shape) == [s.width, field[f"{a}.vocab_size"]]
    assert len(field["tokenizer.ggml.tokens"]) == field[f"{a}.vocab_size"]


@pytest.mark.parametrize("name", TINY)
def test_a_model_is_built_from_all_that_is_in_the_file(name: str, tmp_path: Path) -> None:
    make_model.make_model(name, path := tmp_path / "m.gguf")
    engine = Engine.open(path, load=False)
    assert set(engine.weights.used) == set(engine.gguf.tensors)
    engine.close()


def test_weights_have_the_promised_spread(tmp_path: Path) -> None:
    make_model.make_model("tiny-llama", tmp_path / "m.gguf")
    with open_gguf(tmp_path / "m.gguf") as file:
        up = file.tensors["blk.0.ffn_up.weight"].dequantize()
        norm = file.tensors["blk.1.attn_norm.weight"].dequantize()
    assert up.std() == pytest.approx(1 / math.sqrt(64), rel=0.05)
    assert norm.mean() == pytest.approx(1, abs=0.1)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_model.make_model("tiny-llama", tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and a != c and len(a) < 1_000_000


def test_vocabulary_is_copied_with_its_types_and_decides_the_embedding(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "vocab.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token{i}" for i in range(77)])
    writer.add_token_types([1] * 77)
    writer.add_token_scores([0.5] * 77)
    writer.add_bos_token_id(5)
    writer.add_uint64("tokenizer.odd", 6)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    vocabulary = make_model.copied_vocabulary(tmp_path / "vocab.gguf")
    make_model.make_model("tiny-llama", tmp_path / "m.gguf", vocabulary, "Q8_0")
    source, copy = (gguf.GGUFReader(tmp_path / name) for name in ("vocab.gguf", "m.gguf"))
    keys = [key for key in source.fields if key.startswith("tokenizer.")]
    assert keys == [key for key in copy.fields if key.startswith("tokenizer.")]
    for key in keys:
        assert copy.fields[key].types == source.fields[key].types
        assert copy.fields[key].contents() == source.fields[key].contents()
    assert copy.fields["llama.vocab_size"].contents() == 77
    assert next(list(t.shape) for t in copy.tensors if t.name == "token_embd.weight") == [64, 77]


def test_format_that_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a multiple of 256"):
        make_model.make_model("tiny-llama", tmp_path / "m.gguf", form="Q6_K")
    assert not list(tmp_path.iterdir())


def test_own_vocabulary_can_build_every_word() -> None:
    """SentencePiece joins two pieces at a time, so each word's beginnings must be pieces too."""
    tokens = make_model.own_vocabulary()["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) and tokens[259:]
    pieces = set(tokens)
    assert all(piece[:-1] in pieces and piece[-1] in pieces for piece in tokens[259:] if len(piece) > 1)


def test_rope_factors_are_llama_31s() -> None:
    s = make_model.SHAPES["llama-1b"]
    factors = llama31_factors(s)
    assert factors.dtype == np.float32 and factors.shape == (32,)
    for i, factor in enumerate(factors):
        wave = 2 * math.pi * s.theta ** (2 * i / s.head)
        if wave < 8192 / 4:
            assert factor == 1
        elif wave > 8192:
            assert factor == 32
        else:
            share = (8192 / wave - 1) / 3
            assert factor == pytest.approx(1 / ((1 - share) / 32 + share), rel=1e-6)


def test_a_vocabulary_can_be_made_larger(tmp_path: Path) -> None:
    kind, words = ValueType, [f"w{n}" for n in range(1010)]
    small = {"tokenizer.ggml.tokens": (kind.ARRAY, words), "tokenizer.ggml.token_type": (kind.ARRAY, [1] * 1010)}
    large = make_model.enlarged(small, 1030)
    tokens = large["tokenizer.ggml.tokens"]
    assert tokens[:1010] == words and len(set(tokens)) == 1030 == len(large["tokenizer.ggml.token_type"][1])
    make_model.make_model("tiny-llama", tmp_path / "m.gguf", {"tokenizer.ggml.model": "gpt2", **large})
    assert open_gguf(tmp_path / "m.gguf").tensors["token_embd.weight"].shape[0] == 1030
