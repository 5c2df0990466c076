"""Every kind of exception and of wrong use, against the exact line and exit code it ends with."""

from __future__ import annotations

import errno
import importlib
import inspect
from typing import Annotated

import pytest
import typer

from soracli.cli import options
from soracli.cli.problems import GUESSES, describe_error, machine_problem
from soracli.core import errors
from soracli.core.errors import RecipeError, SoraError, Stopped


def command_line() -> typer.Typer:
    """A toy of the real thing: one verb, and one stage that takes a recipe."""
    app = typer.Typer(rich_markup_mode=None)

    @app.callback()
    def root() -> None:
        """Do nothing."""

    @app.command()
    def generate(
        prompt: str,
        seconds: Annotated[float, typer.Option("--seconds")] = 1.0,
        steps: Annotated[int, typer.Option("--steps", min=1)] = 4,
        guidance_scale: Annotated[float, typer.Option("--guidance-scale")] = 1.0,
        expand: Annotated[bool, typer.Option("--expand/--no-expand")] = False,
    ) -> None:
        """Make a video."""

    stages = typer.Typer(rich_markup_mode=None)

    @stages.command()
    def train(
        recipe: options.RecipeArgument = None, set_: options.SetOption = None, seed: options.SeedOption = None
    ) -> None:
        """Train."""

    @stages.command("eval")
    def evaluate() -> None:
        """Evaluate."""

    app.add_typer(stages, name="dit")
    return app


def wrong_use(*arguments: str) -> str:
    with pytest.raises(typer.TyperException) as caught:
        typer.main.get_command(command_line()).main(list(arguments), prog_name="sora", standalone_mode=False)
    (line,), code = describe_error(caught.value)
    assert code == 2
    return line.removeprefix("sora: error: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["generate", "x", "--num-inference-steps", "4"], "no option --num-inference-steps; did you mean --steps?"),
        (["generate", "x", "--num-inference-steps=4"], "no option --num-inference-steps; did you mean --steps?"),
        (["generate", "x", "--num-frames", "48"], "no option --num-frames; did you mean --seconds?"),
        (["generate", "x", "--guidance", "3"], "no option --guidance; did you mean --guidance-scale?"),
        (["generate", "x", "--cfg-scale", "3"], "no option --cfg-scale; did you mean --guidance-scale?"),
        (["generate", "x", "--sceonds", "3"], "no option --sceonds; did you mean --seconds?"),
        (["generate", "x", "--no-expnad"], "no option --no-expnad; did you mean --no-expand?"),
        (["generate", "x", "--zzz"], "no option --zzz; see: sora generate --help"),
        (["generate", "x", "-q"], "no option -q; see: sora generate --help"),
        (["dit", "train", "--num-frames", "48"], "no option --num-frames; see: sora dit train --help"),
        (["generate"], "missing argument 'prompt'; see: sora generate --help"),
        (
            ["generate", "a", "red", "ball"],
            "too many arguments: red ball; quote what has spaces; see: sora generate --help",
        ),
        (["generate", "a", "b=c"], "too many arguments: b=c; quote what has spaces; see: sora generate --help"),
        (["dit", "train", "nano/dit", "dit.depth=12"], "to change a key of the recipe write: --set dit.depth=12"),
        (["dit", "train", "nano/dit", "a=1", "x.y=2"], "to change a key of the recipe write: --set a=1"),
        (
            ["dit", "train", "--dit.depth=12"],
            "no option --dit.depth; to change a key of the recipe write: --set dit.depth=VALUE",
        ),
        (["dit", "trian"], "no command 'sora dit trian'; did you mean 'sora dit train'?"),
        (["dit", "zzz"], "no command 'sora dit zzz'; there are train, eval"),
        (["dti"], "no command 'sora dti'; did you mean 'sora dit'?"),
        (["dit"], "'sora dit' needs a command: train, eval"),
    ],
)
def test_wrong_use_names_the_right_one(arguments: list[str], line: str) -> None:
    assert wrong_use(*arguments) == line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["generate", "x", "--steps", "many"], "'--steps'"),
        (["generate", "x", "--steps", "0"], "'--steps'"),
        (["generate", "x", "--steps"], "--steps"),
        (["dit", "train", "--seed", "-1"], "'--seed'"),
    ],
)
def test_bad_values_name_their_option(arguments: list[str], part: str) -> None:
    line = wrong_use(*arguments)
    assert part in line


def test_guesses_are_not_ours() -> None:
    assert set(GUESSES).isdisjoint(GUESSES.values())


def test_every_error_leaves_with_its_own_code() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SoraError)]
    assert len(kinds) >= 9
    for kind in set(kinds) - {RecipeError, Stopped}:
        assert describe_error(kind("a\n b")) == (["sora: error: a b"], kind.exit_code)


def test_a_recipe_has_a_line_for_each_problem() -> None:
    assert describe_error(RecipeError(["x.toml:1: a", "x.toml:2: b"])) == (
        ["sora: error: x.toml:1: a", "sora: error: x.toml:2: b"],
        2,
    )


def test_a_stop_is_no_error() -> None:
    assert describe_error(Stopped("at step 3")) == (["sora: stopped: at step 3"], 75)


@pytest.mark.row(40)
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "the disk is full: runs/x;"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "no permission: /x;"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only;"),
        (MemoryError(), "out of memory: the machine has too little"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory: the machine has"),
    ],
)
def test_what_the_machine_lacks(error: Exception, words: str) -> None:
    (line,), code = describe_error(error)
    assert line.startswith(f"sora: error: {words}")
    assert code == 5


@pytest.mark.row(41)
def test_memory_of_a_device() -> None:
    torch = importlib.import_module("torch")
    (line,), code = describe_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert line.startswith(
        "sora: error: out of memory: the device has too little for this (2 GiB more were wanted); take"
    )
    assert code == 5


def test_a_missing_file_is_not_the_machines_fault() -> None:
    assert machine_problem(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyError("x"), "KeyError: 'x'"), (ZeroDivisionError(), "ZeroDivisionError"), (OSError(), "OSError")],
)
def test_a_bug_is_one_line_that_says_how_to_see_more(error: Exception, said: str) -> None:
    assert describe_error(error) == (
        [f"sora: error: this is a bug: {said}; run again with --debug for the traceback"],
        1,
    )
