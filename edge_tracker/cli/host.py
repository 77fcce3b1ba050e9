"""The machine a tracker runs on: what slows it down, and what to type about it.

Everything is read from files and one tool of the Raspberry Pi's, under a root that tests replace. Where a machine does
not tell, nothing is said.
"""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import threadpoolctl

# Bits of `vcgencmd get_throttled`: now, and (16 higher) at any time since the start. Raspberry Pi documentation,
# "vcgencmd", get_throttled.
THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SLOW_GOVERNORS = ("powersave", "conservative")
# These drivers' "powersave" follows the load.
OWN_GOVERNORS = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
HOT_C = 80.0  # a Pi lowers its clock from here on


@dataclass(frozen=True)
class Advice:
    """Something that is wrong, and what to type."""

    problem: str
    remedy: str


def _tool(command: Sequence[str]) -> str:
    """What a command prints, "" where there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _blas() -> list[dict[str, Any]]:
    import numpy as np

    np.dot(np.ones((2, 2)), np.ones((2, 2)))  # loads it
    return [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@dataclass(frozen=True)
class Host:
    """This machine, or in tests a folder that looks like one."""

    root: Path = Path("/")
    tool: Callable[[Sequence[str]], str] = _tool
    machine: str = field(default_factory=platform.machine)
    bits: int = 64 if sys.maxsize > 2**32 else 32
    system: str = sys.platform
    blas: Callable[[], list[dict[str, Any]]] = _blas
    installed: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None
    in_venv: bool = sys.prefix != sys.base_prefix

    def _read(self, path: str) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return ""

    @property
    def model(self) -> str:
        """Of a board, "Raspberry Pi 4 Model B Rev 1.5" for one; "" where it has no name."""
        return self._read("proc/device-tree/model")

    @property
    def memory_mb(self) -> int | None:
        for line in self._read("proc/meminfo").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) // 1024
        return None

    @property
    def temperature_c(self) -> float | None:
        """Of the hottest sensor the kernel knows."""
        found = []
        for zone in sorted(self.root.glob("sys/class/thermal/thermal_zone*/temp")):
            text = self._read(str(zone.relative_to(self.root)))
            if text.lstrip("-").isdigit():
                found.append(int(text) / 1000)
        return max(found, default=None)

    @property
    def governor(self) -> str:
        """Of the first processor, "ondemand" for one; "" where the kernel does not set the frequency."""
        return self._read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

    @property
    def frequency_mhz(self) -> int | None:
        text = self._read("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
        return int(text) // 1000 if text.isdigit() else None

    @property
    def load(self) -> float | None:
        """Mean number of processes that wanted a processor in the last minute."""
        first = self._read("proc/loadavg").split(" ")[0]
        return float(first) if first.replace(".", "").isdigit() else None

    def throttling(self) -> tuple[list[str], list[str]]:
        """What holds the processor back now, and what has since the start; a Raspberry Pi tells."""
        _, equals, text = self.tool(["vcgencmd", "get_throttled"]).partition("=")
        try:
            bits = int(text, 16) if equals else 0
        except ValueError:
            bits = 0
        now, before = ([name for bit, name in THROTTLED.items() if bits >> bit + shift & 1] for shift in (0, 16))
        return now, before

    def state(self) -> dict[str, Any]:
        """What changes while a benchmark runs."""
        now, since_start = self.throttling()
        return {
            "temperature_c": self.temperature_c,
            "frequency_mhz": self.frequency_mhz,
            "governor": self.governor or None,
            "load": self.load,
            "throttled_now": now,
            "throttled_since_start": since_start,
        }

    def advice(self) -> list[Advice]:
        """What is wrong here, the worst first."""
        found = [self._word_size(), self._reference_blas(), *self._held_back(), self._slow_governor(), self._camera()]
        return [advice for advice in found if advice is not None]

    def _word_size(self) -> Advice | None:
        if self.bits == 64:
            return None
        kernel = "its kernel is 64-bit, its programs are not; " if self.machine in ("aarch64", "x86_64") else ""
        return Advice(
            f"32-bit system ({self.machine}): {kernel}the engines have no wheels for it",
            "install Raspberry Pi OS (64-bit) with Raspberry Pi Imager",
        )

    def _reference_blas(self) -> Advice | None:
        # Debian's NumPy takes whatever libblas.so.3 is; the reference one is in no list of threadpoolctl's.
        if self.system != "linux" or self.blas():
            return None
        return Advice(
            "NumPy computes with the reference BLAS: trackers are some six times slower",
            "sudo apt install libopenblas0-pthread   (or, in a venv: pip install --force-reinstall numpy)",
        )

    def _held_back(self) -> list[Advice]:
        now, since_start = self.throttling()
        found = []
        if "under-voltage" in now + since_start:
            when = "now" if "under-voltage" in now else "since the start"
            found.append(
                Advice(
                    f"under-voltage ({when}): the processor is slowed down",
                    "use the Raspberry Pi's own power supply and cable, then check: vcgencmd get_throttled",
                )
            )
        hot = [name for name in THROTTLED.values() if name != "under-voltage" and name in now]
        temperature = self.temperature_c
        if hot or (self.model.startswith("Raspberry Pi") and temperature is not None and temperature >= HOT_C):
            degrees = "" if temperature is None else f" at {temperature:.0f} degrees C"
            found.append(
                Advice(
                    f"the processor is held back{degrees}: {', '.join(hot) or 'too hot'}",
                    "give it a heat sink or fan, then check: vcgencmd measure_temp; vcgencmd get_throttled",
                )
            )
        return found

    def _slow_governor(self) -> Advice | None:
        driver = self._read("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver")
        if self.governor not in SLOW_GOVERNORS or driver in OWN_GOVERNORS:
            return None
        return Advice(
            f"the CPU governor is {self.governor}: the clock stays low",
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )

    def _camera(self) -> Advice | None:
        """picamera2 comes from the Pi's own packages, with libcamera; pip cannot build it."""
        if not self.model.startswith("Raspberry Pi") or (self.installed("picamera2") and self.installed("libcamera")):
            return None
        packages = self.root / "usr/lib/python3/dist-packages"
        if not ((packages / "picamera2").is_dir() and (packages / "libcamera").is_dir()):
            return Advice(
                "picamera2 or its libcamera is missing: no camera module of the Pi can be used",
                "sudo apt install python3-picamera2",
            )
        if self.in_venv:
            return Advice(
                "this virtual environment does not see the system's picamera2 and libcamera",
                f"python3 -m venv --system-site-packages {sys.prefix}   (over the same folder: what it has stays)",
            )
        return None
