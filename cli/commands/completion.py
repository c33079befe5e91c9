"""`llmlocal completion`: shell completion scripts, and the words that they ask for."""

from __future__ import annotations

import typer

from .. import choices
from .. import completion_scripts as shells
from ..options.shell import Shell, Words
from ..ui import terminal


def completion(ctx: typer.Context, shell: Shell, words: Words = None) -> None:
    """Print a shell completion script.

    It completes commands, options and model names.

    \b
    Examples: source <(llmlocal completion bash)
              llmlocal completion zsh > "${fpath[1]}/_llmlocal"
              llmlocal completion fish > ~/.config/fish/completions/llmlocal.fish
              llmlocal completion powershell >> $PROFILE
    """
    if shell is choices.ShellName.words:
        return terminal.lines(shells.candidates(ctx.find_root().command, words or [""]))
    terminal.show_text(shells.SCRIPTS[shell.value])
