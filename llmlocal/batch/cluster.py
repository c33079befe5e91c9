"""Rows answered on the nodes of a Ray cluster: an engine on each, and the same results in the same order.

The package `ray` places the work and moves the rows. A node has llmlocal and the model, by its path or by its name.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Condition, Lock
from typing import Any

from .. import __version__
from ..chat_format.thinking import Think
from ..errors import BadFileError, LlmlocalError, NetworkError, NotFoundError, UsageError
from ..generation.session import Session
from ..hub.catalog import entry_for
from ..hub.names import find_local
from ..text import escaped
from .ray_address import no_cluster
from .row_prompt import FieldText, RowPrompts
from .rows import Row
from .run import Answerer, Answering, Pending, Result, in_order, sequences

AHEAD = 2  # rows that are with a node, for each one that it answers at once


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a node needs to answer rows: the model and how it is opened, how prompts are made, how rows are answered."""

    model: Path
    name: str | None  # the model's in the catalog, for nodes where it has another path
    bytes: int
    opening: Mapping[str, Any]
    prompting: tuple[FieldText | None, str | None, str | None, Think]
    how: Answering
    parallel: int
    version: str = __version__

    @classmethod
    def of(cls, model: Path, **more: Any) -> NodeSettings:
        """For the model in a file of this machine; `more` are the other fields."""
        entry, path = entry_for(model), model.absolute()
        return cls(model=path, name=entry.name if entry else None, bytes=path.stat().st_size, **more)


class Node:
    """The actor on a node: its engine answers rows."""

    def __init__(self, settings: NodeSettings, n_threads: int) -> None:
        self._settings, self._n_threads = settings, n_threads
        self._answerer: Answerer | None = None

    def open(self) -> None:
        """Open the model and load its engine. Raises as `Session.open` and `Session.engine`."""
        settings = self._settings
        if settings.version != __version__:
            raise UsageError(f"it has llmlocal {__version__}, not {settings.version}", "install the same on all nodes")
        opening = {**settings.opening, "n_threads": settings.opening["n_threads"] or self._n_threads}
        session = Session.open(self._path(), n_seqs=sequences(settings.parallel), **opening)
        prompts = RowPrompts(session, *settings.prompting)
        self._answerer = Answerer(session, prompts, settings.how, settings.parallel, AHEAD * settings.parallel)

    def answer(self, row: Row, key: str) -> Result:
        """The result of a row."""
        assert self._answerer is not None
        changed = Condition()
        pending = self._answerer.begin(row, key, changed)
        with changed:
            changed.wait_for(lambda: pending.result is not None)
        assert pending.result is not None
        return pending.result

    def _path(self) -> Path:
        settings = self._settings
        name = settings.name
        path = settings.model if settings.model.is_file() or name is None else find_local(name) or settings.model
        if not path.is_file():
            hint = (
                f"llmlocal pull {name} on each node, or a path that all share" if name else "name a path that all share"
            )
            raise NotFoundError(f"{escaped(str(path))}: no such file", hint)
        if path.stat().st_size != settings.bytes:
            raise BadFileError(f"{escaped(str(path))}: is not the model of this machine: other size")
        return path


def cluster_results(
    address: str, rows: Iterable[tuple[Row, str]], settings: NodeSettings
) -> Generator[Result, None, None]:
    """As `results`, by the nodes of the Ray cluster at an address. Raises as `Cluster`."""
    with closing(Cluster(address, settings)) as cluster:
        yield from cluster.results(rows)


class Cluster:
    """The engines on the nodes of the Ray cluster at an address, which `check_address` accepts. To be closed.

    Raises NetworkError where there is no cluster or none of its nodes can work, and what a node raises when it opens
    the model.
    """

    def __init__(self, address: str, settings: NodeSettings) -> None:
        import ray

        self._ray, self._lock = ray, Lock()
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except (OSError, ValueError, RuntimeError, SystemExit) as error:  # it exits where a cluster does not answer
            raise no_cluster(address, str(error).partition("\n")[0]) from error
        try:
            self._loads = dict.fromkeys(self._opened(settings), 0)  # actors, and how many rows are with each
        except BaseException:
            self.close()
            raise
        self._ahead = AHEAD * settings.parallel * len(self._loads)

    def results(self, rows: Iterable[tuple[Row, str]]) -> Generator[Result, None, None]:
        """The results of rows with their keys, in order. Raises NetworkError when no node is left."""
        return in_order(rows, self._begin, self._ahead)

    def close(self) -> None:
        """Leave the cluster; its engines end."""
        self._ray.shutdown()

    def _opened(self, settings: NodeSettings) -> list[Any]:
        """An actor on each node, with all its CPUs, whose engine is loaded."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        found = []
        for node in self._ray.nodes():
            n_cpus = int(node["Resources"].get("CPU", 0)) if node["Alive"] else 0
            if n_cpus:
                where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                calls = AHEAD * settings.parallel + 1
                actor = self._ray.remote(Node).options(
                    num_cpus=n_cpus, max_concurrency=calls, scheduling_strategy=where
                )
                found.append((node["NodeManagerAddress"], actor.remote(settings, n_cpus)))
        if not found:
            raise NetworkError("the Ray cluster has no node with a CPU")
        for (address, _), opened in zip(found, [actor.open.remote() for _, actor in found], strict=True):
            try:
                self._ray.get(opened)
            except self._ray.exceptions.RayError as error:
                raise _of_node(error, address) from error
        return [actor for _, actor in found]

    def _begin(self, row: Row, key: str, changed: Condition) -> Pending:
        pending = Pending(row, key, None, changed)
        if row.error is not None:
            pending.fail(row.error)
        else:
            self._send(row, key, pending)
        return pending

    def _send(self, row: Row, key: str, pending: Pending) -> None:
        """Give a row to the actor with the fewest."""
        with self._lock:
            if not self._loads:
                pending.lose(
                    NetworkError("all nodes of the Ray cluster are lost", "--resume goes on with the file of -o")
                )
                return
            actor = min(self._loads, key=lambda actor: self._loads[actor])
            self._loads[actor] += 1
        future = actor.answer.remote(row, key).future()
        future.add_done_callback(partial(self._came, actor, row, key, pending))

    def _came(self, actor: Any, row: Row, key: str, pending: Pending, future: Any) -> None:
        """A row is done; one of a node that is lost goes to another."""
        error = future.exception()
        with self._lock:
            if actor in self._loads:
                self._loads[actor] -= 1
            if isinstance(error, self._ray.exceptions.RayActorError):
                self._loads.pop(actor, None)
        if error is None:
            pending.done(future.result())
        elif isinstance(error, self._ray.exceptions.RayActorError):
            self._send(row, key, pending)
        else:
            pending.lose(_of_node(error, ""))


def _of_node(error: Exception, address: str) -> LlmlocalError:
    """The error of a node, with its address."""
    cause, where = getattr(error, "cause", error), f"node {address} of the Ray cluster: " if address else ""
    if isinstance(cause, LlmlocalError):
        return type(cause)(f"{where}{cause}", cause.hint)
    if "No module named 'llmlocal" in str(error):
        return UsageError(f"{where}it has no llmlocal", f"pip install llmlocal=={__version__} on each node")
    return NetworkError(f"{where}{escaped(str(cause).strip().splitlines()[-1][:200])}")
