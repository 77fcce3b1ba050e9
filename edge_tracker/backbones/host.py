"""What processor this is: speeds measured on one say little about another."""

from __future__ import annotations

import platform
from pathlib import Path

# The features that matter to the engines.
CPU_FLAGS = ("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm", "bf16")


def cpu() -> tuple[str, list[str]]:
    """Name of the processor, and those of its features that matter to the engines; Linux only, else less."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    name = fields.get("model name") or fields.get("Model") or platform.machine()
    return name, [flag for flag in CPU_FLAGS if flag in present]
