#!/usr/bin/env bash
# The package on 64-bit Arm, emulated: what a Raspberry Pi would run, on the machine at hand.
#
#   scripts/arm_check.sh [--suite trixie|bookworm] [--docs]
#
# Debian packages and Python wheels alone; as root, on Debian or Ubuntu, x86-64. All mounts are made in a mount namespace
# of this script's own, so they end with it and the host's are never touched; its folder is removed however it ends.
#   --suite  which Debian, the bases of the current two Raspberry Pi OS (default: trixie)
#   --docs   also the commands of docs/deploying.md between `<!-- pi -->` marks, apt lines included, as a user types
#            them: it configures the whole system under emulation, some minutes more
# Where the machine does not allow it, it says why, and ends with 0. Emulated times say nothing of a Pi's.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "arm_check: skipped: $*"; exit 0; }
say() { echo "== arm_check ($suite): $*, ${SECONDS} s"; }

suite=trixie docs=no
while [ $# -gt 0 ]; do
  case $1 in
    --suite) suite=${2:?--suite needs a name}; shift 2 ;;
    --docs) docs=yes; shift ;;
    *) echo "arm_check: unknown option $1" >&2; exit 2 ;;
  esac
done
case $suite in
  trixie) python=3.13 ;;
  bookworm) python=3.11 ;;
  *) echo "arm_check: --suite is trixie or bookworm, not $suite" >&2; exit 2 ;;
esac

# What it takes, each with the reason where it is not there.
[ "$(uname -sm)" = "Linux x86_64" ] || skip "it emulates Arm on Linux x86_64, this is $(uname -sm)"
[ "$(id -u)" = 0 ] || skip "it makes a file system of its own, which takes root"
command -v apt-get >/dev/null || skip "it takes its tools from Debian packages, and there is no apt-get"
if [ "${ARM_CHECK_INSIDE:-}" != yes ]; then
  unshare --mount --propagation private true 2>/dev/null || skip "the kernel gives no mount namespace"
  ARM_CHECK_INSIDE=yes exec unshare --mount --propagation private "$0" --suite "$suite" $([ "$docs" = no ] || echo --docs)
