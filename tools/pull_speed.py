"""How fast and in how much memory `llmlocal pull` takes a file from a hub on loopback.

    python tools/pull_speed.py [MB] [-r REPEATS]

The server is the tests' own and sends by the system's sendfile; the pull runs in a process of its own, with sha256.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

CHILD = """
import resource, sys, time
from llmlocal.hub import pull
plan = pull.plan("hf:org/speed-GGUF:Q8_0")
start = time.perf_counter()
pull.pull(plan, lambda event: None)
took = time.perf_counter() - start
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    from fake_hub import running
    from hubs import model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megabytes", nargs="?", type=int, default=200)
    parser.add_argument("-r", "--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running() as hub:
        file = Path(folder, "speed-Q8_0.gguf")
        file.write_bytes(model(options.megabytes * 10**6))
        hub.add("org/speed-GGUF", {file.name: file})
        for number in range(options.repeats):
            store = {"HF_HUB_CACHE": f"{folder}/{number}", "LLMLOCAL_CACHE": f"{folder}/cache", "HF_ENDPOINT": hub.url}
            child = [sys.executable, "-c", CHILD]
            out = subprocess.run(child, env=os.environ | store, capture_output=True, text=True, check=True)
            took, most = map(float, out.stdout.split())
            print(f"{options.megabytes / took:.0f} MB/s, {most / 1e6:.0f} MB of memory at most")


if __name__ == "__main__":
    main()
