"""The program `edge-track`, also `python -m edge_tracker`."""

import sys


def main() -> int:
    try:
        from edge_tracker.cli import main as run

        return run()
    except KeyboardInterrupt:  # while the program is being loaded, which takes a second or more
        print("edge-track: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
