"""What forces the form of an answer: a schema, or a call of a function. The one place where such fields are read."""

from __future__ import annotations

from .http.errors import refused
from .http.fields import Fields

CODE = "unsupported_parameter"


def response_format(fields: Fields) -> None:
    """`response_format`: text is all that can be promised so far. Raises ApiError for a schema."""
    wanted = fields.object("response_format")
    if wanted is None:
        return
    kind = wanted.required_text("type")
    if kind != "text":
        raise refused(wanted.place("type"), f"'{kind[:40]}' is not supported yet; the only format is text", CODE)
    wanted.done()


def tool_choice(fields: Fields) -> bool:
    """`tool_choice`: whether the model may call functions. Raises ApiError where it must."""
    choice = fields.any("tool_choice")
    if choice is None or choice in ("auto", "none"):
        return bool(choice != "none")
    raise refused(fields.place("tool_choice"), "must be auto or none; a call cannot be forced yet", CODE)


def tool_choice_object(fields: Fields) -> tuple[bool, bool]:
    """`tool_choice` as Anthropic writes it: whether the model may call functions, and whether one at most."""
    choice = fields.object("tool_choice")
    if choice is None:
        return True, False
    kind = choice.required_text("type")
    if kind not in ("auto", "none"):
        raise refused(choice.place("type"), "must be auto or none; a call cannot be forced yet", CODE)
    one = choice.flag("disable_parallel_tool_use")
    choice.done()
    return kind == "auto", one


def output_format(config: Fields) -> None:
    """`output_config.format`: no schema can be promised so far. Raises ApiError for one."""
    config.unless("format", (), "a schema is not supported yet")


def text_format(fields: Fields) -> None:
    """`text` of a response: `format` may be text. Raises ApiError for a schema."""
    wanted = fields.object("text")
    if wanted is None:
        return
    wanted.unless("format", [{"type": "text"}], "a schema is not supported yet; the only format is text")
    wanted.unless("verbosity", ["medium"], "is not supported")
    wanted.done()
