"""The pages: search, one image, and browsing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from imgret.ids import escape
from imgret.images.decode import Undecodable
from imgret.rerank import RERANKERS
from imgret.serve.addresses import RESULTS, Asked, asked, wanted_of
from imgret.serve.pictures import SIDES
from imgret.serve.problems import Problem
from imgret.serve.searching import Hit, Wanted, known_row, search, unreadable
from imgret.serve.server import Server
from imgret.serve.showing import kept_upload, picture_url, shown, shown_upload
from imgret.serve.templating import render
from imgret.serve.uploads import Upload

router = APIRouter(include_in_schema=False)

SAMPLE = 24  # images shown to begin with
PAGE = 96  # images on a page of the collection
NEIGHBOURS = 12

Search = Annotated[Asked, Depends(asked)]


@dataclass(frozen=True)
class Card:
    """An image in a grid. `rank` and `score` are empty where nothing was searched, `why` is an address."""

    id: str
    picture: str
    rank: str = ""
    score: str = ""
    why: str = ""


@router.get("/")
async def start(request: Request) -> Response:
    """The first page: a place to drop a picture, and some of the collection to begin with."""
    server: Server = request.app.state.server
    cards = _cards(server, server.collection.sample(SAMPLE))
    return page(server, "start.html.jinja", here="search", asked=Asked(), cards=cards, **_form(server))


@router.post("/queries")
async def take(
    request: Request,
    image: Annotated[UploadFile | None, File()] = None,
    k: Annotated[int, Form(ge=1, le=500)] = RESULTS,
    least: Annotated[str, Form(max_length=20)] = "",
    rerank: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Take a picture and go to its results, whose address can be kept."""
    server: Server = request.app.state.server
    data = b"" if image is None else await image.read()
    if image is None or not data:
        raise Problem(422, "empty", "no picture came; drop one, paste one or choose a file")
    sent = Upload.of(image.filename or "picture", data)
    found = await shown_upload(server, sent)
    if isinstance(found, Undecodable):
        server.metrics.refused(found.reason)
        raise unreadable(found)
    kept = server.uploads.keep(sent)
    one = await asked(upload=kept.key, k=k, least=least, rerank=rerank)
    return RedirectResponse(one.address(), 303)


@router.get("/search")
async def searched(request: Request, one: Search) -> Response:
    """A query beside its results, which the page asks for once it is there."""
    server: Server = request.app.state.server
    if not one.like and not one.upload:
        return RedirectResponse("/", 303)
    wanted_of(server, one)
    query = await query_facts(server, one)
    return page(server, "search.html.jinja", here="search", asked=one, query=query, **_form(server))


@router.get("/results")
async def results(request: Request, one: Search) -> Response:
    """The results alone, with the address that the page then has."""
    server: Server = request.app.state.server
    if server.asker.state == "loading" and (one.upload or one.box):
        answer = page(server, "waiting.html.jinja", asked=one)
    else:
        try:
            hits = await search(server, wanted_of(server, one))
            answer = page(server, "results.html.jinja", asked=one, cards=_hits(server, one, hits))
        except Problem as problem:
            answer = page(server, "trouble.html.jinja", asked=one, problem=problem)
    if "first" not in request.query_params:  # the page has its address already
        answer.headers["HX-Push-Url"] = one.address()
    return answer


@router.get("/images/{id:path}")
async def image(request: Request, id: str) -> Response:
    """One image: what is known of it, and what is near it."""
    server: Server = request.app.state.server
    collection, row = server.collection, known_row(server, id)
    found = await shown(server, row, SIDES[3])
    name, path = collection.id_of(row), collection.path_of(row)
    facts = [("id", name), ("file", "not found" if path is None else escape(path))]
    if not isinstance(found, Undecodable):
        size = f"{found.width:,} × {found.height:,} pixels, {found.width * found.height / 1e6:.1f} megapixels"
        facts += [("size", size), ("bytes", f"{found.bytes:,}")]
    if (box := collection.box_of(row)) is not None:
        facts.append(("part of its file", f"{box[0]}, {box[1]} to {box[2]}, {box[3]}"))
    why = found.message if isinstance(found, Undecodable) else ""
    one = Asked(like=name, k=NEIGHBOURS)
    try:
        near = await search(server, Wanted(row=row, k=NEIGHBOURS, leave_out_own=True))
    except Problem:  # the picture is worth showing without them
        near = []
    return page(
        server,
        "image.html.jinja",
        here="browse",
        name=name,
        source=picture_url(name, SIDES[3]),
        facts=facts,
        why=why,
        cards=_hits(server, one, near),
    )


@router.get("/browse")
async def browse(
    request: Request,
    text: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[int, Query(ge=-1, le=2**31)] = -1,
) -> Response:
    """The collection in its order, or the part of it whose names hold a text."""
    server: Server = request.app.state.server
    rows = await run_in_threadpool(server.collection.matching, text, PAGE + 1, after)
    more = rows[PAGE - 1] if len(rows) > PAGE else None
    values = {"text": text, "after": after, "more": more, "cards": _cards(server, rows[:PAGE])}
    return page(server, "browse.html.jinja", here="browse", **values)


def page(server: Server, template: str, **values: Any) -> Response:
    """A page from its template."""
    return Response(render(server, template, **values), media_type="text/html; charset=utf-8")


def _cards(server: Server, rows: Sequence[int]) -> list[Card]:
    names = map(server.collection.id_of, rows)
    return [Card(name, picture_url(name)) for name in names]


def _hits(server: Server, one: Asked, hits: Sequence[Hit]) -> list[Card]:
    found = []
    for hit in hits:
        name = server.collection.id_of(hit.row)
        why = one.address("/why", hit=name, k=None, least=None, rerank=None)
        found.append(Card(name, picture_url(name), str(hit.rank), f"{hit.score:.3f}", why))
    return found


def _form(server: Server) -> dict[str, Any]:
    limits = server.settings
    return {"most_bytes": limits.most_bytes, "most_results": limits.most_results, "rerankers": RERANKERS}


async def query_facts(server: Server, one: Asked) -> dict[str, Any]:
    """The picture of a query: its address, name, upright size, and why there is none."""
    box = None
    if one.like:
        row = known_row(server, one.like)
        name, box = server.collection.id_of(row), server.collection.box_of(row)
        source, found = picture_url(name, SIDES[2], whole=True), await shown(server, row, SIDES[2], whole=True)
    else:
        kept = kept_upload(server, one.upload)
        source, name, found = f"/uploads/{kept.key}", escape(kept.name), await shown_upload(server, kept)
    lost = isinstance(found, Undecodable)
    return {
        "source": source,
        "name": name,
        "width": 0 if lost else found.width,  # type: ignore[union-attr]
        "height": 0 if lost else found.height,  # type: ignore[union-attr]
        "why": found.message if isinstance(found, Undecodable) else "",
        "box": one.box or ("" if box is None else ",".join(map(str, box))),
    }
