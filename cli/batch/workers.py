"""Who answers the rows of a batch: this machine, or the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..options.engine import ModelOptions

if TYPE_CHECKING:
    from ...batch.row_prompt import RowPrompts
    from ...batch.rows import Row
    from ...batch.run import Answering, Result
    from ...generation.session import Session


class Workers:
    """Those at the address `ray`, or this machine where it is None; each answers `parallel` rows at once.

    Raises as `check_address`.
    """

    def __init__(self, ray: str | None, model: Path, options: ModelOptions, parallel: int) -> None:
        self._ray, self._model, self._options, self._parallel = ray, model, options, parallel
        if ray is not None:
            from ...batch.ray_address import check_address

            check_address(ray)

    def results(
        self, session: Session, rows: Iterable[tuple[Row, str]], prompts: RowPrompts, how: Answering
    ) -> Generator[Result, None, None]:
        """The results of rows with their keys, in order. To be closed. Raises as `results` and `cluster_results`."""
        if self._ray is None:
            from ...batch.run import results

            return results(session, rows, prompts, how, self._parallel)
        from ...batch.cluster import NodeSettings, cluster_results

        settings = NodeSettings.of(
            self._model, opening=self._options.arguments(), prompting=prompts.given, how=how, parallel=self._parallel
        )
        return cluster_results(self._ray, rows, settings)
