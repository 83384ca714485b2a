"""The application: routes behind the guard, errors in one shape, and what begins and ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

import imgret
from imgret.serve import api, atlas_page, dupes, pages, showing, why
from imgret.serve.guard import Guard, wants_page
from imgret.serve.problems import CODES, Problem
from imgret.serve.server import Server
from imgret.serve.templating import FOLDER, problem_page


def create_app(server: Server) -> Guard:
    """The ASGI application that serves one collection."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.start()
        try:
            yield
        finally:
            server.stop()

    app = FastAPI(
        title="imgret",
        version=imgret.__version__,
        summary=f"Search {server.collection.name} by picture.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # it would fetch its script from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server = server
    for part in (api, pages, showing, dupes, why, atlas_page):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    return Guard(app, server.settings, server.metrics, lambda problem: problem_page(server, problem))


def _answer(request: Request, problem: Problem) -> Response:
    if wants_page(request.scope):
        page = problem_page(request.app.state.server, problem)
        return HTMLResponse(page.encode("utf-8", "backslashreplace"), problem.status, headers=problem.headers)
    return JSONResponse(problem.document(), problem.status, headers=problem.headers)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(request, Problem(422, "invalid", "; ".join(map(_words, error.errors())) or "invalid"))


async def _refused(request: Request, error: Exception) -> Response:
    """What Starlette answers by itself: no such address, another method, a form that cannot be parsed."""
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "refused")
    message = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    return _answer(request, Problem(error.status_code, code, message, error.headers))


def _words(error: dict[str, Any]) -> str:
    where = [str(part) for part in error["loc"] if part not in ("body", "query", "path")]
    return f"{'.'.join(where)}: {error['msg']}" if where else str(error["msg"])
