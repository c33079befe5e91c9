"""The user's folders are those that platformdirs names, which is not loaded on Linux."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest
from platformdirs.unix import Unix

from llmlocal.quant.user_folders import XDG, user_folder

KINDS: tuple[Literal["cache", "config", "data", "state"], ...] = ("cache", "config", "data", "state")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
@pytest.mark.parametrize("value", [None, "", " ", "/x/y", "/x/y/", "relative", "~/z", " /x"])
@pytest.mark.parametrize("person", ["/home/somebody", "/"])
def test_folders_are_those_of_platformdirs(person: str, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", person)
    for variable, _ in XDG.values():
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    for kind in KINDS:
        assert user_folder(kind) == Path(getattr(Unix("llmlocal"), f"user_{kind}_path"))
