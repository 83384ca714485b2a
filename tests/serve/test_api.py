from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret import workflows
from imgret.serve.api import router


def found(answer):
    assert answer.status_code == 200, answer.text
    return [(one["rank"], one["id"], round(one["score"], 5)) for one in answer.json()["results"]]


def same(ours, theirs):
    """The same images, and the scores but for the half precision that a store keeps."""
    assert [hit[:2] for hit in ours] == [hit[:2] for hit in theirs]
    assert [hit[2] for hit in ours] == pytest.approx([hit[2] for hit in theirs], abs=1e-4)


def code(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return error["code"]


@pytest.fixture
def as_command(place, mean_colour):
    """What `imgret search` answers."""

    def search(name, **options):
        (answer,) = workflows.search(place / "index", [str(place / "photos" / name)], **options)
        return [(hit.rank, hit.id, round(hit.score, 5)) for hit in answer.hits]

    return search


def test_a_picture_finds_what_the_command_finds(client, photo, as_command):
    answer = client.post("/api/search", files={"image": ("query.png", photo)}, data={"k": 5})
    assert found(answer) == as_command("a/4.png", k=5)
    assert answer.json()["schema"] == "imgret.search/1"
    assert answer.json()["query"] == "query.png"


def test_a_result_tells_where_its_file_and_its_picture_are(client, photo, place):
    (first,) = client.post("/api/search", files={"image": photo}, data={"k": 1}).json()["results"]
    assert first["path"] == str(place / "photos/a/4.png")
    picture = client.get(first["picture"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (64, 48)


def test_an_indexed_image_is_searched_by_its_id(client, as_command):
    same(found(client.post("/api/search", data={"id": "a/4.png", "k": 5})), as_command("a/4.png", k=5))


def test_an_image_can_be_left_out_of_its_own_results(client, as_command):
    answer = client.post("/api/search", data={"id": "a/4.png", "k": 3, "exclude_self": "true"})
    same(found(answer), as_command("a/4.png", k=3, exclude_self=True))


@pytest.mark.parametrize("by_id", [True, False])
def test_a_box_searches_with_that_part(client, photo, as_command, by_id):
    query = {"data": {"id": "a/4.png", "box": "0,0,20,30"}} if by_id else {}
    if not by_id:
        query = {"files": {"image": ("4.png", photo)}, "data": {"box": "0,0,20,30"}}
    assert found(client.post("/api/search", **query)) == as_command("a/4.png", box=(0, 0, 20, 30))


def test_scores_below_the_least_are_left_out(client):
    every = found(client.post("/api/search", data={"id": "a/4.png", "k": 12}))
    least = every[5][2]
    some = found(client.post("/api/search", data={"id": "a/4.png", "k": 12, "min_score": str(least - 1e-5)}))
    assert some == [hit for hit in every if hit[2] >= least]


def test_reranking_is_that_of_the_command(client, as_command):
    from imgret.rerank import parse_chain

    answer = client.post("/api/search", data={"id": "a/4.png", "k": 5, "rerank": "aqe:k=3"})
    same(found(answer), as_command("a/4.png", k=5, rerank=parse_chain("aqe:k=3")))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "image or id"),
        ({"id": "a/4.png", "k": "0"}, "k"),
        ({"id": "a/4.png", "k": "many"}, "k"),
        ({"id": "a/4.png", "k": "501"}, "k"),
        ({"id": "a/4.png", "box": "1,2,3"}, "box"),
        ({"id": "a/4.png", "box": "5,5,5,9"}, "box"),
        ({"id": "a/4.png", "box": "0,0,1,99999999999999999999"}, "box"),
        ({"id": "a/4.png", "min_score": "nan"}, "min_score"),
        ({"id": "a/4.png", "rerank": "apq"}, "did you mean aqe"),
        ({"id": "a/4.png", "rerank": "aqe aqe aqe aqe"}, "at most 3 stages"),
        ({"id": "a/4.png", "rerank": "reciprocal:m=5000"}, "m is at most 1000 here"),
    ],
)
def test_what_cannot_be_asked_is_told_with_a_code(client, data, words):
    answer = client.post("/api/search", data=data)
    assert code(answer, 422) == "invalid"
    assert words in answer.json()["error"]["message"]


def test_an_image_and_an_id_are_one_too_many(client, photo):
    assert code(client.post("/api/search", files={"image": photo}, data={"id": "a/4.png"}), 422) == "invalid"


def test_an_unknown_id_is_not_found(client):
    for answer in (client.post("/api/search", data={"id": "c/4.png"}), client.get("/api/images/c/4.png")):
        assert code(answer, 404) == "not_found"


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"no picture at all", 422, "unreadable"),
        (b"\xff\xd8\xff\xe0" + b"0" * 50, 422, "truncated"),
    ],
)
def test_a_picture_that_cannot_be_read_is_told_with_the_reason(client, data, status, reason):
    assert code(client.post("/api/search", files={"image": ("a.jpg", data)}), status) == reason


def test_a_decompression_bomb_is_refused_before_it_goes_off(client):
    file = io.BytesIO()
    Image.new("1", (40_000, 40_000)).save(file, "PNG")  # 1,600 megapixels in some kilobytes
    assert len(file.getvalue()) < 1 << 20
    answer = client.post("/api/search", files={"image": ("bomb.png", file.getvalue())})
    assert code(answer, 413) == "too_large"
    assert "--max-megapixels" not in answer.json()["error"]["message"]  # nothing whoever asks can do


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")
def test_a_picture_that_would_need_too_much_memory_is_refused_and_the_next_is_answered(client, photo):
    file = io.BytesIO()
    Image.new("F", (9900, 9900)).save(file, "TIFF", compression="tiff_deflate")  # 98 megapixels, of doubles on the way
    assert len(file.getvalue()) < 1 << 20
    assert code(client.post("/api/search", files={"image": ("large.tif", file.getvalue())}), 413) == "too_large"
    assert client.post("/api/search", files={"image": photo}).status_code == 200


