"""Place: a Milvus server or a local Milvus Lite database, and which collection of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from imgret.errors import InputError
from imgret.places import unfolded

PREFIX = "milvus:"
"""What stands before the URI where an index could be named too."""
TOKEN_ENV = "MILVUS_TOKEN"
"""The environment variable that holds user:password or an API key."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")  # of a collection, as Milvus wants it
_SERVER = re.compile(r"(?:https?|tcp)://[^/]|unix:.", re.IGNORECASE)
_USER = re.compile(r"//[^/@]*@")


@dataclass(frozen=True)
class Place:
    """Where to connect to.

    uri         a server such as http://localhost:19530, or the path of a Milvus Lite database, which ends in .db
    collection  a name, None where none was given
    token       user:password or an API key; '' for a server that asks for none
    """

    uri: str
    collection: str | None = None
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, uri: str, collection: str | None = None, token_env: str | None = None) -> Place:
        """A checked place; InputError for what is no name of one. The variable that `token_env` names must be set."""
        local = uri.endswith(".db") and not _SERVER.match(uri)
        if not local and not _SERVER.match(uri):
            raise InputError(
                f"{uri or 'the URI'} names no Milvus: give a server such as http://localhost:19530, or a local "
                "database, a path that ends in .db"
            )
        if collection is not None and not _NAME.fullmatch(collection):
            raise InputError(
                f"{collection!r} is no name of a collection: letters, digits and _, no digit first, 255 at most"
            )
        if token_env is not None and token_env not in os.environ:
            raise InputError(f"--token-env {token_env}: no such environment variable; export {token_env}=user:password")
        return cls(os.path.expanduser(uri) if local else uri, collection, os.environ.get(token_env or TOKEN_ENV, ""))

    @classmethod
    def named(cls, text: str | Path) -> Place:
        """The place that 'milvus:URI' or 'milvus:URI#collection' names."""
        whole = unfolded(Path(str(text).removeprefix(PREFIX)))
        uri, _, name = whole.rpartition("#")
        return cls.of(uri, name) if uri and _NAME.fullmatch(name) else cls.of(whole)

    @property
    def local(self) -> bool:
        """Whether this is a Milvus Lite database, which this process opens itself."""
        return not _SERVER.match(self.uri)

    def __str__(self) -> str:
        """The URI as it may be shown: without user and password."""
        return self.uri if self.local else _USER.sub("//", self.uri)
