"""The rows of `batch`: where they come from, how they are divided, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import RowLayout
from ..option_groups import values_of
from ..texts import texts_source
from .options import RowOptions

if TYPE_CHECKING:
    from ...batch.rows import Row
    from ...generation.session import Session

STDIN = Path("-")


class RowSource:
    """The rows of a file or of stdin, and the text that their fields are filled into.

    Raises NotFoundError for a file that does not exist, UsageError for a text without fields.
    """

    def __init__(self, path: Path, asked: RowOptions) -> None:
        from ...batch.row_prompt import FieldText
        from ...batch.rows import ENDINGS, JSON_LINES, LAYOUTS

        self._path, given = path, asked.input_format
        self._layout = ENDINGS.get(path.suffix.lower(), JSON_LINES) if given is RowLayout.auto else LAYOUTS[given]
        self.text = None if asked.prompt_template is None else FieldText(asked.prompt_template)
        self._lines: Callable[[], Iterator[bytes]] = (
            texts_source(["-"], None) if path == STDIN else texts_source(None, [path])
        )

    def rows(self) -> Iterator[Row]:
        """The rows. Raises BadFileError for a file that cannot be read or divided."""
        from ...batch.rows import rows

        return rows(self._lines(), self._layout)

    def count(self) -> int | None:
        """How many there are; None for what can be read only once."""
        return sum(1 for _ in self.rows()) if self._path.is_file() else None


def settings_of(model: Path, session: Session, parallel: int, *groups: Any) -> dict[str, Any]:
    """What answers depend on besides their rows: the model, by name and size, options, and how batches are computed.

    `groups` are those of options.
    """
    from ...batch.run import sequences

    used = {"model": model.name, "bytes": model.stat().st_size, "ctx": session.n_ctx, "kv_type": session.kv_type}
    used |= {"lora": session.lora_digest} if session.lora else {}
    options = {type(group).__name__: values_of(group) for group in groups}
    return {**used, "steady": sequences(parallel) > 1, **options}
