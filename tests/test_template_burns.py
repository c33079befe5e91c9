"""Templates that burn, made from every filter, method and operator with large operands: all end, and Ctrl-C acts.

Prints the slowest of each kind: pytest --slow -s tests/test_template_burns.py.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

import pytest
from jinja2.filters import FILTERS

from llmlocal.chat_format.chat_template import ChatTemplate
from llmlocal.chat_format.sandbox import strings
from llmlocal.errors import LlmlocalError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="interval timers of POSIX"),
]
SEED, HANG = 22, 20  # HANG: seconds of processor time after which a template counts as endless
MESSAGES = [{"role": "user", "content": "Hello <|im_end|> " * 20_000}]
TEXTS = ("'ab' * 400000", "'a' * 900000", "'%s ' * 200000", "'{0} ' * 150000", "'<&>' * 300000", "messages[0].content")
LISTS = ("range(99999) | list", "('a b ' * 90000).split()", "[messages] * 30000", "[('x' * 9000)] * 9000")
ARGUMENTS = (
    *("", "'a'", "'b' ~ 'a' * 99999", "9999", "attribute='real' ~ '.real' * 9000", "'upper'", "'string'", "2, 'x'"),
    *("attribute='0'", "start=[]", "'x' * 9999", "default='x'", "'a', 'b' * 9999", "3, true", "'equalto', 1"),
)
OPERATORS = ("+", "*", "%", "~", "in", "==", "<", "**", "//", "not in")
REPEATS = ("{{% set z = {} %}}", "{{% for i in range(9999) %}}{{% set z = {} %}}{{% endfor %}}")


def templates() -> Iterator[str]:
    """At least one template for each filter, method and operator, with operands drawn at random."""
    rng = random.Random(SEED)
    for name in sorted(FILTERS):
        for operand in (rng.choice(TEXTS), rng.choice(LISTS)):
            call = f"x | {name}({rng.choice(ARGUMENTS)})"
            yield f"{{% set x = {operand} %}}" + rng.choice(REPEATS).format(f"{call} | string | length")
    for name in sorted(strings.METHODS):
        for _ in range(2):
            call = f"x.{name}({rng.choice(ARGUMENTS[:8])})"
            yield f"{{% set x = {rng.choice(TEXTS)} %}}" + rng.choice(REPEATS).format(call)
    for operator in OPERATORS:
        for _ in range(3):
            left, right = rng.choice((*TEXTS, *LISTS, "7 ** 300")), rng.choice((*TEXTS, *LISTS, "9999"))
            yield f"{{% set x = {left} %}}{{% set y = {right} %}}" + rng.choice(REPEATS).format(f"x {operator} y")
    for inside in ("a<", "a,", "1:a,", "a~", "a+", "not ", "a or ", "a|e|", "a.b.", "'x' ", "a if a else "):
        n = 65_000 // len(inside)
        for begin, end in (("{{ ", "a }}"), ("{{ [", "a] }}"), ("{{ {", "1:1} }}"), ("{% if ", "a %}{% endif %}")):
            yield begin + inside * n + end
    for piece in ("{% set v@=1 %}", "{% if v@ %}{% endif %}", "{% for v@ in a %}{% endfor %}", "{{ v@ }}", "{# @ #}"):
        whole = "".join(piece.replace("@", str(i)) for i in range(20_000))[:65_000]
        yield whole[: whole.rindex("{%" if piece.startswith("{%") else "{")]
        yield whole[:30_000] + "{% if a %}{% endif %}" * 1_600


def stopped(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def endless(number: int, frame: FrameType | None) -> None:
    raise AssertionError("the template does not end")


@pytest.fixture(autouse=True)
def alarms() -> Iterator[None]:
    before = signal.getsignal(signal.SIGPROF)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def render(source: str) -> None:
    try:
        ChatTemplate(source, {"bos_token": "<s>"}).render(MESSAGES)
    except LlmlocalError as error:
        assert str(error).isprintable()


def said(title: str, found: list[tuple[float, str]]) -> None:
    sys.stdout.write("\n".join([title, *(f"{seconds:.2f} {source}" for seconds, source in sorted(found)[-5:]), ""]))


def test_all_end() -> None:
    signal.signal(signal.SIGPROF, endless)
    used: list[tuple[float, str]] = []
    for source in templates():
        signal.setitimer(signal.ITIMER_PROF, HANG)
        began = time.thread_time()
        render(source)
        used.append((time.thread_time() - began, source[:150]))
    assert len(used) > 200
    said(f"{len(used)} templates; the slowest, in seconds of processor time:", used)


def test_ctrl_c_acts() -> None:
    """At a random moment; what is printed is how long it took until control was back, in processor time."""
    rng, waited = random.Random(SEED), list[tuple[float, str]]()
    signal.signal(signal.SIGPROF, stopped)
    for source in templates():
        moment = rng.uniform(0.01, 0.2)
        began = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_PROF, moment)  # counts processor time
            render(source)
        except KeyboardInterrupt:
            waited.append((time.process_time() - began - moment, source[:150]))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    assert len(waited) > 30
    said(f"{len(waited)} interrupted; the latest, in seconds:", waited)
