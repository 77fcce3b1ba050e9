"""The page in headless Chromium: boxes are drawn, tapped and placed by keys, targets follow, names change, all is read
out. EDGE_TRACKER_SCREENSHOTS=FOLDER keeps pictures of it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tracker.boxes import centre
from edge_tracker.service.config import CameraConfig, PageConfig, ServiceConfig
from edge_tracker.service.service import Service
from tests.service.scenes import BLUE, RED, SIZE, scene
from tests.service.servers import MjpegCamera, free_port, wait_until

pytest.importorskip("aiohttp", reason="aiohttp is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
SWING = [60 + 4 * k for k in range(50)]
PLACES = SWING + SWING[::-1]  # x of the red disc, there and back


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no browser: apt install chromium")
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera([scene([(BLUE, 260, 200), (RED, x, 80)], noise=x) for x in PLACES], fps=20)
    yield camera
    camera.close()


@pytest.fixture
def service(camera: MjpegCamera) -> Iterator[Service]:
    hangs: list[str] = []
    config = ServiceConfig((CameraConfig(camera.url),), page=PageConfig("0"))
    service = Service(config, hangs.append)
    thread = threading.Thread(target=service.run)
    thread.start()
    wait_until(lambda: service.watches[0].status().source_state == "live", 15, "the camera")
    yield service
    service.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert hangs == []


@pytest.fixture
def page(browser: Any, service: Service) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 760})
    page = opened(context, service)
    yield page
    context.close()
    assert page.problems == []


def opened(context: Any, service: Service) -> Any:
    """The page, once it shows a picture; what its console complains of is kept."""
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" and "400" not in m.text else None)
    assert service.page is not None
    page.goto(service.page.url)
    until(page, "document.querySelector('#source').textContent.includes('live')")
    until(page, "document.querySelector('#picture').width >= 960")
    return page


def until(page: Any, condition: str) -> None:
    """Wait until a JavaScript expression is true: from outside, as the page's policy forbids eval."""
    end = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def shot(page: Any, name: str) -> None:
    folder = os.environ.get("EDGE_TRACKER_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


class Screen:
    """From pixels of the frame to pixels of the page."""

    def __init__(self, page: Any) -> None:
        area = page.locator("#picture").bounding_box()
        self.scale = min(area["width"] / SIZE[0], area["height"] / SIZE[1])
        self.left = area["x"] + (area["width"] - SIZE[0] * self.scale) / 2
        self.top = area["y"] + (area["height"] - SIZE[1] * self.scale) / 2

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + x * self.scale, self.top + y * self.scale


FIND_RED = """() => {
  const canvas = document.querySelector('#picture'), pen = canvas.getContext('2d');
  const { data, width, height } = pen.getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0, count = 0;
  for (let y = Math.round(0.2 * height); y < 0.45 * height; y += 2) for (let x = 0; x < width; x += 2) {
    const k = 4 * (y * width + x);
    if (data[k] > data[k + 1] + 90 && data[k] > data[k + 2] + 90) { sum += x; count += 1; }
  }
  return count > 50 ? sum / count / width : null;
}"""


def red_x(page: Any) -> float:
    """Where the red disc is in the picture that is shown, x in pixels of the frame."""
    share = page.evaluate(FIND_RED)
    assert share is not None
    return float(share) * SIZE[0]


def drag_around_red(page: Any, pause_s: float = 0.0) -> None:
    screen = Screen(page)
    page.mouse.move(*screen.at(5, 5))
    page.mouse.down()  # the picture stands still from here on
    page.mouse.up()
    page.keyboard.press("Escape")
    screen = Screen(page)
    page.mouse.move(*screen.at(red_x(page), 80))
    page.mouse.down()
    x = red_x(page)
    page.mouse.up()  # a tap: a proposal, the picture is held
    page.wait_for_timeout(1000 * pause_s)
    page.mouse.move(*screen.at(x - 22, 58))
    page.mouse.down()
    page.mouse.move(*screen.at(x, 80))
    page.mouse.move(*screen.at(x + 22, 102))
    shot(page, "dragging")
    page.mouse.up()


def truth_now(camera: MjpegCamera) -> float:
    return PLACES[round((time.monotonic() - camera.start_at) * camera.fps) % len(PLACES)]


def follows(service: Service, camera: MjpegCamera, name: str, seconds: float = 1.5) -> None:
    """The target stays on the red disc; some pixels for frames on their way."""
    end = time.monotonic() + seconds
    off = []
    while time.monotonic() < end:
        box = {track.target: track.box for track in service.watches[0].targets.tracks}[name]
        off.append(abs(centre(box)[0] - truth_now(camera)))
        time.sleep(0.05)
    assert np.median(off) < 16, off


def test_drag_a_box_and_the_target_follows_even_after_a_long_drag(
    page: Any, service: Service, camera: MjpegCamera
) -> None:
    assert page.locator("#none").is_visible()
    drag_around_red(page, pause_s=1.0)  # meanwhile the disc goes 80 px
    page.locator("#targets li").wait_for()
    assert page.locator("#targets .name").inner_text() == "target 1"
    page.wait_for_timeout(500)
    follows(service, camera, "target 1")
    assert page.locator("#targets .state").inner_text() == "TRACKED"
    assert page.locator("#message").inner_text() == ""
    shot(page, "followed")

    page.reload()  # nothing is lost by that
    until(page, "document.querySelectorAll('#targets li').length === 1")
    strip = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0)"
    until(page, f"({strip})(document.querySelector('#targets .strip'))")
    assert float(page.locator("#fps").inner_text()) > 5
    assert page.locator("#latency").inner_text().endswith("ms")


