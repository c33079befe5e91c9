"""What runs of several tokens cost, kept from one process to the next: for a model, a machine and its threads."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import blake2b

from ..files.atomic_file import atomic_file
from ..quant.jit.kept_file import cache_root
from ..quant.private_folder import make_private, read_private, why_foreign
from .costs import Costs

FEWEST_RUNS = 4  # of several tokens, before what they took is worth keeping
MOST_TOKENS, HIGHEST = 64, 1000.0  # of what is believed of a file


class CostFile:
    """Where the costs for `key`, whatever tells models, machines and threads apart, are kept.

    What cannot be read or written is left: costs are measured anew.
    """

    def __init__(self, key: str) -> None:
        self.path = cache_root().with_name("run-costs") / f"{blake2b(key.encode(), digest_size=16).hexdigest()}.json"

    def load(self) -> Costs:
        """The costs that are kept, or none."""
        try:
            data = None if why_foreign(self.path.parent) else read_private(self.path)
            found = {int(tokens): float(ratio) for tokens, ratio in json.loads(data or b"{}").items()}
        except (OSError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return Costs()
        believed = (1 < tokens <= MOST_TOKENS and 0 < ratio < HIGHEST for tokens, ratio in found.items())
        return Costs(found) if all(believed) else Costs()

    def save(self, costs: Costs) -> None:
        """Keep costs of which enough was measured since they were loaded."""
        with suppress(OSError):
            if costs.runs < FEWEST_RUNS or why_foreign(self.path.parent):
                return
            make_private(self.path.parent)
            with atomic_file(self.path, force=True) as file:
                os.chmod(file.fileno(), 0o600)
                file.write(json.dumps(costs.measured).encode())
