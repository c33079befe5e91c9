"""Vocabularies of folders: real ones come back as they are in GGUF; pre-tokenizers, special tokens, ends, templates."""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from random import Random
from struct import pack

import pytest
from folder_vocabularies import PREFIX, plain, vocabulary
from hf_folders import LLAMA3, added_token, message, varint, write_bpe, write_json, write_spm
from vocabularies import real

from llmlocal.convert.pretokenizer_names import STAGES, pretokenizer_name, stages_of
from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder
from llmlocal.tokenizer import load
from llmlocal.tokenizer.pretokenizers import BY_NAME
from llmlocal.tokenizer.splitter import Splitter

sys.path.append(str(Path(__file__).parents[1] / "tools"))
random_text = import_module("tokenizer_texts").random_text
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
QWEN2 = LLAMA3.replace("{1,3}", "")
DIGITS = {"type": "Digits", "individual_digits": True}
# Real vocabularies: what stands in their tokenizer.json, and the name that GGUF files give it.
REAL = {
    "gpt-2": ([BYTES | {"use_regex": True}], "gpt-2"),
    "llama-bpe": ([SPLIT | {"pattern": {"Regex": LLAMA3}}, BYTES], "llama-bpe"),
    "qwen2": ([SPLIT | {"pattern": {"Regex": QWEN2}}, BYTES], "qwen2"),
    "deepseek-llm": (
        [
            *(
                SPLIT | {"pattern": {"Regex": r}}
                for r in next(s for s, n in STAGES.items() if n == "deepseek-llm")[:-1]
            ),
            DIGITS,
            BYTES,
        ],
        "deepseek-llm",
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_byte_level(name: str, tmp_path: Path) -> None:
    """tokenizer.json made of a GGUF vocabulary gives that vocabulary again."""
    stages, pre = REAL[name]
    with open_gguf(real(f"vocab/ggml-vocab-{name}.gguf")) as gguf:
        held = {key: plain(value) for key, value in gguf.metadata.items() if key.startswith("tokenizer.")}
    tokens, types = held[PREFIX + "tokens"], held[PREFIX + "token_type"]
    model = {
        "type": "BPE",
        "ignore_merges": name == "llama-bpe",
        "vocab": {text: i for i, text in enumerate(tokens) if types[i] == 1},
        "merges": held[PREFIX + "merges"],
    }
    added = [added_token(i, t, special=types[i] == 3) for i, t in enumerate(tokens) if types[i] not in (1, 5)]
    pre_tokenizer = {"type": "Sequence", "pretokenizers": stages}
    write_json(tmp_path / "tokenizer.json", {"added_tokens": added, "pre_tokenizer": pre_tokenizer, "model": model})
    write_json(tmp_path / "config.json", {"vocab_size": len(tokens)})
    ours = vocabulary(tmp_path)
    assert ours[PREFIX + "pre"] == pre == held.get(PREFIX + "pre", pre)
    for key in ("model", "tokens", "token_type", "merges"):
        assert ours[PREFIX + key] == held[PREFIX + key], key


@pytest.mark.parametrize("name", ["llama-spm", "phi-3"])
def test_real_sentencepiece(name: str, tmp_path: Path) -> None:
    """tokenizer.model made of a GGUF vocabulary gives that vocabulary again, scores to the last bit."""
    with open_gguf(real(f"vocab/ggml-vocab-{name}.gguf")) as gguf:
        held = {key: plain(value) for key, value in gguf.metadata.items() if key.startswith("tokenizer.")}
    tokens, types, scores = (held[PREFIX + key] for key in ("tokens", "token_type", "scores"))
    rows = [(t, s, k if k in (1, 2, 6) else 1) for t, s, k in zip(tokens, scores, types, strict=True)]
    used = max(i for i, type in enumerate(types) if type in (1, 6)) + 1
    pieces = [message(1, t.encode()) + b"\x15" + pack("<f", s) + b"\x18" + varint(k) for t, s, k in rows[:used]]
    trainer = message(2, b"\x18" + varint(2))
    (tmp_path / "tokenizer.model").write_bytes(b"".join(message(1, piece) for piece in pieces) + trainer)
    added = {str(i): {"content": tokens[i], "special": type == 3} for i, type in enumerate(types) if type in (3, 4)}
    write_json(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": added})
    write_json(tmp_path / "config.json", {"vocab_size": len(tokens)})
    ours = vocabulary(tmp_path)
    assert ours[PREFIX + "model"] == "llama"
    assert ours[PREFIX + "tokens"] == tokens
    types = [5 if text.startswith("[PAD") else type for text, type in zip(tokens, types, strict=True)]  # or 2, once
    assert ours[PREFIX + "token_type"] == types
    assert all(ours[PREFIX + "scores"][i] == scores[i] for i, type in enumerate(types) if type not in (3, 4, 5))


def test_merges_tell_scores(tmp_path: Path) -> None:
    """SentencePiece's BPE from tokenizer.json spells as the same vocabulary from tokenizer.model does."""
    (tmp_path / "model").mkdir()
    (tmp_path / "json").mkdir()
    write_spm(tmp_path / "model")
    write_json(tmp_path / "model" / "config.json", {})
    held = vocabulary(tmp_path / "model")
    tokens, scores = held[PREFIX + "tokens"], held[PREFIX + "scores"]
    ids = {text: i for i, text in enumerate(tokens)}
    pairs = [(t[:i], t[i:]) for t in tokens[259:-3] for i in range(1, len(t)) if t[:i] in ids and t[i:] in ids]
    pairs.sort(key=lambda pair: -scores[ids[pair[0] + pair[1]]])
    normalizers = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    tokenizer = {
        "added_tokens": [added_token(i, tokens[i]) for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "model": {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "vocab": ids, "merges": pairs},
    }
    write_json(tmp_path / "json" / "tokenizer.json", tokenizer)
    write_json(tmp_path / "json" / "config.json", {"bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0})
    a, b = load(held), load(vocabulary(tmp_path / "json"))
    for number in range(300):
        text = random_text(Random(number))
        assert a.encode(text, parse_special=False) == b.encode(text, parse_special=False)


def test_sentencepieces_bpe_with_its_merges(tmp_path: Path) -> None:
    """Gemma 4: merges in order instead of scores, no space in front, and tags of tool calls that are text."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<|tool_call>", *(f"<0x{byte:02X}>" for byte in range(256))]
    merges = [("l", "l"), ("▁", "h"), ("▁h", "e"), ("ll", "o"), ("▁he", "llo")]
    tokens += [*"▁helo\n", *("".join(pair) for pair in merges)]
    ids = {text: id for id, text in enumerate(tokens)}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    model = {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "vocab": ids, "merges": merges}
    added = [added_token(id, tokens[id]) for id in range(5)]
    write_json(tmp_path / "tokenizer.json", {"added_tokens": added, "normalizer": replace, "model": model})
    write_json(tmp_path / "config.json", {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0})
    keys = read_vocabulary(Settings(Folder(tmp_path), {}), "gemma4")
    keys = {key: value[1] if isinstance(value, tuple) else value for key, value in keys.items()}
    assert (keys[PREFIX + "model"], keys[PREFIX + "add_space_prefix"]) == ("gemma4", False)
    assert keys[PREFIX + "merges"] == ["l l", "▁ h", "▁h e", "ll o", "▁he llo"]
    assert keys[PREFIX + "token_type"][:6] == [3, 3, 3, 3, 4, 6]
    got = load(keys).encode("hello hello\n€", parse_special=False)
    assert [tokens[id] for id in got] == ["<bos>", "h", "e", "llo", "▁hello", "\n", "<0xE2>", "<0x82>", "<0xAC>"]


def test_special_tokens(tmp_path: Path) -> None:
    """BOS by the post-processor, ids by name, names that look special, and ids that nobody has."""
    tokens = write_bpe(tmp_path)
    write_json(tmp_path / "config.json", {"vocab_size": tokens + 2, "pad_token_id": 5, "eos_token_id": [7, 8]})
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "chat_template.jinja").unlink()
    templates = [{"name": "default", "template": "A"}, {"name": "tool-use", "template": "B"}]
    decoder = {str(tokens): {"content": "<|new|>", "special": False}}
    write_json(
        tmp_path / "tokenizer_config.json", config | {"chat_template": templates, "added_tokens_decoder": decoder}
    )
    keys = vocabulary(tmp_path)
    first = tokens - 4
    assert keys[PREFIX + "bos_token_id"] == first and keys[PREFIX + "eos_token_id"] == first + 2
    assert keys[PREFIX + "padding_token_id"] == 5
    assert keys[PREFIX + "add_bos_token"] is True and keys[PREFIX + "add_eos_token"] is False
    assert keys[PREFIX + "tokens"][first:] == [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "<mark>",
        "<|new|>",
        f"[PAD{tokens + 1}]",
    ]
    assert keys[PREFIX + "token_type"][first:] == [3, 3, 3, 4, 3, 5]
    assert keys["tokenizer.chat_template"] == "A" and keys["tokenizer.chat_template.tool_use"] == "B"
    assert keys["tokenizer.chat_templates"] == ["tool_use"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (
            LLAMA3.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"),
            True,
        ),
        (LLAMA3.replace(r"[\r\n]", "[\r\n]").replace(r"\p{N}]?", r"\p{N}]?+"), True),
        (LLAMA3.replace("{1,3}", "{1,4}"), False),
    ],
)
def test_spellings(text: str, same: bool) -> None:
    tokenizer = {"pre_tokenizer": SPLIT | {"pattern": {"Regex": text}}, "model": {"ignore_merges": True}}
    if same:
        assert pretokenizer_name(tokenizer, where="here") == "llama-bpe"
    else:
        with pytest.raises(BadFileError, match=r"is not known"):
            pretokenizer_name(tokenizer, where="here")


def test_flags_choose_the_name() -> None:
    """The same cuts, but words that are tokens are merged or not; then the model's family."""

    def name(merges: bool, like: str = "") -> str:
        tokenizer = {"pre_tokenizer": SPLIT | {"pattern": {"Regex": LLAMA3}}, "model": {"ignore_merges": not merges}}
        return pretokenizer_name(tokenizer, where="here", like=like)

    assert (name(False), name(True)) == ("llama-bpe", "dbrx")
    assert (name(False, "glm4"), name(True, "smaug-bpe"), name(False, "dbrx")) == ("glm4", "smaug-bpe", "llama-bpe")


def test_table() -> None:
    """Every name is one of a pre-tokenizer, and no two lines say the same."""
    assert set(STAGES.values()) <= BY_NAME.keys()
    assert len(set(STAGES.values())) == len(STAGES)


# llama.cpp's own patterns, which these names stand for, cut some texts otherwise than the originals.
APPROXIMATED = {"gpt-4o", "tekken", "deepseek-coder"}  # not in ASCII
OTHERWISE = {"tiny_aya", "deepseek-llm", "falcon"}  # also there
# The library knows an older Unicode; and (?i:s) matches an s of old prints, but [sS] does not.
NEW = re.compile(
    "[\u017f\u1c89\u1c8a\ua7cb-\ua7dc\u088f\U00010000-\U0001cfff\U0001e000-\U0001efff\U0001fb00-\U000fffff]"
)


@pytest.mark.slow
@pytest.mark.parametrize("stages", STAGES, ids=STAGES.values())
def test_cuts_equal_tokenizers(stages: tuple[str, ...]) -> None:
    """The pattern as tokenizer.json has it, run by the library that defines it, cuts as our pre-tokenizer does."""
    tokenizers = pytest.importorskip("tokenizers")
    parts = []
    for stage in stages:
        if stage.startswith("punctuation"):
            parts.append(tokenizers.pre_tokenizers.Punctuation("contiguous"))
        else:
            parts.append(tokenizers.pre_tokenizers.Split(tokenizers.Regex(stage), "isolated"))
    sequence = tokenizers.pre_tokenizers.Sequence(parts)
    assert stages_of(json.loads(sequence.__getstate__())) == stages
    ours = Splitter(BY_NAME[STAGES[stages]].stages)
    for number in range(1000):
        text = NEW.sub("", random_text(Random(f"cuts {number}")))
        theirs, at = [], 0
        for _, (first, end) in sequence.pre_tokenize_str(text):
            assert first == at
            theirs.append(text[first:end])
            at = end
        if STAGES[stages] not in APPROXIMATED | OTHERWISE or (text.isascii() and STAGES[stages] in APPROXIMATED):
            assert ours.split(text) == theirs


def test_every_end_of_an_answer_is_kept(tmp_path: Path) -> None:
    """Ends of both configs: those known by their text need no key, two others have one, the rest is said."""
    size = write_bpe(tmp_path)
    tokens = json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"]
    known = next(token["id"] for token in tokens if token["content"] == "<|eot_id|>")
    eos = next(token["id"] for token in tokens if token["content"] == "<|end_of_text|>")
    write_json(tmp_path / "config.json", {"vocab_size": size, "eos_token_id": [eos, 40]})
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [known, 41]})
    keys = vocabulary(tmp_path)
    assert [keys[f"{PREFIX}{kind}_token_id"] for kind in ("eos", "eot", "eom")] == [known, 40, 41]
    assert load(keys).stop_ids >= {eos, known, 40, 41}
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [known, 41, {}, True, -1, 1 << 40, 42, 43]})
    s = Settings(Folder(tmp_path), {})
    read_vocabulary(s)
    for stale, kept in ((40, False), (tokens[0]["id"], True)):  # a single id that is an ordinary token is a leftover
        write_json(tmp_path / "config.json", {"vocab_size": size, "eos_token_id": stale})
        (tmp_path / "generation_config.json").unlink(missing_ok=True)
        assert (stale in load(vocabulary(tmp_path)).stop_ids) is kept
    assert len(s.notes) == 1 and "tokens 42, 43" in s.notes[0] and "--stop" in s.notes[0]


def test_the_template_of_its_own_file_wins(tmp_path: Path) -> None:
    """As in transformers, whatever tokenizer_config.json says, also as a list."""
    write_bpe(tmp_path)
    write_json(tmp_path / "config.json", {})
    (tmp_path / "chat_template.jinja").write_text("NEW", encoding="utf-8-sig")
    for old in ("OLD", [{"name": "default", "template": "OLD"}, {"name": "rag", "template": "RAG"}]):
        write_json(tmp_path / "tokenizer_config.json", {"chat_template": old})
        keys = vocabulary(tmp_path)
        assert {k: v for k, v in keys.items() if "chat_template" in k} == {"tokenizer.chat_template": "NEW"}
