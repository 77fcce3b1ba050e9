"""Targets that a detector outside finds: a program that is given pictures, or boxes by MQTT (Frigate's events).

Boxes are matched to the targets that there are by IoU; what matches none is a new one.
"""

from __future__ import annotations

import logging
import shlex
import struct
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, iou
from edge_tracker.errors import ConfigError, first_line
from edge_tracker.images import as_bgr
from edge_tracker.outputs.mqtt_client import MqttAddress, connected
from edge_tracker.settings import Between, check, decode
from edge_tracker.track import Track, TrackState
from edge_tracker.video.program import end_with_parent
from edge_tracker.video.source import Frame

Image = NDArray[np.uint8]
LONGEST_LINE = 1 << 20  # bytes of a detector's answer, and of a message
FRESH_S = 1.0  # boxes by MQTT that are older say nothing of the newest picture
LONGEST_WAIT_S = 30.0  # before a program that ended is started again
ENDED = "it ended"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectorSettings:
    """How boxes from outside become targets."""

    every: Annotated[int, Between(1, 100_000), "frames between two pictures given to the program"] = 5
    most: Annotated[int, Between(1, 64), "targets followed at a time"] = 4
    least_score: Annotated[float, Between(0, 1), "score from which a box is taken, where it has one"] = 0.5
    same_iou: Annotated[float, Between(0, 1), "overlap from which a box is a target that there is"] = 0.3

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, eq=False)
class _Answer:
    image: Image | None  # the picture that the boxes belong to; None: the newest
    boxes: list[Box]
    at: float


class _Chooser:
    """What both ways have in common: the newest answer, matched to the targets."""

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._answer: _Answer | None = None

    def _take(self) -> _Answer | None:
        with self._lock:
            answer, self._answer = self._answer, None
        return answer

    def _put(self, answer: _Answer) -> None:
        with self._lock:
            self._answer = answer

    def matched(self, answer: _Answer, newest: Image, tracks: Sequence[Track]) -> list[tuple[Image, Box]]:
        """Boxes that are no target yet."""
        seen = [track for track in tracks if track.state is not TrackState.LOST]
        image = newest if answer.image is None else answer.image
        new: list[tuple[Image, Box]] = []
        for box in answer.boxes:
            taken = [t.box for t in seen] + [b for _, b in new]
            if len(tracks) + len(new) >= self.settings.most:
                break
            if all(float(iou(np.array(box), np.array(other))) < self.settings.same_iou for other in taken):
                new.append((image, box))
        return new


class ProgramChooser(_Chooser):
    """Runs `command` and asks it about every N-th frame, never waiting for its answer.

    The program reads from standard input: 4 bytes, the length of a JPEG as a big-endian number, then the JPEG; and
    writes one line to standard output for each: a JSON list of {"box": [x, y, w, h], "score": 0.9}, pixels, score
    optional. One that ends is started again. Raises ConfigError where it cannot be started.
    """

    def __init__(self, command: str, settings: DetectorSettings | None = None) -> None:
        super().__init__(settings or DetectorSettings())
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"the detector's command is not understood: {first_line(error)}") from error
        self._frames = 0
        self._question: Image | None = None
        self._news = threading.Event()
        self._closing = threading.Event()
        self._process = self._started()
        self._thread = threading.Thread(target=self._work, name="detector", daemon=True)
        self._thread.start()

    def propose(self, frame: Frame, tracks: Sequence[Track]) -> list[tuple[Image, Box]]:
        if self._frames % self.settings.every == 0 and self._question is None:
            self._question = frame.image
            self._news.set()
        self._frames += 1
        answer = self._take()
        return self.matched(answer, frame.image, tracks) if answer else []

    def close(self) -> None:
        self._closing.set()
        self._news.set()
        self._process.kill()
        self._thread.join(5.0)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # the last question, which nobody reads
                    log.debug("the detector left before it had the last picture")

    def _started(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=end_with_parent
            )
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(f"the detector cannot be started: {first_line(error)}") from error

    def _work(self) -> None:
        wait = 1.0
        while not self._closing.is_set():
            self._news.wait()
            self._news.clear()
            image = self._question
            if image is None or self._closing.is_set():
                continue
            try:
                boxes = self._asked(image)
                self._put(_Answer(image, boxes, time.monotonic()))
                wait = 1.0
            except (OSError, ValueError) as error:
                if self._closing.is_set():
                    return
                reason = ENDED if isinstance(error, BrokenPipeError) else first_line(error)
                log.warning("the detector failed: %s; it is started again in %.0f s", reason, wait)
                if self._closing.wait(wait):
                    return
                wait = min(2 * wait, LONGEST_WAIT_S)
                self._process.kill()
                self._process.wait()
                try:
                    self._process = self._started()
                except ConfigError as failure:
                    log.warning("%s", failure)
            finally:
                self._question = None

    def _asked(self, image: Image) -> list[Box]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        _, jpeg = cv2.imencode(".jpg", as_bgr(image), [cv2.IMWRITE_JPEG_QUALITY, 90])
        data = jpeg.tobytes()
        stdin.write(struct.pack(">I", len(data)) + data)
        stdin.flush()
        return parsed_boxes(_line(stdout), self.settings.least_score)


