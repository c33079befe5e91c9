"""`llmlocal completion`: scripts for shells, and the words that they ask us for."""

from __future__ import annotations

from . import options as o
from . import shells, ui


def completion(shell: o.Shell, words: o.Words = None) -> None:
    """Print a script that completes commands, options and model names in your shell.

    \b
    Examples: source <(llmlocal completion bash)
              llmlocal completion zsh > "${fpath[1]}/_llmlocal"
              llmlocal completion fish > ~/.config/fish/completions/llmlocal.fish
              llmlocal completion powershell >> $PROFILE
    """
    if shell is o.ShellName.words:
        return ui.lines(shells.candidates(words or [""]))
    ui.show_text(shells.SCRIPTS[shell.value])
