#!/usr/bin/env bash
# A Debian package of edge-tracker with all it needs in it, for an image of a Raspberry Pi or any other Debian machine.
#
#   scripts/make_deb.sh --suite trixie|bookworm [--arch arm64|amd64] --out DIR
#
# Built from wheels, on any machine with Python, pip and dpkg-deb: nothing is compiled and nothing of the target is run.
# The files lie in /opt/edge-tracker, where they meet no other Python package; the system's own Python runs them, and so
# the system's picamera2 is seen. `apt install ./edge-tracker_*.deb` gives the command edge-track.
set -euo pipefail
cd "$(dirname "$0")/.."

suite="" arch=arm64 out=""
while [ $# -gt 0 ]; do
  case $1 in
    --suite | --arch | --out) declare "${1#--}=${2:?$1 needs a value}"; shift 2 ;;
    *) echo "make_deb: unknown option $1" >&2; exit 2 ;;
  esac
done
case $suite in
  trixie) python=3.13 glibc="17 24 26 27 28 31 34 35 38 39 41" ;;
  bookworm) python=3.11 glibc="17 24 26 27 28 31 34 35" ;;
  *) echo "make_deb: --suite is trixie or bookworm, not '$suite'" >&2; exit 2 ;;
esac
case $arch in
  arm64) machine=aarch64 ;;
  amd64) machine=x86_64 ;;
  *) echo "make_deb: --arch is arm64 or amd64, not '$arch'" >&2; exit 2 ;;
esac
[ -d "$out" ] || { echo "make_deb: --out is a folder that exists, not '$out'" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/make_deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" # a pip new enough for these options, whatever the machine's own is
"$work/venv/bin/pip" install --quiet --upgrade pip
"$work/venv/bin/pip" wheel --quiet --no-deps --wheel-dir "$work" .
wheel=$(ls "$work"/edge_tracker-*.whl)
version=$(basename "$wheel" | cut -d- -f2)
platforms=$(printf -- "--platform manylinux_2_%s_$machine " $glibc)
tree=$work/tree site=$work/tree/opt/edge-tracker/lib
mkdir -p "$site" "$tree/usr/bin" "$tree/usr/share/doc/edge-tracker" "$tree/DEBIAN"
"$work/venv/bin/pip" install --quiet --target "$site" $platforms --platform "manylinux2014_$machine" \
  --python-version "$python" --implementation cp --abi "cp${python/./}" --abi abi3 --abi none --only-binary=:all: --no-compile \
  "$wheel[litert]"
rm -rf "$site/bin"
cat >"$tree/usr/bin/edge-track" <<'END'
#!/bin/sh
PYTHONPATH=/opt/edge-tracker/lib${PYTHONPATH:+:$PYTHONPATH} exec python3 -m edge_tracker "$@"
END
chmod 755 "$tree/usr/bin/edge-track"
cp LICENSE "$tree/usr/share/doc/edge-tracker/copyright"
cat >"$tree/DEBIAN/control" <<END
Package: edge-tracker
Version: $version+$suite
Architecture: $arch
Maintainer: edge-tracker maintainers <noreply@localhost>
Section: video
Priority: optional
Depends: python3 (>= $python), python3 (<< ${python%.*}.$((${python#*.} + 1)))
Suggests: python3-picamera2, v4l-utils
Installed-Size: $(du -sk "$tree" | cut -f1)
Description: single-object tracker for machines without a GPU
 Tracks one object through a video, a stream or a camera on the CPU.
 Its Python packages lie in /opt/edge-tracker.
END
chmod -R u=rwX,go=rX "$tree"
dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$out/edge-tracker_$version+${suite}_$arch.deb" >/dev/null
ls "$out/edge-tracker_$version+${suite}_$arch.deb"