fi
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' | awk '$2 == "Debian" && !/security/ { print $1; exit }')
mirror=${mirror:-http://deb.debian.org/debian/}
reachable() { python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=30).read(1)' "$1" 2>/dev/null; }
reachable "${mirror}dists/$suite/Release" || skip "no network: the Debian mirror does not answer"
missing=""
command -v qemu-aarch64-static >/dev/null || missing="$missing qemu-user-static"
command -v debootstrap >/dev/null || missing="$missing debootstrap"
command -v update-binfmts >/dev/null || missing="$missing binfmt-support"
if [ -n "$missing" ]; then
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing >/dev/null
fi
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt 2>/dev/null || skip "the kernel has no binfmt_misc"
[ -e $binfmt/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64 2>/dev/null || true
[ -e $binfmt/qemu-aarch64 ] || skip "binfmt_misc takes no entry for aarch64"

work=$(mktemp -d "${TMPDIR:-/tmp}/arm_check.XXXXXX")
root=$work/root
# Only what this script has made, and nothing on other file systems should a mount have stayed.
cleanup() {
  cd /
  for place in dev/shm dev/pts dev proc/cpuinfo proc tmp; do
    ! mountpoint -q "$root/$place" || umount -l "$root/$place"
  done
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# A command inside. The processor it sees is a Pi 4's: onnxruntime asks /proc/cpuinfo, and falls over x86's.
inside() {
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    QEMU_CPU=cortex-a72 DEBIAN_FRONTEND=noninteractive PYTHONPATH="${inside_path:-}" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    EDGE_TRACKER_SHARED=/none PYTHONDONTWRITEBYTECODE=1 chroot "$root" "$@"
}

say "unpacking a root from the mirror"
debootstrap --foreign --arch=arm64 --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root" "$mirror" \
  >"$work/debootstrap.log" 2>&1 || { tail -5 "$work/debootstrap.log"; exit 1; }
# debootstrap --foreign may leave proc as a link to /proc: to mount there would be to mount over the host's.
[ ! -L "$root/proc" ] || rm "$root/proc"
mkdir -p "$root/proc" "$root/dev" "$root/tmp"
[ -d "$root/proc" ] && [ ! -L "$root/proc" ] && [ "$(readlink -f "$root/proc")" = "$(readlink -f "$root")/proc" ] \
  || { echo "arm_check: $root/proc is not a folder of its own" >&2; exit 1; }
mount -t proc proc "$root/proc"
cat >"$work/cpuinfo" <<'END'
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

Model		: Raspberry Pi 4 Model B Rev 1.5
END
mount --bind "$work/cpuinfo" "$root/proc/cpuinfo"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs tmpfs "$root/tmp"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
if [ "$docs" = yes ]; then
  say "configuring it"
  inside /debootstrap/debootstrap --second-stage >"$work/second.log" 2>&1 || { tail -5 "$work/second.log"; exit 1; }
else
  # Unpacked natively and left unconfigured: Python runs all the same, minutes sooner.
  for package in "$root"/var/cache/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink
  done
fi
rm -f "$root"/var/cache/apt/archives/*.deb

say "the Debian package: built here, put in place there"
mkdir "$work/deb"
scripts/make_deb.sh --suite "$suite" --arch arm64 --out "$work/deb"
deb=$(ls "$work"/deb/*.deb)
if [ "$docs" = yes ]; then
  cp "$deb" "$root/opt/edge-tracker.deb"
  inside apt-get -qq update
  inside apt-get -qq install -y --no-install-recommends /opt/edge-tracker.deb
else
  dpkg-deb -x "$deb" "$root"
fi
checkout() { mkdir -p "$1" && git ls-files -z | xargs -0 tar -c --ignore-failed-read | tar -x -C "$1"; }
mkdir -p "$root/opt/test-site"
checkout "$root/opt/checkout"
python3 -m pip install --quiet --root-user-action ignore --target "$root/opt/test-site" --no-compile --platform any --python-version "$python" --only-binary=:all: \
  "pytest>=8" "hypothesis>=6"

say "import, doctor"
inside edge-track --version
inside edge-track doctor | tee "$work/doctor"
grep -q aarch64 "$work/doctor" || { echo "arm_check: that was not Arm"; exit 1; }
grep -q "^engines: onnxruntime, litert" "$work/doctor" || { echo "arm_check: an engine is missing"; exit 1; }

say "a short clip with both presets, every packaged file in every engine"
inside edge-track bench --frames 12 --rounds 1 --quiet --json /opt/bench.json
python3 - "$root/opt/bench.json" <<'END'
import json, pathlib, sys
rows = json.loads(pathlib.Path(sys.argv[1]).read_text())["rows"]
bad = [row for row in rows if row["mean_iou"] < 0.75]
have = {(row["engine"], row["precision"]) for row in rows}
wanted = {("onnxruntime", "fp16")}
for path in pathlib.Path("edge_tracker/models").glob("edge-small.int8*"):
    engine = {".tflite": "litert", ".onnx": "onnxruntime"}.get(path.suffix)
    if engine:
        wanted.add((engine, path.name.split(".")[1]))
for row in bad:
    print("arm_check: lost the target:", row)
if wanted - have:
    print("arm_check: not run:", sorted(wanted - have))
if {row["tracker"] for row in rows} != {"accurate", "fast"}:
    sys.exit("arm_check: not both presets")
sys.exit(bool(bad or wanted - have))
END

say "the fast part of the tests"
inside_path=/opt/edge-tracker/lib:/opt/test-site inside sh -c 'cd /opt/checkout && rm -rf edge_tracker && python3 -m pytest -q \
  -p no:cacheprovider tests/test_boxes.py tests/test_config.py tests/test_roi.py tests/backbones'

if [ "$docs" = yes ]; then
  say "the steps of docs/deploying.md"
  awk '/^ *<!-- pi -->$/ { mark = 1; next } mark && /```sh/ { inside = 1; next } /```/ { inside = 0; mark = 0 } inside { sub(/^ +/, ""); print }' \
    docs/deploying.md | sed 's/sudo //g' >"$root/root/steps.sh"
  [ -s "$root/root/steps.sh" ] || { echo "arm_check: docs/deploying.md has no steps marked '<!-- pi -->'"; exit 1; }
  cat "$root/root/steps.sh"
  checkout "$root/root/edge-tracker"
  mkdir -p "$root/etc/ssl/certs" && cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  inside_path="" inside env PIP_CERT=/etc/ssl/certs/ca-certificates.crt sh -euxc 'cd /root && . ./steps.sh'
fi
times >"$work/times"
say "passed; processor time of it all, user and system: $(tail -n 1 "$work/times")"
