"""Vocabularies of folders: real ones come back as they are in GGUF, pre-tokenizers are told by what they cut."""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from importlib import import_module
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

import pytest
from hf_folders import LLAMA3, added_token, message, varint, write_bpe, write_json, write_spm
from vocabularies import real

from llmlocal.convert.pretokenizer_names import STAGES, pretokenizer_name, stages_of
from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder
from llmlocal.tokenizer import load
from llmlocal.tokenizer.bpe import BYTES_OF
from llmlocal.tokenizer.pretokenizers import BY_NAME
from llmlocal.tokenizer.splitter import Splitter

sys.path.append(str(Path(__file__).parents[1] / "tools"))
random_text = import_module("tokenizer_texts").random_text
PREFIX = "tokenizer.ggml."
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


def vocabulary(folder: Path) -> dict[str, Any]:
    """The keys, without types."""
    keys = read_vocabulary(Settings(Folder(folder), {}))
    return {key: value[1] if isinstance(value, tuple) else value for key, value in keys.items()}


def plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


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


def test_unigram(tmp_path: Path) -> None:
    """A Unigram vocabulary is no BPE: its tokens are chosen by the sum of scores."""
    write_spm(tmp_path, kind=1, dummy_prefix=False)
    write_json(tmp_path / "config.json", {})
    keys = vocabulary(tmp_path)
    assert keys[PREFIX + "model"] == "t5" and keys[PREFIX + "add_space_prefix"] is False
    pieces = [[text, -float(i)] for i, text in enumerate(("<unk>", "▁", "a", "b", "▁ab"))]
    (tmp_path / "tokenizer.model").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": pieces}
    write_json(tmp_path / "tokenizer.json", {"pre_tokenizer": metaspace, "model": unigram})
    write_json(tmp_path / "config.json", {"vocab_size": 7, "eos_token_id": 0, "unk_token_id": 0, "pad_token_id": 0})
    keys = vocabulary(tmp_path)
    assert keys[PREFIX + "tokens"] == ["<unk>", "▁", "a", "b", "▁ab", "[PAD5]", "[PAD6]"]
    assert keys[PREFIX + "token_type"] == [2, 1, 1, 1, 1, 5, 5] and keys[PREFIX + "add_space_prefix"] is True


def unigram(folder: Path, normalizers: list[Any], pretokenizers: list[Any], **config: Any) -> Settings:
    """A folder with a Unigram vocabulary whose texts are prepared by these steps."""
    pieces = [[text, -float(i)] for i, text in enumerate(("<unk>", "▁", "e", "é", "t"))]
    content: dict[str, Any] = {"model": {"type": "Unigram", "unk_id": 0, "vocab": pieces}}
    for name, kind, parts in (
        ("normalizer", "normalizers", normalizers),
        ("pre_tokenizer", "pretokenizers", [*pretokenizers, {"type": "Metaspace", "prepend_scheme": "always"}]),
    ):
        content[name] = {"type": "Sequence", kind: parts}
    write_json(folder / "tokenizer.json", content)
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "config.json", {"eos_token_id": 0, "unk_token_id": 0, "pad_token_id": 0})
    return Settings(Folder(folder), {})


def test_unigram_composes_characters_where_the_folder_says_so(tmp_path: Path) -> None:
    """NFC as DeBERTa v2 has it; transformers 5.24 gives the same ids."""
    for normalizers, want in (([{"type": "NFC"}], [1, 4, 3, 4]), ([], [1, 4, 2, 0, 4])):
        keys = read_vocabulary(unigram(tmp_path, normalizers, []))
        tokenizer = load({key: value[1] if isinstance(value, tuple) else value for key, value in keys.items()})
        assert tokenizer.encode("te\u0301t", add_special=False) == want


