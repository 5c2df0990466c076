"""Options and arguments that several commands share, so that they are spelt and explained alike everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from soracli.pipelines.expand_prompt import Expand

RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="A name (nano/vae), a TOML file, or a run folder; sora recipe list shows the names.",
        show_default="the nano recipe",
    ),
]
"""The recipe of a command; None stands for its nano recipe."""

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe: --set dit.depth=12. Repeatable."),
]
"""Changes to the recipe; None when there are none."""

DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps; auto takes a GPU if any.")
]
"""Where to compute; ``auto`` by default."""

SeedOption = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**63 - 1, metavar="N", help="Seed of all random numbers; drawn if absent."),
]
"""Seed; None draws one."""

OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="PATH", help="Where to write the result."),
]
"""Result file or folder; None takes the command's own default."""

ForkOption = Annotated[
    Path | None,
    typer.Option(
        "--fork",
        metavar="NEWRUN",
        help="Begin a new run with the last checkpoint of --out, where the recipe may differ; that run stays as it is.",
    ),
]
"""The folder of a new run that begins where another is; None goes on with that one."""

AdapterOption = Annotated[
    Path | None,
    typer.Option(
        "--adapter", metavar="RUN|DIR", help="An adapter trained on the model (sora dit train --set lora.rank=16)."
    ),
]
"""What is put on a model; None leaves it as it is."""

ClassicalOption = Annotated[
    bool,
    typer.Option(
        "--classical-guidance", help="Of a distilled model: guide by two evaluations a step, not by its own input."
    ),
]
"""Whether guidance that is folded into a model is left alone."""

OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", "-y", help="Replace the result if it exists."),
]
"""Whether an existing result may be replaced."""

JsonOption = Annotated[bool, typer.Option("--json", help="Answer with JSON on stdout.")]
"""Whether to answer with JSON instead of a table."""

PreviewOption = Annotated[
    bool,
    typer.Option(
        "--preview", help="Show the newest frame while a video is made; elsewhere than in a terminal say what plays."
    ),
]
"""Whether a person sees a video while it is made."""

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would happen.")]
"""Whether to stop before any work."""


class TimedPrompt(NamedTuple):
    """The two values of ``--prompt-at``."""

    time: str
    prompt: str


PromptAtOption = Annotated[
    list[TimedPrompt] | None,
    typer.Option(
        "--prompt-at", metavar="TIME PROMPT", help='From then on show this: --prompt-at 20s "it rains". Repeatable.'
    ),
]
"""Prompts over time; a command that takes them is of ``CommandWithPairs``."""

StoryboardOption = Annotated[
    Path | None,
    typer.Option(
        "--storyboard",
        metavar="FILE",
        help='Prompts over time in TOML: [[scene]] tables with at = "20s", prompt = "...".',
    ),
]
"""A file of prompts over time."""


ExpandOption = Annotated[
    bool,
    typer.Option("--expand", help="Make prompts long first, as sora expand does; what is typed is never contradicted."),
]
"""Whether prompts are expanded by rules."""

ExpandByOption = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--expand-by",
        metavar="URL MODEL",
        help="Expand them by a language model: any OpenAI-compatible server; its key is in OPENAI_API_KEY.",
        show_default="rules, offline",
    ),
]
"""Whom to ask for expansions; None asks nobody."""


def chosen_expander(by_rules: bool, by_model: tuple[str, str] | None, note: Callable[[str], None]) -> Expand:
    """What ``--expand`` and ``--expand-by`` say.

    Args:
        by_rules: ``--expand``.
        by_model: ``--expand-by``.
        note: Told what goes wrong on the way.

    Raises:
        UsageError: If the endpoint cannot be one, or its key is missing.
    """
    from soracli.pipelines.expand_prompt import as_it_is, expander

    if by_model is None:
        return expander() if by_rules else as_it_is
    from soracli.data.chat_endpoint import Chat
    from soracli.data.chat_http import open_endpoint

    return expander(Chat(open_endpoint(*by_model), note=note))


class CommandWithPairs(TyperCommand):
    """A command whose ``--prompt-at`` takes two values each time, which typer has no type for."""

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **given)
        for parameter in self.params:
            if parameter.name == "prompt_at":
                parameter.nargs = 2
