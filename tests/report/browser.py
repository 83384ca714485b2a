"""A page in a real browser: headless Chromium, where one is installed."""

import html
import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page with")

# A window of Chromium is 500 pixels wide at least, a frame is not: the page is measured in one.
FRAME = """<!doctype html><body><iframe src="measured.html" style="border: 0; width: %dpx; height: 900px"></iframe>
<script>onmessage = (event) => document.body.dataset.seen = JSON.stringify(event.data)</script>"""
MEASURE = """<script>addEventListener("load", () => {
  const wide = document.documentElement.clientWidth;
  const out = [...document.querySelectorAll("body *")].filter(
    (one) => one.getBoundingClientRect().right > wide + 1 && !one.closest(".sheet"));
  parent.postMessage({wide, text: document.body.innerText, out: out.map((one) => one.outerHTML.slice(0, 60))}, "*");
})</script>"""


def screenshot(page, width, height, *, dark=False):
    """The page as it is seen in a window of a size, in CSS pixels."""
    picture = page.with_suffix(".png")
    colours = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _run(page, f"--window-size={width},{height}", colours, f"--screenshot={picture}")
    with Image.open(picture) as image:
        return image.convert("RGB")


def seen(page, width):
    """The `text` of a page shown so `wide`, and the starts of the elements that stick `out` at the right.

    Tables are not among them: they may be scrolled.
    """
    # the page's own policy allows no script, so one is added to a copy without it
    text = re.sub(r"<meta http-equiv=.*\n", "", page.read_text(encoding="utf-8"))
    page.with_name("measured.html").write_text(text.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    frame = page.with_name("frame.html")
    frame.write_text(FRAME % width, encoding="utf-8")
    shown = _run(frame, f"--window-size={width + 20},1000", "--virtual-time-budget=5000", "--dump-dom")
    return json.loads(html.unescape(re.search(r'data-seen="([^"]*)"', shown)[1]))


def _run(page, *options):
    profile = page.parent / "profile"
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
    done = subprocess.run([CHROMIUM, *quiet, *options, page.as_uri()], capture_output=True, timeout=60, check=True)
    return done.stdout.decode()
