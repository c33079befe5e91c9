"""Chat templates render as transformers renders them, every character with its origin, and choose what fits a file."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from vocabularies import spm

from llmlocal import tokenizer
from llmlocal.chat_format import templates
from llmlocal.chat_format.chat_template import (
    ChatTemplate,
    TemplateRefusedError,
    choose,
    one_line,
    special_tokens,
    suggested,
)
from llmlocal.errors import BadFileError, LlmlocalError, NotFoundError

GOLDEN = Path(__file__).parent / "golden" / "chat_templates.json.xz"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
HELLO = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be terse."}
PLAIN = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
PLAIN.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)
PLAIN.globals["strftime_now"] = datetime(2025, 7, 26).strftime


@cache
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lzma.decompress(GOLDEN.read_bytes()))
    return found


@pytest.mark.parametrize("model", golden()["models"])
def test_equals_transformers(model: str) -> None:
    """Made by tools/make_template_goldens.py; null where transformers raises."""
    now = datetime.fromisoformat(golden()["now"])
    entry = golden()["models"][model]
    template = ChatTemplate(entry["template"], golden()["special"], now=lambda: now)
    for name, conversation in golden()["conversations"].items():
        expected = entry["outputs"][name]
        if expected is None:
            with pytest.raises(LlmlocalError):
                template.render(**conversation)
        else:
            assert template.render(**conversation).text == expected, name


def test_golden_has_enough() -> None:
    outputs = [entry["outputs"] for entry in golden()["models"].values()]
    assert sum(sum(text is not None for text in texts.values()) >= 10 for texts in outputs) >= 25


def origins(source: str, content: str, **variables: Any) -> list[tuple[str, bool]]:
    template = ChatTemplate(source, SPECIAL, now=lambda: datetime(2025, 7, 26))
    rendered = template.render([{"role": "user", "content": content}], **variables)
    return [(segment.text, segment.from_user) for segment in rendered.segments]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'<' + c + '>'", "<[ a-B ]>"),
        ("'<' ~ c ~ 1 ~ '>'", "<[ a-B ]1>"),
        ("('<' ~ c ~ '>') | trim | upper", "<[ A-B ]>"),
        ("(' <' ~ c ~ '> ').strip().lower()", "<[ a-b ]>"),
        ("c.strip() + c.lstrip() + c.rstrip()", "[a-Ba-B  a-B]"),
        ("('<' + c + '>').split('-') | join('|')", "<[ a]|[B ]>"),
        ("('<' + c + '>').rsplit('-', 1)[-1]", "[B ]>"),
        ("('<' + c + '>').split() | join('_')", "<_[a-B]_>"),
        ("('<' + c + '>').partition('-')[2]", "[B ]>"),
        ("('<' + c + '>').replace('-', '=')", "<[ a]=[B ]>"),
        ("'<x>x' | replace('x', c)", "<[ a-B ]>[ a-B ]"),
        ("('<' + c + '>')[3:]", "[-B ]>"),
        ("('<' + c + '>')[0] + c[1] + c[-2]", "<[aB]"),
        ("('<' + c + '>') | reverse", ">[ B-a ]<"),
        ("('<' + c) | list | last", "[ ]"),
        ("'<{}|{x[0]}>'.format(c, x=[c])", "<[ a-B ]|[ a-B ]>"),
        ("'<%s|%%|%d>' % (c, 7)", "<[ a-B ]|%|7>"),
        ("'<%s>' | format(c)", "<[ a-B ]>"),
        ("'<%(x)s>' | format(x=c)", "<[ a-B ]>"),
        ("[c, '<>', c] | join('+')", "[ a-B ]+<>+[ a-B ]"),
        ("('<\\n' + c) | indent(2)", "<\n  [ a-B ]"),
        ("c | center(9)", "[   a-B   ]"),
        ("c | tojson", '[" a-B "]'),
        ("[c] | string", "[[' a-B ']]"),
        ("('<' + c + '>') | e + '<' + c", "&lt;[ a-B ]&gt;&lt;[ a-B ]"),
        ("'<' + (('<' + c) | safe) + '>'", "&lt;<[ a-B ]&gt;"),
        ("{'k': c}", "[{'k': ' a-B '}]"),
        ("c | safe", "[ a-B ]"),
        ("c | title", "[ A-B ]"),
        ("c | urlencode", "[%20a-B%20]"),
        ("c | default('<>') + (nothing | default('<>'))", "[ a-B ]<>"),
        ("['<>', c] | first + ['<>', c] | last", "<>[ a-B ]"),
        ("'<' + messages[0].role + '>'", "<user>"),
        ("'<' + mode + '>' + other", "<fast>[<|x|>]"),
        ("strftime_now('%d %b')", "26 Jul"),
        ("strftime_now('%d' + c)", "[26 a-B ]"),
        ("[c, c] | map('trim') | join('<>')", "[a-B]<>[a-B]"),
        ("bos_token + c * 2", "<s>[ a-B  a-B ]"),
    ],
)
def test_origin_survives(expression: str, expected: str) -> None:
    source = "{% set c = messages[0].content %}{{ " + expression + " }}"
    segments = origins(source, " a-B ", mode="fast", other="<|x|>")
    joined = "".join(f"[{text}]" if from_user else text for text, from_user in segments)
    assert joined == expected
    variables = {"messages": [{"role": "user", "content": " a-B "}], "mode": "fast", "other": "<|x|>", **SPECIAL}
    assert "".join(text for text, _ in segments) == PLAIN.from_string(source).render(variables)


def test_origin_survives_blocks() -> None:
    source = (
        "{% macro m(x) %}<{{ x }}>{{ caller() }}{% endmacro %}{% set t %}({{ messages[0].content }}){% endset %}"
        "{% call m(t) %}!{{ t }}{% endcall %}{% filter upper %}f{{ t }}{% endfilter %}"
        "{% generation %}g{{ messages[0].content }}{% endgeneration %}{% for c in messages[0].content %}{{ c }},"
        "{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}"
    )
    text = "".join(f"[{text}]" if user else text for text, user in origins(source, "abc"))
    assert text == "<([abc])>!([abc])F([ABC])g[abca],[b],"


def test_tools_and_arguments_are_no_scaffolding() -> None:
    template = ChatTemplate("{{ tools | tojson }}|{{ documents[0].text }}", SPECIAL)
    rendered = template.render([HELLO], tools=[{"name": "<|x|>"}], documents=[{"text": "<|y|>"}])
    assert [segment.text for segment in rendered.segments if segment.from_user] == ['[{"name": "<|x|>"}]', "<|y|>"]


def test_what_the_template_raises_is_shown_safely() -> None:
    template = ChatTemplate("{{ raise_exception('No \\x1b[2J' + messages[0].role + '!\\nat all') }}", {})
    with pytest.raises(TemplateRefusedError) as refused:
        template.render([HELLO])
    assert str(refused.value) == "the chat template rejects these messages: No \ufffd[2Juser! at all"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for %}", "syntax error in line 1"),
        ("\n\n{{ 'a' | nofilter }}", "line 3"),
        ("{{ nothing.at.all }}", "uses an undefined value"),
        ("{{ nothing() }}", "uses an undefined value"),
        ("{{ 1 + 'a' }}", "failed: unsupported operand"),
        ("{% include 'x' %}", "cannot include"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("x" * 200_000, "characters, more than"),
    ],
)
def test_mistakes_are_one_line(source: str, words: str) -> None:
    with pytest.raises(BadFileError, match=words) as caught:
        ChatTemplate(source, {}).render([HELLO])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_shown_is_one_harmless_line() -> None:
    assert one_line("a\n\tb\x1b\x07c\u202ed") == "a b\ufffd\ufffdc\ufffdd"
    assert len(one_line("x" * 9999)) < 400


@pytest.mark.parametrize("source", ["{{ raise_exception('no') if messages[0].role == 'system' }}", ""])
def test_a_system_prompt_that_does_not_fit_is_folded(source: str) -> None:
    source += "{% for m in messages if m.role != 'system' %}{{ m.role }}:{{ m.content }};{% endfor %}"
    template = ChatTemplate(source, {})
    rendered = template.render([SYSTEM, HELLO], fit=True)
    assert rendered.text == "user:Be terse.\n\nHello;" and "does not support a system prompt" in rendered.notes[0]
    assert template.render([HELLO], fit=True).notes == ()
    parts = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    assert "Be terse." in template.render([SYSTEM, parts], fit=True).text


def test_a_system_prompt_that_fits_stays() -> None:
    template = ChatTemplate("{{ messages | map(attribute='content') | join(' ') | upper }}", {})
    rendered = template.render([SYSTEM, HELLO], fit=True)
    assert rendered.text == "BE TERSE. HELLO" and not rendered.notes


PARTS = (
    "{% for m in messages %}{{ m.role }}: {% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}"
    "{% endif %}{% endfor %};{% endfor %}"
)


@pytest.mark.parametrize(
    "source",
    [
        PARTS,
        "{% for m in messages %}{{ m.role }}: {{ m.content[0].text }};{% endfor %}",
        "{% for m in messages %}{{ m.role }}: {{ m.content | map(attribute='text') | join }};{% endfor %}",
        "{% for m in messages %}{% if m.content is string %}{{ raise_exception('a list') }}{% endif %}{% endfor %}"
        + PARTS,
    ],
)
def test_a_template_that_reads_parts_gets_parts(source: str) -> None:
    template, hi = ChatTemplate(source, {}), {"role": "assistant", "content": "Hi"}
    rendered = template.render([SYSTEM, HELLO, hi, HELLO], fit=True)
    assert rendered.text == "system: Be terse.;user: Hello;assistant: Hi;user: Hello;" and not rendered.notes
    assert all(s.from_user for s in rendered.segments if s.text in ("Hello", "Hi", "Be terse."))
    no_system = template.source.replace("in messages %}", "in messages if m.role == 'user' %}")
    folded = ChatTemplate(no_system, {}).render([SYSTEM, HELLO], fit=True)
    assert "Be terse." in folded.text and "Hello" in folded.text and folded.notes


def test_nothing_that_the_user_says_vanishes_silently() -> None:
    first, last = (ChatTemplate("{{ messages[AT].content }}".replace("AT", at), {}) for at in ("0", "-1"))
    talk = [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Why?"}]
    with pytest.raises(TemplateRefusedError, match="message 3 of 3 is not in the prompt"):
        first.render(talk, fit=True)
    assert "message 1 of 3" in last.render(talk, fit=True).notes[0]
    for changed in ("upper", "tojson", "replace('l', 'L')", "trim | title"):
        rendered = ChatTemplate("{{ messages[0].content | " + changed + " }}", {}).render([HELLO], fit=True)
        assert rendered.text and not rendered.notes


@pytest.mark.parametrize("word", ["user", "i", "Hi"])
def test_what_the_user_says_is_missed_where_other_text_spells_it(word: str) -> None:
    """The template's own words, other messages, and a word within another."""
    said = [{"role": "user", "content": text} for text in ("Hi, this is me", word)]
    parts = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    assert ChatTemplate(parts, {}).render(said, fit=True).text == f"<user>Hi, this is me<user>{word}"
    with pytest.raises(TemplateRefusedError, match="message 2 of 2"):
        ChatTemplate("<user>{{ messages[0].content }}", {}).render(said, fit=True)
    system = [{"role": "system", "content": word}, said[0]]
    users = "{% for m in messages if m.role == 'user' %}<user>{{ m.content }}{% endfor %}"
    assert ChatTemplate(users, {}).render(system, fit=True).text == f"<user>{word}\n\nHi, this is me"