@pytest.mark.parametrize(
    ("normalizers", "pretokenizers", "config", "words"),
    [
        ([{"type": "NFKC"}], [], {}, "the step 'NFKC' is not supported"),
        ([{"type": "NFKD"}], [], {}, "the step 'NFKD' is not supported"),
        ([{"type": "Replace", "pattern": {"String": "x"}, "content": "y"}], [], {}, "the step 'Replace'"),
        ([], [{"type": "Punctuation", "behavior": "Isolated"}], {}, "the step 'Punctuation'"),
        ([{"type": "Lowercase"}, {"typo": 1}], [], {}, "the step 'None'"),
        ([], [], {"split_by_punct": True}, "split_by_punct is not supported"),
    ],
)
def test_steps_before_a_unigram_vocabulary_are_obeyed_or_refused(
    normalizers: list[Any], pretokenizers: list[Any], config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadFileError, match=words):
        read_vocabulary(unigram(tmp_path, normalizers, pretokenizers, **config))


@pytest.mark.parametrize("score", ["1e400", "1" + "0" * 400, '"1"', "null"])
def test_scores_that_no_float_holds(score: str, tmp_path: Path) -> None:
    s = unigram(tmp_path, [], [])
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("-2.0", score), encoding="utf-8")
    with pytest.raises(BadFileError, match="entry 2 of the vocabulary is not a text with a score"):
        read_vocabulary(s)


def test_lower_case_that_the_tokenizer_lacks_is_named(tmp_path: Path) -> None:
    s = unigram(tmp_path, [{"type": "Strip", "strip_left": False, "strip_right": True}], [], do_lower_case=True)
    read_vocabulary(s)
    assert len(s.notes) == 1 and "do_lower_case" in s.notes[0]


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


def test_the_vocabulary_file_of_plamo(tmp_path: Path) -> None:
    """Control tokens of the form <|plamo:...|> have the type NORMAL in the file; ids behind its lines are unused."""
    types = [("<|plamo:unk|>", "UNKNOWN"), ("<|plamo:bos|>", "CONTROL"), ("<|plamo:eos|>", "NORMAL")]
    types += [
        ("<|plamo:pad|>", "CONTROL"),
        ("<|plamo:op|>", "NORMAL"),
        ("ab", "NORMAL"),
        ("a", "NORMAL"),
        ("b", "NORMAL"),
    ]
    types += [(f"<0x{byte:02X}>", "BYTE") for byte in range(256)]
    lines = [json.dumps([text, -float(i), kind, None]) for i, (text, kind) in enumerate(types)]
    file = tmp_path / "tokenizer.jsonl"
    file.write_text("\n".join(lines) + "\n")
    write_json(tmp_path / "config.json", {"vocab_size": 266})
    names = {f"{kind}_token": f"<|plamo:{kind}|>" for kind in ("bos", "eos", "pad", "unk")}
    write_json(tmp_path / "tokenizer_config.json", names)
    keys = vocabulary(tmp_path)
    assert keys[f"{PREFIX}token_type"] == [2, 3, 3, 3, 3, 1, 1, 1] + [6] * 256 + [5, 5]
    assert keys[f"{PREFIX}tokens"][-2:] == ["[PAD1]", "[PAD2]"] and keys[f"{PREFIX}scores"][-3:] == [-263, -1000, -1000]
    ids = ("bos", "eos", "padding", "unknown", "eot")
    assert [keys[f"{PREFIX}{kind}_token_id"] for kind in ids] == [1, 2, 3, 0, 4]
    assert load(keys).encode("abaé", add_special=False) == [5, 6, 8 + 0xC3, 8 + 0xA9]
    for line in ('["a"]', "{}", '["a", "b"]', '["a", NaN]', "[1, 2]", "["):
        file.write_text(f"{lines[0]}\n{line}\n")
        with pytest.raises(BadFileError, match=r"line 2: .* is not a token"):
            read_vocabulary(Settings(Folder(tmp_path), {}))


