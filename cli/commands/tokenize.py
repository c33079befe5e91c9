"""`llmlocal tokenize`: what a model makes of a text, or a text of token ids."""

from __future__ import annotations

from .. import options as o
from ..text_input import prompt_source
from ..ui import terminal as ui


def tokenize(
    model: o.Model,
    text: o.Text = None,
    ids: o.Ids = False,
    pieces: o.Pieces = False,
    count: o.Count = False,
    no_special: o.NoSpecial = False,
    decode: o.Decode = False,
    no_stdin: o.NoStdin = False,
) -> None:
    """Cut a text into tokens: a line with id and piece for each. A file with nothing but a vocabulary will do.

    Names of special tokens in the text become those tokens here, unless --no-special; in a prompt they never do.

    \b
    Examples: llmlocal tokenize model.gguf "Once upon a time"
              llmlocal tokenize model.gguf --count < notes.txt
              llmlocal tokenize model.gguf --decode "1 403 407"
    """
    from ...errors import UsageError
    from ...model_info.tokenization import Tokenization

    if ids + pieces + count + decode > 1:
        raise UsageError("--ids, --pieces, --count and --decode exclude each other")
    read = prompt_source(text, use_stdin=not no_stdin, what="text", exact=True)
    tokenization = Tokenization.open(model, special=not no_special)
    if decode:
        return ui.show_text(tokenization.decode(read()))
    found = tokenization.encode(read())
    if count:
        ui.say(str(len(found)))
    elif ids:
        ui.say(" ".join(str(id) for id, _ in found))
    else:
        ui.lines(ui.quoted(piece) if pieces else f"{id:>6}  {ui.quoted(piece)}" for id, piece in found)
