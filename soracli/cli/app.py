"""The command ``sora``: puts the groups together, runs one, and turns every problem into lines and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import soracli
from soracli.cli import (
    caption,
    clips,
    compare,
    dit,
    doctor,
    expand,
    generate,
    judge,
    latents,
    model,
    plan,
    recipe,
    submit,
    vae,
    verbs,
    world,
)
from soracli.cli.problems import describe_error
from soracli.cli.runs import has_peers, is_speaker
from soracli.core.errors import Stopped

# In the order of --help. A group is one file with ``register(app)``, which must import no torch.
_GROUPS = (
    generate,
    verbs,
    expand,
    clips,
    caption,
    world,
    vae,
    latents,
    dit,
    judge,
    model,
    compare,
    plan,
    submit,
    recipe,
    doctor,
)

_DEBUG = "--debug"
_INTERRUPTED = 130


def build_app() -> typer.Typer:
    """The whole command line as a typer application."""
    # Markup would import rich (0.1 s) for every --help.
    app = typer.Typer(
        name="sora",
        help="Train a Sora-like video model from nothing, and make videos with it. Not affiliated with OpenAI.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_global_options)
    for group in _GROUPS:
        group.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of ``sora``.

    Args:
        arguments: What follows ``sora`` on the command line; None takes it from the process.

    Returns:
        The exit code: 0 done, otherwise that of the error (``soracli.core.errors``), 130 after ^C. Ranks that stopped
        early with everything saved leave with 0; the run's ``stopped`` tells.
    """
    given, debug = _take_debug(list(sys.argv[1:] if arguments is None else arguments))
    try:
        code = typer.main.get_command(build_app()).main(given or ["--help"], prog_name="sora", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the result has left, as in ``sora recipe list | head -1``; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        lines, code = describe_error(error)
        if isinstance(error, Stopped) and has_peers():
            # All have saved and leave together: srun and torchrun would kill the slower ones for another code.
            code, lines = 0, lines if is_speaker() else []
        print("".join(f"{line}\n" for line in lines), end="", file=sys.stderr)
        return code
    if code == _INTERRUPTED:
        print("sora: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """``--debug`` counts wherever it stands, also behind the command; behind ``--`` it is an ordinary word."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [word for word in arguments[:end] if word != _DEBUG]
    return kept + arguments[end:], len(kept) < end


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"sora {soracli.__version__}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error; works anywhere.")] = False,
) -> None:
    """Both options act before a command runs; they are declared here for --help."""


if __name__ == "__main__":
    sys.exit(main())
