"""The page's server: one thread with aiohttp, any number of cameras, viewers that block nobody.

A picture is encoded once, whatever the number of viewers, and not at all without one. Each viewer is sent the newest
picture when it has taken the last: a slow one misses pictures, one that takes none for a while is let go.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from aiohttp import WSCloseCode, web
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.errors import EdgeTrackerError, OutputError, TransientError, UsageError, first_line
from edge_tracker.outputs.status import Status
from edge_tracker.outputs.web.address import parsed_address
from edge_tracker.outputs.web.door import LARGEST_BODY, Door
from edge_tracker.outputs.web.pictures import Pictures
from edge_tracker.track import Track
from edge_tracker.video.source import Frame

MOST_VIEWERS = 16
STALLED_S = 10.0  # a viewer that takes no picture for so long is let go
BODY_S = 5.0
STATIC = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/picture.js": ("picture.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
log = logging.getLogger(__name__)
requests = logging.getLogger(f"{__name__}.requests")  # aiohttp's words: what strangers send must not fill our log
requests.setLevel(logging.CRITICAL)


class Desk(Protocol):
    """What the page can ask of a camera. All raise EdgeTrackerError; all may be called from any thread."""

    def add(self, box: Box, name: str | None = None, seen: Sequence[NDArray[np.uint8]] = ()) -> str: ...

    def move(self, name: str, box: Box, seen: Sequence[NDArray[np.uint8]] = ()) -> None: ...

    def rename(self, old: str, new: str) -> None: ...

    def drop(self, name: str) -> None: ...


class CameraPage:
    """A camera's part of the page: an output that is told of frames and status (see `outputs.status`)."""

    def __init__(self, name: str, page: Page) -> None:
        self.name = name
        self.desk: Desk | None = None
        self.pictures = Pictures()
        self._page = page

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        self.pictures.put(frame, tracks)
        self._page.wake(self.pictures)

    def report(self, status: Status, tracks: Sequence[Track]) -> None:
        self.pictures.report(status, tracks)
        self._page.wake(self.pictures)

    def close(self, complete: bool) -> None:
        """The page outlives its cameras: it shows the last picture."""


