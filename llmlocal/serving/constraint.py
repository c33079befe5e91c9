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
