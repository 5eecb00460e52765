#!/usr/bin/env bash
# All checks of a GPU, in at most ten minutes: providers, IO binding, CUDA graphs, float16, times and rates.
#     benchmarks/gpu.sh [OUT]          writes OUT/gpu.json and OUT/gpu.md; OUT: docs/results
#     benchmarks/gpu.sh --dry-run      the same steps on the CPU, with a small network
# PYTHON names the interpreter (default: .venv/bin/python where it is there).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
if [ "${1:-}" = --dry-run ]; then
    exec "$python" -m benchmarks.gpu --dry-run "${@:2}"
fi
if ! [ -e /dev/nvidiactl ] && ! [ -e /dev/nvidia0 ] && ! [ -e /dev/dxg ]; then
    echo "gpu.sh: this machine shows no NVIDIA GPU; run it where there is one, or try its steps with --dry-run" >&2
    exit 2
fi
out=${1:-docs/results}
mkdir -p "$out"
failed=0
timeout --kill-after=10 480 "$python" -m benchmarks.gpu --json "$out/gpu.json" --table "$out/gpu.md" || failed=$?
timeout --kill-after=10 100 "$python" -m pytest -q -n 0 -m cuda tests/models || failed=$?
exit "$failed"