def test_rename_choose_again_and_drop(page: Any, service: Service, camera: MjpegCamera) -> None:
    service.watches[0].add((230, 170, 50, 50), "blue")
    page.locator("#targets li").wait_for()
    page.get_by_role("button", name="Rename: blue").click()
    box = page.get_by_role("textbox", name="New name")
    box.press_sequentially("the <b>ball</b> & co")
    box.press("Enter")
    until(page, "document.querySelector('#targets .name').textContent === 'the <b>ball</b> & co'")
    page.get_by_role("button", name="Choose again").click()
    assert "the <b>ball</b> & co" in page.locator("#hint").inner_text()
    drag_around_red(page)
    page.wait_for_timeout(800)
    assert service.watches[0].targets.names == ["the <b>ball</b> & co"]
    follows(service, camera, "the <b>ball</b> & co")

    service.watches[0].add((235, 175, 50, 50), "other")
    page.get_by_role("button", name="Rename: other").click()
    box = page.locator("li[data-target=other] input")
    box.fill("the <b>ball</b> & co")  # taken
    box.press("Enter")
    until(page, "document.querySelector('#message').textContent.includes('already')")
    page.get_by_role("button", name="Drop: other").click()
    page.get_by_role("button", name="Drop: the").click()
    until(page, "document.querySelectorAll('#targets li').length === 0")
    assert service.watches[0].targets.names == []


def test_by_keyboard_alone_and_read_out(page: Any, service: Service) -> None:
    picture = page.locator("#picture")
    picture.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("+")
    page.keyboard.press("-")
    assert page.locator("#proposal").is_visible()
    shot(page, "keys")
    page.keyboard.press("Escape")
    assert not page.locator("#proposal").is_visible()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator("#targets li").wait_for()
    (track,) = service.watches[0].targets.tracks
    assert abs(centre(track.box)[0] - 256) < 10
    assert abs(centre(track.box)[1] - 208) < 10
    until(page, "document.querySelector('#news').textContent === 'target 1 is followed'")
    assert page.locator("#news").get_attribute("aria-live") == "polite"
    for role, name in (("application", "Live picture"), ("button", "Drop: target 1"), ("heading", "Targets")):
        assert page.get_by_role(role, name=name).count() == 1
    focused = []
    picture.focus()
    for _ in range(3):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert focused == ["Choose again: target 1", "Rename: target 1", "Drop: target 1"]
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas')].filter((e) => e.offsetParent &&"
        " !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim())).length"
    )
    assert unnamed == 0


