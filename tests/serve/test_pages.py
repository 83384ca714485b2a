from __future__ import annotations

import re
import threading
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from starlette.testclient import TestClient

from imgret import workflows
from imgret.extraction.job import ExtractJob
from imgret.serve.app import create_app
from tests.pictures import save
from tests.serve.conftest import BASE

PAGES = ("/", "/browse", "/images/a/4.png", "/search?like=a/4.png", "/results?like=a/4.png")


class Reader(HTMLParser):
    """Tags, their attributes and the text of a page."""

    def __init__(self, answer):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(answer.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag, **wanted):
        return [attrs for name, attrs in self.tags if name == tag and wanted.items() <= attrs.items()]


def read(client, address):
    answer = client.get(address, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return Reader(answer)


def results(client, address):
    """(id, score) of every result on a page."""
    found = [one["aria-label"] for one in read(client, address).of("a") if one.get("class") == "window"]
    return [re.fullmatch(r"Result (\d+), score (\S+): search with (.*)", words).groups() for words in found]


def drop(client, photo, **data):
    return client.post("/queries", files={"image": ("mine.png", photo)}, data=data, headers={"Accept": "text/html"})


@pytest.mark.parametrize("address", PAGES)
def test_nothing_on_a_page_is_inline_or_from_elsewhere(client, address):
    page = read(client, address)
    for tag, attrs in page.tags:
        assert tag != "style", attrs
        assert "style" not in attrs, (tag, attrs)
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        if tag == "script":
            assert attrs["src"].startswith("/static/")
        for name in ("src", "href", "action", "hx-get", "hx-post"):
            assert not re.match(r"\w+:|//", attrs.get(name) or "") or attrs[name] == "data:,", (tag, attrs)


@pytest.mark.parametrize("address", PAGES[:4])
def test_every_field_has_a_label_and_every_page_one_main_heading(client, address):
    page = read(client, address)
    labelled = {label.get("for") for label in page.of("label")}
    for field in page.of("input"):
        assert field.get("type") == "hidden" or field["id"] in labelled, field
    assert len(page.of("h1")) == len(page.of("main")) == 1
    assert page.of("html")[0]["lang"] == "en"


def test_the_first_page_offers_a_place_to_drop_and_images_to_begin_with(client):
    page = read(client, "/")
    assert page.of("input", type="file", name="image")
    assert len([one for one in page.of("a") if one.get("class") == "window"]) == 12
    assert "12 images" in page.text


def test_an_indexed_image_is_searched_with_by_its_address(client):
    found = results(client, "/results?like=a%2F4.png&k=3")
    assert [rank for rank, _, _ in found] == ["1", "2", "3"]
    assert "a/4.png" not in [name for _, _, name in found]  # it would only find itself first
    api = client.post("/api/search", data={"id": "a/4.png", "k": 3, "exclude_self": "true"}).json()
    assert found == [(str(one["rank"]), f"{one['score']:.3f}", one["id"]) for one in api["results"]]


def test_a_dropped_picture_has_an_address_of_its_own_for_its_results(client, photo):
    answer = drop(client, photo, k=5, least="0.5", rerank="aqe:k=3")
    assert answer.status_code == 303
    address = answer.headers["location"]
    assert re.fullmatch(r"/search\?upload=[0-9a-f]{64}&k=5&least=0.5&rerank=aqe%3Ak%3D3", address)
    assert "mine.png" in read(client, address).text
    found = results(client, address.replace("/search", "/results"))
    assert len(found) == 5
    plain = results(client, re.sub(r"&rerank.*", "", address).replace("/search", "/results"))
    assert plain[0][1:] == ("1.000", "a/4.png")


def test_the_results_tell_the_page_its_new_address(client):
    answer = client.get("/results?like=a%2F4.png&k=5&least=&rerank=&box=0,0,20,20")
    assert answer.headers["hx-push-url"] == "/search?like=a%2F4.png&box=0%2C0%2C20%2C20&k=5"
    assert "hx-push-url" not in client.get("/results?like=a%2F4.png&first=1").headers


def test_an_upload_that_is_not_kept_any_more_says_so(client):
    answer = client.get(f"/search?upload={'0' * 64}", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "drop it again" in answer.text


@pytest.mark.parametrize(("data", "words"), [(b"", "no picture came"), (b"text", "cannot be read")])
def test_an_upload_that_is_no_picture_is_answered_with_a_page(client, data, words):
    answer = drop(client, data)
    assert answer.status_code == 422
    assert words in answer.text.lower()
    assert Reader(answer).of("a", href="/")


def test_the_page_of_an_image_tells_its_size_its_file_and_what_is_near(client, place):
    page = read(client, "/images/b/11.png")
    assert "40 × 60 pixels" in page.text
    assert str(place / "photos/b/11.png") in page.text
    assert len([one for one in page.of("a") if one.get("class") == "window"]) == 11


def test_browsing_finds_a_part_of_a_name_in_any_case_and_goes_on_after_a_page(client, monkeypatch):
    from imgret.serve import pages

    assert read(client, "/browse?text=B%2F1").text.count("b/1") == 2  # b/1.png and b/11.png
    assert "No name holds" in read(client, "/browse?text=nowhere").text
    monkeypatch.setattr(pages, "PAGE", 5)
    seen, address = [], "/browse"
    for _ in range(3):
        page = read(client, address)
        seen += [one["aria-label"] for one in page.of("a") if one.get("class") == "window"]
        more = [one["href"] for one in page.of("a") if "after=" in one.get("href", "")]
        address = more[-1] if more else None
    assert address is None
    assert len(seen) == len(set(seen)) == 12


def test_names_and_messages_are_escaped_wherever_they_stand(asking, tmp_path, mean_colour):
    name = '<img src=x onerror="alert(1)">\'&.png'
    save(tmp_path / "odd", name, 1)
    save(tmp_path / "odd", "other.png", 2)
    options = {"weights": "none", "workers": 0, "precision": "fp32", "image_size": 64, "device": "cpu"}
    job = ExtractJob(images=(str(tmp_path / "odd"),), output=tmp_path / "store", model="mean-colour", **options)
    workflows.extract(job)
    client = asking(tmp_path / "store")
    from urllib.parse import quote

    for address in (
        "/",
        "/browse",
        f"/images/{quote(name)}",
        f"/search?like={quote(name)}",
        "/results?like=other.png",
        f"/why?like=other.png&hit={quote(name)}",
    ):
        page = read(client, address)
        assert not [attrs for attrs in page.of("img") if "onerror" in attrs or attrs.get("src") == "x"], address
        assert name in page.text, address
    answer = client.get("/browse?text=<script>", headers={"Accept": "text/html"})
    assert "<script>" not in answer.text.replace('<script src="/static', "")


def test_an_empty_collection_says_how_to_fill_it(make_server):
    made = make_server()
    made.collection.count, made.collection.live = 0, np.zeros(0, np.int64)
    with TestClient(create_app(made), base_url=BASE) as client:
        assert "imgret extract" in read(client, "/").text
        assert "no images" in read(client, "/browse").text
        assert "nothing to map" in read(client, "/map").text


def wait_for(client, address, words):
    for _ in range(600):
        page = read(client, address)
        if words not in page.text:
            return page
        time.sleep(0.1)
    raise AssertionError(f"{address} still says {words}")


def test_groups_of_near_duplicates_are_shown_decided_and_listed(asking, place, tmp_path):
    decisions = tmp_path / "decisions.csv"
    client = asking(decisions=decisions)
    page = wait_for(client, "/dupes?threshold=0.999", "Comparing")
    (first, *_) = page.of("section")
    ids = [one["value"] for one in page.of("input", name="id")]
    assert first["id"] == "group-0"
    assert len(ids) >= 2
    listed = client.get("/dupes.csv?threshold=0.999")
    assert listed.text.splitlines()[0] == "group,id,path,width,height,bytes,sha256,cosine,decided"
    together = [line.split(",")[1] for line in listed.text.splitlines()[1:] if line.startswith("1,")]
    answer = client.post("/dupes", data={"number": 0, "verdict": "different", "threshold": 0.999, "id": together})
    assert f"{len(together)} noted as different pictures" in answer.text
    assert decisions.read_text().count(",different,") == len(together) * (len(together) - 1) // 2
    again = client.get("/dupes?threshold=0.999&again=1")
    assert (again.status_code, again.headers["location"]) == (303, "/dupes?threshold=0.999")
    again = wait_for(client, "/dupes?threshold=0.999", "Comparing")
    assert not [one for one in again.of("input", name="id") if one["value"] == together[0]]
    assert sorted(path.name for path in (place / "photos").rglob("*.png")) == sorted(f"{n}.png" for n in range(12))


def test_without_a_decisions_file_groups_are_shown_and_nothing_can_be_noted(client):
    page = wait_for(client, "/dupes?threshold=0.999", "Comparing")
    assert "--decisions FILE" in page.text
    assert not page.of("button", name="verdict")
    answer = client.post("/dupes", data={"number": 0, "verdict": "same", "threshold": 0.999, "id": ["a/0.png"]})
    assert answer.json()["error"]["code"] == "not_noted"


def test_the_map_has_a_point_for_every_image_and_each_leads_to_it(client):
    page = wait_for(client, "/map", "Making the map")
    assert page.of("canvas")[0]["tabindex"] == "0"
    body = client.get("/map/points").content
    assert len(body) == 12 * 9
    where = np.frombuffer(body[: 12 * 8], "<f4")
    assert ((where >= 0) & (where <= 1)).all()
    names = [client.get(f"/map/images/{place}").json() for place in range(12)]
    assert {one["id"] for one in names} == {f"{'ab'[n % 2]}/{n}.png" for n in range(12)}
    assert client.get(names[3]["search"]).status_code == 200
    assert client.get("/map/pictures/3").headers["content-type"] == "image/jpeg"
    assert client.get("/map/images/12").status_code == 404


def test_why_says_so_where_a_model_cannot_share_out_its_score(client):
    page = read(client, "/why?like=a%2F4.png&hit=b%2F9.png")
    assert "cannot be shared out among places" in page.text


def test_why_shows_shares_that_sum_to_the_score(asking, tmp_path):
    for number in range(3):
        save(tmp_path / "some", f"{number}.png", number, (96, 64))
    job = ExtractJob(images=(str(tmp_path / "some"),), output=tmp_path / "store", workers=0, device="cpu")
    workflows.extract(job)
    client = asking(tmp_path / "store")
    (hit, *_) = client.post("/api/search", data={"id": "0.png", "exclude_self": "true"}).json()["results"]
    page = read(client, f"/why?like=0.png&hit={hit['id']}")
    sums = [float(number) for number in re.findall(r"([+-]\d\.\d{3})", page.text)]
    for side in (sums[:3], sums[3:6]):
        assert sum(side) == pytest.approx(hit["score"], abs=2e-3)
    maps = [one["src"] for one in page.of("img") if one["src"].startswith("/why/")]
    assert len(maps) >= 6  # shares, and three views, of two pictures
    for source in maps:
        assert client.get(source).headers["content-type"] == "image/jpeg"
    assert "of the score" in page.text  # what a cell tells when it is pointed at


def test_one_comparison_for_near_duplicates_goes_on_at_a_time(asking, monkeypatch):
    from imgret.workflows import duplicates

    go_on, begun = threading.Event(), []

    def find(store, *, threshold, **_):
        begun.append(threshold)
        go_on.wait(20)
        return []

    monkeypatch.setattr(duplicates, "find_duplicates", find)
    client = asking()
    for _ in range(3):
        assert "Comparing" in read(client, "/dupes?threshold=0.9").text
        assert client.get("/dupes?threshold=0.9&again=1").status_code == 303  # it is going on: nothing is begun anew
    assert client.get("/dupes?threshold=0.8").json()["error"]["code"] == "busy"
    go_on.set()
    assert "No near-duplicates" in wait_for(client, "/dupes?threshold=0.9", "Comparing").text
    assert begun == [0.9]


def test_a_map_that_cannot_be_made_says_why_and_is_tried_again_when_asked(asking, monkeypatch):
    from imgret.atlas.map import Atlas
    from imgret.errors import StoreError

    tries = []

    def compute(*_, **__):
        tries.append(1)
        raise StoreError("a shard is damaged")

    monkeypatch.setattr(Atlas, "compute", compute)
    client = asking()
    page = wait_for(client, "/map", "Making the map")
    assert "a shard is damaged" in page.text
    assert read(client, "/map").of("a", href="/map?again=1")
    assert len(tries) == 1
    assert client.get("/map?again=1").headers["location"] == "/map"
    wait_for(client, "/map", "Making the map")
    assert len(tries) == 2


def test_too_many_who_ask_why_are_told_to_come_again():
    import asyncio

    from imgret.serve.problems import Problem
    from imgret.serve.turns import Turns

    async def ask():
        turns, order = Turns(most=2), []

        async def one(number):
            try:
                async with turns.turn(0.2):
                    order.append(number)
                    await asyncio.sleep(0.1 if number == 0 else 0.3)
            except Problem as problem:
                order.append(problem.message[:8])

        first = asyncio.ensure_future(one(0))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, *[one(number) for number in (1, 2, 3)])
        return order

    # the first has its turn at once, two may wait for theirs, of whom the second waits too long
    assert sorted(map(str, asyncio.run(ask()))) == ["0", "1", "no turn ", "too many"]


def test_what_is_no_picture_pushes_none_out_of_the_uploads(asking, photo):
    client = asking()
    address = drop(client, photo).headers["location"]
    for number in range(70):
        drop(client, b"no picture %d" % number)
    assert client.get(address).status_code == 200


def test_browsing_begins_where_it_is_told_to(server):
    every = server.collection.matching("", 100)
    assert server.collection.matching("", 100, after=every[4]) == every[5:]
    assert server.collection.matching("png", 3, after=every[4]) == every[5:8]
    assert server.collection.matching("", 5, after=2**31 - 1) == []
