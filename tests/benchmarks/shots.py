"""The pictures of `imgret serve` in docs/, of the collection that `imgret demo` draws. Run by hand; wants Chromium.

imgret demo -o demo && imgret serve demo/index --port 8000 &
python tests/benchmarks/shots.py http://127.0.0.1:8000 docs/serve
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

VIEWS = {
    "search": "/search?like=book%2Fview-1.jpg&box=96,36,450,420",
    "why": "/why?like=book%2Fview-1.jpg&hit=book%2Fview-5.jpg",
    "map": "/map",
}


def main() -> None:
    base, folder = sys.argv[1], Path(sys.argv[2])
    browser = next(found for name in ("chromium", "google-chrome") if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, address in VIEWS.items():
            page = opened.new_context(viewport={"width": 1200, "height": 760}).new_page()
            page.goto(base + address)
            if name == "map":
                page.wait_for_selector("#atlas[data-ready]", timeout=60_000)
            page.wait_for_load_state("networkidle")
            if name == "why":
                page.evaluate("document.getElementById('shares').scrollIntoView()")
            page.wait_for_timeout(500)
            page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=82)
        opened.close()


if __name__ == "__main__":
    main()
