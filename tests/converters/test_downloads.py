"""Downloads against a real server on loopback that can break off, lie and refuse."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="downloads need torch (extra 'convert-onnx')")

from converters import downloads
from converters.downloads import OFFICIAL, Weights, fetch, main, pull
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.catalogue import CATALOGUE, user_cache
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.errors import ModelError

DATA = bytes(range(256)) * 4000  # about 1 MB
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    data = DATA
    requests: int
    length: str | None = None  # stated in place of the true one
    break_after: int | None = None
    nonsense: bytes | None = None  # in place of an answer


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.nonsense is not None:
            self.wfile.write(self.server.nonsense)
            return
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", self.server.length or str(len(self.server.data)))
        self.end_headers()
        self.wfile.write(self.server.data[: self.server.break_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests = 0
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def weights(server: Server, name: str = "net", sha256: str = SHA256, size: int | None = len(DATA)) -> Weights:
    return Weights(f"http://127.0.0.1:{server.server_port}/{name}-{sha256[:8]}.pth", sha256, size)


def test_what_was_fetched_is_verified_and_not_fetched_again(server: Server, tmp_path: Path) -> None:
    wanted = weights(server)
    for _ in range(2):
        path = fetch(wanted, tmp_path / "cache")
        assert path.read_bytes() == DATA
        assert [p.name for p in path.parent.iterdir()] == [wanted.name]
    assert server.requests == 1


@pytest.mark.parametrize("damage", [DATA[:-1], DATA[:-1] + b"x", b""])
def test_what_lies_in_the_cache_is_verified_each_time(server: Server, tmp_path: Path, damage: bytes) -> None:
    path = fetch(weights(server), tmp_path)
    path.write_bytes(damage)
    assert fetch(weights(server), tmp_path).read_bytes() == DATA
    assert server.requests == 2


@pytest.mark.parametrize(
    "kind", ["other file", "other size", "404", "cut", "length abc", "no HTTP", "broken chunks", "no server"]
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(kind: str, server: Server, tmp_path: Path) -> None:
    wanted = weights(server)
    if kind == "other file":
        wanted = weights(server, sha256="0" * 64)
    elif kind == "other size":
        wanted = weights(server, size=5)
    elif kind == "404":
        wanted = weights(server, "missing")
    elif kind == "cut":
        server.break_after = 300_000
    elif kind == "length abc":
        server.length = "abc"
    elif kind == "no HTTP":
        server.nonsense = b"220 this is mail\r\n"
    elif kind == "broken chunks":
        server.nonsense = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    else:
        wanted = Weights("http://127.0.0.1:9/net-00000000.pth", "00000000")
    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1") as caught:
        fetch(wanted, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_model_without_official_weights_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match=r"no official download.*--weights its\.npz"):
        pull("mobilenetv3-large-minimalistic")


def test_it_is_converted_with_a_card(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript", reason="conversion needs onnxscript (extra 'convert-onnx')")
    from converters.trunks import load_trunk

    buffer = io.BytesIO()
    torch.save(load_trunk("mobilenetv3-small", None).state_dict(), buffer)
    server.data = buffer.getvalue()
    sha256 = hashlib.sha256(server.data).hexdigest()
    monkeypatch.setitem(OFFICIAL, "mobilenetv3-small", weights(server, sha256=sha256, size=None))
    path = pull("mobilenetv3-small", tmp_path)
    assert load_backbone(path).info.model == "mobilenetv3-small"
    card = ModelCard.read(path)
    assert card is not None
    assert card.describes(path)
    assert sha256 in card.weights
    cache = user_cache()
    assert cache is not None
    assert (cache / "weights").is_dir()


def test_without_the_converters_tools_nothing_is_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(OFFICIAL, "vgg16", weights(server))
    monkeypatch.setattr(downloads, "NEEDED", ("torch", "no_such_tool"))
    assert main(["vgg16"]) == 2
    error = capsys.readouterr().err
    assert error == "downloads: the conversion needs no_such_tool: pip install -e '.[convert-onnx]'\n"
    assert server.requests == 0


def test_official_weights_are_of_models_that_say_so() -> None:
    for entry in CATALOGUE:
        assert (entry.name in OFFICIAL) == ("converters/downloads.py" in entry.how_to_get)
    for official in OFFICIAL.values():
        assert official.url.startswith("https://")
        assert official.name.endswith(f"-{official.sha256[:8]}.pth")
