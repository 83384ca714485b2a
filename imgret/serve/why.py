"""The page that tells why a hit matches its query."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from imgret.serve.addresses import Asked, asked, wanted_of
from imgret.serve.pages import page, query_facts
from imgret.serve.problems import Problem
from imgret.serve.searching import Wanted, known_row, query_pixels
from imgret.serve.server import Server
from imgret.serve.views import APART, TOGETHER

if TYPE_CHECKING:
    from imgret.serve.explaining import Explained

router = APIRouter(include_in_schema=False)

_KEPT = 24  # explanations whose pictures can be asked for


@router.get("/why")
async def why(
    request: Request, one: Annotated[Asked, Depends(asked)], hit: Annotated[str, Query(max_length=4096)]
) -> Response:
    """Both images with what each place brings to their score."""
    server: Server = request.app.state.server
    wanted, row = wanted_of(server, one), known_row(server, hit)
    key = hashlib.sha256(one.address(hit=hit).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    if key not in server.explained:
        from imgret.serve.explaining import explain  # with it comes torch, and the first page should not wait for that

        describer = server.asker.describer
        query, found = await query_pixels(server, wanted), await query_pixels(server, Wanted(row=row))
        whitening = server.collection.searched.whitening

        def work() -> Explained:
            with server.asker.using_model:
                return explain(describer, query, found, whitening)

        async with server.explaining.turn(server.settings.answer_seconds):
            if key not in server.explained:  # another may have asked for the same
                server.explained[key] = await run_in_threadpool(work)
        while len(server.explained) > _KEPT:
            server.explained.pop(next(iter(server.explained)))
    about, name = server.explained[key], server.collection.id_of(row)
    return page(
        server,
        "why.html.jinja",
        here="search",
        asked=one,
        query=await query_facts(server, one),
        hit=name,
        key=key,
        about=about,
        shares=[view for view in (TOGETHER, APART) if view in {**about.query.views, **about.hit.views}],
        looks=[view for view in about.query.views if view not in (TOGETHER, APART)],
    )


@router.get("/why/{key}/{side}/{view}")
async def map_(request: Request, key: str, side: str, view: str) -> Response:
    """A map over one of the two pictures."""
    server: Server = request.app.state.server
    found = server.explained.get(key)
    views = {} if found is None else {"query": found.query.views, "hit": found.hit.views}.get(side, {})
    if view not in views:
        raise Problem(404, "not_found", "this explanation is not kept any more; open its page again")
    return Response(views[view].jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})
