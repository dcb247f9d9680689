#!/usr/bin/env bash
# `mkdocs build --strict --quiet` ends with exit code 0 where a link leads nowhere.
#
# One would guess that --quiet says less and decides nothing. It raises the level of the logger on which --strict counts the
# warnings, so none are counted: the same pages end with exit code 1 without it, and with 0 with it, and nothing is said.
# Seen with mkdocs 1.6.1.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q mkdocs==1.6.1
mkdir docs
echo "[a link](nowhere.md)" > docs/index.md
echo "site_name: links" > mkdocs.yml
for options in "--strict" "--strict --quiet"; do
    code=0
    venv/bin/python -m mkdocs build $options > "said.txt" 2>&1 || code=$?
    echo "$options: exit code $code, $(grep -c nowhere.md said.txt || true) lines about the link" | tee -a found.txt
done
grep -qx -- "--strict: exit code 1, 1 lines about the link" found.txt
grep -qx -- "--strict --quiet: exit code 0, 0 lines about the link" found.txt
