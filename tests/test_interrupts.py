"""What Ctrl-C does, signal by signal."""

from __future__ import annotations

import os
import signal

import pytest

from llmlocal.cli.chat.interrupts import Interrupts


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_stops_an_answer_and_the_second_leaves() -> None:
    with Interrupts() as interrupts:
        with interrupts.answering():
            assert not interrupts.stopped
            press()
            assert interrupts.stopped
            with pytest.raises(KeyboardInterrupt):
                press()
        with interrupts.answering():
            assert not interrupts.stopped  # every answer begins anew


def test_what_is_held_is_finished_first() -> None:
    with Interrupts() as interrupts, interrupts.answering(), interrupts.held():
        press()
        press()
        press()
        assert interrupts.stopped


def test_reading_is_interrupted_at_once_and_nothing_else_is() -> None:
    with Interrupts() as interrupts:
        press()  # between two turns: the answer has just ended, the user meant that
        with pytest.raises(KeyboardInterrupt), interrupts.reading():
            press()


def test_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