def test_tap_to_pick_on_a_phone(browser: Any, service: Service) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = opened(context, service)
    screen = Screen(page)
    page.touchscreen.tap(*screen.at(260, 200))
    page.locator("#proposal").wait_for()
    shot(page, "phone")
    page.get_by_role("button", name="Smaller box").tap()
    page.get_by_role("button", name="Follow").tap()
    page.locator("#targets li").wait_for()
    (track,) = service.watches[0].targets.tracks
    assert np.hypot(centre(track.box)[0] - 260, centre(track.box)[1] - 200) < 8
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out
    sizes = page.evaluate(
        "[...document.querySelectorAll('button')].filter((b) => b.offsetParent).map((b) => b.offsetHeight)"
    )
    assert min(sizes) >= 40  # px: a thumb
    shot(page, "phone-followed")
    assert page.problems == []
    context.close()


def test_a_camera_that_goes_away_is_told_and_comes_back(page: Any, service: Service, camera: MjpegCamera) -> None:
    camera.frozen.set()
    until(page, "document.querySelector('#source').textContent.includes('away')")
    shot(page, "away")
    camera.frozen.clear()
    until(page, "document.querySelector('#source').textContent.endsWith('live')")


def test_two_viewers_see_the_same_and_one_that_sleeps_does_not_matter(
    browser: Any, page: Any, service: Service
) -> None:
    context = browser.new_context()
    other = opened(context, service)
    session = context.new_cdp_session(other)
    session.send("Debugger.enable")
    session.send("Debugger.pause")  # its script stands still: nothing is taken from the socket
    service.watches[0].add((238, 178, 44, 44), "seen by both")
    page.locator("#targets li").wait_for()
    before = service.watches[0].status().updates
    wait_until(lambda: service.watches[0].status().updates - before > 15, 10, "frames while one viewer sleeps")
    session.send("Debugger.resume")
    other.locator("#targets li").wait_for()
    assert other.locator("#targets .name").inner_text() == "seen by both"
    context.close()


def test_any_name_is_shown_and_can_be_dropped(page: Any, service: Service) -> None:
    """A name that every object of JavaScript has must not stop the pictures."""
    watch = service.watches[0]
    for name in ("constructor", "__proto__", "a/b?c#d%2e&<b>"):
        watch.add((238, 178, 44, 44), name)
        until(page, f"[...document.querySelectorAll('.name')].some((n) => n.textContent === {name!r})")
        until(page, "document.querySelectorAll('#targets li').length === 1")
        page.get_by_role("button", name=f"Drop: {name}", exact=True).click()
        until(page, "document.querySelectorAll('#targets li').length === 0")
        assert watch.targets.names == []


def test_another_process_on_the_same_port_is_found_with_its_own_cameras(browser: Any, camera: MjpegCamera) -> None:
    address = f"127.0.0.1:{free_port()}"
    context = browser.new_context()
    for name in ("yard", "street"):
        config = ServiceConfig((CameraConfig(camera.url, name),), page=PageConfig(address))
        service = Service(config, pytest.fail)
        thread = threading.Thread(target=service.run)
        thread.start()
        wait_until(lambda: service.watches[0].status().source_state == "live", 15, "the camera")  # noqa: B023
        if name == "yard":
            page = opened(context, service)
        until(page, "document.querySelector('#source').textContent.includes('live')")
        service.stop()
        thread.join(20)
        until(page, "document.querySelector('#source').textContent.includes('lost its connection')")
    context.close()


def test_two_cameras_on_one_page(browser: Any, camera: MjpegCamera) -> None:
    cameras = (CameraConfig(camera.url, "front <door>"), CameraConfig(camera.url, "back/yard"))
    service = Service(ServiceConfig(cameras, page=PageConfig("0")), pytest.fail)
    thread = threading.Thread(target=service.run)
    thread.start()
    context = browser.new_context()
    try:
        for watch in service.watches:
            wait_until(lambda: watch.status().source_state == "live", 15, "the camera")  # noqa: B023
        service.watches[1].add((238, 178, 44, 44), "in the yard")
        page = opened(context, service)
        assert page.locator("#targets li").count() == 0
        page.get_by_label("Camera").select_option("back/yard")
        page.locator("#targets li").wait_for()
        assert page.locator("#targets .name").inner_text() == "in the yard"
        page.reload()  # it stays with the camera that was chosen
        page.locator("#targets li").wait_for()
        page.get_by_role("button", name="Drop: in the yard").click()
        until(page, "document.querySelectorAll('#targets li').length === 0")
        assert service.watches[1].targets.names == []
        assert page.problems == []
    finally:
        context.close()
        service.stop()
        thread.join(20)
