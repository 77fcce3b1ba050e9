"""`python -m edge_tracker` is `edge-track`."""

import sys

from edge_tracker.cli import main

if __name__ == "__main__":
    sys.exit(main())
