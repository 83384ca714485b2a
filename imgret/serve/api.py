"""The HTTP interface: JSON for programs, described by /api/openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

import imgret
from imgret.ids import escape
from imgret.images.decode import Undecodable
from imgret.serve.metrics import CONTENT_TYPE
from imgret.serve.pictures import SIDES
from imgret.serve.problems import Problem
from imgret.serve.searching import Hit, Wanted, known_row, parse_box, search
from imgret.serve.server import Server
from imgret.serve.showing import picture_url, shown
from imgret.serve.uploads import Upload

router = APIRouter()

ImageId = Annotated[str, Path(description="An id as imgret prints it, percent-encoded.")]


class _Document(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class Error(_Document):
    """What went wrong: a code for programs and a sentence for people."""

    code: str
    message: str


class Failure(_Document):
    """The answer where there is no other."""

    error: Error


class Result(_Document):
    """One image found."""

    rank: int = Field(ge=1)
    id: str
    score: float
    path: str | None
    picture: str = Field(description="Address of a JPEG of it on this server.")


class SearchAnswer(_Document):
    """As a line of `imgret search --format jsonl`."""

    schema_: Literal["imgret.search/1"] = Field("imgret.search/1", alias="schema")
    query: str
    results: list[Result]


class ImageAnswer(_Document):
    """An indexed image."""

    schema_: Literal["imgret.image/1"] = Field("imgret.image/1", alias="schema")
    id: str
    path: str | None
    width: int | None = Field(description="Of the upright image, in pixels; null where its file cannot be read.")
    height: int | None
    bytes: int | None
    box: list[int] | None = Field(description="x1, y1, x2, y2 of an image that is a part of its file.")
    picture: str
    problem: str | None = Field(description="Why the file cannot be looked at.")
    neighbours: list[Result]


class Info(_Document):
    """What is served and by what."""

    schema_: Literal["imgret.info/1"] = Field("imgret.info/1", alias="schema")
    version: str
    state: Literal["loading", "ready", "failed"]
    failure: str | None
    name: str
    images: int
    dimension: int
    kind: str
    model: dict[str, Any]
    whitened: bool
    recall: dict[str, Any] | None
    limits: dict[str, int]


class Health(_Document):
    """Whether searches by picture are answered."""

    status: Literal["ready", "loading", "failed"]


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure} for status in (400, 401, 403, 404, 405, 408, 413, 415, 421, 422, 503)
}


@router.post(
    "/api/search", summary="Search by picture or id", response_model=SearchAnswer, responses=_ERRORS, tags=["search"]
)
async def search_(
    request: Request,
    image: Annotated[UploadFile | None, File(description="The picture to search with.")] = None,
    id: Annotated[str | None, Form(description="In place of a picture: the id of an indexed image.")] = None,
    box: Annotated[str | None, Form(description="x1,y1,x2,y2 in pixels: search with this part.")] = None,
    k: Annotated[int, Form(ge=1, le=500, description="Results.")] = 10,
    min_score: Annotated[float | None, Form(ge=-1e9, le=1e9, description="Leave out lower scores.")] = None,
    rerank: Annotated[str, Form(max_length=500, description="As in imgret search --rerank.")] = "",
    exclude_self: Annotated[bool, Form(description="Leave out the image named by id.")] = False,
) -> SearchAnswer:
    """Rank the images of the index for a picture, or for an image of the index."""
    server: Server = request.app.state.server
    if (image is None) == (id is None):
        raise Problem(422, "invalid", "give image or id, one of the two")
    if id is not None:
        wanted = Wanted(row=known_row(server, id))
    else:
        assert image is not None
        data = await image.read()
        if not data:
            raise Problem(422, "empty", "the picture has no bytes")
        wanted = Wanted(upload=Upload.of(image.filename or "picture", data))
    asked = Wanted(wanted.row, wanted.upload, parse_box(box), k, min_score, rerank, exclude_self)
    hits = await search(server, asked)
    query = id if id is not None else (image.filename or "picture" if image else "")
    return SearchAnswer(schema="imgret.search/1", query=escape(query), results=[result(server, hit) for hit in hits])


@router.get("/api/images/{id:path}", response_model=ImageAnswer, responses=_ERRORS, tags=["images"])
async def image(
    request: Request,
    id: ImageId,
    neighbours: Annotated[int, Query(ge=0, le=500, description="How many of the nearest to name.")] = 0,
) -> ImageAnswer:
    """What is known of an indexed image."""
    server: Server = request.app.state.server
    collection, row = server.collection, known_row(server, id)
    box, found = collection.box_of(row), await shown(server, row, SIDES[1])
    known = None if isinstance(found, Undecodable) else found
    near = await search(server, Wanted(row=row, k=neighbours, leave_out_own=True)) if neighbours else []
    path = collection.path_of(row)
    return ImageAnswer(
        schema="imgret.image/1",
        id=collection.id_of(row),
        path=None if path is None else escape(path),
        width=None if known is None else known.width,
        height=None if known is None else known.height,
        bytes=None if known is None else known.bytes,
        box=None if box is None else list(box),
        picture=picture_url(collection.id_of(row)),
        problem=found.message if isinstance(found, Undecodable) else None,
        neighbours=[result(server, hit) for hit in near],
    )


@router.get("/api/info", response_model=Info, responses=_ERRORS, tags=["server"])
async def info(request: Request) -> Info:
    """What is served."""
    server: Server = request.app.state.server
    limits = server.settings
    return Info(
        schema="imgret.info/1",
        version=imgret.__version__,
        state=server.asker.state,
        failure=escape(server.asker.failure) or None,
        limits={
            "bytes": limits.most_bytes,
            "pixels": limits.most_pixels,
            "results": limits.most_results,
        },
        **server.collection.about(),
    )


@router.get(
    "/healthz", response_model=Health, responses={503: {"model": Health}, 400: {"model": Failure}}, tags=["server"]
)
async def healthz(request: Request, response: Response) -> Health:
    """200 when searches by picture are answered, else 503."""
    state = request.app.state.server.asker.state
    response.status_code = 200 if state == "ready" else 503
    return Health(status=state)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_ERRORS},
    tags=["server"],
)
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(request.app.state.server.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def result(server: Server, hit: Hit) -> Result:
    """A hit as the interface tells it."""
    name, path = server.collection.id_of(hit.row), server.collection.path_of(hit.row)
    return Result(
        rank=hit.rank,
        id=name,
        score=hit.score,
        path=None if path is None else escape(path),
        picture=picture_url(name),
    )
