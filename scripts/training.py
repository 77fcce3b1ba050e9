"""What the training scripts share: outputs checked before hours of work, checkpoints, errors as one line, held-out
sequences."""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from edge_tracker.errors import EdgeTrackerError, ModelError, OutputError, first_line
from edge_tracker.evaluation.task import Task
from edge_tracker.files import check_archive, partial_path, whole_file

if TYPE_CHECKING:  # scripts that train nothing run without torch
    import torch


def one_line_errors(program: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """For a script's `main`: errors become one line and exit code 2, Ctrl-C a line and 130."""

    def wrap(main: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(main)
        def guarded(*args: Any, **kwargs: Any) -> int:
            try:
                return main(*args, **kwargs)
            except (EdgeTrackerError, OSError) as error:
                print(f"{program}: {first_line(error)}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print(
                    f"{program}: interrupted; the same command resumes from its checkpoint, if it has one",
                    file=sys.stderr,
                )
                return 130

        return guarded

    return wrap


def command_line(program: str, parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """The command as it goes on record: what is not default, of paths the last part alone."""
    words = ["python", f"scripts/{program}.py"]
    for name, value in vars(args).items():
        if value != parser.get_default(name):
            values = value if isinstance(value, list) else [value]
            words += ["--" + name.replace("_", "-")]
            words += [v.resolve().name if isinstance(v, Path) else str(v) for v in values]
    return shlex.join(words)


def check_output(path: Path, suffix: str) -> None:
    """Raise OutputError where `path` could not be written at the end of a long run; asked at its beginning."""
    if path.suffix != suffix:
        raise OutputError(f"--output is a {suffix} file, not {path.name}")
    if not path.parent.is_dir():
        raise OutputError(f"no folder {path.parent} to write {path.name} into")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder")
    probe = partial_path(path)
    try:
        probe.open("ab").close()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def checkpoint_path(output: Path) -> Path:
    """Where the training that writes `output` keeps its state."""
    return output.with_name(output.name + ".checkpoint")


def read_checkpoint(
    path: Path, training: Mapping[str, Any], device: str | torch.device = "cpu"
) -> dict[str, Any] | None:
    """What an interrupted training of this kind has left; None where there was none.

    training: what must be the same for it to go on: settings, seed, the backbone's fingerprint. Pickled code is never
    run. Raises ModelError for a file that is broken, or of another training.
    """
    if not path.is_file():
        return None
    import torch

    try:
        check_archive(path)
        state = torch.load(path, map_location=device, weights_only=True)
        found = {name: state["training"][name] for name in training}
    except Exception as error:  # torch raises many kinds here
        reason = f"it does not state {error}" if isinstance(error, KeyError) else first_line(error)
        raise ModelError(f"cannot resume from {path}: {reason}; delete it to begin anew") from error
    other = [name for name in training if found[name] != training[name]]
    if other:
        raise ModelError(f"{path} is of another training ({', '.join(other)}); delete it to begin anew")
    return dict(state)


def restoring(path: Path, restore: Callable[[], None]) -> None:
    """Take over what a checkpoint holds. Raises ModelError where it does not fit."""
    try:
        restore()
    except Exception as error:  # torch raises many kinds here
        reason = f"it holds no {error}" if isinstance(error, KeyError) else first_line(error)
        raise ModelError(f"cannot resume from {path}: {reason}; delete it to begin anew") from error


def resumed(parts: Mapping[str, Any], state: Mapping[str, Any] | None, path: Path) -> int:
    """Take over what the checkpoint at `path` holds of each part, where there is one; the steps that were done. Raises
    ModelError where it does not fit."""
    if state is None:
        return 0

    def restore() -> None:
        for name, part in parts.items():
            part.load_state_dict(state[name])

    restoring(path, restore)
    return int(state["done"])


def write_checkpoint(path: Path, training: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Keep the state of a training, whole or not at all. Raises OutputError."""
    import torch

    write_tensors(path, lambda aside: torch.save({**state, "training": dict(training)}, aside))


def write_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict as safetensors, whole or not at all. Raises OutputError."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    write_tensors(path, lambda aside: save_file(contiguous, aside))


def write_tensors(path: Path, write: Callable[[Path], object]) -> None:
    """Let torch or safetensors write a file, whole or not at all. Raises OutputError."""
    with whole_file(path) as aside:
        try:
            write(aside)
        except (RuntimeError, SafetensorError) as error:  # they have errors of their own
            raise OutputError(f"cannot write {path}: {first_line(error)}") from error


def sequence_of(task: str) -> str:
    """The sequence that a task or clip was cut from; targets of one sequence share it."""
    return task.split(".")[0]


def held_out(tasks: Sequence[Task]) -> frozenset[str]:
    """Every other sequence: what is not trained on where the training is to be judged."""
    return frozenset(sorted({sequence_of(task.name) for task in tasks})[1::2])
