"""`llmlocal verify`: are the files intact?"""

from __future__ import annotations

from ..options.models import Verified
from ..options.report import Quiet
from ..ui import terminal
from ..views.transfer import Meter, is_whole


def verify(model: Verified = None, quiet: Quiet = False) -> None:
    """Check downloaded models against their SHA-256, and other GGUF files for damage.

    Of a file that was not downloaded by llmlocal the structure and sizes are checked, and that all numbers are finite.

    \b
    Examples: llmlocal verify
              llmlocal verify qwen3-0.6b:Q8_0
              llmlocal verify ./model.gguf
    """
    from ...errors import BadFileError
    from ...hub.index import installed
    from ...hub.removal import find_models
    from ...hub.verify import outside_store, verify
    from ...text import counted

    own = [path for text in model or () if (path := outside_store(text))]
    named = [text for text in model or () if not outside_store(text)]
    models = [found for text in named for found in find_models(text, one=False)] if model else installed()
    if not (models or own or quiet):
        return terminal.tell_person("no models yet: llmlocal pull NAME downloads one")
    words = {True: "ok", False: "damaged", None: "no SHA-256 known"}
    bad = 0
    with terminal.Screen(quiet=quiet) as screen:
        for verified in verify([file for found in models for file in found.files], Meter(screen)):
            bad += verified.matches is False
            screen.lines([f"{words[verified.matches]}: {verified.file.path}"])
        damaged = sum(not is_whole(path, screen) for path in own)
    if damaged:
        raise BadFileError(f"{counted(damaged, 'file')} damaged")
    if bad:
        raise BadFileError(
            f"{counted(bad, 'file')} damaged: checksum mismatch", "llmlocal pull MODEL --force downloads again"
        )
