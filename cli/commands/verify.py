"""`llmlocal verify`: are the files still what the hub promised?"""

from __future__ import annotations

from .. import options as o
from ..ui import terminal as ui
from ..views.transfer import Meter


def verify(model: o.Verified = None, quiet: o.Quiet = False) -> None:
    """Read models whole and compare them with their sha256; without MODEL all that are in the store.

    \b
    Examples: llmlocal verify
              llmlocal verify qwen3-0.6b:Q8_0
    """
    from ...errors import BadFileError
    from ...hub.index import installed
    from ...hub.removal import find_models
    from ...hub.verify import verify

    models = [found for text in model for found in find_models(text, one=False)] if model else installed()
    words = {True: "right", False: "damaged", None: "no sha256 is known"}
    bad = 0
    with ui.Screen(quiet=quiet) as screen:
        for verified in verify([file for found in models for file in found.files], Meter(screen)):
            bad += verified.matches is False
            screen.lines([f"{words[verified.matches]}: {verified.file.path}"])
    if bad:
        raise BadFileError(f"{bad} of the files are not what they should be", "llmlocal pull --force gets them again")