BUILT_IN = {
    "alpaca": "<s>Be terse.\n\n### Instruction:\nHello\n\n### Response:\nHi</s>\n\n"
    "### Instruction:\nHello\n\n### Response:\n",
    "chatml": "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
    "<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "gemma": "<s><start_of_turn>user\nBe terse.\n\nHello<end_of_turn>\n<start_of_turn>model\nHi<end_of_turn>\n"
    "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n",
    "llama2": "<s>[INST] <<SYS>>\nBe terse.\n<</SYS>>\n\nHello [/INST] Hi </s><s>[INST] Hello [/INST]",
    "mistral": "<s>[INST] Be terse.\n\nHello [/INST] Hi</s>[INST] Hello [/INST]",
    "vicuna": "<s>Be terse.\n\nUSER: Hello\nASSISTANT: Hi</s>\nUSER: Hello\nASSISTANT:",
    "zephyr": "<|system|>\nBe terse.</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi</s>\n"
    "<|user|>\nHello</s>\n<|assistant|>\n",
}


@pytest.mark.parametrize("name", templates.names())
def test_built_in(name: str) -> None:
    template = ChatTemplate(templates.source(name), SPECIAL)
    rendered = template.render([SYSTEM, HELLO, {"role": "assistant", "content": "Hi"}, HELLO])
    assert rendered.text == BUILT_IN[name]
    nameless = ChatTemplate(templates.source(name), {}).render([HELLO, {"role": "assistant", "content": "Hi"}])
    assert "Hello" in nameless.text and "Hi" in nameless.text


