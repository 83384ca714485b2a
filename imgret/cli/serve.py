"""`imgret serve`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from imgret.cli.errors import reports_errors
from imgret.cli.options import Device, Offline, Quiet, Verbose, WeightsNow, existing


@partial(reports_errors, interrupted="nobody is served any more")
def serve(
    index: Annotated[
        Path, Argument(help="Folder of the index, or a store, which is searched exactly.", show_default=False)
    ],
    host: Annotated[str, Option(help="Address to listen on; any but this machine's own wants --token.")] = "127.0.0.1",
    port: Annotated[int, Option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        Option(help="What everyone must know to be answered.", envvar="IMGRET_TOKEN", show_default=False),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        Option(help="A name this server goes by, beside addresses and localhost.", show_default=False),
    ] = None,
    images: Annotated[Path | None, Option(help="Where the collection is now.", show_default="where it was")] = None,
    whitening: Annotated[Path | None, Option(help="Whiten a store; an index uses its own.", show_default=False)] = None,
    decisions: Annotated[
        Path | None, Option(help="CSV file that remembers what you said of near-duplicates.", show_default=False)
    ] = None,
    cache: Annotated[Path | None, Option(help="Folder for thumbnails.", show_default="~/.cache/imgret/serve")] = None,
    cache_mb: Annotated[int, Option("--cache-mb", min=1, help="Megabytes that thumbnails may take there.")] = 512,
    no_cache: Annotated[bool, Option("--no-cache", help="Keep nothing on disk.")] = False,
    upload_mb: Annotated[int, Option("--upload-mb", min=1, help="Megabytes a picture to search with may have.")] = 32,
    max_megapixels: Annotated[float, Option(min=0.1, help="Larger pictures are refused.")] = 100.0,
    weights: WeightsNow = None,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Open a page on this machine where anyone can search the collection by picture, and an interface for programs.

    Example: imgret serve index
    """
    if no_cache and cache is not None:
        raise typer.BadParameter("--cache names a folder and --no-cache wants none")
    if token is not None and (not token.strip() or not token.isascii() or not token.isprintable() or " " in token):
        raise typer.BadParameter("a --token is made of letters, digits and signs, without spaces")
    if images is not None:
        existing(images, "--images")

    from imgret.errors import ImgretError

    try:
        import imgret.serve.app
        import imgret.serve.listening  # noqa: F401
    except (ImportError, RuntimeError) as error:  # FastAPI says in the latter that it cannot read forms
        lacks = getattr(error, "name", None) or "python-multipart"
        raise ImgretError(f"imgret serve needs {lacks}; install it with: pip install 'imgret[serve]'") from error

    from imgret.cli import console
    from imgret.serve.run import cache_folder
    from imgret.serve.run import serve as run
    from imgret.serve.settings import Settings

    say = console.speaker(quiet)

    def started(address: str) -> None:
        console.talk().print(f"{index} is served at {address} (Ctrl-C ends it)", markup=False)
        if token is not None:
            say(f"It listens at {host}; everyone is asked for the token.")

    run(
        index,
        host=host,
        port=port,
        images=images,
        whitening=whitening,
        weights=weights,
        device=device,
        offline=offline,
        settings=Settings(
            token=token,
            hosts=tuple(name.lower() for name in allow_host or ()),
            most_bytes=upload_mb << 20,
            most_pixels=int(max_megapixels * 1e6),
            cache=None if no_cache else cache or cache_folder(),
            cache_bytes=cache_mb << 20,
            decisions=decisions,
        ),
        started=started,
        say=say if verbose else lambda _: None,
    )
