"""``sora expand``: a short prompt in, long ones out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result
from soracli.cli.options import JsonOption
from soracli.core.errors import UsageError


def register(parent: typer.Typer) -> None:
    """Add the command to the application."""
    parent.command("expand")(expand)


def expand(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to show, in few words.")],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Expansions: of seed, seed + 1, ...")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Decides what is added.")] = 0,
    picture: Annotated[bool, typer.Option("--picture", help="For a picture: nothing moves.")] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Ask a language model: any OpenAI-compatible server.", show_default="rules, offline"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Of the endpoint's models.")] = None,
    key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Environment variable of its key; none: no key.", show_default="OPENAI_API_KEY"
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a short prompt long, as the captions a model was trained on; what it says is never contradicted.

    A prompt that cannot be added to without risk stays as it is, and the reason is told.
    """
    if (endpoint is None) != (model is None) or (key_env is not None and endpoint is None):
        raise UsageError("--endpoint and --model go together, as in --endpoint http://localhost:8000/v1 --model NAME")
    from soracli.data.chat_endpoint import Chat
    from soracli.data.chat_http import open_endpoint
    from soracli.pipelines.expand_prompt import expand_prompts

    reporter = TerminalReporter()
    chat = None
    if endpoint is not None and model is not None:
        chat = Chat(open_endpoint(endpoint, model, key_env), note=reporter.note)
    seeds = range(seed, seed + count)
    found = expand_prompts([prompt] * count, seeds, moving=not picture, chat=chat, reporter=reporter)
    if json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            print_result(one.text)
