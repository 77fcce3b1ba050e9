"""What a release ships, and under which licences: a table for docs/licences.md, and the model files for its SBOM.

    python scripts/sbom.py licences > docs/licences.md
    python scripts/sbom.py add-models sbom.cdx.json      # beside what cyclonedx-py has found in the environment

The package ships no code of others: its dependencies are installed from their own wheels. Their licences are read from
the metadata of those that are installed here.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from edge_tracker import __version__
from edge_tracker.backbones.cards import ModelCard, sha256_of
from edge_tracker.backbones.catalogue import CATALOGUE, COMPANIONS, PACKAGED
from edge_tracker.files import write_text

ROOT = Path(__file__).resolve().parents[1]
LICENCE = "Apache-2.0"  # of all that is ours
FOR_DEVELOPERS = ("dev", "train", "convert-")  # extras that no user of the package installs


def model_files() -> list[tuple[Path, str, str]]:
    """Every file of the package's models: path, licence, and where its numbers come from."""
    found = []
    for path in sorted(PACKAGED.iterdir()):
        if path.suffix in (".json", ".bin"):  # a card; the second file of a model
            continue
        companion = next((what for ending, (what, _) in COMPANIONS.items() if path.name.endswith(ending)), None)
        if companion:
            script = next(script for ending, (_, script) in COMPANIONS.items() if path.name.endswith(ending))
            found.append((path, LICENCE, f"{companion} fitted by us ({script}); holds none of the network's weights"))
            continue
        card = ModelCard.read(path)
        entry = next((e for e in CATALOGUE if path.name.startswith(f"{e.name}.")), None)
        if card is None and entry is None:
            raise SystemExit(f"sbom: {path} is in no catalogue and has no card")
        found.append((path, card.licence if card else entry.licence, card.source if card else entry.source))  # type: ignore[union-attr]
    return found


def requirements(extra: str | None = None) -> list[str]:
    """Names of the distributions that the package, or an extra of it, asks for."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"].get(extra, [])
    return [match[0] for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))]


def extras() -> list[str]:
    """What a user may install along."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        names = tomllib.load(file)["project"]["optional-dependencies"]
    return [name for name in names if not name.startswith(FOR_DEVELOPERS)]


def licence_of(distribution: str) -> str:
    """What an installed distribution says of its licence, "not installed here" where it is none."""
    try:
        metadata: Any = importlib.metadata.metadata(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed here"
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [c.rsplit(" :: ", 1)[1] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    text = "\n".join(metadata.get_all("License") or []).strip().splitlines()
    return ", ".join(classifiers) or (text[0][:60] if text else "not stated")


def licences() -> str:
    """The whole of docs/licences.md."""
    lines = [
        "# What is shipped, and its licences",
        "",
        "Written by `python scripts/sbom.py licences > docs/licences.md`, where all extras but `[cuda]` are installed.",
        "",
        f"The package's own code: {LICENCE} (LICENSE). Its model files:",
        "",
        "| file | licence | source |",
        "|---|---|---|",
        *(f"| {path.name} | {licence} | {source} |" for path, licence, source in model_files()),
        "",
        "What it needs is installed from its makers' own wheels, and not shipped with it; the Debian package of",
        "scripts/make_deb.sh holds those marked `-` and of `[litert]`, each with its licence file.",
        "",
        "| extra | distribution | licence |",
        "|---|---|---|",
    ]
    for extra in (None, *extras()):
        name = f"`[{extra}]`" if extra else "-"
        lines += [f"| {name} | {d} | {licence_of(d)} |" for d in requirements(extra)]
    return "\n".join(lines)


def add_models(path: Path) -> None:
    """Put the model files into a CycloneDX document, as machine-learning models with their hashes."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    components = document.setdefault("components", [])
    for file, licence, source in model_files():
        components.append(
            {
                "type": "machine-learning-model",
                "bom-ref": f"model:{file.name}",
                "name": file.name,
                "version": __version__,
                "description": source,
                "licenses": [{"license": {"id": licence}}],
                "hashes": [{"alg": "SHA-256", "content": sha256_of(file)}],
            }
        )
    write_text(path, json.dumps(document, indent=2) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("licences", help="print docs/licences.md")
    commands.add_parser("add-models", help="add to a CycloneDX JSON").add_argument("sbom", type=Path)
    args = parser.parse_args(argv)
    if args.command == "licences":
        print(licences())
    else:
        add_models(args.sbom)
    return 0


if __name__ == "__main__":
    sys.exit(main())
