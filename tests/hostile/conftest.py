"""A folder for hostile files, and a bound on the memory that reading them may take."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = 1 << 30  # bytes beyond what the process has: far more than any of these files may take


@pytest.fixture(scope="module")
def bounded_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")
