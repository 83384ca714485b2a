from __future__ import annotations

import itertools
from urllib.parse import quote, unquote, urlencode

import pytest

from imgret.serve.app import create_app
from tests.serve.test_guard import send

WORDS = "outside the collection"
UP = (
    *("../", "./../", "..%2f", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "%c0%ae%c0%ae/", "..;/", "....//"),
    *("..\\", "..%5c"),
)
TARGETS = ("secret.txt", "etc/passwd", "store", "app.py", "photos/a/4.png")
TAILS = (
    *("%00", "%00.png", "\\x00", "%0a", "%0d%0aX: y", "/", "/.", "/..", "%20", ".", "?/../..", "#", ";x", "::$DATA"),
)
ODD = (
    *("", ".", "..", "%2e", "%2e%2e", "~", "%", "%zz", "%ff%fe", "\\", "C:%5cboot.ini", "a", "a/", "con", "x" * 5000),
    *("%f0%9f%96%bc", "%ed%a0%80", "\\xff", "\\xed\\xa0\\x80", "a%2f4.png%2f..%2f..%2f..%2fsecret.txt"),
)
BEFORE = ("/pictures/320/", "/pictures/320/a/", "/images/", "/images/a/", "/api/images/", "/static/", "/look/", "/")


@pytest.fixture
def secret(place):
    """A file beside the photos of the collection."""
    path = place / "secret.txt"
    path.write_text(WORDS)
    return path


@pytest.fixture
def ask(server, secret):
    """(status, body) of an address as it stands; nothing from outside the collection may be in it."""
    app = create_app(server)

    def get(target, method="GET", **form):
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        status, headers, body = send(app, [urlencode(form).encode()], kind, target, method)
        assert status < 500 or b'"computing"' in body, target
        for words in (WORDS, "root:", "def create_app"):
            assert words.encode() not in body, target
        assert "\n" not in "".join(headers.values())
        return status, body

    return get


def names(place):
    """Names of files that are there and of no image of the index, in many forms."""
    for up, depth, name in itertools.product(UP, (1, 2, 9), TARGETS):
        yield up * depth + name
    for path in (f"{place}/secret.txt", f"{place}/photos/a/4.png", "/etc/passwd"):
        yield from (path, quote(path, safe=""), "/" + path, "//" + path, f"file://{path}", f"~{path}")
    for name, tail in itertools.product(("a/4.png", "../secret.txt"), TAILS):
        yield name + tail
    yield from ODD


@pytest.mark.parametrize("before", BEFORE)
def test_no_form_of_a_path_leads_out_of_the_collection(ask, place, before):
    for name in names(place):
        status, _ = ask(before + name)
        if status == 200:  # the first page, or an image of the index by its own id
            id_ = unquote((before + name).partition("?")[0]).removeprefix(before)
            # a newline at the very end is not seen by Starlette's routes
            assert before + name == "/" or id_.removesuffix("\n") == "a/4.png", (before, name)


def test_a_search_by_id_takes_ids_and_no_paths(ask, place, secret):
    tried = [*names(place), *map(unquote, names(place)), "../secret.txt", "..\\secret.txt", "a/../a/4.png", "./a/4.png"]
    tried += ["a//4.png", "/a/4.png", "a/4.png/", "A/4.PNG", "a/4.png\0", "a/4.png\n", "*", "a/*", "%"]
    for name in filter(None, tried):
        assert ask("/api/search", "POST", id=name)[0] == 404, name
        for target in ("/search?", "/why?hit=a/4.png&", "/why?like=a/4.png&", "/results?"):
            key = "hit" if "like" in target else "like"
            status, body = ask(target + urlencode({key: name}))
            assert status in (404, 422) or b"no image of the index" in body, (target, name)


def test_an_upload_is_found_by_its_own_key_only(ask, place):
    for name in filter(None, names(place)):
        assert ask(f"/uploads/{name}")[0] == (307 if name == "a/" else 404), name  # to the same without the slash
        assert ask("/search?" + urlencode({"upload": name}))[0] in (404, 422), name


def test_the_name_of_an_upload_opens_nothing(client, secret, photo):
    for name in (
        str(secret),
        "../../secret.txt",
        "/etc/passwd",
        "a.png\0.txt",
        "..\\..\\secret.txt",
        "x" * 900,
        "a\r\nX: y",
    ):
        answer = client.post("/queries", files={"image": (name, b"no picture")})
        assert answer.status_code in (400, 422), name
        assert WORDS not in answer.text
        answer = client.post("/queries", files={"image": (name, photo)})
        assert answer.status_code in (303, 400), name
        assert "x" not in answer.headers


def test_pictures_are_of_four_sizes_and_points_of_the_map_are_numbers(ask):
    for side in ("0", "1", "321", "-320", "9" * 30, "320.5", "3e2", "x", "..", "%2e%2e", "320%00", "٣٢٠"):
        assert ask(f"/pictures/{side}/a/4.png")[0] in (404, 422), side
    for number in ("-1", "9" * 30, "x", "..", "1e1"):
        for page in ("/map/images/", "/map/pictures/"):
            assert ask(page + number)[0] in (404, 422, 503), number


def test_a_file_that_became_a_link_out_of_the_collection_shows_no_text(asking, tmp_path, mean_colour):
    from imgret import workflows
    from imgret.extraction.job import ExtractJob
    from tests.pictures import save

    for number in range(3):
        save(tmp_path / "some", f"{number}.png", number)
    options = {"weights": "none", "workers": 0, "precision": "fp32", "image_size": 64, "device": "cpu"}
    job = ExtractJob(images=(str(tmp_path / "some"),), output=tmp_path / "store", model="mean-colour", **options)
    workflows.extract(job)
    client = asking(tmp_path / "store")
    for number, target in enumerate((tmp_path / "store", "/dev/zero", "/etc/passwd")):
        (tmp_path / f"some/{number}.png").unlink()
        (tmp_path / f"some/{number}.png").symlink_to(target)
        answer = client.get(f"/pictures/320/{number}.png")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "image/svg+xml")
        assert "root" not in answer.text
        about = client.get(f"/api/images/{number}.png").json()
        assert about["problem"]
        assert about["width"] is None
