"""Load a server that speaks OpenAI's protocol, this one or another, and say how fast it answers, and whether rightly.

    python tools/bench_serve.py http://127.0.0.1:8080 --clients 1 4 16 --requests 200

Every request has a prompt of its own, which shares nothing with the others; answers are streamed, at temperature 0.
Afterwards some of the prompts are asked again alone: an answer that was another prompt's is mixed, one that is neither
is different, which is not an error where a server computes a batch by other kernels than a single answer.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from http_load import Exchange, exchange

WORDS = ("river", "stone", "garden", "letter", "window", "music", "winter", "market", "bridge", "doctor", "engine")


class Answer(NamedTuple):
    """An answer as a client saw it; `first` and `whole` are seconds, `error` is empty where it came."""

    text: str = ""
    tokens: int = 0
    first: float = 0.0
    whole: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Target:
    """A server, and what is asked of it."""

    url: str
    model: str
    key: str
    max_tokens: int
    words: int

    def prompt(self, name: str) -> str:
        """A text that begins like no other."""
        rng = random.Random(name)
        return f"{rng.getrandbits(48):x}. " + " ".join(rng.choices(WORDS, k=self.words)) + ". Tell a story about it."

    def ask(self, name: str) -> Answer:
        """One request."""
        return answered(self.ask_all([name], 1)[0])

    def ask_all(self, names: Sequence[str], clients: int) -> list[Exchange]:
        """As many requests, `clients` of them at once."""
        place = urlsplit(self.url)
        requests = [self._request(place.path.rstrip("/"), place.netloc, name) for name in names]
        return exchange((place.hostname or "127.0.0.1", place.port or 80), requests, clients)

    def _request(self, path: str, host: str, name: str) -> bytes:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": self.prompt(name)}], "temperature": 0}
        body |= {"max_tokens": self.max_tokens, "stream": True, "stream_options": {"include_usage": True}}
        body |= {"model": self.model} if self.model else {}
        data = json.dumps(body).encode()
        head = f"POST {path}/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nAuthorization: Bearer {self.key}\r\n"
        return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def answered(one: Exchange) -> Answer:
    """What an exchange brought."""
    try:
        if one.error or one.status != 200:
            said = one.error or f"status {one.status}: {one.body[:200].decode(errors='replace')}"
            return Answer(whole=one.whole, error=said)
        return read_events(one)
    except (ValueError, KeyError, IndexError) as error:
        return Answer(error=f"{type(error).__name__}: {error}", whole=one.whole)


def read_events(one: Exchange) -> Answer:
    """The events of a stream. Raises ValueError, KeyError, IndexError for what is none."""
    texts: list[str] = []
    counted, ended = 0, False
    for line in one.body.splitlines():
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            return Answer(error=str(event["error"]), whole=one.whole)
        counted = (event.get("usage") or {}).get("completion_tokens", counted)
        for choice in event.get("choices", ()):
            delta = choice["delta"]
            said = (delta.get("reasoning_content") or "") + (delta.get("content") or "")
            texts += [said] if said else []
            ended = ended or choice.get("finish_reason") is not None
    first = one.first or one.whole
    return Answer("".join(texts), counted or len(texts), first, one.whole, "" if ended else "cut short")


def measure(target: Target, clients: int, requests: int, sample: int) -> dict[str, Any]:
    """Figures of one load: `requests` requests by `clients` clients at once."""
    names = [f"{clients}/{i}" for i in range(requests)]
    began, spent = perf_counter(), process_time()
    exchanges = target.ask_all(names, clients)
    seconds, spent = perf_counter() - began, process_time() - spent
    answers = [answered(one) for one in exchanges]
    good = [answer for answer in answers if not answer.error]
    tokens, firsts = sum(answer.tokens for answer in good), sorted(answer.first for answer in good) or [math.nan]
    mixed, different = compare(target, names, answers, sample if clients > 1 else 0)
    return {
        "clients": clients,
        "requests": requests,
        "seconds": round(seconds, 2),
        "client_cpu_seconds": round(spent, 2),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "requests_per_minute": round(60 * len(good) / seconds, 1),
        "first_token_p50": round(percentile(firsts, 0.5), 3),
        "first_token_p95": round(percentile(firsts, 0.95), 3),
        "lost": len(answers) - len(good),
        "mixed": mixed,
        "different": different,
        "errors": sorted({answer.error for answer in answers if answer.error})[:3],
    }


def compare(target: Target, names: Sequence[str], answers: Sequence[Answer], sample: int) -> tuple[int, int]:
    """How many of some answers are another prompt's, and how many are no prompt's, when asked again alone."""
    texts = {answer.text for answer in answers}
    mixed = different = 0
    for i in random.Random(0).sample(range(len(names)), min(sample, len(names))):
        alone = target.ask(names[i])
        if answers[i].error or alone.error or alone.text == answers[i].text:
            continue
        mixed += alone.text in texts
        different += alone.text not in texts
    return mixed, different


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` of the sorted values do not exceed."""
    return values[max(0, math.ceil(part * len(values)) - 1)]


def main() -> int:
    """Exit code 1 where an answer is lost or mixed."""
    parser = argparse.ArgumentParser(description="Load a server that speaks OpenAI's protocol.")
    parser.add_argument("url", help="its address, without /v1")
    parser.add_argument("--model", default="", help="name of the model (default: the server's)")
    parser.add_argument("--key", default="none", help="API key")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="clients at once (default: 1 4 16)")
    parser.add_argument("--requests", type=int, default=200, help="requests of each load (default: 200)")
    parser.add_argument("--max-tokens", type=int, default=32, help="tokens of an answer (default: 32)")
    parser.add_argument("--words", type=int, default=60, help="words of a prompt (default: 60)")
    parser.add_argument("--sample", type=int, default=20, help="answers that are compared (default: 20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a load")
    given = parser.parse_args()
    target = Target(given.url, given.model, given.key, given.max_tokens, given.words)
    warm = target.ask("warm")
    if warm.error:
        print(f"{given.url}: {warm.error}", file=sys.stderr)
        return 1
    wrong = 0
    for clients in given.clients:
        found = measure(target, clients, given.requests, given.sample)
        wrong += found["lost"] + found["mixed"]
        if given.json:
            print(json.dumps(found), flush=True)
            continue
        speed = f"{found['tokens_per_second']} tokens/s, {found['requests_per_minute']} requests/min"
        first = f"first token {found['first_token_p50']} s (p95 {found['first_token_p95']} s)"
        counts = ", ".join(f"{found[name]} {name}" for name in ("lost", "mixed", "different"))
        print(f"{clients} clients: {speed}, {first}, {counts}", *found["errors"], sep="\n  ", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
