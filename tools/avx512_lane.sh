#!/usr/bin/env bash
# Kernel tests on emulated x86-64 CPUs whose instruction sets this machine may lack: AVX-512 VNNI, and AVX-VNNI. Only
# machine code of kernels is emulated (see emulated_cpu.py). Many minutes, so a lane of its own; nothing here may be timed.
#
#   tools/avx512_lane.sh [ARGUMENT OF PYTEST ...]
#
# To be run where llmlocal and its tests are installed, on x86-64 Linux with AVX2. Without arguments: every kernel test.
#
# CPUS         LLVM's names of the CPUs, default: icelake-client; known are sapphirerapids, arrowlake (AVX-VNNI) and
#              skylake-avx512, which lacks VNNI, too; so is znver5, code for which runs on the model of sapphirerapids
# AVX512_WORK  a folder to keep between runs, for the emulator and the compiled kernels
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=${AVX512_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/llmlocal-avx512-lane}
if [ ! -d "$work/site" ]; then
    python -m pip install -q --no-deps --target "$work/site.new" bochscpu-python==0.4.0
    # It was linked with a newer C library than its wheel says. The older names of two functions fit into the newer ones.
    python - "$work"/site.new/bochscpu/_bochscpu*.so <<'END'
import sys
from pathlib import Path

path, names = Path(sys.argv[1]), (b"strtoull", b"sscanf")
data = path.read_bytes()
for name in names:
    data = data.replace(b"\0__isoc23_" + name + b"\0", (b"\0" + name).ljust(10, b"\0") + name + b"\0")
path.write_bytes(data)
END
    mv "$work/site.new" "$work/site"
fi

cd "$root"
[ $# -gt 0 ] || set -- tests/test_{simd,byte_products,matmul,interleave,ops,recurrent_ops,encode}.py
for cpu in ${CPUS:-icelake-client}; do
    printf '\n== %s\n' "$cpu"
    EMULATED_CPU=$cpu PYTHONPATH=$root/tools:$work/site python -m pytest -p emulated_cpu -o addopts= -o timeout=0 \
        -o cache_dir="$work/$cpu" -v "$@"
done
