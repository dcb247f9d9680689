#!/usr/bin/env bash
# The plugin `offline` of Material for MkDocs writes pages whose search needs a network.
#
# One would guess that pages "for distribution as a download" need none. Each page has a script of unpkg.com, which stands in
# for the Worker that a browser starts for no page of file://. Without a network the search finds nothing, and says nothing. The
# plugin `privacy` fetches the script when the pages are built, so that takes a network too. A script of one's own whose address
# has "iframe-worker" in it, in `extra.polyfills`, keeps the plugin from adding it.
# Seen with mkdocs-material 9.8.2 and mkdocs 1.6.1.
set -euo pipefail
export NO_MKDOCS_2_WARNING=1
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q mkdocs==1.6.1 mkdocs-material==9.8.2
mkdir docs
echo "# A page" > docs/index.md
cat > mkdocs.yml <<'YML'
site_name: offline
theme: {name: material, font: false}
plugins: [search, offline]
YML
venv/bin/python -m mkdocs build --quiet
grep -o 'src="https://[^"]*"' site/index.html | sort -u | tee fetched.txt
grep -qx 'src="https://unpkg.com/iframe-worker/shim"' fetched.txt
echo "extra: {polyfills: [iframe-worker.js]}" >> mkdocs.yml
venv/bin/python -m mkdocs build --quiet
if grep -q 'src="https:' site/index.html; then exit 1; fi
