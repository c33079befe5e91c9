"""Counters and histograms in the text format of Prometheus. No text of a prompt or an answer is in them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, inf)  # seconds


class Histogram:
    """Durations in seconds, counted by BOUNDS."""

    def __init__(self) -> None:
        self.counts, self.total = [0] * len(BOUNDS), 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str) -> Iterator[str]:
        """As text."""
        yield f"# TYPE {name} histogram"
        running = 0
        for bound, count in zip(BOUNDS, self.counts, strict=True):
            running += count
            yield f'{name}_bucket{{le="{"+Inf" if bound == inf else bound}"}} {running}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {running}"


class Metrics:
    """What the server counts by itself; schedulers count tokens."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._first_token, self._requested = Histogram(), Histogram()

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests[route, status] += 1
        self._requested.add(seconds)

    def first_token(self, seconds: float) -> None:
        """The first token of an answer came, so long after it was asked for."""
        self._first_token.add(seconds)

    def text(self, models: Iterable[tuple[str, dict[str, float]]]) -> str:
        """All of it; `models` are names with the values of their schedulers."""
        lines = ["# TYPE llmlocal_requests_total counter"]
        for (route, status), count in sorted(self._requests.items()):
            lines.append(f'llmlocal_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += self._requested.lines("llmlocal_request_seconds")
        lines += self._first_token.lines("llmlocal_first_token_seconds")
        named: dict[str, list[str]] = {}
        for model, values in models:
            for name, value in values.items():
                named.setdefault(name, []).append(f'llmlocal_{name}{{model="{escaped(model)}"}} {value:g}')
        for name, values_of in named.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# TYPE llmlocal_{name} {kind}", *values_of]
        return "\n".join([*lines, ""])


def escaped(label: str) -> str:
    """The value of a label."""
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
