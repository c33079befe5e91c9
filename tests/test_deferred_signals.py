"""Ctrl-C and SIGTERM while an engine runs: they wait until memory that threads share is in order."""

from __future__ import annotations

import os
import signal

import pytest

from llmlocal.runtime.executor import deferred_signals


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_waits_for_the_end_of_the_outer_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), deferred_signals():
        with deferred_signals():
            press()
            steps.append("inner")
        steps.append("outer")
    assert steps == ["inner", "outer"]
    with pytest.raises(KeyboardInterrupt):
        press()


def test_what_fails_within_a_block_leaves_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), deferred_signals():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), deferred_signals():
        press()
