"""The page's server: who may come in, what is sent, and that no viewer holds up anybody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.errors import BoxError, ConfigError, OutputError, TransientError, UsageError
from edge_tracker.outputs.status import Status
from edge_tracker.outputs.web.address import is_loopback, parsed_address
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame
from tests.service.servers import descriptors, wait_until

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from edge_tracker.outputs.web import door
from edge_tracker.outputs.web.page import CameraPage, Page
from edge_tracker.outputs.web.pictures import KEPT_S, WIDEST, Pictures

TOKEN = "a-token-of-22-letters!"


class Asked:
    """A desk that keeps what it was asked, and fails as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.seen: list[NDArray[np.uint8]] = []
        self.error: Exception | None = None

    def _call(self, *call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def add(self, box: Box, name: str | None = None, seen: Sequence[NDArray[np.uint8]] = ()) -> str:
        self.seen = list(seen)
        self._call("add", box, name)
        return name or "target 1"

    def move(self, name: str, box: Box, seen: Sequence[NDArray[np.uint8]] = ()) -> None:
        self.seen = list(seen)
        self._call("move", name, box)

    def rename(self, old: str, new: str) -> None:
        self._call("rename", old, new)

    def drop(self, name: str) -> None:
        self._call("drop", name)


def picture(index: int, width: int = 64, height: int = 48) -> Frame:
    image = np.full((height, width, 3), (index * 20) % 256, np.uint8)
    return Frame(index, index / 25, image, taken_at=time.time())


def track(name: str = "a", state: TrackState = TrackState.TRACKED) -> Track:
    return Track((1.0, 2.0, 30.0, 20.0), 0.9, state, name)


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page("0", names=["tracker.example"])
    yield page
    page.close()


@pytest.fixture
def camera(page: Page) -> CameraPage:
    camera = page.camera("front door")
    camera.desk = Asked()
    camera.write(picture(0), [track()])
    return camera


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page on another address than the loopback's, as far as its door knows."""
    monkeypatch.setattr(door, "is_loopback", lambda host: False)
    page = Page("0", token=TOKEN)
    page.camera("front door").desk = Asked()
    yield page
    page.close()


def asked(
    page: Page, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None, **more: Any
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request."""

    async def request() -> tuple[int, dict[str, str], bytes]:
        url = f"http://127.0.0.1:{page.port}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url + path, headers=headers, json=body, allow_redirects=False, **more) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.read()

    return asyncio.run(request())


def raw(page: Page, text: bytes, timeout_s: float = 3.0) -> bytes:
    """What the server answers to these bytes, until it closes or says nothing more."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=timeout_s) as connection:
        connection.sendall(text)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
                if b"\r\n\r\n" in answer and b"Connection: close" not in text:
                    break
    return answer


def unpacked(message: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack(">I", message[:4])
    return json.loads(message[4 : 4 + length]), message[4 + length :]


async def messages(page: Page, count: int, each: Callable[[int], None] = lambda _: None) -> list[bytes]:
    url = f"http://127.0.0.1:{page.port}/api/cameras/front%20door/live"
    got = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as viewer:
        while len(got) < count:
            got.append(await asyncio.wait_for(viewer.receive_bytes(), 5))
            await asyncio.to_thread(each, len(got))
    return got


# What is served


def test_the_page_comes_whole_and_from_here_alone(page: Page) -> None:
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/picture.js", "text/javascript")):
        status, headers, body = asked(page, "GET", path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert b"http://" not in body.replace(b"http://www.w3.org/", b"")
        assert b"https://" not in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "edge-tracker"  # no versions
    html = asked(page, "GET", "/")[2].decode()
    assert "onclick" not in html
    assert "style=" not in html
    assert '<html lang="en">' in html


def test_a_viewer_gets_pictures_tracks_and_status(page: Page, camera: CameraPage) -> None:
    camera.report(Status("front door", "rtsp://h", "live", dropped=3, updates_per_s=24.96, latency_s=0.0123), [track()])

    def more(count: int) -> None:
        camera.write(picture(count, 1920, 1080), [track(), track("b", TrackState.LOST)])

    first, second, third = asyncio.run(messages(page, 3, more))
    assert "strips" in unpacked(first)[0]
    told, jpeg = unpacked(third)
    assert (told["width"], told["height"]) == (1920, 1080)
    assert [(t["target"], t["state"]) for t in told["tracks"]] == [("a", "TRACKED"), ("b", "LOST")]
    assert told["status"]["fps"] == 25.0
    assert told["status"]["latency_ms"] == 12
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (540, WIDEST, 3)
    assert unpacked(second)[0]["index"] in (0, 1)


def test_a_picture_is_encoded_once_whatever_the_viewers_and_never_without(
    page: Page, camera: CameraPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_tracker.outputs.web import pictures

    encodings: list[None] = []
    encode = pictures.encoded
    monkeypatch.setattr(pictures, "encoded", lambda image: encodings.append(None) or encode(image))
    over = threading.Event()

    def film() -> None:
        index = 1
        while not over.is_set():
            camera.write(picture(index), [track()])
            index += 1
            time.sleep(0.01)

    thread = threading.Thread(target=film)
    thread.start()
    time.sleep(0.4)
    assert encodings == []

    async def view() -> list[list[bytes]]:
        return await asyncio.gather(*(messages(page, 12) for _ in range(5)))

    got = asyncio.run(view())
    over.set()
    thread.join()
    assert all(len(each) == 12 for each in got)
    pictures_sent = sum(len(each) - 1 for each in got)
    assert len(encodings) < pictures_sent / 2
    # 15 a second and not the camera's 100, by the messages' own time: when they arrive, the machine decides.
    assert all(min(np.diff([unpacked(message)[0]["now"] for message in each[1:]])) > 0.05 for each in got)


def test_a_viewer_that_takes_nothing_holds_up_nobody_and_is_let_go(
    page: Page, camera: CameraPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_tracker.outputs.web import page as page_module

    monkeypatch.setattr(page_module, "STALLED_S", 1.0)
    over = threading.Event()
    slowest = [0.0]
    noise = np.random.default_rng(0).integers(0, 256, (540, 960, 3), np.uint8)  # compresses badly: buffers fill soon

    def film() -> None:
        index = 1
        while not over.is_set():
            start = time.perf_counter()
            camera.write(Frame(index, index / 30, noise), [track()])
            slowest[0] = max(slowest[0], time.perf_counter() - start)
            index += 1
            time.sleep(0.03)

    thread = threading.Thread(target=film)
    thread.start()
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(("127.0.0.1", page.port))
    stalled.sendall(
        b"GET /api/cameras/front%20door/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    wait_until(lambda: camera.pictures.viewers == 1, 5, "the stalled viewer")
    time.sleep(0.5)
    start = time.monotonic()
    got = asyncio.run(messages(page, 15))
    assert time.monotonic() - start < 4
    indices = [unpacked(message)[0]["index"] for message in got[1:]]
    assert indices == sorted(set(indices))
    wait_until(lambda: camera.pictures.viewers == 0, 10, "the end of the stalled viewer")
    assert slowest[0] < 0.1
    over.set()
    thread.join()
    stalled.close()


def test_only_so_many_may_watch(page: Page, camera: CameraPage, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_tracker.outputs.web import page as page_module

    monkeypatch.setattr(page_module, "MOST_VIEWERS", 2)

    async def view() -> None:
        url = f"http://127.0.0.1:{page.port}/api/cameras/front%20door/live"
        async with aiohttp.ClientSession() as session, session.ws_connect(url), session.ws_connect(url):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url)
            assert refused.value.status == 503

    asyncio.run(view())
    asyncio.run(messages(page, 1))  # there is room again


# What can be asked


def test_wishes_reach_the_desk(page: Page, camera: CameraPage) -> None:
    path = "/api/cameras/front%20door/targets"
    status, _, body = asked(page, "POST", path, body={"box": [1, 2, 3.5, 4], "name": "x"})
    assert (status, json.loads(body)) == (200, {"target": "x"})
    assert asked(page, "PUT", path + "/a%2Fb%20%3C", body={"box": [5, 6, 7, 8]})[0] == 200
    assert asked(page, "PATCH", path + "/x", body={"name": "y"})[0] == 200
    assert asked(page, "DELETE", path + "/y")[0] == 200
    assert isinstance(camera.desk, Asked)
    assert camera.desk.calls == [
        ("add", (1.0, 2.0, 3.5, 4.0), "x"),
        ("move", "a/b <", (5.0, 6.0, 7.0, 8.0)),
        ("rename", "x", "y"),
        ("drop", "y"),
    ]


@pytest.mark.parametrize(
    ("error", "status"), [(BoxError("no area"), 400), (UsageError("x"), 400), (TransientError("busy"), 503)]
)
def test_what_the_desk_refuses_is_said(page: Page, camera: CameraPage, error: Exception, status: int) -> None:
    assert isinstance(camera.desk, Asked)
    camera.desk.error = error
    answer = asked(page, "DELETE", "/api/cameras/front%20door/targets/a")
    assert answer[0] == status
    assert json.loads(answer[2])["error"] == str(error)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "x",
        {},
        {"box": "1,2,3,4"},
        {"box": [1, 2, 3]},
        {"box": [1, 2, 3, "4"]},
        {"box": [1, 2, 3, True]},
        {"box": [1, 2, 3, 1e9]},
        {"box": [1, 2, 3, None]},
        {"box": [1, 2, 3, 4], "name": 5},
        {"box": [1, 2, 3, 4], "index": "0"},
    ],
)
def test_wishes_that_are_none(page: Page, camera: CameraPage, body: Any) -> None:
    assert asked(page, "POST", "/api/cameras/front%20door/targets", body=body)[0] in (400, 415)
    assert isinstance(camera.desk, Asked)
    assert camera.desk.calls == []


def test_a_box_belongs_to_the_picture_it_was_drawn_on(page: Page, camera: CameraPage) -> None:
    """The frames since then come along, at the frame's own size, so that the target can be caught up with."""

    def more(count: int) -> None:
        camera.write(picture(count, 1920, 1080), [track()])
        time.sleep(0.1)

    got = asyncio.run(messages(page, 6, more))
    indices = [unpacked(message)[0]["index"] for message in got[1:]]
    chosen = indices[-3]
    answer = asked(page, "POST", "/api/cameras/front%20door/targets", body={"box": [1, 2, 300, 40], "index": chosen})
    assert answer[0] == 200
    assert isinstance(camera.desk, Asked)
    assert len(camera.desk.seen) >= 2
    assert camera.desk.seen[0].shape == (1080, 1920, 3)
    assert abs(int(camera.desk.seen[0].mean()) - (chosen * 20) % 256) <= 2
    for old in (-5, 10_000):
        answer = asked(page, "POST", "/api/cameras/front%20door/targets", body={"box": [1, 2, 300, 40], "index": old})
        assert answer[0] == 400
        assert b"choose again" in answer[2]


def test_pictures_that_are_kept_are_bounded() -> None:
    pictures = Pictures()
    for index in range(50):
        pictures.put(picture(index), [track()])
        pictures._encoded_at = index * 1.0
        pictures._made(pictures._newest, None)
    assert len(pictures._kept) <= KEPT_S + 1


def test_strips_are_bounded_and_go_with_their_targets() -> None:
    pictures = Pictures()
    for index in range(500):
        pictures.put(picture(index), [track(f"t{index}")])
    told, _ = unpacked(pictures.past())
    assert list(told["strips"]) == ["t499"]


# Who may come in


def test_addresses() -> None:
    assert parsed_address("8080") == ("127.0.0.1", 8080)
    assert parsed_address(":8080") == ("127.0.0.1", 8080)
    assert parsed_address("0.0.0.0:80") == ("0.0.0.0", 80)
    assert parsed_address("[::]:80") == ("::", 80)
    for wrong in ("", "x", "host:", "host:x", "1:99999", "host:-1"):
        with pytest.raises(ConfigError):
            parsed_address(wrong)
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("192.168.1.2")


def test_the_loopback_page_asks_for_no_token_and_others_do() -> None:
    for address, wants in (("127.0.0.1:0", False), ("0.0.0.0:0", True)):
        page = Page(address)
        try:
            assert (page.token is not None) is wants
            assert ("token=" in page.url) is wants
            assert page.token is None or len(page.token) >= 22
        finally:
            page.close()


EVERYTHING = (
    ("GET", "/"),
    ("GET", "/page.js"),
    ("GET", "/api/cameras"),
    ("GET", "/api/cameras/front%20door/live"),
    ("POST", "/api/cameras/front%20door/targets"),
    ("DELETE", "/api/cameras/front%20door/targets/a"),
    ("GET", "/nothing"),
)


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
def test_nothing_comes_out_without_the_token(guarded: Page, method: str, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"edge_tracker_{guarded.port}=wrong"},
        {"Cookie": f"edge_tracker_1={TOKEN}"},
        {"Authorization": "Bearer " + TOKEN[:-1]},
        {"Authorization": "Bearer ä"},
    ):
        status, _, body = asked(guarded, method, path, headers)
        assert status == 401
        assert b"front" not in body
        assert TOKEN.encode() not in body
    assert asked(guarded, method, path + "?token=wrong")[0] == 401
    if path != "/":
        assert (
            asked(guarded, method, f"{path}?token={TOKEN}")[0] == 401
        )  # tokens in addresses end in logs: once is enough


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: edge_tracker_PORT=\xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[::\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\xe2\x84\x80b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET http://[::/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ],
)
def test_whatever_bytes_strangers_send_is_refused_without_a_word(
    guarded: Page, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = raw(guarded, text.replace(b"PORT", str(guarded.port).encode()))
    assert answer[9:11] == b"40"
    assert caplog.text == ""


def test_a_body_that_breaks_off_or_is_not_what_it_says_is_no_failure(
    page: Page, camera: CameraPage, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /api/cameras/front%20door/targets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    gzip = b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    assert raw(page, head + gzip)[9:12] == b"400"
    with socket.create_connection(("127.0.0.1", page.port)) as connection:
        connection.sendall(head + b"Content-Length: 40\r\n\r\n{")
    time.sleep(0.3)
    page.close()
    assert caplog.text == ""


@pytest.mark.parametrize("token", ["a b&c#d?e=f+0123456789", 'päss"wort;mit,allem', "back\\slash%41 and more"])
def test_the_address_that_is_printed_opens_the_page_whatever_the_token(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "is_loopback", lambda host: False)
    page = Page("0", token=token)

    async def opened() -> int:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session, session.get(page.url) as answer:
            return int(answer.status)

    assert asyncio.run(opened()) == 200
    page.close()


def test_a_stranger_has_one_request_a_connection(guarded: Page) -> None:
    """Else the second could be as slow as it likes."""
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"Connection: close" in answer


def test_the_token_opens_once_by_address_and_then_by_cookie(guarded: Page) -> None:
    status, headers, _ = asked(guarded, "GET", f"/?token={TOKEN}")
    assert status == 303
    assert headers["Location"] == "/"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert asked(guarded, "GET", "/", {"Cookie": cookie.split(";")[0]})[0] == 200
    assert asked(guarded, "GET", "/api/cameras", {"Cookie": cookie.split(";")[0]})[0] == 200
    assert asked(guarded, "GET", "/api/cameras", {"Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_tokens_are_compared_in_constant_time(guarded: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = door.hmac.compare_digest
    monkeypatch.setattr(door.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))
    asked(guarded, "GET", "/api/cameras", {"Authorization": "Bearer guess"})
    assert (b"guess", TOKEN.encode()) in compared


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "a b", "0x7f.1"],
)
@pytest.mark.parametrize(("method", "path"), EVERYTHING[:5])
def test_a_foreign_name_that_leads_here_gets_nothing(page: Page, host: str, method: str, path: str) -> None:
    """DNS rebinding: the browser believes the foreign page and us to be one origin, and sends the foreign name."""
    page.camera("front door")
    text = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\r\n"
    answer = raw(page, text.encode())
    assert answer[9:12] in (b"403", b"400")
    assert b"front" not in answer


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "192.168.0.9", "tracker.example", "TRACKER.example"]
)
def test_our_own_names_are_ours(page: Page, host: str) -> None:
    assert asked(page, "GET", "/api/cameras", {"Host": f"{host}:{page.port}"})[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", ""])
@pytest.mark.parametrize(("method", "path"), [*EVERYTHING[2:6], ("PUT", "/api/cameras/front%20door/targets/a")])
def test_pages_of_other_sites_can_ask_for_nothing(
    page: Page, camera: CameraPage, origin: str, method: str, path: str
) -> None:
    headers = {"Origin": origin, "Connection": "Upgrade", "Upgrade": "websocket"}
    headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert asked(page, method, path, headers if path.endswith("live") else {"Origin": origin})[0] == 403
    assert isinstance(camera.desk, Asked)
    assert camera.desk.calls == []


def test_our_own_page_may_ask(page: Page, camera: CameraPage) -> None:
    own = {"Origin": f"http://127.0.0.1:{page.port}"}
    assert asked(page, "DELETE", "/api/cameras/front%20door/targets/a", own)[0] == 200


def test_a_foreign_form_cannot_be_taken_for_ours(page: Page, camera: CameraPage) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        body = b'{"box": [1, 2, 3, 4]}'
        answer = asked(page, "POST", "/api/cameras/front%20door/targets", {"Content-Type": kind}, data=body)
        assert answer[0] == 415
    assert isinstance(camera.desk, Asked)
    assert camera.desk.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/static/../page.py",
        "/page.py",
        "/%2e%2e/door.py",
        "//etc/passwd",
        "/static/index.html",
        "/api/cameras/../../etc/passwd",
        "/api/cameras/..%2f..%2fetc%2fpasswd/live",
        "/page.js%00.html",
    ],
)
def test_no_path_leads_to_a_file(page: Page, path: str) -> None:
    answer = raw(page, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer[9:12] in (b"404", b"400")
    assert b"root:" not in answer
    assert b"import" not in answer


def test_what_is_too_large_is_refused(page: Page, camera: CameraPage) -> None:
    big = {"box": [1, 2, 3, 4], "name": "x" * 10_000}
    assert asked(page, "POST", "/api/cameras/front%20door/targets", body=big)[0] == 413
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"
    assert raw(page, head)[9:12] in (b"400", b"431", b"")
    deep = b"[" * 4000
    json_kind = {"Content-Type": "application/json"}
    assert asked(page, "POST", "/api/cameras/front%20door/targets", json_kind, data=deep)[0] == 400

    async def shout() -> int:
        url = f"http://127.0.0.1:{page.port}/api/cameras/front%20door/live"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as viewer:
            await viewer.send_bytes(b"x" * 100_000)
            while True:
                message = await asyncio.wait_for(viewer.receive(), 5)
                if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                    return viewer.close_code or 0

    assert asyncio.run(shout()) in (1009, 1006)


def test_slow_requests_are_let_go(page: Page, camera: CameraPage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: heads and bodies that never end. Others are served meanwhile."""
    from edge_tracker.outputs.web import page as page_module

    monkeypatch.setattr(door, "HEAD_S", 1.0)
    monkeypatch.setattr(page_module, "BODY_S", 1.0)
    slow = []
    for k in range(20):
        connection = socket.create_connection(("127.0.0.1", page.port))
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
        body = (
            b"POST /api/cameras/front%20door/targets HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )
        connection.sendall((head, body, b"")[k % 3])
        slow.append(connection)
    start = time.monotonic()
    while time.monotonic() - start < 1.5:
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
        assert asked(page, "GET", "/api/cameras")[0] == 200
        time.sleep(0.1)
    ended = 0
    for connection in slow:
        connection.settimeout(2.0)
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(4096)
            assert answer == b"" or b"408" in answer or b"400" in answer, answer
        ended += 1
        connection.close()
    assert ended == len(slow)


def test_connections_are_bounded_and_come_free_again(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HEAD_S", 1.0)
    before = descriptors()
    held = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(3 * door.MOST_CONNECTIONS)]
    most = len(held) + door.MOST_CONNECTIONS + 8
    wait_until(lambda: descriptors() - before <= most, 5, "the end of connections that are too many")
    time.sleep(1.2)
    assert asked(page, "GET", "/api/cameras")[0] == 200
    for connection in held:
        connection.close()


def test_two_pages_on_one_port_and_a_name_that_is_none(page: Page) -> None:
    for address in (str(page.port), "a..b:0"):
        with pytest.raises(OutputError, match="cannot listen"):
            Page(address)


def test_closing_leaves_nothing() -> None:
    threads, files = threading.active_count(), descriptors()
    for _ in range(3):
        page = Page("0")
        camera = page.camera("front door")
        camera.write(picture(0), [])
        asyncio.run(messages(page, 2))
        page.close()
        camera.write(picture(1), [])  # a camera that outlives the page
        page.close()
    wait_until(lambda: threading.active_count() <= threads, 5, "the end of the threads")
    assert descriptors() <= files