def test_an_image_tells_its_size_its_file_and_its_neighbours(client, place):
    about = client.get("/api/images/b/11.png", params={"neighbours": 3}).json()
    assert about["schema"] == "imgret.image/1"
    assert (about["width"], about["height"]) == (40, 60)
    assert about["bytes"] == os.path.getsize(place / "photos/b/11.png")
    assert about["path"] == str(place / "photos/b/11.png")
    assert [one["rank"] for one in about["neighbours"]] == [1, 2, 3]
    assert "b/11.png" not in [one["id"] for one in about["neighbours"]]


def test_info_tells_what_is_served(client):
    info = client.get("/api/info").json()
    assert (info["schema"], info["name"], info["images"], info["dimension"]) == ("imgret.info/1", "photos", 12, 3)
    assert info["model"]["name"] == "mean-colour"
    assert info["model"]["trained"] is False
    assert info["state"] == "ready"


def test_a_store_is_served_too(asking, place, as_command):
    client = asking(place / "store")
    same(found(client.post("/api/search", data={"id": "a/4.png", "k": 5})), as_command("a/4.png", k=5))
    assert client.get("/api/info").json()["kind"] == "store"


def test_metrics_count_answers_by_route_and_name_nothing_that_was_searched(client):
    client.get("/api/images/a/0.png")
    client.get("/api/images/no/such.png")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert any('route="/api/images/{id:path}",status="200"' in line for line in lines)
    assert any('route="/api/images/{id:path}",status="404"' in line for line in lines)
    assert "imgret_images 12.0" in lines
    assert "such.png" not in answer.text


def test_the_document_describes_every_address_of_the_interface_and_nothing_else(client):
    document = client.get("/api/openapi.json").json()
    assert set(document["paths"]) == {"/api/search", "/api/images/{id}", "/api/info", "/healthz", "/metrics"}
    assert len(document["paths"]) == len(router.routes)
    assert "https://" not in client.get("/").text


def test_ids_that_are_no_ordinary_text_are_found_as_they_are_printed(asking, tmp_path, mean_colour):
    from imgret.extraction.job import ExtractJob
    from tests.pictures import save

    names = ["ä b/100%.png", "new\nline.png", "què?#1.png", "back\\slash.png", os.fsdecode(b"latin-\xe9.png")]
    for number, name in enumerate(names):
        save(tmp_path / "odd", name, number, (64, 48))
    options = {"weights": "none", "workers": 0, "precision": "fp32", "image_size": 64, "device": "cpu"}
    workflows.extract(
        ExtractJob(images=(str(tmp_path / "odd"),), output=tmp_path / "store", model="mean-colour", **options)
    )
    client = asking(tmp_path / "store")
    results = client.post("/api/search", data={"id": "new\\x0aline.png", "k": 5}).json()["results"]
    assert {one["id"] for one in results} == {
        "ä b/100%.png",
        "new\\x0aline.png",
        "què?#1.png",
        "back\\\\slash.png",
        "latin-\\xe9.png",
    }
    for one in results:
        assert client.get(one["picture"]).headers["content-type"] == "image/jpeg", one
    assert client.get("/").status_code == client.get("/browse").status_code == 200


def test_a_file_that_is_gone_is_told_and_searched_all_the_same(asking, tmp_path, mean_colour):
    from imgret.extraction.job import ExtractJob
    from tests.pictures import save

    for number in range(3):
        save(tmp_path / "some", f"{number}.png", number, (64, 48))
    options = {"weights": "none", "workers": 0, "precision": "fp32", "image_size": 64, "device": "cpu"}
    workflows.extract(
        ExtractJob(images=(str(tmp_path / "some"),), output=tmp_path / "store", model="mean-colour", **options)
    )
    client = asking(tmp_path / "store")
    Path(tmp_path / "some/1.png").unlink()
    about = client.get("/api/images/1.png", params={"neighbours": 2}).json()
    assert about["path"] is None
    assert about["problem"] == "file not found"
    assert len(about["neighbours"]) == 2
    picture = client.get(about["picture"])
    assert (picture.status_code, picture.headers["content-type"]) == (404, "image/svg+xml")
    assert "file not found" in picture.text
    assert code(client.post("/api/search", data={"id": "1.png", "box": "0,0,9,9"}), 422) == "no_picture"


def test_many_at_once_are_answered_together_and_alike(server, client, photo):
    from concurrent.futures import ThreadPoolExecutor

    one = found(client.post("/api/search", files={"image": photo}, data={"k": 4}))
    before, batches = server.asker.answered, server.asker.batches
    with ThreadPoolExecutor(16) as threads:
        answers = list(
            threads.map(lambda _: client.post("/api/search", files={"image": photo}, data={"k": 4}), range(48))
        )
    assert [found(answer) for answer in answers] == [one] * 48
    assert server.asker.answered - before == 48
    assert server.asker.batches - batches <= 48


def test_pixels_reach_the_model_as_a_command_would_decode_them(server, place):
    from imgret.serve.searching import Wanted, query_pixels

    row = server.collection.row_of("a/4.png")
    import asyncio

    pixels = asyncio.run(query_pixels(server, Wanted(row=row)))
    assert np.array_equal(pixels, np.asarray(Image.open(place / "photos/a/4.png").convert("RGB")))
