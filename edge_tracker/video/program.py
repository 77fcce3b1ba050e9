"""Programs that a source reads from through a pipe. They end with us, however we end: one that stayed would keep the
camera, or the port, from who comes after us."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence

from edge_tracker.errors import SourceMissing, first_line

PR_SET_PDEATHSIG = 1
_C = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """In a new process: be killed when the thread that made it ends, as all do with their process (prctl(2))."""
    if _C is not None:
        _C.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start_program(program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a program whose output and errors are read. Raises SourceMissing where it cannot be started."""
    try:
        return subprocess.Popen(
            [program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=end_with_parent
        )
    except OSError as error:
        raise SourceMissing(f"cannot start {program}: {first_line(error)}") from error


def stop_program(process: subprocess.Popen[bytes]) -> None:
    """End a program that `start_program` has started, and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
