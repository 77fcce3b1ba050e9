"""What a converter needs beyond this package is looked for before it is imported. Imports nothing of it."""

from __future__ import annotations

import importlib.util
import sys


def need(program: str, extra: str, *modules: str) -> None:
    """End with one line and exit code 2 where a module of the extra is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        told = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        print(f"{program}: {told}: in a checkout, pip install -e '.[{extra}]'", file=sys.stderr)
        sys.exit(2)
