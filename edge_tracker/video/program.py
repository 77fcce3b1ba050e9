"""Programs that a source reads from through a pipe."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from edge_tracker.errors import SourceMissing, first_line


def start_program(program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a program whose output and errors are read. Raises SourceMissing where it cannot be started."""
    try:
        return subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise SourceMissing(f"cannot start {program}: {first_line(error)}") from error


def stop_program(process: subprocess.Popen[bytes]) -> None:
    """End a program that `start_program` has started, and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
