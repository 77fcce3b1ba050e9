"""Run model files in a process of their own: `python -m converters.run_isolated --candidate FILE --reference FILE ...`.

A broken file can take the process down with it; then it is this one. Prints one JSON object: times of the candidate,
the reference and the packaged model, measured in turns. The candidate's features go to `--features`, an .npz.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.backbones.timing import time_backbones


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidate", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True, help="the same network in full precision")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--crops", type=Path, required=True, help=".npy, uint8 (N, S, S, 3)")
    parser.add_argument("--features", type=Path, required=True, help=".npz to write, one array (N, H, W, C) per tap")
    parser.add_argument("--purposes", nargs="+", choices=PURPOSES, required=True)
    args = parser.parse_args(argv)
    options = EngineOptions(args.engine, taps=tuple(args.purposes))
    candidate = load_backbone(args.candidate, options)
    features = [candidate(crop) for crop in np.load(args.crops, allow_pickle=False)]
    stacked = (np.stack(tap) for tap in zip(*features, strict=True))
    arrays: dict[str, Any] = {tap.name: values for tap, values in zip(candidate.info.taps, stacked, strict=True)}
    np.savez(args.features, **arrays)
    timed = [
        candidate,
        load_backbone(args.reference, options),
        load_backbone(PACKAGED / "edge-small.onnx", EngineOptions("onnxruntime")),
    ]
    times = time_backbones(timed, crops=200)
    print(json.dumps(dict(zip(("candidate", "reference", "packaged"), times, strict=True))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
