#!/usr/bin/env bash
# Kernel tests and one tiny model from end to end on emulated 64-bit ARM cores. Minutes for each core, so a lane of its
# own; nothing here may be timed.
#
#   tools/arm_lane.sh ARM_PYTHON [ARGUMENT OF PYTEST ...]
#
# ARM_PYTHON  a script that is an aarch64 Python: it emulates the core $CPU, has $ARM_PIP installed, $PROJECT on its path
# CPUS        the cores, default: one with dot products, one without, and one with matrix products of bytes, too
# FORMATS     the formats, default: one of 4 bits, one of 8, and halves
# ARM_WORK    a folder to keep between runs, for the compiled kernels
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=$(realpath "${1:?usage: tools/arm_lane.sh ARM_PYTHON [ARGUMENT OF PYTEST ...]}")
shift
work=${ARM_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/llmlocal-arm-lane}
export LLMLOCAL_TEST_DATA=${LLMLOCAL_TEST_DATA:-$root/../shared/data}
export ARM_PIP="numba>=0.68,<0.69 numpy gguf jinja2 platformdirs psutil rich typer pytest pytest-timeout pyte hypothesis"
export PROJECT=$work/stage

# The packages as they are installed; see package-dir in pyproject.toml.
rm -rf "$PROJECT"
mkdir -p "$PROJECT"
cp -R "$root/llmlocal" "$root/tests" "$root/pyproject.toml" "$PROJECT"
cp -R "$root/quant" "$root/cli" "$PROJECT/llmlocal"
cd "$PROJECT"

# NumPy warns of signalling NaNs where the CPU says that it met one, as ARM's do.
quiet="ignore:invalid value encountered in cast:RuntimeWarning"
formats=" ${FORMATS:-Q4_0 Q8_0 F16}"
for cpu in ${CPUS:-cortex-a76 cortex-a72 max}; do
    printf '\n== %s\n' "$cpu"
    CPU=$cpu "$python" -m pytest -q -W "$quiet" -o cache_dir="$work/$cpu" -o addopts= -o timeout=0 \
        -k "(neon${formats// / or }) and not generic" \
        tests/test_simd.py tests/test_byte_products.py tests/test_matmul.py tests/test_session.py "$@"
done