class Page:
    """Serves at `address`, "[HOST:]PORT", port 0 being any that is free. Raises ConfigError, OutputError.

    names: further host names by which it may be asked for, as behind a proxy. token: asked of who comes by another
    address than the loopback's; made up where none is given.
    """

    def __init__(self, address: str, names: Iterable[str] = (), token: str | None = None) -> None:
        host, port = parsed_address(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=32)
        except (OSError, OverflowError, UnicodeError) as error:
            raise OutputError(f"the page cannot listen on {address}: {getattr(error, 'strerror', error)}") from error
        self.port: int = self._socket.getsockname()[1]
        self._door = Door(host, self.port, names, token)
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
        self.address = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/"
        self._cameras: dict[str, CameraPage] = {}
        self._viewers = 0
        self._workers = concurrent.futures.ThreadPoolExecutor(4, "page")
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="page", daemon=True)
        self._thread.start()
        ready.wait()

    @property
    def token(self) -> str | None:
        return self._door.token

    @property
    def url(self) -> str:
        """The address with its token: for the terminal, once."""
        return self.address + (f"?token={quote(self.token, safe='')}" if self.token else "")

    def camera(self, name: str) -> CameraPage:
        """The part of the page for another camera."""
        page = CameraPage(name, self)
        self._cameras[name] = page
        return page

    def wake(self, pictures: Pictures) -> None:
        """Have viewers look at what is new; returns at once."""
        if not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(pictures.wake)
            except RuntimeError:  # closed in between
                log.debug("the page has ended")

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(5.0)
        self._workers.shutdown(wait=False)
        self._socket.close()

    def _run(self, ready: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve(ready))
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        app = web.Application(middlewares=[self._door.middleware], client_max_size=LARGEST_BODY)
        for path, (name, kind) in STATIC.items():
            app.router.add_get(path, _static(name, kind))
        app.router.add_get("/api/cameras", self._list)
        app.router.add_get("/api/cameras/{camera}/live", self._live)
        app.router.add_post("/api/cameras/{camera}/targets", self._add)
        app.router.add_put("/api/cameras/{camera}/targets/{target}", self._move)
        app.router.add_patch("/api/cameras/{camera}/targets/{target}", self._rename)
        app.router.add_delete("/api/cameras/{camera}/targets/{target}", self._drop)
        runner = web.AppRunner(
            app, access_log=None, logger=requests, keepalive_timeout=30, handle_signals=False, shutdown_timeout=1
        )
        await runner.setup()
        assert runner.server is not None
        server_of = runner.server
        server = await self._loop.create_server(lambda: self._door.protocol(server_of, self._loop), sock=self._socket)
        ready.set()
        await self._over.wait()
        server.close()
        await runner.cleanup()

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"cameras": [{"name": n, **c.pictures.told()} for n, c in self._cameras.items()]})

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """A socket that is sent pictures: one binary message each, see `Pictures.message`."""
        pictures = self._camera(request).pictures
        if self._viewers >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text="too many viewers")
        viewer = web.WebSocketResponse(heartbeat=20.0, max_msg_size=1024, compress=False)
        await viewer.prepare(request)
        self._viewers += 1
        sender = asyncio.ensure_future(self._send(viewer, pictures, request.transport))
        try:
            async for _ in viewer:  # nothing is expected; its end is
                pass
        finally:
            self._viewers -= 1
            sender.cancel()
        return viewer

    async def _send(
        self, viewer: web.WebSocketResponse, pictures: Pictures, transport: asyncio.Transport | None
    ) -> None:
        pictures.viewers += 1
        try:
            await viewer.send_bytes(pictures.past())
            seen = 0
            while not viewer.closed:
                seen, message = await pictures.next(seen, self._workers)
                await asyncio.wait_for(viewer.send_bytes(message), STALLED_S)
        except TimeoutError:
            if transport is not None:
                transport.abort()
        except (ConnectionError, RuntimeError):
            await viewer.close(code=WSCloseCode.GOING_AWAY)
        finally:
            pictures.viewers -= 1

    async def _add(self, request: web.Request) -> web.Response:
        camera, wish = self._camera(request), await _wish(request)
        box, name = _box(wish), wish.get("name")
        return await self._ask(lambda desk: desk.add(box, name, camera.pictures.since(wish.get("index"))), camera)

    async def _move(self, request: web.Request) -> web.Response:
        camera, wish = self._camera(request), await _wish(request)
        box, name = _box(wish), request.match_info["target"]
        return await self._ask(lambda desk: desk.move(name, box, camera.pictures.since(wish.get("index"))), camera)

    async def _rename(self, request: web.Request) -> web.Response:
        camera, wish = self._camera(request), await _wish(request)
        new: Any = wish.get("name")
        return await self._ask(lambda desk: desk.rename(request.match_info["target"], new), camera)

    async def _drop(self, request: web.Request) -> web.Response:
        return await self._ask(lambda desk: desk.drop(request.match_info["target"]), self._camera(request))

    async def _ask(self, action: Callable[[Desk], str | None], camera: CameraPage) -> web.Response:
        desk = camera.desk
        if desk is None:
            raise web.HTTPServiceUnavailable(text=f"{camera.name} is starting")
        try:
            name = await self._loop.run_in_executor(self._workers, action, desk)
        except UsageError as error:
            return web.json_response({"error": first_line(error)}, status=400)
        except (TransientError, EdgeTrackerError) as error:
            return web.json_response({"error": first_line(error)}, status=503)
        return web.json_response({"target": name})

    def _camera(self, request: web.Request) -> CameraPage:
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="there is no such camera")
        return camera


def _static(name: str, kind: str) -> Callable[[web.Request], Any]:
    """A handler of one file of ours, which is read now: no request ever names a path."""
    text = (files(__package__) / "static" / name).read_text(encoding="utf-8")

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind, charset="utf-8")

    return handler


async def _wish(request: web.Request) -> dict[str, Any]:
    """The JSON object that a request brings. JSON alone: a foreign form cannot send that."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="application/json is expected")
    try:
        data = await asyncio.wait_for(request.read(), BODY_S)
        wish = json.loads(data)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the request did not come to its end") from None
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="this is no JSON") from None
    if not isinstance(wish, dict):
        raise web.HTTPBadRequest(text="a JSON object is expected")
    return wish


def _box(wish: dict[str, Any]) -> Box:
    box = wish.get("box")
    numbers = isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) and abs(v) < 1e6 for v in box)
    if not numbers or not isinstance(wish.get("name"), str | None) or not isinstance(wish.get("index"), int | None):
        raise web.HTTPBadRequest(text="a box is four numbers x, y, w, h")
    assert isinstance(box, list)
    x, y, w, h = map(float, box)
    return x, y, w, h
