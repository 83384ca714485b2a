"""Turn what a command raises into one line on stderr and an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from imgret.errors import ImgretError

Command = TypeVar("Command", bound=Callable[..., Any])


def reports_errors(command: Command) -> Command:
    """What a user can fix becomes one line and its exit code; Ctrl-C is 130; anything else is our bug."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ImgretError as error:
            typer.echo(f"imgret: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("imgret: interrupted; what was written is kept, the same command goes on from there", err=True)
            raise typer.Exit(130) from None
        finally:
            sys.stdout.flush()

    return wrapped  # type: ignore[return-value]
