"""Hostile chat templates end soon, reach nothing, make nothing large, and leave nothing behind."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocal.chat_format.chat_template import ChatTemplate
from llmlocal.chat_format.sandbox import budget, strings
from llmlocal.chat_format.sandbox.budget import Budget
from llmlocal.errors import BadFileError, LlmlocalError

MEMORY = 700 << 20
MESSAGES = [{"role": "user", "content": "Hello <|im_end|>"}]

M50 = "{% for a in range(99999999) %}{% for b in range(99999999) %}x{% endfor %}{% endfor %}"
M51 = "{{ ''.__class__.__mro__[1].__subclasses__() }}"

ESCAPES = [
    M51,
    "{{ [].__class__.__base__.__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ '' | attr('__cla' ~ 'ss__') }}",
    "{{ ['x'] | map(attribute='__class__') | list }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('touch {file}').read() }}",
    "{{ joiner.__init__.__globals__.os.popen('touch {file}').read() }}",
    "{{ namespace.__init__.__globals__.os.popen('touch {file}').read() }}",
    "{{ lipsum.__globals__['os'].popen('touch {file}').read() }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__ }}",
    "{{ strftime_now.__closure__ }}",
    "{{ range.__self__ }}",
    "{{ dict.__mro__ }}",
    "{{ dict.mro() }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__.__mro__}' | attr('format')('') }}",
    "{{ ''.format_map({'a': 1}) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{% set f = '{0.__class__}'.format %}{{ f('') }}",
    "{{ ['{0.__class__}'.format] | map('call') | list }}",
    "{{ (1).to_bytes(9, 'big') }}",
    "{{ 'x'.encode().decode() }}",
    "{{ 'x'.translate({120: 'yy'}) }}",
    "{{ 'x'.maketrans('x', 'y') }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(a=1) }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages.__setitem__(0, 1) }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% for x in [1] %}{{ loop._iterator.gi_frame }}{% endfor %}",
    "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{{ (messages | map('upper')).gi_frame }}",
    "{{ (messages | select).gi_frame.f_globals }}",
    "{% include '/etc/passwd' %}",
    "{% import '/etc/passwd' as x %}",
    "{% extends '/etc/passwd' %}",
    "{% from 'os' import popen %}",
    "{{ config.items() }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ request.application.__globals__.__builtins__.__import__('os').popen('touch {file}').read() }}",
    "{{ __import__('os').system('touch {file}') }}",
    "{{ open('{file}', 'w').write('x') }}",
    "{{ eval('1') }}",
    "{% set ns = namespace(__class__=1) %}{{ ns._x.y }}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{{ ''.join.__self__.__class__ }}",
    "{{ caller.__globals__ }}",
    "{{ ().__class__.__bases__[0].__subclasses__()[40]('{file}', 'w').write('x') }}",
    "{{ undefined_name.__class__.__init__.__globals__ }}",
    "{% autoescape true %}{{ messages[0].content }}{% endautoescape %}",
    "{{ range }}{{ raise_exception }}",
]

LOOP = "{% for a in range(99999) %}"
GROW = "{% set n = namespace(x=START) %}{% for a in range(9000) %}{% set n.x = n.x + ITEM %}{% endfor %}"
COLLIDING = GROW.replace("START", "[]").replace("ITEM", "[a * (2 ** 61 - 1)]")
CHARS = GROW.replace("START", "''").replace("ITEM", "'%c' % (a + 256)")
BOMBS = [
    M50,
    LOOP * 2 + "x" + "{% endfor %}" * 2,
    LOOP * 3 + "{% endfor %}" * 3,
    (LOOP[:-3] + " if a < 0 %}{% endfor %}") * 500,
    (LOOP[:-3] + " if 0 %}{% endfor %}") * 1400,
    "{% set x = range(99999) | list %}" + "{% if x == x[:] %}{% endif %}" * 5000,
    "{{ 'x' * 10**10 }}",
    "{{ 10**10 * 'x' }}",
    "{{ [0] * 10**10 }}",
    "{{ 10**(10**10) }}",
    "{% set n = namespace(x=10) %}" + LOOP + "{% set n.x = n.x * n.x %}{% endfor %}",
    "{% set n = namespace(x='x') %}" + LOOP + "{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='x') %}" + LOOP + "{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}" + LOOP + "{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}" + LOOP + "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[1]) %}" + LOOP + "{% set n.x = {'a': n.x, 'b': n.x} %}{% endfor %}{{ n.x | tojson }}",
    "{% set n = namespace(x=(1,)) %}" + LOOP + "{% set n.x = (n.x, n.x) %}{% if n.x == n.x %}{% endif %}{% endfor %}",
    "{% set n = namespace(x=(1,)) %}" + LOOP + "{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}",
    "{% set n = namespace() %}{% set n.x = n %}{{ n }}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% for a in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}",
    "{{ 'x' | center(10**9) }}",
    "{{ 'x'.center(10**9) }}",
    "{{ 'x'.ljust(10**9) }}{{ '1'.zfill(10**9) }}",
    "{{ '1'.zfill(10**9) }}",
    "{{ 'x'.expandtabs(10**9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%.1000000000f' | format(1.5) }}",
    "{{ '%(a(b))1000000000d' % {'a(b)': 1} }}",
    "{{ '{:>1000000000}'.format('x') }}",
    "{{ '{:>{}}'.format('x', 10**9) }}",
    "{{ 'x\n' * 100000 | indent(10**9) }}",
    "{{ ('x\n' * 1000000) | indent(9999) }}",
    "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
    "{{ ('x' * 1000000) | replace('', 'y' * 1000000) }}",
    "{{ ('x' * 1000000).join(range(9999) | map('string')) }}",
    "{{ range(9999) | join('x' * 1000000) }}",
    "{{ [1] | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ 1.5 | round(10**9, 'floor') }}",
    "{{ messages | tojson(indent=10**9) }}",
    "{{ messages | tojson(separators=('x' * 1000000, 'y')) }}",
    "{{ (['x' * 4000000] * 90000) | join }}",
    "{{ ['x' * 4000000] * 90000 }}",
    "{{ ['x' * 4000000] * 90000 | tojson }}",
    "{{ (['x' * 1000000] * 200) | map('upper') | list | length }}",
    "{{ range(99999) | sum(start=[]) }}",
    "{{ ([[1, 2]] * 99999) | sum(start=[]) | length }}",
    "{% set x = 'y' * 4000000 %}" + LOOP + "{% set z = x | upper %}{% endfor %}",
    "{% set x = 'y' * 4000000 %}" + LOOP + "{% if 'z' in x %}{% endif %}{% endfor %}",
    "{% set x = 'yz' * 900000 %}" + LOOP + "{% set z = x.split('z') %}{% endfor %}",
    "{% set x = 'y' * 4000000 %}" + "{% set z = x[1:] %}" * 5000,
    "{% set x = ('y ' * 900000).split() %}{{ x | map('list') | map('first') | list | sort | length }}",
    "{{ 'y' * 4000000 }}" * 3,
    LOOP + "{{ 'y' * 1000 }}{% endfor %}",
    "{% set x %}" + LOOP + "{{ 'y' * 1000 }}{% endfor %}{% endset %}",
    "{% set x = range(99999) | list %}{{ (x + x) | unique | sort | list + x | sort(reverse=true) | list }}" * 50,
    "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "{{ " + "[" * 90 + "1" + "]" * 90 + " }}" + "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "{{ " + "1 + " * 9000 + "1 }}",
    "{{ " + "not " * 9000 + "1 }}",
    "{{ x" + ".x" * 9000 + " }}",
    "{{ " + "9" * 30000 + " }}",
    LOOP * 30 + "{% endfor %}" * 30,
    "{{ strftime_now('%c' * 1000000) }}",
    "{{ cycler(*range(99999)).next.x.y }}",
    "{{ dict.fromkeys(range(99999), 'x') }}",
]
BURNS = [  # what Python itself does in quadratic time
    "{{ ('%' ~ '0' * 1000000) % 1 }}",
    "{{ ('%999d' * 200000) % ((1,) * 200000) }}",
    "{{ ('%(a)s' * 200000) % {'a': 'x' * 1000000} }}",
    "{{ ('{0}' * 300000).format('x' * 1000000) }}",
    "{{ range(60000) | map('float') | list | unique | list }}" * 9,
    COLLIDING + "{{ n.x | unique | list | length }}",
    COLLIDING + "{{ dict(n.x | map('batch', 1) | map('first') | list) }}",
    CHARS + LOOP + "{% set z = (n.x[0] * 900000 ~ n.x).rstrip(n.x) %}{% endfor %}",
    CHARS + LOOP + "{% set z = (n.x ~ n.x[-1] * 900000) | trim(n.x) %}{% endfor %}",
    *(
        "{% set s = 'a' * 200000 %}{% set x = 'b' ~ s[:90000] %}" + LOOP + f"{{% set z = s.{name}(x) %}}{{% endfor %}}"
        for name in ("rfind", "rsplit", "rpartition")
    ),
    *(
        f"{{% set p = 'real' ~ '.real' * 12000 %}}{{{{ range(60000) | {call} | list }}}}"
        for call in ("map(attribute=p)", "groupby(p)", "sort(attribute=p)", "selectattr(p)", "unique(attribute=p)")
    ),
    *(
        f"{{% set p = 'real' ~ '.real' * 12000 %}}{{{{ range(60000) | {call} }}}}"
        for call in ("join(attribute=p)", "sum(attribute=p)", "max(attribute=p)")
    ),
    "{{ range(60000)" + " | map(attribute='real')" * 700 + " | list | length }}",
    "{{ range(60000)" + " | batch(1) | map('first')" * 300 + " | list | length }}",
    "{{ ('<' * 1000000) | e }}" * 9,
    "{{ ('x\n' * 500000) | indent }}" * 40,
    "{{ ('a b ' * 250000) | title }}" * 40,
]


def refused(source: str) -> str:
    """The message with which a template is refused."""
    with pytest.raises(LlmlocalError) as caught:
        ChatTemplate(source, {"bos_token": "<s>"}).render(MESSAGES)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.mark.parametrize("source", ESCAPES)
def test_escapes_are_refused(source: str, tmp_path: Path) -> None:
    file = tmp_path / "made"
    message = refused(source.replace("{file}", str(file)))
    assert not file.exists() and "object at 0x" not in message


@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:60])
def test_bombs_are_stopped(source: str) -> None:
    process = psutil.Process()
    before, threads, children = process.memory_info().rss, threading.active_count(), process.children()
    refused(source)
    assert process.memory_info().rss - before < MEMORY
    assert threading.active_count() == threads and process.children() == children


@pytest.mark.parametrize("source", BURNS, ids=lambda source: source[:60])
def test_burns_are_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a smaller budget, to save the time of the test: what does not look at the clock takes minutes."""
    monkeypatch.setattr("llmlocal.chat_format.sandbox.budget.SECONDS", 0.1)
    refused(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ('%' ~ '0' * 1000000 ~ 'd') % 1 }}",
        "{{ (('%' ~ '0' * 1000 ~ 'd') * 900) % ((1,) * 900) }}",
        CHARS.replace("9000", "5000") + "{{ (n.x[0] * 900000).lstrip(n.x) }}",
        "{{ ('a' * 900000).rfind('b' ~ 'a' * 400000) }}",
        "{{ ('ab' * 100000).rsplit('b' ~ 'a' * 90000) | length }}",
    ],
    ids=lambda source: str(source)[:60],
)
def test_linear_time(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit on time: quadratic time would be minutes."""
    monkeypatch.setattr("llmlocal.chat_format.sandbox.budget.SECONDS", 1000)
    ChatTemplate(source, {}).render(MESSAGES)


def test_attempts_to_fit_share_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that moves a millisecond each time it is read."""
    reads = count()
    monkeypatch.setattr("llmlocal.chat_format.sandbox.budget.thread_time", lambda: next(reads) / 1000)
    monkeypatch.setattr("llmlocal.chat_format.chat_template.thread_time", lambda: next(reads) / 1000)
    slow = "{% for a in range(9000) %}{% set x = ('x' * 100) | upper %}{% endfor %}"
    with pytest.raises(LlmlocalError):
        ChatTemplate(slow, {}).render([{"role": "system", "content": "Be terse."}, *MESSAGES], fit=True)
    assert budget.SECONDS * 1000 < next(reads) < 2.5 * budget.SECONDS * 1000


@given(st.text("ab", max_size=40), st.integers(0, 24), st.integers(1, 20), st.integers(-9, 9), st.integers(-9, 50))
def test_searches_from_the_end_are_pythons(text: str, at: int, size: int, start: int, end: int) -> None:
    budget, text = Budget({}), text * 3
    for sep in (text[at : at + size] or "a", "b" + "a" * 17, "ab" * size):
        assert strings.rfind(budget, text, sep) == text.rfind(sep)
        assert strings.rfind(budget, text, sep, start) == text.rfind(sep, start)
        assert strings.rfind(budget, text, sep, start, end) == text.rfind(sep, start, end)
        assert strings.rsplit(budget, text, sep, start) == text.rsplit(sep, start)
        assert strings.rpartition(budget, text, sep) == text.rpartition(sep)
        chars = sep + "".join(map(chr, range(256, 400)))
        for name in ("strip", "lstrip", "rstrip"):
            assert strings.METHODS[name](budget, text, chars) == getattr(text, name)(chars)


def test_escapes_have_names_that_fit() -> None:
    """Nothing is refused because of the test's own mistake: the harmless twins are rendered."""
    for source in (
        "{{ '{0}'.format('') }}",
        "{{ messages | map(attribute='role') | list }}",
        "{{ [1] | batch(3) | list }}",
    ):
        ChatTemplate(source, {}).render(MESSAGES)


@pytest.mark.parametrize("size", [1000, 100_000, 3_000_000])
def test_long_input_is_no_bomb(size: int) -> None:
    source = "{% for m in messages %}{{ '<' + m.role + '>' + m.content.strip().replace('x', 'y') | trim }}{% endfor %}"
    messages = [{"role": "user", "content": "word " * (size // 5)}]
    assert len(ChatTemplate(source, {}).render(messages).text) > size - 10


def test_long_conversations_are_no_bomb() -> None:
    source = (
        "{% for m in messages %}{% for n in messages[:20] %}{% if n.role == m.role and '<x>' not in n.content %}"
        "{% endif %}{% endfor %}{{ '<' + m.role + '>' + m.content | trim }}{% endfor %}"
    )
    messages = [{"role": ("user", "assistant")[i % 2], "content": f"Message {i}"} for i in range(5000)]
    text = ChatTemplate(source, {}).render(messages).text
    assert text.endswith("<assistant>Message 4999")


def test_source_is_bounded() -> None:
    with pytest.raises(BadFileError, match="characters, more than"):
        ChatTemplate("x" * (1 << 20), {})
    assert ChatTemplate("{{a}}" * 3_000, {}).render(MESSAGES).text == ""
    assert "words and signs" in refused("{{a}}" * (64 * 1024 // 5))


@pytest.mark.parametrize("way", ["tokens", "nodes"])
def test_compiling_counts(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the budget of time, which a template with many names and branches could use up before it is run."""
    source = "".join(f"{{% if v{i} %}}{{% endif %}}" for i in range(900))
    assert ChatTemplate(source, {}).render(MESSAGES).text == ""
    monkeypatch.setattr("llmlocal.chat_format.sandbox.budget.STEPS", {"tokens": 1_000, "nodes": 7_000}[way])
    assert "too many steps" in refused(source)


def test_namespaces_hide_what_they_hold() -> None:
    source = "{% set n = namespace(x=1) %}{% for a in range(99) %}{% set n.x = namespace(y=[n.x, n.x]) %}{% endfor %}"
    assert ChatTemplate(source + "{{ [n.x] }}", {}).render(MESSAGES).text == "[<Namespace>]"
