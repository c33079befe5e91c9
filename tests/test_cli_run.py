"""`run` with templates, files and options."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from scripted import EOS, session, word
from terminals import PROGRAM

from llmlocal.generation.events import Finished

Said = Callable[..., tuple[int, str, str]]
CHAT = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}[answer:"
END = Finished("stop", 3, 0, 2, 0.1, 0.2, 0.3, 7)
OPTIONS = {
    "run": "--kv-type --file --system --raw --template --show-prompt --json --output --force --no-stdin",
    "show": "--kv --tensors --template --ctx --kv-type --json",
    "tokenize": "--ids --pieces --count --no-special --decode --no-stdin",
    "perplexity": "--ctx --chunks --threads --kv-type --json",
    "bench": "--prompt --gen --depth --threads --kv-type --repeats",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_options_are_in_the_help(said: Said, command: str) -> None:
    shown = set(said(command, "--help")[1].replace(",", " ").split())
    assert set(OPTIONS[command].split()) <= shown


def test_a_cache_that_the_model_cannot_have_is_refused(said: Said, story: Path) -> None:
    code, out, err = said("run", story, "a", "--kv-type", "q8_0", "--no-stdin")
    assert (code, out) == (2, "") and "a multiple of 32" in err and "--kv-type f16" in err


def test_template_of_the_file_is_used_without_a_word(said: Said, scripted: Any) -> None:
    engine = scripted(word("▁a"), EOS, template=CHAT)
    assert said("run", "m", "hi", "-s", "Be.", "--no-stdin") == (0, "a\n", "")
    s, _ = session()
    assert engine.tokens[:-1] == s.tokenizer.encode("[system: Be.][user: hi][answer:")[: len(engine.tokens) - 1]


@pytest.mark.parametrize("content", ["</s>", "<s>", "a</s>b<unk>"])
def test_text_of_user_and_files_is_never_special(said: Said, scripted: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "f.txt").write_text(content)
    for more in (["--raw"], [], ["--template", "chatml"]):
        engine = scripted(word("d"), n_ctx=512)
        assert said("run", "m", content, "-f", tmp_path / "f.txt", "-n", "0", "--no-stdin", *more)[0] == 0
        assert not {0, 1, 2} & set(engine.tokens[1:])


def test_files_are_wrapped_with_their_names(said: Said, scripted: Any, tmp_path: Path) -> None:
    one, two = tmp_path / 'o"n\ne.txt', tmp_path / "two.txt"
    one.write_bytes(b"1\xff\n")
    two.write_bytes(b"2\n\n")
    engine = scripted(EOS, template=CHAT, n_ctx=1024)
    code, _, err = said("run", "m", "sum", "-f", one, "-f", two, "--no-stdin")
    assert code == 0 and "the text is not all UTF-8: 1 byte given to the model unchanged" in err
    shown = f"{tmp_path}/o'n\\ne.txt"
    files = f'<file name="{shown}">\n1\udcff\n</file>\n\n<file name="{two}">\n2\n\n</file>'
    assert session()[0].tokenizer.decode_bytes(engine.tokens).decode("utf-8", "surrogateescape") == (
        f"[user: {files}\n\nsum][answer:"
    )
    engine = scripted(EOS, n_ctx=1024)
    assert said("run", "m", "sum", "-f", two, "--raw", "--no-stdin")[0] == 0
    assert session()[0].tokenizer.decode(engine.tokens) == "2\n\n\nsum"


def test_file_alone_is_a_prompt(said: Said, scripted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("d")
    scripted(EOS, template=CHAT, n_ctx=512)
    monkeypatch.setattr(sys, "stdin", None)
    assert said("run", "m", "-f", tmp_path / "f", "-q") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "start"),
    [
        (["-s", "Be.", "--raw"], 2, "error: --raw cannot be combined with a system prompt or a template"),
        (["--template", "chatml", "--raw"], 2, "error: --raw cannot be combined"),
        (["-s", "Be."], 2, "error: a system prompt needs a chat template, and the model has none"),
        (["--template", "no such"], 3, "error: "),
        (["-f", "no such file"], 3, "error: no such file: no such file"),
        (["-f", "/"], 5, "error: /: cannot be read: Is a directory"),
        (["-o", "."], 2, "error: . exists"),
        (["-o", "no folder/x"], 3, "error: no folder/x: no such folder"),
    ],
)
def test_mistakes(said: Said, scripted: Any, arguments: list[str], code: int, start: str) -> None:
    scripted(EOS)
    got, out, err = said("run", "m", "d", "--no-stdin", "-q", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith(start)


def test_empty_prompt_for_a_chat(said: Said, scripted: Any) -> None:
    scripted(EOS, template=CHAT)
    assert said("run", "m", "", "--no-stdin")[2].startswith("error: the prompt is empty")


def test_base_model_says_once_that_it_continues(said: Said, scripted: Any) -> None:
    scripted(word("d"))
    assert said("run", "m", "d", "-n", "1", "--no-stdin")[2].count("no chat template") == 1
    for quiet in ("-q", "--raw"):
        scripted(word("d"))
        assert said("run", "m", "d", "-n", "1", "--no-stdin", quiet)[2] == ""


def test_system_text_that_a_template_leaves_out_is_kept_and_noted(said: Said, scripted: Any) -> None:
    engine = scripted(
        EOS, template="{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% endif %}{% endfor %}"
    )
    code, _, err = said("run", "m", "d", "-s", "bee", "--no-stdin")
    assert (code, err.count("\n")) == (0, 2)  # the other: that there was no answer
    assert session()[0].tokenizer.decode(engine.tokens) == "[bee\n\nd]"


def test_show_prompt(said: Said, scripted: Any) -> None:
    engine = scripted(EOS, template=CHAT)
    s, _ = session()
    ids = s.tokenizer.encode("[user: d][answer:")
    code, out, err = said("run", "m", "d", "--show-prompt", "--no-stdin")
    assert (code, out, err) == (0, f"[user: d][answer:\n\n{len(ids)} tokens: {' '.join(map(str, ids))}\n", "")
    assert not engine.calls
    shown = json.loads(said("run", "m", "d", "--show-prompt", "--json", "--no-stdin")[1])
    assert shown == {
        "schema": 1,
        "model": "m",
        "text": "[user: d][answer:",
        "prompt_tokens": len(ids),
        "ids": ids,
    }


def test_prompt_too_long_is_said_before_any_kernel(story: Path) -> None:
    out = forked.run([*PROGRAM, "run", story, "x " * 3000, "--raw", "--no-stdin"], text=True)
    assert (out.returncode, out.stdout) == (7, "")
    line, hint = out.stderr.splitlines()
    assert line.startswith("error: the prompt is ")
    assert line.endswith(" more than the context of 512")
    assert "MiB of memory, but the model was trained on 512" in hint


def test_log_probabilities_are_in_json(said: Any, scripted: Any) -> None:
    scripted(word("d"), word("e"), EOS)
    code, out, _ = said("run", "m", "hi", "--no-stdin", "--json", "--logprobs", "2", "--temp", "0")
    found = json.loads(out)["logprobs"]
    assert code == 0 and [entry["id"] for entry in found] == [word("d"), word("e"), EOS]
    assert all(len(entry["best"]) == 2 and entry["best"][0]["logprob"] == entry["logprob"] > -1e-9 for entry in found)
    code, _, err = said("run", "m", "hi", "--no-stdin", "--logprobs", "2")
    assert code == 2 and "--json" in err


def test_variables_of_the_template(said: Any, scripted: Any) -> None:
    template = "{{ messages[0].content }} {{ style }}{% if deep %} deep{% endif %}"
    words = ("run", "m", "hi", "--no-stdin", "-q", "--show-prompt")
    scripted(EOS, template=template)
    assert said(*words, "--template-arg", "style=brief", "--template-arg", "deep=true")[1].startswith("hi brief deep\n")
    for arg, told in (("tone=a", "no variable 'tone'"), ("messages=[]", "cannot be set"), ("style", "KEY=VALUE")):
        scripted(EOS, template=template)
        code, _, err = said(*words, "--template-arg", arg)
        assert code == 2 and told in err


def test_special_tokens_count_only_where_that_is_asked_for(said: Any, scripted: Any) -> None:
    ids = []
    for more in ([], ["--special"]):
        scripted(EOS, template="{{ messages[0].content }}")
        code, out, err = said("run", "m", "a</s>b", "--no-stdin", "--show-prompt", "--json", *more)
        ids.append(json.loads(out)["ids"])
        assert code == 0 and ("special tokens" in err) == bool(more)
    assert EOS not in ids[0] and EOS in ids[1] and len(ids[1]) < len(ids[0])


def test_what_stands_between_two_texts(said: Any, scripted: Any) -> None:
    scripted(EOS, fim_pre_token_id=word("ST"), fim_suf_token_id=word("OP"), fim_mid_token_id=word("STOP"))
    code, out, _ = said("run", "m", "--fim", "d", "e", "--show-prompt", "--json", "-q")
    assert code == 0 and json.loads(out)["ids"][-5:] == [word("ST"), word("d"), word("OP"), word("e"), word("STOP")]
    scripted(EOS)
    code, _, err = said("run", "m", "--fim", "d", "e")
    assert code == 2 and "no tokens to fill in" in err
    assert said("run", "m", "hi", "--fim", "d", "e")[0] == 2
