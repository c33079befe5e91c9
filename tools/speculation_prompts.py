"""What `tools/bench_speculation.py` asks for: prompts, forms of their answers, and answers that are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

TEXT = Path(__file__).with_name("quoted_text.txt").read_text()  # of its own, so that rates of different days compare
CODE = """def total_price(items):
    total = 0
    for item in items:
        if item.price is not None:
            total += item.price * item.count
    return total


def total_weight(items):
    total = 0
    for item in items:
        if item.weight is not None:
            total += item.weight * item.count
    return total
"""
LETTER = """Anna, please ask Tom to send the three signed contracts to the Berlin office before Friday. Maria will check
the invoice numbers 4711, 4712 and 4713. If anything is missing, call me on Thursday afternoon. Regards, Peter"""
PROMPTS = {
    "quote": f"Repeat this text word for word:\n\n{TEXT}",
    "edit": f"Rewrite this code with the variable total renamed to result, and show all of it:\n\n{CODE}",
    "types": f"Add type hints to the functions, and show all of the code:\n\n{CODE}",
    "docstrings": f"Add a docstring to each function, and show all of the code:\n\n{CODE}",
    "summary": f"Summarize this text in five sentences:\n\n{TEXT}",
    "points": f"List the most important points of this text:\n\n{TEXT}",
    "title": f"Write a title and an abstract for this text:\n\n{TEXT}",
    "list": "Count from 1 to 60, one number per line.",
    # A question of each category of MT-bench (Zheng et al. 2023, arXiv 2306.05685), in other words.
    "writing": "Write a story about a dragon and a knight.",
    "roleplay": "You are the captain of a ship in a storm. Speak to your crew.",
    "reasoning": "David has three sisters, and each of them has one brother. How many brothers does David have?",
    "math": "A train travels 60 km in 45 minutes. How far does it travel in three hours? Explain each step.",
    "coding": "Write a Python function that finds the longest word that two texts have in common.",
    "extraction": f"Name all people, places and numbers in this letter:\n\n{LETTER}",
    "stem": "Why is the sky blue, and why is it red in the evening?",
    "humanities": "How did the printing press change Europe?",
    "random": "Write words without order or sense.",
    "json": "Describe three planets as JSON.",
    "json-letter": f"Who has to do what, according to this letter? Answer as JSON.\n\n{LETTER}",
    "json-text": f"Describe the sections of this text as JSON.\n\n{TEXT}",
}
# Right answers, for models that are too small to edit: they are chosen whatever the logits say.
TOLD = {
    "edit": re.sub(r"\btotal\b", "result", CODE),
    "types": CODE.replace("(items):", "(items: list[Item]) -> float:"),
    "docstrings": CODE.replace("price(items):", 'price(items):\n    """The price of all items."""').replace(
        "weight(items):", 'weight(items):\n    """The weight of all items."""'
    ),
}
HOT = 1.5  # the temperature of the text without order, in place of the others


def schema_of(count: int, **properties: dict[str, Any]) -> dict[str, Any]:
    """A list of `count` objects that have all `properties`."""
    item = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "array", "items": item, "minItems": count, "maxItems": count}


SHORT_TEXT, FLAG = {"type": "string", "maxLength": 24}, {"type": "boolean"}
FORMS = {
    "json": schema_of(
        3,
        name={"type": "string", "maxLength": 12},
        distance_from_the_sun_in_kilometres={"type": "integer", "maximum": 9999999999},
        has_an_atmosphere=FLAG,
        number_of_known_moons={"type": "integer", "maximum": 999},
    ),
    "json-letter": schema_of(4, person=SHORT_TEXT, task={"type": "string", "maxLength": 60}, is_urgent=FLAG),
    "json-text": schema_of(3, heading=SHORT_TEXT, commands={"type": "array", "items": SHORT_TEXT, "maxItems": 3}),
}
