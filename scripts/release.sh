#!/usr/bin/env bash
# A release: wheel, source archive and SBOM, each tried before it is called done.
#
#   scripts/release.sh --out DIR
#
# The wheel is installed in a bare environment, where the command must name its models, and track its own clip; the source
# archive must build the same wheel's files. Needs Python and a package index.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-}" = --out ] && [ -d "${2:-}" ] || { echo "release: --out is a folder that exists" >&2; exit 2; }
out=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet build "cyclonedx-bom>=7"
"$work/tools/bin/python" -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; exit 1; }
wheel=$(ls "$work"/dist/*.whl)
bytes=$(stat -c %s "$wheel")
[ "$bytes" -le $((12 * 1024 * 1024)) ] || { echo "release: the wheel has $bytes bytes, more than 12 MB" >&2; exit 1; }

python3 -m venv "$work/bare"
"$work/bare/bin/pip" install --quiet "$wheel"
(cd "$work" && bare/bin/edge-track --version && bare/bin/edge-track demo --quiet --out "$work/demo")
[ -s "$work/demo/demo.jsonl" ] || { echo "release: the demo wrote nothing" >&2; exit 1; }

# Built from the source archive alone, the wheel has the same files.
mkdir "$work/again"
"$work/tools/bin/pip" wheel --quiet --no-deps --wheel-dir "$work/again" "$work"/dist/*.tar.gz
listing() { python3 -m zipfile -l "$1" | awk 'NR > 1 { print $1, $NF }' | sort; }
diff <(listing "$wheel") <(listing "$work"/again/*.whl) || { echo "release: the source archive lacks something" >&2; exit 1; }

"$work/tools/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-format JSON \
  --output-file "$work/dist/edge-tracker.cdx.json" "$work/bare/bin/python"
"$work/bare/bin/python" scripts/sbom.py add-models "$work/dist/edge-tracker.cdx.json"
cp "$work"/dist/* "$out/"
ls -l "$out"
