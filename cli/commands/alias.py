"""`llmlocal alias`: the user's own names for models."""

from __future__ import annotations

from ..command_group import group
from ..options.models import AliasName, AliasTarget
from ..options.report import Json
from ..ui import terminal

alias = group(
    "Manage your own names for models. They are kept in your models.toml.",
    "llmlocal alias set writer qwen3-4b:Q8_0",
)


@alias.command("set")
def set_(name: AliasName, model: AliasTarget) -> None:
    """Define an alias; the model need not be downloaded yet.

    \b
    Example: llmlocal alias set writer hf:org/repo:Q4_K_M
    """
    from ...hub.aliases import set_alias

    set_alias(name, model)


@alias.command("ls")
def ls(as_json: Json = False) -> None:
    """List your aliases.

    \b
    Example: llmlocal alias ls
    """
    from ...hub.aliases import user_aliases
    from ..views.model import to_json

    if as_json:
        return terminal.say(to_json(aliases=user_aliases()))
    if not user_aliases():
        return terminal.tell_person("no aliases yet: llmlocal alias set NAME MODEL defines one")
    terminal.rows(user_aliases().items())


@alias.command("rm")
def rm(name: AliasName) -> None:
    """Remove an alias; the model stays.

    \b
    Example: llmlocal alias rm writer
    """
    from ...hub.aliases import remove_alias

    remove_alias(name)
