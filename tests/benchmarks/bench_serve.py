"""Time `imgret serve`: cold start, one query end to end, many clients at once, and its page over a large index.

Run by hand, with any folder of photographs:

    python tests/benchmarks/bench_serve.py PHOTOS --seconds 60 --clients 32
    python tests/benchmarks/bench_serve.py PHOTOS --large 100000      # the page as well; wants Chromium

The photographs are extracted and indexed in a temporary folder with the default model. All traffic stays on loopback.
One query is compared with its parts, decoding, the model and the search, measured apart in this process in turns.
"""

from __future__ import annotations

import argparse
import http.client
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from imgret import workflows
from imgret.extraction.job import ExtractJob, quiet

BOUNDARY = "imgret-benchmark"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--queries", type=int, default=40, help="photographs asked with")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60, help="that the clients ask")
    parser.add_argument("--large", type=int, default=0, help="images of an index whose page is timed; 0: none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        workflows.extract(ExtractJob(images=(str(arguments.photos),), output=folder / "store"))
        workflows.build_index([folder / "store"], folder / "index")
        photos = sorted(
            path for path in arguments.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        queries = [path.read_bytes() for path in photos[:: max(1, len(photos) // arguments.queries)]][
            : arguments.queries
        ]
        print(f"{len(photos):,} photographs, {statistics.mean(map(len, queries)) / 1000:.0f} kB each")
        with served(folder / "index") as (port, process):
            single = one_at_a_time(port, folder / "index", queries)
            together(port, process, queries, arguments.clients, arguments.seconds, single)
        if arguments.large:
            large(folder, arguments.large)


@contextmanager
def served(index: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server of its own; its cold start is told."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "imgret", "serve", str(index), "--port", "0", "--no-cache", "--offline"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = int(re.search(r":(\d+)/", process.stderr.readline())[1])  # type: ignore[index]
    told = time.perf_counter() - begun
    while get(port, "/")[0] != 200:
        time.sleep(0.02)
    page = time.perf_counter() - begun
    while get(port, "/healthz")[0] != 200:
        time.sleep(0.02)
    ready = time.perf_counter() - begun
    print(f"cold start: address told {told:.2f} s, page answered {page:.2f} s, model ready {ready:.2f} s")
    try:
        yield port, process
    finally:
        process.terminate()
        process.wait(20)


def get(port: int, address: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", address)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionError:
        return 0, b""
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, photo: bytes) -> int:
    """Search with a photograph; the HTTP status."""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="q.jpg"\r\n\r\n'.encode()
    body = part + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/api/search", body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def one_at_a_time(port: int, index: Path, queries: list[bytes]) -> float:
    """Median seconds of a query over HTTP, beside those of its parts in this process, in turns."""
    from imgret.extraction.recipe import decode_rule
    from imgret.images.decode import Decoded, decode
    from imgret.images.image_file import ImageFile
    from imgret.serve.collection import Collection
    from imgret.serve.run import load
    from imgret.workflows.ranked import rankings

    collection = Collection.open(index)
    describer = load(collection, None, "auto", True, quiet)
    rule = replace(decode_rule(collection.searched.recipe), device=False)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    whole, parts = [], []
    for number, photo in enumerate([*queries[:5], *queries]):
        begun = time.perf_counter()
        assert ask(connection, photo) == 200
        asked = time.perf_counter()
        found = decode(ImageFile("q.jpg", "", "", len(photo), 0), rule, photo)
        assert isinstance(found, Decoded)
        decoded = time.perf_counter()
        row = describer(found.pixels[None].copy())
        described = time.perf_counter()
        list(rankings(collection.ranked, row, ["q"], 10))
        searched = time.perf_counter()
        if number >= 5:  # both are warm
            whole.append(asked - begun)
            parts.append((decoded - asked, described - decoded, searched - described))
    apart = [statistics.median(column) for column in zip(*parts, strict=True)]
    total, single = statistics.median(map(sum, parts)), statistics.median(whole)
    ratio = statistics.median(one / sum(part) for one, part in zip(whole, parts, strict=True))
    decoding, describing, searching = (1000 * value for value in apart)
    words = f"decode {decoding:.1f}, model {describing:.1f}, search {searching:.1f}, together {1000 * total:.1f} ms"
    print(f"one query: {1000 * single:.1f} ms end to end; apart {words}; ratio {ratio:.2f}")
    return single


def together(
    port: int, process: subprocess.Popen[str], queries: list[bytes], clients: int, seconds: float, single: float
) -> None:
    """Clients that ask one query after the other: latencies, errors, and the server's memory on the way."""
    until = time.perf_counter() + seconds
    times: list[float] = []
    statuses: list[int] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        at = number
        while time.perf_counter() < until:
            begun = time.perf_counter()
            statuses.append(ask(connection, queries[at % len(queries)]))
            times.append(time.perf_counter() - begun)
            at += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    memory = [resident(process.pid)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(seconds / 12)
        memory.append(resident(process.pid))
    for thread in threads:
        thread.join()
    errors = sum(status != 200 for status in statuses)
    p50, p99 = (float(np.percentile(times, share)) for share in (50, 99))
    print(
        f"{clients} clients for {seconds:.0f} s: {len(times):,} queries, {len(times) / seconds:.1f} a second, "
        f"{errors} errors; p50 {p50:.2f} s, p99 {p99:.2f} s = {p99 / single:.1f} times a single one"
    )
    print("server's memory, MB: " + ", ".join(f"{value / 2**20:.0f}" for value in memory))
    counted = get(port, "/metrics")[1].decode()
    answered, batches = (
        float(re.search(rf"^{name} (\S+)", counted, re.M)[1]) for name in ("imgret_searches_answered", "imgret_batches")
    )  # type: ignore[index]
    print(f"{answered / batches:.1f} queries a batch on average")


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def large(folder: Path, count: int) -> None:
    """Until the page of a large index can be used in Chromium; its images are not there, as on a slow disk."""
    from imgret.store.store import Store
    from tests.benchmarks import bench_search

    small = Store.open(folder / "store")
    bench_search.RECIPE = small.recipe  # what the model is loaded by
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, count // 200), small.dim), np.float32)
    store = bench_search.write_store(folder / "large", count, centres, rng)
    workflows.build_index([store.path], folder / "large-index", kind="ivf")
    browser = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    with served(folder / "large-index") as (port, _):
        for address in ("/", "/browse", "/browse?text=99"):
            times = []
            for _ in range(5):
                begun = time.perf_counter()
                assert get(port, address)[0] == 200
                times.append(time.perf_counter() - begun)
            first, later = 1000 * times[0], 1000 * min(times)
            print(f"{count:,} images, {address}: {first:.0f} ms the first time, {later:.0f} ms after")
        if browser:
            in_browser(port, browser)


def in_browser(port: int, browser: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for _ in range(3):
            page = opened.new_context().new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            timing = page.evaluate("JSON.parse(JSON.stringify(performance.getEntriesByType('navigation')[0]))")
            interactive, ran = timing["domInteractive"], timing["domContentLoadedEventEnd"]
            print(f"in Chromium: interactive after {interactive:.0f} ms, scripts run after {ran:.0f} ms")
        begun = time.perf_counter()
        page = opened.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.goto(f"http://127.0.0.1:{port}/map")
        page.wait_for_selector("#atlas[data-ready]", timeout=600_000)
        print(f"the map was made and shown after {time.perf_counter() - begun:.1f} s")
        frames = page.evaluate(_PAN)
        print(
            f"moved about: {statistics.mean(frames):.1f} ms a frame, the slowest of {len(frames)} {max(frames):.0f} ms"
        )
        opened.close()


# Drag the map about and zoom: milliseconds between frames.
_PAN = """async () => {
    const map = document.getElementById("map");
    const frames = [];
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const at = (kind, x, y) => map.dispatchEvent(
        new PointerEvent(kind, {pointerId: 1, button: 0, clientX: x, clientY: y, bubbles: true}));
    map.setPointerCapture = () => {};
    at("pointerdown", 500, 400);
    let last = await frame();
    for (let n = 0; n < 120; n++) {
        at("pointermove", 500 + 80 * Math.sin(n / 9), 400 + 60 * Math.cos(n / 7));
        if (n % 3 === 0)
            map.dispatchEvent(new WheelEvent("wheel", {deltaY: n < 60 ? -30 : 30, clientX: 700, clientY: 450}));
        const now = await frame();
        frames.push(now - last);
        last = now;
    }
    return frames;
}"""


if __name__ == "__main__":
    main()
