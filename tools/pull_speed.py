"""How fast and in how much memory `llmlocal pull` takes a file from a hub on loopback.

    python tools/pull_speed.py [MB] [-r REPEATS]

The server is the tests' own and sends by the system's sendfile; the pull runs in a process of its own, with sha256 and
fsync. The disk's own speed (write and fsync of as many bytes) is told beside it; TMPDIR chooses the disk. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

CHILD = """
import re, time
from pathlib import Path
from llmlocal.hub import pull
plan = pull.plan("hf:org/speed-GGUF:Q8_0")
start, busy = time.perf_counter(), time.process_time()
pull.pull(plan, lambda event: None)
most = 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
print(time.perf_counter() - start, time.process_time() - busy, most)
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
            took, busy, most = map(float, out.stdout.split())
            disk = disk_seconds(file.read_bytes(), Path(folder, "disk"))
            speeds = f"{options.megabytes / took:.0f} MB/s (the disk alone: {options.megabytes / disk:.0f} MB/s)"
            cpu = f"{options.megabytes / busy:.0f} MB for each second of CPU"
            print(f"{speeds}, {cpu}, {most / 1e6:.0f} MB of memory at most")


def disk_seconds(data: bytes, path: Path) -> float:
    """Time to write `data` and have it on the disk."""
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as out:
        out.write(data)
        os.fsync(out.fileno())
    took = time.perf_counter() - start
    path.unlink()
    return took


if __name__ == "__main__":
    main()