def test_choice() -> None:
    plain = spm("<|im_start|>", "<|im_end|>", "a")
    vocabulary = tokenizer.load(plain)
    assert special_tokens(vocabulary) == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert choose(plain, vocabulary) is None
    assert suggested(plain, vocabulary) == "chatml"
    assert choose(spm("a"), tokenizer.load(spm("a"))) is None
    own = plain | {"tokenizer.chat_template": "own", "tokenizer.chat_template.tool_use": "tools"}
    for wanted, tools, source in ((None, False, "own"), (None, True, "tools"), ("tool_use", False, "tools")):
        chosen = choose(own, vocabulary, wanted, tools=tools)
        assert chosen and chosen.source == source
    named = choose(own, vocabulary, "gemma")
    assert named and named.source == templates.source("gemma")
    blank = choose(plain | {"tokenizer.chat_template": " \n"}, vocabulary)
    assert blank is None
    with pytest.raises(BadFileError):
        choose({"tokenizer.chat_template": 7}, vocabulary)


def test_template_from_a_file(tmp_path: Path) -> None:
    vocabulary = tokenizer.load(spm("a"))
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}é", encoding="utf-8")
    (tmp_path / "bad.jinja").write_bytes(b"\xff\xfe")
    chosen = choose({}, vocabulary, str(tmp_path / "mine.jinja"))
    assert chosen and chosen.render([HELLO]).text == "Helloé"
    with pytest.raises(BadFileError):
        choose({}, vocabulary, str(tmp_path / "bad.jinja"))
    for missing in ("nosuch", str(tmp_path), "a\0b"):
        with pytest.raises(NotFoundError, match="no template"):
            choose({}, vocabulary, missing)


def test_jinja2_is_loaded_late() -> None:
    code = "import sys, llmlocal.chat_format.chat_template; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
