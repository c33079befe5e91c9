"""llama.cpp's own server from the wheel of `xllamacpp` (PyPI), for `bench_servers.py`: it needs no compiler.

python tools/serve_llama_cpp.py model.gguf --port 8080 --parallel 16 --ctx 16384 --threads 2
"""

from __future__ import annotations

import argparse
import threading

import xllamacpp


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description="Run llama.cpp's server.")
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("--port", type=int, default=8080, help="of 127.0.0.1 (default: 8080)")
    parser.add_argument("--parallel", type=int, default=16, help="slots (default: 16)")
    parser.add_argument("--ctx", type=int, default=16384, help="tokens of all slots together (default: 16384)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    given = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = given.model
    params.hostnames, params.port = ["127.0.0.1"], given.port
    params.n_parallel, params.n_ctx = given.parallel, given.ctx
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given.threads
    params.cont_batching = True
    server = xllamacpp.Server(params)
    print(xllamacpp.BUILD_INFO, server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