def test_the_vocabulary_file_of_rwkv(tmp_path: Path) -> None:
    words = [*(bytes([byte]) for byte in range(256)), b"\n\n", "日本".encode(), b"it's", b"\\x", b"'\"", b"\xe6\x97"]
    spelled = [
        repr(word.decode()) if word.isascii() or (word[0] == 0xE6 and len(word) > 2) else repr(word) for word in words
    ]
    lines = [f"{i} {text} {len(word)}" for i, (word, text) in enumerate(zip(words, spelled, strict=True), 1)]
    file = tmp_path / "rwkv_vocab_v20230424.txt"
    file.write_text("\n".join(lines) + "\n")
    write_json(tmp_path / "config.json", {"vocab_size": 270, "bos_token_id": 1, "eos_token_id": 2})
    keys = vocabulary(tmp_path)
    assert keys[f"{PREFIX}token_type"] == [3] + [1] * len(words) + [5] * (269 - len(words))
    assert [keys[f"{PREFIX}{kind}_token_id"] for kind in ("bos", "eos", "eot")] == [0, 0, 257]
    tokenizer = load(keys)
    for id, word in enumerate(words, 1):
        assert tokenizer.encode(word, add_special=False) == [id] and tokenizer.piece(id) == word
    for line in (
        "7 'a' 2",
        "x 'a' 1",
        "7 a 1",
        "7 'a'+('b') 1",
        "7 b'\\ud800' 1",
        "7 '\\ud800' 3",
        "7 'a",
        f"{1 << 28} 'a' 1",
    ):
        file.write_text(f"{lines[0]}\n{line}\n")
        with pytest.raises(BadFileError, match=r"line 2: .* is not a token|vocab_size"):
            read_vocabulary(Settings(Folder(tmp_path), {}))


def write_ranks(folder: Path, tokens: list[bytes]) -> None:
    lines = [f"{b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]
    (folder / "tiktoken.model").write_text("\n".join(lines) + "\n")
    named = ["tokenization_kimi.TikTokenTokenizer", None]
    added = {"6001": {"content": "[EOS]", "special": True}, "6003": {"content": "<|im_end|>", "special": True}}
    config = {"auto_map": {"AutoTokenizer": named}, "added_tokens_decoder": added, "eos_token": "[EOS]"}
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "config.json", {"vocab_size": 6300})


def test_ranks_of_tiktoken(tmp_path: Path) -> None:
    """Qwen's merges were made of such a file: its first ranks give the first of them."""
    with open_gguf(real("vocab/ggml-vocab-qwen2.gguf")) as gguf:
        spelled = list(gguf.metadata[f"{PREFIX}tokens"])[:6000]
        merges = list(gguf.metadata[f"{PREFIX}merges"])[: 6000 - 256]
    write_ranks(tmp_path, [b"".join(BYTES_OF[sign] for sign in text) for text in spelled])
    keys = vocabulary(tmp_path)
    assert keys[f"{PREFIX}pre"] == "kimi-k2" and keys[f"{PREFIX}merges"] == merges
    reserved = {6001: "[EOS]", 6003: "<|im_end|>"}
    special = [reserved.get(id, f"<|reserved_token_{id}|>") for id in range(6000, 6256)]
    assert keys[f"{PREFIX}tokens"] == [*spelled, *special, *(f"[PAD{id}]" for id in range(6256, 6300))]
    assert keys[f"{PREFIX}token_type"] == [1] * 6000 + [3] * 256 + [5] * 44
    assert keys[f"{PREFIX}eos_token_id"] == 6001 and load(keys).stop_ids == {6001, 6003}


@pytest.mark.parametrize("line", ["!!! 3", "YQ==", "YQ== x", "YQ== 7", "Yg== 0"])
def test_wrong_ranks_are_refused(line: str, tmp_path: Path) -> None:
    write_ranks(tmp_path, [b"a"])
    file = tmp_path / "tiktoken.model"
    file.write_text(file.read_text() + line)
    with pytest.raises(BadFileError, match=r"line 2: .* is not a token|ranks are not 0"):
        vocabulary(tmp_path)


def test_ranks_of_an_unknown_tokenizer_are_refused(tmp_path: Path) -> None:
    write_ranks(tmp_path, [b"a"])
    write_json(tmp_path / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["other.Tokenizer", 3]}})
    with pytest.raises(BadFileError, match="class is not known") as error:
        vocabulary(tmp_path)
    assert "tokenizer.json" in error.value.hint
