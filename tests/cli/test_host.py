"""What is wrong with a machine, and what to type, on folders that look like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tracker.cli.host import Host

PI = "proc/device-tree/model"
CPU = "sys/devices/system/cpu/cpu0/cpufreq"


def machine(root: Path, files: dict[str, str] | None = None, throttled: str = "", **changes: object) -> Host:
    """A healthy 64-bit machine with these files."""
    for name, text in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    healthy: dict[str, object] = {
        "root": root,
        "tool": lambda command: throttled if command == ["vcgencmd", "get_throttled"] else "",
        "machine": "aarch64",
        "bits": 64,
        "system": "linux",
        "blas": lambda: [{"user_api": "blas"}],
        "installed": lambda _: True,
        "in_venv": True,
    }
    return Host(**{**healthy, **changes})  # type: ignore[arg-type]


def told(host: Host) -> str:
    return "\n".join(f"{advice.problem} -> {advice.remedy}" for advice in host.advice())


def test_a_healthy_pi_gets_no_advice(tmp_path: Path) -> None:
    files = {PI: "Raspberry Pi 5 Model B Rev 1.0\0", f"{CPU}/scaling_governor": "ondemand\n"}
    host = machine(tmp_path, {**files, "sys/class/thermal/thermal_zone0/temp": "51000\n"}, "throttled=0x0")
    assert host.advice() == []
    assert host.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert host.temperature_c == 51


def test_a_busy_machine_says_so(tmp_path: Path) -> None:
    assert machine(tmp_path, {"proc/loadavg": "19.44 18.38 169.63 3/190 123\n"}).state()["load"] == 19.44


def test_a_machine_that_tells_nothing_gets_no_advice(tmp_path: Path) -> None:
    host = machine(tmp_path, installed=lambda _: False)
    assert host.advice() == []
    assert host.state() == {
        "temperature_c": None,
        "frequency_mhz": None,
        "governor": None,
        "load": None,
        "throttled_now": [],
        "throttled_since_start": [],
    }


def test_reference_blas(tmp_path: Path) -> None:
    assert "reference BLAS" in told(machine(tmp_path, blas=list))
    assert "apt install libopenblas0-pthread" in told(machine(tmp_path, blas=list))
    assert told(machine(tmp_path, blas=list, system="darwin")) == ""  # Accelerate is in no list either


def test_this_environment_has_a_blas_that_is_known() -> None:
    assert Host().blas()


@pytest.mark.parametrize(("kernel", "more"), [("armv7l", False), ("aarch64", True)])
def test_a_32_bit_system(tmp_path: Path, kernel: str, more: bool) -> None:
    text = told(machine(tmp_path, bits=32, machine=kernel))
    assert "32-bit" in text
    assert "Raspberry Pi OS (64-bit)" in text
    assert ("its kernel is 64-bit" in text) == more


@pytest.mark.parametrize(
    ("answer", "expected", "absent"),
    [
        ("throttled=0x50005", ["under-voltage (now)", "power supply", "throttled"], []),
        ("throttled=0x10000", ["under-voltage (since the start)"], ["held back"]),
        ("throttled=0x8", ["soft temperature limit", "heat sink"], ["under-voltage"]),
        ("throttled=0xe0000", [], ["held back", "under-voltage"]),  # it was hot once: no news now
        ("throttled=?", [], ["held back"]),
        ("error", [], ["held back"]),
    ],
)
def test_throttling(tmp_path: Path, answer: str, expected: list[str], absent: list[str]) -> None:
    text = told(machine(tmp_path, {PI: "Raspberry Pi 4 Model B"}, answer))
    assert all(part in text for part in expected)
    assert not any(part in text for part in absent)


def test_both_halves_of_what_vcgencmd_says(tmp_path: Path) -> None:
    now, since_start = machine(tmp_path, throttled="throttled=0x60001").throttling()
    assert now == ["under-voltage"]
    assert since_start == ["frequency capped", "throttled"]


def test_a_hot_pi_without_vcgencmd(tmp_path: Path) -> None:
    files = {
        PI: "Raspberry Pi 4",
        "sys/class/thermal/thermal_zone1/temp": "84500",
        "sys/class/thermal/thermal_zone0/temp": "x",
    }
    assert "held back at 84 degrees C: too hot" in told(machine(tmp_path, files))


@pytest.mark.parametrize(
    ("governor", "driver", "slow"),
    [
        ("powersave", "cpufreq-dt", True),
        ("conservative", "cpufreq-dt", True),
        ("powersave", "intel_pstate", False),
        ("performance", "cpufreq-dt", False),
    ],
)
def test_the_governor(tmp_path: Path, governor: str, driver: str, slow: bool) -> None:
    host = machine(tmp_path, {f"{CPU}/scaling_governor": governor, f"{CPU}/scaling_driver": driver})
    assert ("scaling_governor" in told(host)) == slow


def test_the_camera_of_a_pi(tmp_path: Path) -> None:
    pi = {PI: "Raspberry Pi 5"}
    assert "apt install python3-picamera2" in told(machine(tmp_path, pi, installed=lambda _: False))
    (tmp_path / "usr/lib/python3/dist-packages/picamera2").mkdir(parents=True)
    missing = machine(tmp_path, pi, installed=lambda name: name == "picamera2")
    assert "apt install python3-picamera2" in told(missing)  # libcamera is not there
    (tmp_path / "usr/lib/python3/dist-packages/libcamera").mkdir()
    assert "python3 -m venv --system-site-packages" in told(machine(tmp_path, pi, installed=lambda _: False))
    assert told(machine(tmp_path, {PI: "Some Other Board"}, installed=lambda _: False)) == ""
