"""From a stream's time stamps to seconds that start at 0 and rise with every frame. Knows nothing of pictures."""

from __future__ import annotations

REORDERED = 16  # frames: the furthest that a decoder reorders pictures (max_dec_frame_buffering of H.264 and HEVC)
NUDGE = 0.1  # of a period: how far a frame is moved whose stamp is not after the last one's


class Clock:
    """Seconds from the first frame, strictly rising.

    Gaps stay as they are. Where the stream's clock is set back (segments were joined, a counter ran over), time goes on
    one period after the last frame. A stamp that only falls behind its neighbour, as after damage, is moved a little.
    """

    def __init__(self, period_s: float) -> None:
        """period_s: between frames, for those without a stamp and after a reset."""
        self.period_s = period_s
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._decoding: float | None = None
        self._reset = False

    def decoding(self, stamp: float | None) -> None:
        """Hear of the decoding time stamp of each packet, in any unit: where these fall, a new clock begins."""
        if stamp is not None:
            self._reset |= self._decoding is not None and stamp < self._decoding
            self._decoding = stamp

    def __call__(self, stamp_s: float | None) -> float:
        """The time of the next frame, whose stamp is `stamp_s` seconds, or None where it has none."""
        following = 0.0 if self._last_s is None else self._last_s + self.period_s
        if stamp_s is None:
            time_s = following
        else:
            if self._offset_s is None:
                self._offset_s = following - stamp_s
            time_s = stamp_s + self._offset_s
            if self._last_s is not None and time_s <= self._last_s:
                far = self._decoding is None and self._last_s - time_s > REORDERED * self.period_s
                if self._reset or far:
                    self._offset_s = following - stamp_s
                    self._reset = False
                    time_s = following
                else:
                    time_s = self._last_s + NUDGE * self.period_s
        self._last_s = time_s
        return time_s
