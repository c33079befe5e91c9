"""`llmlocal verify`: are the downloaded files intact?"""

from __future__ import annotations

from .. import options as o
from ..ui import terminal
from ..views.transfer import Meter


def verify(model: o.Verified = None, quiet: o.Quiet = False) -> None:
    """Check downloaded models against their SHA-256.

    \b
    Examples: llmlocal verify
              llmlocal verify qwen3-0.6b:Q8_0
    """
    from ...errors import BadFileError
    from ...hub.index import installed
    from ...hub.removal import find_models
    from ...hub.verify import verify

    models = [found for text in model for found in find_models(text, one=False)] if model else installed()
    words = {True: "ok", False: "damaged", None: "no SHA-256 known"}
    bad = 0
    with terminal.Screen(quiet=quiet) as screen:
        for verified in verify([file for found in models for file in found.files], Meter(screen)):
            bad += verified.matches is False
            screen.lines([f"{words[verified.matches]}: {verified.file.path}"])
    if bad:
        raise BadFileError(
            f"{bad} file{'s' * (bad != 1)} damaged: checksum mismatch", "llmlocal pull MODEL --force downloads again"
        )
