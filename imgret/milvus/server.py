"""Server: a connection to Milvus whose requests end in bounded time, with an answer or one line of words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imgret.errors import InputError, ServerError
from imgret.milvus.place import TOKEN_ENV, Place

CONNECTING = 10.0  # seconds for a first answer
_ANSWERING = 60.0  # seconds for a request; a server that restarts meanwhile is asked again
LOADING = 600.0  # seconds for a collection to be read into the memory of the server


class Server:
    """An open connection; close it, or use it as a context.

    Errors are ServerErrors of one line. What Milvus says to its own log is left out: it comes as an error too.
    """

    def __init__(self, place: Place, client: Any) -> None:
        self.place = place
        self._client = client

    @classmethod
    def connect(cls, place: Place, *, create: bool = False) -> Server:
        """Connect; a local database that is not there is made with `create`, else it is an InputError."""
        if place.local and not create and not Path(place.uri).exists():
            raise InputError(f"{place}: no such database; make it with: imgret push STORE --to milvus --uri {place}")
        if place.local and not Path(place.uri).absolute().parent.is_dir():
            raise InputError(f"{place}: there is no folder {Path(place.uri).parent} to put it in")
        if place.local and Path(place.uri).is_file():
            raise InputError(f"{place} is a file, and Milvus Lite keeps a database as a folder; name another")
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when grpc is imported; else it writes on stderr
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise ServerError(f"Milvus needs pymilvus ({error}); type: pip install 'imgret[milvus]'") from error
        for library in ("pymilvus", "milvus_lite", "grpc._server"):  # the last is that of Milvus Lite
            logging.getLogger(library).setLevel(logging.CRITICAL + 1)
        with _in_words(place), _lite_says_why():
            return cls(place, MilvusClient(place.uri, token=place.token, timeout=CONNECTING))

    def ask(self, verb: str, *arguments: Any, timeout: float = _ANSWERING, **options: Any) -> Any:
        """What `verb` of pymilvus' MilvusClient answers."""
        with _in_words(self.place):
            return getattr(self._client, verb)(*arguments, timeout=timeout, **options)

    def pages(self, collection: str, field: str, size: int) -> Iterator[list[Any]]:
        """All values of a field, `size` at a time."""
        pages = self.ask("query_iterator", collection, batch_size=size, output_fields=[field])
        try:
            while True:
                with _in_words(self.place):
                    page = pages.next()
                if not page:
                    return
                yield [row[field] for row in page]
        finally:
            pages.close()

    def close(self) -> None:
        """End the connection; a local database is free for other processes then."""
        with suppress(Exception):
            self._client.close()
        if self.place.local:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.place.uri)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _in_words(place: Place) -> Iterator[None]:
    """Errors of pymilvus and grpc as a ServerError that says what to do."""
    import grpc
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
        raise ServerError(f"{place}: {_words(error, place)}") from error
    except ValueError as error:  # urllib's, of a port that is no number
        raise InputError(f"{place}: {error}") from error


def _words(error: BaseException, place: Place) -> str:
    chain = list(_chain(error))
    states = {getattr(_called(one, "code"), "name", "") for one in chain}
    said = " ".join(str(_called(error, "message") or _called(error, "details") or error).split())[:300]
    if states & {"UNAUTHENTICATED", "PERMISSION_DENIED"} or "auth check failure" in said:
        given = "the one given is refused" if place.token or str(place) != place.uri else "none is given"
        return (
            f"Milvus wants user:password or an API key ({given}); put it into an environment variable: "
            f"export {TOKEN_ENV}=user:password"
        )
    if any(type(one).__name__ == "DataDirLockedError" for one in chain):
        return "another process has this database open, and Milvus Lite admits one: wait for it, or run a server"
    if place.local:
        return f"Milvus Lite does not open it: {chain[-1]}" if len(chain) > 1 else said
    if states & {"UNAVAILABLE", "DEADLINE_EXCEEDED"} or "Fail connecting" in said:
        return "no Milvus answers there; is it running, and is this its address?"
    return said


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from; pymilvus raises an error from itself at times."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ if error.__cause__ is not error else error.__context__


def _called(error: BaseException, name: str) -> Any:
    """An attribute of an error, which grpc has as a method."""
    value = getattr(error, name, None)
    return value() if callable(value) else value


@contextmanager
def _lite_says_why() -> Iterator[None]:
    """Milvus Lite tells only its log why it did not open a database: what is raised then has that as its cause."""
    log, told = logging.getLogger("milvus_lite.server_manager"), _Told(logging.ERROR)
    level = log.level
    log.addHandler(told)
    log.setLevel(logging.ERROR)
    log.propagate = False
    try:
        yield
    except Exception as error:
        if told.error is None:
            raise
        raise error from told.error
    finally:
        log.removeHandler(told)
        log.setLevel(level)
        log.propagate = True


class _Told(logging.Handler):
    """Keeps the last error that was logged."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.error = record.exc_info[1] if record.exc_info else None
