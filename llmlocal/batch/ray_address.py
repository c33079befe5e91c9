"""The address of a Ray cluster, checked before anything else is done: Ray itself takes minutes to give up."""

from __future__ import annotations

import re
import socket
from importlib.util import find_spec

from ..errors import NetworkError, UsageError
from ..text import escaped, shown

HERE = "auto"  # the cluster of which this machine is a node
ADDRESS = re.compile(r"\[?([^\s\[\]/]+?)\]?:(\d{1,5})")
PATIENCE = 5  # seconds


def check_address(address: str) -> None:
    """Raises UsageError for what is no address and where `ray` is missing, NetworkError where nothing answers."""
    found = ADDRESS.fullmatch(address)
    if address != HERE and (found is None or int(found[2]) > 65535):
        raise UsageError(f"--ray {shown(address)} is not an address", "host:port of the cluster's head, or auto")
    if find_spec("ray") is None:
        raise UsageError("--ray needs the package ray", "pip install 'llmlocal[ray]'")
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), PATIENCE).close()
    except OSError as error:
        raise no_cluster(address, error.strerror or str(error)) from error


def no_cluster(address: str, reason: str) -> NetworkError:
    """What to raise where no cluster answers at an address."""
    said = f"no Ray cluster at {escaped(address)}: {escaped(reason)}"
    return NetworkError(said, "give the host and port of the head of one that runs")
