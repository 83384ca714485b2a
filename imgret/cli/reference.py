"""Write docs/cli.md from the commands themselves: python -m imgret.cli.reference > docs/cli.md"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from imgret.cli.app import app

_HEAD = """# Command reference

Made from the commands by `python -m imgret.cli.reference > docs/cli.md`; a test fails when it is stale.

Exit codes: 0 done; 1 a problem you can fix, said in one line on stderr; 2 wrong usage; 3 `--strict` was
given and some images failed; 130 interrupted, what was written stays valid. Data goes to stdout,
everything else to stderr.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return _HEAD + "".join(_sections("imgret", commands))


def _sections(parent: str, commands: dict[str, Any]) -> Iterator[str]:
    """Every command, and after a group of commands those in it."""
    for name, command in commands.items():
        if not command.hidden:
            yield _section(f"{parent} {name}", command)
            yield from _sections(f"{parent} {name}", getattr(command, "commands", {}))


def _section(name: str, command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help).partition("Example:")
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join([name, "[OPTIONS]", *(_usage(one) for one in arguments)])
    usage += f" {command.subcommand_metavar}" if hasattr(command, "commands") else ""
    lines = [
        f"\n## {name}\n",
        text.strip(),
        f"\n```\n{usage}\n```\n",
        f"Example: `{example.strip()}`\n",
        "| | | default |",
        "|---|---|---|",
    ]
    lines += [
        f"| {_names(one)} | {(one.help or '').replace('|', '&#124;')} | {_default(one)} |"
        for one in command.params
        if one.name != "help"
    ]
    return "\n".join(lines) + "\n"


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _names(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{one.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))


def _default(one: Any) -> str:
    shown = getattr(one, "show_default", None)
    if one.required:
        return "required"
    if isinstance(shown, str):
        return shown
    if one.default is None or one.default is False or one.default == ():
        return ""
    return f"`{one.default}`"


if __name__ == "__main__":
    print(reference(), end="")
