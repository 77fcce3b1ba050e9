"""Changes of state, posted to a URL.

Each is a JSON object, posted with `X-Edge-Tracker-Signature: sha256=HEX` where the environment has a secret: the HMAC
(RFC 2104) of the time stamp in `X-Edge-Tracker-Time`, a point, and the body. One that is not taken is tried again; the
receiver tells doubles by `id`.
"""

from __future__ import annotations

import collections
import hashlib
import hmac
import http.client
import json
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

from edge_tracker.errors import ConfigError, OutputLost, first_line
from edge_tracker.track import Track
from edge_tracker.video.source import Frame
from edge_tracker.video.urls import masked

SECRET = "EDGE_TRACKER_WEBHOOK_SECRET"
MOST_WAITING = 100  # events; the oldest go first
TIMEOUT_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
ATTEMPTS = 20
CLOSING_S = 3.0
log = logging.getLogger(__name__)


class WebhookOutput:
    """url: http:// or https://. camera: its name in the events. Raises ConfigError for a URL that cannot be."""

    def __init__(self, url: str, camera: str = "camera") -> None:
        self._url, self._camera = checked_url(url), camera
        self._states: dict[str, str] = {}
        self._waiting: collections.deque[bytes] = collections.deque(maxlen=MOST_WAITING)
        self._news = threading.Condition()
        self._busy = self._closed = False
        self._failed = False
        # No redirects: an answer of the receiver must not send us, and the signature, elsewhere.
        self._opener = urllib.request.build_opener(_Unmoved)
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        """Queue what changed. Raises OutputLost while the receiver does not take it; tries go on."""
        now = {track.target: track.state.value for track in tracks}
        for track in tracks:
            before = self._states.get(track.target)
            if before != track.state.value:
                self._queue(frame, track.target, before, track)
        for gone in set(self._states) - set(now):
            self._queue(frame, gone, self._states[gone], None)
        self._states = now
        if self._failed:
            raise OutputLost(f"webhook {masked(self._url)} is away")

    def close(self, complete: bool) -> None:
        with self._news:
            self._news.wait_for(lambda: self._failed or not (self._waiting or self._busy), CLOSING_S)
            self._closed = True
            self._news.notify_all()
        self._thread.join(TIMEOUT_S + 1)

    def _queue(self, frame: Frame, target: str, before: str | None, track: Track | None) -> None:
        event = {
            "id": str(uuid.uuid4()),
            "camera": self._camera,
            "target": target,
            "state": track.state.value if track else "DROPPED",
            "before": before,
            "box": [round(v, 1) for v in track.box] if track else None,
            "confidence": round(track.confidence, 3) if track else None,
            "time": round(frame.taken_at if frame.taken_at is not None else time.time(), 3),
        }
        with self._news:
            self._waiting.append(json.dumps(event).encode())
            self._news.notify_all()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                body = self._waiting.popleft()
                self._busy = True
            self._post(body)
            with self._news:
                self._busy = False
                self._news.notify_all()

    def _post(self, body: bytes) -> None:
        """Post until it is taken, refused for good, or tried often enough."""
        wait = FIRST_WAIT_S
        for _ in range(ATTEMPTS):
            try:
                with self._opener.open(self._request(body), timeout=TIMEOUT_S):
                    self._failed = False
                    return
            except urllib.error.HTTPError as error:
                error.close()
                if 400 <= error.code < 500 and error.code not in (408, 429):
                    log.warning("webhook %s refuses an event: %s", masked(self._url), error.code)
                    self._failed = False
                    return
                reason = str(error.code)
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = first_line(error)
            log.debug("webhook: %s", reason)
            with self._news:
                self._failed = True
                self._news.notify_all()
                if self._news.wait_for(lambda: self._closed, wait):
                    return
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _request(self, body: bytes) -> urllib.request.Request:
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "X-Edge-Tracker-Time": stamp}
        secret = os.environ.get(SECRET)
        if secret:
            headers["X-Edge-Tracker-Signature"] = f"sha256={signature(secret, stamp, body)}"
        return urllib.request.Request(self._url, body, headers)


def checked_url(url: str) -> str:
    """`url`, if something can be posted to it. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        fits = bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not re.fullmatch("[!-~]+", url):
        what = "http[s]://HOST[:PORT][/PATH], without spaces and with what is not ASCII as %XX"
        raise ConfigError(f"a webhook is {what}, not {masked(url)}")
    return url


def signature(secret: str, stamp: str, body: bytes) -> str:
    """What a receiver compares with (in constant time)."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class _Unmoved(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
