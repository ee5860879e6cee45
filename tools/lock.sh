#!/bin/sh
# Resolve the dependencies again and write both locks: hashes and versions, no address of any registry.
set -eu
uv=.venv/bin/uv
test -x "$uv" || .venv/bin/python -m pip install --quiet uv
common="--universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet"
# shellcheck disable=SC2086
"$uv" pip compile $common pyproject.toml -o requirements.lock "$@"
# shellcheck disable=SC2086
"$uv" pip compile $common pyproject.toml --group dev --group build -c requirements.lock -o requirements-dev.lock "$@"
