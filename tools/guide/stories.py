"""Tiny stories, put together from parts. Who it is about may be asked for; the rest follows from that."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any


@cache
def data() -> dict[str, Any]:
    """stories.toml: the heroes, and how one asks for them."""
    return tomllib.loads((Path(__file__).parent / "stories.toml").read_text())


def story(hero: str) -> str:
    """The story of that hero, always the same."""
    parts = data()["heroes"][hero]
    article = "an" if hero[0] in "aeiou" else "a"
    return (
        f"Once upon a time {article} {hero} called {parts['name']} lived in {parts['home']}. "
        f"All {parts['name']} wanted was {parts['wish']}, but nobody knew how. "
        f"One morning {parts['he']} met {parts['friend']}, who knew the way. "
        f"They set out together, and in the end {parts['name']} {parts['end']}."
    )


def asked(rng: Random) -> tuple[str, str]:
    """A pattern of asking, and the hero of the answer."""
    if rng.random() < 0.4:
        return rng.choice(data()["ask"]), data()["unasked"]
    hero = rng.choice(list(data()["heroes"]))
    called = rng.choice((hero, hero, *data()["heroes"][hero]["others"]))
    return rng.choice(data()["ask_hero"]).replace("X", called), hero