def _line(stream: IO[bytes]) -> Any:
    line = stream.readline(LONGEST_LINE)
    if not line:
        raise OSError(ENDED)
    if not line.endswith(b"\n"):
        raise ValueError("its answer is no line")
    return decode(line, "its answer")


class MqttChooser(_Chooser):
    """Takes boxes from a topic: lists as a program gives them, or Frigate's events.

    address: mqtt://[user:password@]host/TOPIC, for Frigate `frigate/events`; `?camera=NAME&label=person` picks among
    its events, and `size=1280x720` names the size its boxes are in, where that is not the frame's.
    """

    def __init__(self, address: str, settings: DetectorSettings | None = None) -> None:
        super().__init__(settings or DetectorSettings())
        parsed = MqttAddress.parse(address)
        self._topic = parsed.path or "frigate/events"
        self._options = parsed.options
        self._size = _size(self._options["size"]) if "size" in self._options else None
        self._puzzled = False  # by the last message: strangers may send any number
        self._client = connected(parsed, self._on_message, self._topic)

    def propose(self, frame: Frame, tracks: Sequence[Track]) -> list[tuple[Image, Box]]:
        answer = self._take()
        if answer is None or time.monotonic() - answer.at > FRESH_S:
            return []
        if self._size is not None:
            kx, ky = frame.image.shape[1] / self._size[0], frame.image.shape[0] / self._size[1]
            boxes = [(x * kx, y * ky, w * kx, h * ky) for x, y, w, h in answer.boxes]
            answer = _Answer(None, boxes, answer.at)
        return self.matched(answer, frame.image, tracks)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, payload: bytes) -> None:
        try:
            if len(payload) > LONGEST_LINE:
                raise ValueError(f"it has {len(payload)} bytes")
            message = decode(payload, "it")
            if isinstance(message, dict):
                box = frigate_box(message, self._options, self.settings.least_score)
                boxes = [] if box is None else [box]
            else:
                boxes = parsed_boxes(message, self.settings.least_score)
        except ValueError as error:
            if not self._puzzled:
                log.warning("a message on %s is not understood: %s", self._topic, first_line(error))
            self._puzzled = True
            return
        self._puzzled = False
        if boxes:
            with self._lock:
                waiting = self._answer.boxes if self._answer is not None else []
                self._answer = _Answer(None, [*waiting, *boxes][-self.settings.most :], time.monotonic())


def parsed_boxes(message: Any, least_score: float) -> list[Box]:
    """Boxes of a list of {"box": [x, y, w, h], "score"}. Raises ValueError for what is none."""
    if not isinstance(message, list):
        raise ValueError("a list of boxes is expected")
    boxes = []
    for item in message:
        if not isinstance(item, dict) or "box" not in item:
            raise ValueError('an object with "box" is expected')
        if _score(item.get("score", 1.0)) >= least_score:
            boxes.append(_numbers(item["box"]))
    return boxes


def frigate_box(event: Mapping[str, Any], options: Mapping[str, str], least_score: float) -> Box | None:
    """The box of one of Frigate's events, None where it is another camera's, another label, too weak, or over.

    Its documentation gives `after.box` as left, top, right, bottom in pixels of the detected stream.
    """
    after = event.get("after")
    if not isinstance(after, Mapping):
        raise ValueError('an event has "after"')
    if event.get("type") == "end" or after.get("false_positive"):
        return None
    for key in ("camera", "label"):
        if key in options and after.get(key) != options[key]:
            return None
    if _score(after.get("score") or after.get("top_score") or 0.0) < least_score:
        return None
    left, top, right, bottom = _numbers(after.get("box"), corners=True)
    return left, top, right - left, bottom - top


def _score(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("score is a number")
    number: float = value
    return number


def _numbers(values: Any, corners: bool = False) -> Box:
    if not isinstance(values, list) or len(values) != 4 or not all(type(v) in (int, float) for v in values):
        raise ValueError("a box is four numbers")
    if not all(abs(v) <= 1e6 for v in values):  # before they become floats, which hold no larger integers; NaN is none
        raise ValueError("a box lies near the picture")
    a, b, c, d = map(float, values)
    if not ((c > a and d > b) if corners else (c > 0 and d > 0)):
        raise ValueError("a box has an area")
    return a, b, c, d


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"size is WIDTHxHEIGHT, not {text!r}")
    return int(width), int(height)
