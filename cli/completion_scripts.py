"""Completion in four shells: scripts that call llmlocal, and the answers. Uses no network and opens no model.

A shell passes the words of the line, the last one being the word that is typed; we print what it may become. Names
of files are the shell's own business: it adds them where we have nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from inspect import unwrap
from typing import Any, get_type_hints

from .model_argument import ModelName, draft_name, model_or_question

# The shell splits at colons in bash, so what stands before the last one is cut off again there.
BASH = r"""_llmlocal() {
    local line words cur IFS
    line="${COMP_LINE:0:COMP_POINT}"
    IFS=$' \t' read -r -a words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    cur="${words[${#words[@]}-1]}"
    IFS=$'\n'
    COMPREPLY=($(llmlocal completion words -- "${words[@]:1}" 2>/dev/null))
    if [[ "$cur" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*:}"}"}")
    fi
}
complete -o default -F _llmlocal llmlocal
"""
ZSH = r"""#compdef llmlocal
_llmlocal() {
    local -a found
    found=("${(@f)$(llmlocal completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -Q -- "${found[@]}"
    else
        _files
    fi
}
if [[ "${funcstack[1]}" == _llmlocal ]]; then
    _llmlocal "$@"
else
    compdef _llmlocal llmlocal
fi
"""
FISH = r"""function __llmlocal_words
    set -l line (commandline -opc) (commandline -ct)
    llmlocal completion words -- $line[2..-1] 2>/dev/null
end
complete -c llmlocal -a '(__llmlocal_words)'
"""
POWERSHELL = r"""Register-ArgumentCompleter -Native -CommandName llmlocal -ScriptBlock {
    param($word, $ast, $point)
    $words = @($ast.CommandElements | Select-Object -Skip 1 | ForEach-Object { $_.ToString() })
    if ($word -eq '') { $words += '""' }
    llmlocal completion words '--' @words 2>$null | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
    }
}
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH, "powershell": POWERSHELL}
NAMES = ("MODEL", "MODEL...")  # arguments that are texts and name models, by their metavar


def candidates(program: Any, words: Sequence[str]) -> Iterator[str]:
    """What the last of `words` may become in `program`, the command of all commands.

    Never raises: a shell would show the error between two key strokes.
    """
    *before, typed = words or [""]
    typed = typed.strip('"')  # how an empty word survives PowerShell
    command = program
    while before and (names := getattr(command, "commands", None)) is not None:
        name = before.pop(0)
        if name.startswith("-"):
            continue
        if name not in names:
            return
        command = program if name == "help" else command.get_command(None, name)  # help takes names of commands
    if typed.startswith("-"):
        options = {name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")}
        yield from sorted(name for name in {*options, "-h", "--help"} if name.startswith(typed))
        return
    choices = list(getattr(command, "commands", ())) or _values(command, before)
    yield from sorted(choice for choice in choices if choice.lower().startswith(typed.lower()))


def _values(command: Any, before: Sequence[str]) -> list[str]:
    """Words for the argument or the option's value that comes next."""
    options = {name: parameter for parameter in command.params for name in parameter.opts if name.startswith("-")}
    if before and (option := options.get(before[-1])) is not None and not getattr(option, "is_flag", False):
        return _choices(command, option)
    plain, skip = 0, False
    for word in before:
        takes = word in options and not getattr(options[word], "is_flag", False)
        plain += not (skip or word.startswith("-"))
        skip = takes
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if not arguments:
        return []
    last = arguments[min(plain, len(arguments) - 1)]
    if plain >= len(arguments) and last.nargs != -1:
        return []
    if _takes_model(command, last):
        from ..errors import LlmlocalError
        from ..hub.index import names_to_complete

        with suppress(LlmlocalError, OSError):
            return names_to_complete()
    return _choices(command, last)


def _takes_model(command: Any, parameter: Any) -> bool:
    """Whether an argument is a MODEL, whatever it is called: its annotation says so."""
    if getattr(parameter, "metavar", None) in NAMES:
        return True
    hint = get_type_hints(unwrap(command.callback), include_extras=True).get(parameter.name)
    return any(
        getattr(extra, "parser", None) in (ModelName, model_or_question, draft_name)
        for extra in getattr(hint, "__metadata__", ())
    )


def _choices(command: Any, parameter: Any) -> list[str]:
    """The words of a parameter that has a fixed set of them."""
    context = command.make_context("llmlocal", [], resilient_parsing=True)
    return [str(item.value) for item in parameter.shell_complete(context, "") if item.type == "plain"]
