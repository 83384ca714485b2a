"""The pages in a real browser. Left out, and said so, where there is no Chromium."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator

import pytest

from imgret.serve.app import create_app
from imgret.serve.listening import bind, server_of

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: the browser tests are left out"),
]
WIDTHS = {"phone": (390, 800), "tablet": (820, 1100), "wide": (1600, 1000)}


@pytest.fixture(scope="module")
def address(make_server, tmp_path_factory) -> Iterator[str]:
    """A server on a free port."""
    made = make_server(cache=tmp_path_factory.mktemp("cache"), decisions=tmp_path_factory.mktemp("said") / "said.csv")
    with bind("127.0.0.1", 0) as listening:
        server = server_of(create_app(made))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while made.asker.state != "ready":
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # no sandbox: CI is root in a container, and only our own pages are opened
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address):
    """A page that fails the test for any error, refused script or request to anywhere else."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    trouble = []
    opened.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on(
        "request",
        lambda request: None if request.url.startswith((address, "data:", "blob:")) else trouble.append(request.url),
    )
    yield opened
    context.close()
    assert trouble == []


def names(page):
    """The ids of the results, once they are there."""
    page.wait_for_selector("#results:not([aria-busy]) [data-grid]")
    return page.locator("#results .name").all_inner_texts()


def test_a_chosen_picture_is_searched_with(page, place):
    page.goto("/")
    page.set_input_files("#image", place / "photos/a/4.png")
    page.wait_for_url("**/search?upload=*")
    assert names(page)[0] == "a/4.png"
    assert page.locator("#region img").get_attribute("alt") == "the query 4.png"


def test_a_dropped_picture_is_searched_with(page, photo):
    page.goto("/")
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"}));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        list(photo),
    )
    page.wait_for_url("**/search?upload=*")
    assert names(page)[0] == "a/4.png"


def test_a_pasted_picture_is_searched_with(page, photo):
    page.goto("/")
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
            window.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
        }""",
        list(photo),
    )
    page.wait_for_url("**/search?upload=*")
    assert names(page)[0] == "a/4.png"


def test_what_is_no_picture_or_too_large_is_told_before_it_is_sent(page, tmp_path):
    page.goto("/")
    (tmp_path / "huge.png").write_bytes(b"0" * (33 << 20))
    page.set_input_files("#image", tmp_path / "huge.png")
    page.wait_for_selector("#upload-says.bad")
    assert page.inner_text("#upload-says") == "This file has 33 MB, at most 32 MB are taken."
    assert page.url.endswith("/")


def test_a_click_on_a_result_searches_with_it_and_back_goes_back(page):
    page.goto("/search?like=a%2F4.png")
    before = names(page)
    page.locator("#results .window").nth(2).click()
    page.wait_for_url(f"**/search?like={before[2].replace('/', '%2F')}")
    assert before[2] not in names(page)
    page.go_back()
    page.wait_for_url("**/search?like=a%2F4.png")
    assert names(page) == before


def test_an_adjusted_search_has_an_address_that_shows_the_same_again(page, browser):
    page.goto("/search?like=a%2F4.png")
    assert len(names(page)) == 11
    page.fill("#k", "4")
    page.locator("#k").press("Enter")
    page.wait_for_url("**k=4")
    page.wait_for_selector("#results .hit:nth-child(4):last-child")
    shown = names(page)
    other = browser.new_page()
    other.goto(page.url)
    assert names(other) == shown
    assert other.input_value("#k") == "4"
    other.close()
    page.go_back()
    page.wait_for_selector("#results .hit:nth-child(11):last-child")
    assert page.input_value("#k") == "24"


def test_a_box_drawn_on_the_query_searches_with_that_region(page):
    page.goto("/search?like=a%2F4.png")
    names(page)
    frame = page.locator("#region img").bounding_box()
    page.mouse.move(frame["x"] + 2, frame["y"] + 2)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2, steps=4)
    page.mouse.up()
    page.wait_for_url("**box=*")
    left, top, right, bottom = map(int, page.input_value("#box").split(","))
    assert left <= 3
    assert top <= 3
    assert right == pytest.approx(32, abs=1)  # half of 64 x 48
    assert bottom == pytest.approx(24, abs=1)
    page.wait_for_selector("#results .count:has-text('region')")
    page.click("#clear")
    page.wait_for_selector("#results .count:not(:has-text('region'))")
    assert page.input_value("#box") == ""


def test_the_whole_search_goes_by_the_keyboard(page):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("a/4")
    page.keyboard.press("Enter")
    page.wait_for_url("**/browse?text=a%2F4")
    page.locator("[data-grid] .window").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?like=a%2F4.png")
    found = names(page)
    page.locator("#results .window").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert found[1] in page.evaluate("document.activeElement.getAttribute('aria-label')")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_a_group_of_near_duplicates_is_decided_by_a_click(page):
    page.goto("/dupes?threshold=0.999")
    page.wait_for_selector(".group")
    page.locator("#group-0 button", has_text="Same picture").click()
    page.wait_for_selector("#group-0 [role=status]:has-text('noted as the same picture')")


def test_the_map_zooms_tells_what_is_pointed_at_and_opens_it(page):
    page.goto("/map")
    page.wait_for_selector("#atlas[data-ready]")
    page.focus("#map")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#map-at:not([hidden]) bdi:not(:empty)")
    name = page.inner_text("#map-at bdi")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?like=*")
    assert name in page.inner_text(".caption")


def test_waiting_for_the_model_ends_by_itself(browser, make_server):
    ready = threading.Event()
    made = make_server()
    load = made.asker._load
    made.asker._load = lambda: ready.wait(20) and load()
    with bind("127.0.0.1", 0) as listening:
        server = server_of(create_app(made))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        opened = browser.new_page()
        opened.goto(f"http://127.0.0.1:{listening.getsockname()[1]}/search?like=a%2F4.png&box=0,0,30,30")
        opened.wait_for_selector("text=The model is still being loaded")
        ready.set()
        opened.wait_for_selector("#results [data-grid]")
        opened.close()
        server.should_exit = True
        thread.join(20)


@pytest.mark.parametrize("size", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "where", ["/", "/search?like=a%2F4.png", "/images/a/4.png", "/browse", "/dupes?threshold=0.999", "/map"]
)
def test_every_view_fits_its_width_and_can_be_read(browser, address, where, size, scheme):
    context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme)
    opened = context.new_page()
    opened.goto(address + where)
    opened.wait_for_load_state("networkidle")
    overflow = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    assert opened.evaluate(_CONTRASTS) == []
    context.close()


# Every text with less than 4.5 : 1 between its colour and the nearest background behind it (WCAG 2, AA).
_CONTRASTS = """() => {
    const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const [r, g, b, a = 1] = numbers(getComputedStyle(element).backgroundColor);
            if (a > 0.9) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const bad = [];
    for (const element of document.querySelectorAll("main *, nav *, footer, .brand *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.closest(".ghosts, .hidden, canvas")) continue;
        const [one, other] = [numbers(getComputedStyle(element).color).slice(0, 3), behind(element)].map(light);
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (ratio < 4.5) bad.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
    }
    return bad;
}"""


def test_the_address_of_a_search_is_one_that_can_be_typed(page):
    page.goto("/search?like=b/9.png&k=3")
    assert len(names(page)) == 3
    assert re.search(r"3 results", page.inner_text("#results .count"))
