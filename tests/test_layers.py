"""What an import linter does not see: arrows hidden in a string, and who may open a connection."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "edge_tracker"
TOOLS = ("converters", "calibration", "scripts")  # may import the package; never the other way
CLIENTS = ("urllib.request", "http.client", "requests", "torch")
MAY_CONNECT = ("outputs", "video", "service")  # where the user names an address


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def strings(tree: ast.Module) -> Iterator[str]:
    return (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def test_the_package_names_no_tool_to_import_or_to_start() -> None:
    """`python -m converters.to_onnx` runs what lies in the current folder. A sentence may tell the user to."""
    for path, tree in modules():
        for name in (*imported(tree), *strings(tree)):
            assert name.split(".")[0] not in TOOLS, f"{path} names {name}"


def test_only_sources_and_outputs_open_connections() -> None:
    for path, tree in modules():
        if path.relative_to(PACKAGE).parts[0] not in MAY_CONNECT:
            assert not set(imported(tree)) & set(CLIENTS), path


def test_one_function_writes_partial_files() -> None:
    """files.whole_file alone: `.partial` is written nowhere else."""
    root = PACKAGE.parent
    places = [PACKAGE, *(root / tool for tool in TOOLS)]
    found = {
        path.relative_to(root)
        for place in places
        for path in place.rglob("*.py")
        if any(".partial" in text for text in strings(ast.parse(path.read_text(encoding="utf-8"))))
    }
    # Outputs keep what was written of a run that failed: their docstring says so, files.whole_file does it.
    assert found <= {Path("edge_tracker/files.py"), Path("edge_tracker/outputs/base.py")}
