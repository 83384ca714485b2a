"""Turn what a command raises into one line on stderr and an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from imgret.errors import ImgretError

Command = TypeVar("Command", bound=Callable[..., Any])


KEPT = "what was written is kept, the same command goes on from there"


def reports_errors(command: Command, interrupted: str = KEPT) -> Command:
    """What a user can fix becomes one line and its exit code; Ctrl-C is 130; anything else is our bug.

    `interrupted` says after Ctrl-C what there is now.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except ImgretError as error:
            typer.echo(f"imgret: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            # whoever read our output has seen enough; what is left in the buffer has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            if error.errno is None:
                raise
            from imgret.ids import escape  # numpy, which help must not load

            # the disk, the rights or the network: the user's to mend, and the file says where
            where = escape(os.fsdecode(error.filename)) if error.filename else "cannot write the output"
            typer.echo(f"imgret: {where}: {error.strerror}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo(f"imgret: interrupted; {interrupted}", err=True)
            raise typer.Exit(130) from None

    return wrapped  # type: ignore[return-value]
