"""The demo's MP4 plays in a browser: time advances, and the picture that is shown is the one that was written."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from edge_tracker.cli import main
from edge_tracker.video import open_source

PAGE = """<!doctype html><video id=v muted src="demo.mp4"></video><canvas id=c></canvas><script>
const video = document.getElementById("v"), canvas = document.getElementById("c");
const tell = o => fetch("/told?" + new URLSearchParams({o: JSON.stringify(o)}));
video.onerror = () => tell({error: video.error.message || String(video.error.code)});
video.onloadeddata = () => video.play().catch(e => tell({error: String(e)}));
const shown = () => {
  const context = canvas.getContext("2d"), rows = [];
  context.drawImage(video, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  for (let y = 4; y < canvas.height; y += 8) for (let x = 4; x < canvas.width; x += 8) {
    const k = 4 * (y * canvas.width + x); rows.push([data[k + 2], data[k + 1], data[k]]);
  }
  return rows;
};
let done = false, time;  // time: of the picture that is shown
const presented = (_, picture) => { time = picture.mediaTime; video.requestVideoFrameCallback(presented); };
video.requestVideoFrameCallback(presented);
video.ontimeupdate = async () => {
  if (done || video.currentTime < 0.5) return;
  done = true; video.pause();
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  // A busy machine shows the last picture late: it is taken once it stands still.
  let rows = shown();
  for (let still = 0; still < 10;) {
    await new Promise(resolve => setTimeout(resolve, 100));
    const now = shown();
    still = String(now) == String(rows) ? still + 1 : 0;
    rows = now;
  }
  fetch("/told", {method: "POST", body: JSON.stringify({time,
    width: canvas.width, height: canvas.height, duration: video.duration, pixels: rows})});
};
</script>"""


def test_the_demo_plays_in_a_browser(tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    assert main(["demo", "--out", str(tmp_path), "--quiet", "--tracker", "fast"]) == 0
    (tmp_path / "page.html").write_text(PAGE)
    told: queue.Queue[dict[str, object]] = queue.Queue()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path.startswith("/told"):
                told.put(json.loads(parse_qs(urlsplit(self.path).query)["o"][0]))
            super().do_GET()

        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        page = f"http://127.0.0.1:{server.server_port}/page.html"
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        process = subprocess.Popen(
            [browser, *flags, profile, "--remote-debugging-port=0", page],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            seen = told.get(timeout=120)
        finally:
            process.kill()
            process.wait()
            server.shutdown()
    assert "error" not in seen, seen
    assert seen["time"] >= 0.4  # type: ignore[operator]
    assert seen["duration"] == pytest.approx(10, abs=0.1)
    assert (seen["width"], seen["height"]) == (320, 240)
    shown = np.array(seen["pixels"])
    with open_source(str(tmp_path / "demo.mp4")) as source:
        apart = [np.abs(shown - frame.image[4::8, 4::8].reshape(-1, 3)).mean() for frame in source]
    best = int(np.argmin(apart))
    assert abs(best / source.fps - seen["time"]) < 1.5 / source.fps  # type: ignore[operator]
    assert apart[best] < 6 < apart[0]
    assert cv2.imread(str(tmp_path / "demo.png")) is not None
