#!/bin/sh
# Install unstatic and what a server needs: sh deploy/install.sh EXTRAS [INDEX OF PYTORCH]
set -eu
cd "$(dirname "$0")/.."
python -m pip install --no-cache-dir -c constraints.txt ${2:+--extra-index-url "$2"} ".[${1:-server}]"
python -m unstatic serve --help >/dev/null
