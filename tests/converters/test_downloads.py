"""Downloads against a real server on loopback that can break off, resume, lie and refuse."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from converters.downloads import download, pull
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.catalogue import CatalogueEntry, Weights, user_cache
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.errors import ModelError

DATA = bytes(range(256)) * 4000  # about 1 MB
PREFIX = hashlib.sha256(DATA).hexdigest()[:8]


class Server(ThreadingHTTPServer):
    data = DATA
    break_after: int | None = None
    ranges = True
    requests: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if "missing" in self.path:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start >= len(self.server.data):
            self.send_error(416)
            return
        body = self.server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.break_after is None else body[: self.server.break_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def weights(server: Server, name: str = "net", prefix: str = PREFIX) -> Weights:
    return Weights(f"http://127.0.0.1:{server.server_port}/{name}-{prefix}.pth", prefix)


def test_a_whole_download_is_verified_and_named(server: Server, tmp_path: Path) -> None:
    download(weights(server), tmp_path / "net.pth")
    assert (tmp_path / "net.pth").read_bytes() == DATA
    assert [p.name for p in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.break_after, server.ranges = 300_000, ranges
    with pytest.raises(ModelError):
        download(weights(server), tmp_path / "net.pth")
    assert not (tmp_path / "net.pth").exists()
    server.break_after = None
    download(weights(server), tmp_path / "net.pth")
    assert (tmp_path / "net.pth").read_bytes() == DATA
    assert server.requests[1] is not None
    assert server.requests[1].startswith("bytes=")


def test_a_complete_partial_file_needs_only_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.pth.partial").write_bytes(DATA)
    download(weights(server), tmp_path / "net.pth")
    assert (tmp_path / "net.pth").read_bytes() == DATA


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SHA-256"):
        download(weights(server, prefix="00000000"), tmp_path / "net.pth")
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_passed_on(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="404"):
        download(weights(server, "missing"), tmp_path / "net.pth")


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Without a network.*to_onnx"):
        download(Weights("http://127.0.0.1:9/net-00000000.pth", "00000000"), tmp_path / "net.pth")


def test_a_model_without_official_weights_cannot_be_pulled() -> None:
    with pytest.raises(ModelError, match="no official download"):
        pull(CatalogueEntry("edge-small", "Apache-2.0", "by hand", "-"))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="conversion needs torch (extra 'convert-onnx')")
def test_pull_converts_and_writes_a_card(server: Server, tmp_path: Path) -> None:
    import io

    import torch

    from converters.trunks import load_trunk

    buffer = io.BytesIO()
    torch.save(load_trunk("mobilenetv3-small", None).state_dict(), buffer)
    server.data = buffer.getvalue()
    prefix = hashlib.sha256(server.data).hexdigest()[:8]
    entry = CatalogueEntry("mobilenetv3-small", "BSD-3-Clause", "a test", "-", weights(server, prefix=prefix))
    path = pull(entry, tmp_path)
    assert load_backbone(path).info.model == "mobilenetv3-small"
    card = ModelCard.read(path)
    assert card is not None
    assert card.describes(path)
    assert prefix in card.weights


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is here, so it converts")
def test_pull_without_torch_keeps_the_download_and_says_what_to_do(server: Server, tmp_path: Path) -> None:
    entry = CatalogueEntry("mobilenetv3-small", "BSD-3-Clause", "a test", "-", weights(server))
    with pytest.raises(ModelError, match=r"downloaded and verified.*to_onnx\.py --model mobilenetv3-small"):
        pull(entry, tmp_path)
    assert (user_cache() / "weights" / f"net-{PREFIX}.pth").read_bytes() == DATA
