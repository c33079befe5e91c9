"""`llmlocal tokenize`: a text as tokens, or token ids as text."""

from __future__ import annotations

from ..options.inspection import Text, TokensShown
from ..options.models import Model
from ..options.report import Json, NoStdin
from ..text_input import text_source
from ..ui import terminal
from ..views.model import as_text, to_json


def tokenize(
    model: Model, text: Text = None, *, shown: TokensShown, as_json: Json = False, no_stdin: NoStdin = False
) -> None:
    """Split a text into tokens, or decode token ids.

    Prints a line with id and text for each token. A GGUF file with only a vocabulary is enough. Special tokens written
    out in TEXT are recognized, unless --no-special; in a prompt of run or chat they never are.

    \b
    Examples: llmlocal tokenize model.gguf "Once upon a time"
              llmlocal tokenize model.gguf --count < notes.txt
              llmlocal tokenize model.gguf --decode "1 403 407"
    """
    from ...errors import UsageError
    from ...model_info.tokenization import Tokenization

    if shown.ids + shown.pieces + shown.count + shown.decode > 1 or (as_json and shown.ids + shown.pieces):
        raise UsageError("--ids, --pieces, --count and --decode exclude each other; --json goes with the last two")
    read = text_source(text, use_stdin=not no_stdin)
    tokenization = Tokenization.open(model, special=not shown.no_special)
    if shown.decode:
        data = tokenization.decode(b"".join(read()))
        return terminal.say(to_json(text=as_text(data))) if as_json else terminal.show_text(data)
    found = tokenization.encode_pieces(read())
    if as_json:
        tokens = [{"id": id, "text": as_text(piece), "bytes": piece.hex()} for id, piece in found]
        terminal.say(to_json(model=str(model), count=len(tokens), **({} if shown.count else {"tokens": tokens})))
    elif shown.count:
        terminal.say(str(sum(1 for _ in found)))
    elif shown.ids:
        terminal.say(" ".join(str(id) for id, _ in found))
    else:
        terminal.lines(
            terminal.quoted(piece) if shown.pieces else f"{id:>6}  {terminal.quoted(piece)}" for id, piece in found
        )
    for note in tokenization.notes:
        terminal.note(note)
