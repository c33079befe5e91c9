"""A setting: an option that the user's settings may give, too. Its name, kind and limits are those of the option."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

from ...errors import UsageError
from ...quant.user_folders import expanded
from ...text import shown

PREFIX = "LLMLOCAL_"  # of variables of the environment
YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class WrongValueError(ValueError):
    """A value that a setting cannot have; says what it must be."""


class Setting(NamedTuple):
    """One setting. `kind` is bool, int, float, str, Path or a StrEnum; `many`: a list of those.

    `parsed` is what `typer.Option` returned. `group` is the class of options with the field `field`, if there is one.
    """

    name: str
    kind: type[Any]
    many: bool
    parsed: Any
    default: Any = None
    group: type[Any] | None = None
    field: str = ""

    @classmethod
    def of(cls, hint: Any, default: Any = None, group: type[Any] | None = None, field: str = "") -> Setting:
        """The setting of an option whose annotated type is `hint`."""
        kind, parsed, *_ = get_args(hint)
        if NoneType in get_args(kind):
            kind = next(part for part in get_args(kind) if part is not NoneType)
        many = get_origin(kind) is list
        names = (parsed.default, *parsed.param_decls)  # typer.Option's first argument is called the default
        name = next(name for name in names if str(name).startswith("--"))
        return cls(name[2:], get_args(kind)[0] if many else kind, many, parsed, default, group, field)

    @property
    def variable(self) -> str:
        """Its variable of the environment."""
        return f"{PREFIX}{self.name.upper().replace('-', '_')}"

    @property
    def words(self) -> str:
        """What kind of value it has, in words."""
        return " | ".join(self.kind) if issubclass(self.kind, StrEnum) else WORDS.get(self.kind, WORDS[str])

    @property
    def about(self) -> str:
        """What its help says, with the default."""
        default = "" if self.default in (None, False) else f" Default: {self.default}."
        return f"{self.parsed.help}{default}"

    def of_texts(self, texts: Sequence[str]) -> Any:
        """The value that words of a command line stand for, as TOML has it. Raises WrongValueError."""
        if self.many:
            return self.checked([*texts])
        if len(texts) != 1:
            raise WrongValueError("must be one value")
        return self.checked(self._of_text(texts[0]))

    def of_variable(self, text: str) -> Any:
        """The value that a variable's text stands for; of a list, each line is one. Raises WrongValueError."""
        return self.of_texts(text.splitlines() if self.many else [text])

    def _of_text(self, text: str) -> Any:
        if self.kind is bool:
            return True if text.lower() in YES else False if text.lower() in NO else text
        if issubclass(self.kind, StrEnum):
            return text.lower()  # as options, which take either case
        try:
            return self.kind(text) if self.kind in (int, float) else text
        except ValueError:
            return text  # which is found to be of the wrong kind

    def checked(self, value: Any) -> Any:
        """A value of TOML, as it is. Raises WrongValueError for one that the setting cannot have."""
        if not self.many:
            self._check(value)
        elif not isinstance(value, list):
            raise WrongValueError("must be a list of texts")
        for item in value if self.many else ():
            self._check(item)
        if self.group is not None and hasattr(self.group, "check_values"):
            try:
                self.group(**{self.field: value}).check_values()
            except UsageError as error:
                raise WrongValueError(str(error).rpartition(": ")[2]) from None
        return value

    def _check(self, value: Any) -> None:
        """Raises WrongValueError for one value of the wrong kind, or outside of the limits."""
        wanted = self.kind if self.kind in WORDS else str
        types = (int, float) if wanted is float else (wanted,)
        if not isinstance(value, types) or (isinstance(value, bool) and wanted is not bool):
            raise WrongValueError(f"must be {WORDS[wanted]}")
        least, most = self.parsed.min, self.parsed.max
        if (least is not None and not value >= least) or (most is not None and not value <= most):
            above = f"{least} or more" if most is None else f"between {least} and {most}"
            raise WrongValueError(f"must be {above}")
        if issubclass(self.kind, StrEnum) and value not in list(self.kind):
            raise WrongValueError(f"must be one of {', '.join(self.kind)}")

    def used(self, value: Any) -> Any:
        """A checked value as the parser takes it: in names of files a leading ~ is the home folder."""
        if isinstance(value, str) and (self.kind is Path or "FILE" in (self.parsed.metavar or "")):
            return str(expanded(value)) if value.startswith("~") else value
        return value

    def converted(self, value: Any) -> Any:
        """A checked value as a group's field takes it."""
        value = self.used(value)
        return value if self.many or self.kind in WORDS else self.kind(value)

    def wrong(self, value: Any, why: WrongValueError, place: str, key: str = "") -> UsageError:
        """The error for a wrong value."""
        said = shown(value) if isinstance(value, str) else str(value)[:64]
        return UsageError(f"{place}{key or self.name} is {said}: {why}", f"{self.name}: {self.about}")
