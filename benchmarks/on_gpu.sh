#!/bin/sh
# What only an accelerator can show, in eight minutes at most: one command, one JSON file, offline.
#   sh benchmarks/on_gpu.sh                        on a machine with an NVIDIA accelerator
#   DEVICE=cpu QUICK=1 sh benchmarks/on_gpu.sh     smaller and on a processor, to see that it works
#   ONLY=precisions,latency sh benchmarks/on_gpu.sh   some parts (python -m benchmarks.on_gpu --help names them)
# OUT: folder of on_gpu.json, the current one by default. PYTHON: an interpreter in which the harness is installed.
set -u
cd "$(dirname "$0")/.." || exit 2
OUT=${OUT:-.}
[ -x .venv/bin/python ] && PYTHON=${PYTHON:-.venv/bin/python}
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} exec timeout --kill-after=5 475 "${PYTHON:-python3}" -m benchmarks.on_gpu \
    --device "${DEVICE:-cuda}" --json "$OUT/on_gpu.json" ${QUICK:+--short} ${ONLY:+--only "$ONLY"} "$@"
