"""``sora submit``: the batch script of a recipe, filled in from those in ``recipes/slurm/``. Torch-free."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from soracli.core.errors import MachineError, UsageError
from soracli.pipelines.recipes import CaptionTrainRecipe, DitTrainRecipe, VaeTrainRecipe
from soracli.recipe.find import recipe_folder
from soracli.recipe.section import Section
from soracli.training.ranks import share_of

_DIRECTIVE = re.compile(r"#SBATCH --([a-z-]+)(?:=(.*))?")
_ARRAY = re.compile(r"(\d+)-(\d+)(:[1-9]\d*)?(%[1-9]\d*)?")


@dataclass(frozen=True)
class Stage:
    """How a kind of recipe is submitted.

    Attributes:
        script: Name of its batch script.
        inputs: Options of ``sora submit`` that name what it reads; those it cannot do without end in ``!``.
        words: What follows the script's name, from the recipe, the run folder and the inputs; changes come behind.
        is_array: Whether the elements of a job array share its work; otherwise ranks do.
        is_single: Whether it is one process.
    """

    script: str
    inputs: tuple[str, ...]
    words: Callable[[str, str, Mapping[str, str]], list[str]]
    is_array: bool = False
    is_single: bool = False


def _given(inputs: Mapping[str, str], *names: str) -> list[str]:
    return [word for name in names if name in inputs for word in (f"--{name}", inputs[name])]


STAGES: dict[str, Stage] = {
    "vae.train": Stage(
        "vae", ("clips", "init"), lambda recipe, run, i: [recipe, i.get("clips", ""), run, *_given(i, "init")]
    ),
    "latents.cache": Stage(
        "latents", ("vae!", "clips"), lambda recipe, run, i: [recipe, i.get("clips", ""), i["vae"], run], is_array=True
    ),
    "dit.train": Stage(
        "dit",
        ("latents!", "vae", "init"),
        lambda recipe, run, i: [recipe, i["latents"], run, *_given(i, "vae", "init")],
    ),
    "dit.distill": Stage(
        "train",
        ("latents!", "model!"),
        lambda recipe, run, i: [run, "dit", "distill", recipe, *_given(i, "latents", "model")],
    ),
    "caption.train": Stage(
        "train", ("clips",), lambda recipe, run, i: [run, "caption", "train", recipe, *_given(i, "clips")]
    ),
    "judge.train": Stage("train", (), lambda recipe, run, i: [run, "judge", "train", recipe], is_single=True),
    "captions": Stage(
        "captions", ("clips!", "model!"), lambda recipe, run, i: [i["clips"], run, *_given(i, "model")], is_array=True
    ),
}
"""By the ``kind`` of a recipe; ``captions`` is ``sora caption write``, which has none."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What Slurm is asked for; None leaves what the script says.

    Attributes:
        nodes: Machines.
        gpus: GPUs of each, with a rank for each; 0: one rank a machine, without any.
        time: Longest turn, seconds.
        partition: Of the cluster.
        account: Who pays.
        array: Elements, as ``0-7`` or ``0-7%4``.
    """

    nodes: int | None = None
    gpus: int | None = None
    time: float | None = None
    partition: str | None = None
    account: str | None = None
    array: str | None = None


def batch_script(
    kind: str,
    recipe: Section | None,
    name: str,
    *,
    out: Path,
    inputs: Mapping[str, str],
    changes: Sequence[str],
    allocation: Allocation,
) -> str:
    """The text of a script that ``sbatch`` takes without any arguments.

    Args:
        kind: A key of ``STAGES``.
        recipe: To check that its batches can be shared; None for ``captions``.
        name: Of the recipe, as the command in the job is to find it.
        out: The run folder, or the file that comes out.
        inputs: By the names of options.
        changes: Of ``--set``.
        allocation: What to ask for.

    Raises:
        UsageError: If an input is missing or foreign, or ranks and batches do not fit; names what does.
    """
    stage = STAGES[kind]
    known = [name.rstrip("!") for name in stage.inputs]
    for option in inputs:
        if option not in known:
            takes = " and ".join(f"--{name}" for name in known) or "no inputs"
            raise UsageError(f"--{option} is not for {kind}, which takes {takes}")
    for option in (name[:-1] for name in stage.inputs if name.endswith("!")):
        if option not in inputs:
            raise UsageError(f"{kind} needs --{option}: what is read by the job is named, for it may not be there yet")
    directives = _directives(kind, stage, allocation)
    if recipe is not None and not stage.is_array:
        _check_ranks(recipe, (allocation.nodes or 1) * max(1, 4 if allocation.gpus is None else allocation.gpus))
    words = stage.words(name, str(out), inputs) + [word for change in changes for word in ("--set", change)]
    return fill_script((recipe_folder() / "slurm" / f"{stage.script}.sbatch").read_text("utf-8"), directives, words)


def fill_script(text: str, directives: Mapping[str, str | None], arguments: Sequence[str]) -> str:
    """A batch script with other values of its directives and with its arguments in it.

    Args:
        text: Of the script.
        directives: Long options of sbatch; None removes one, and one that is not there is added.
        arguments: What would follow its name.
    """
    lines, left, words = [], dict(directives), shlex.join(arguments)
    for line in text.splitlines():
        found = _DIRECTIVE.fullmatch(line)
        if found and found[1] in left:
            value = left.pop(found[1])
            if value is None:
                continue
            line = f"#SBATCH --{found[1]}={value}"
        lines.append(line)
    last = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    added = [f"#SBATCH --{name}={value}" for name, value in left.items() if value is not None]
    given = ["", "# Of sora submit; what follows the name of this file replaces it.", f"[ $# -gt 0 ] || set -- {words}"]
    lines[last + 1 : last + 1] = [*added, *given]
    return "\n".join(lines) + "\n"


def send_script(script: Path) -> str:
    """Give a script to ``sbatch``; the number of the job.

    Raises:
        MachineError: If there is no Slurm here, or it refuses.
    """
    program = shutil.which("sbatch")
    if program is None:
        raise MachineError(f"no sbatch here; on the cluster's login node: sbatch {shlex.quote(str(script))}")
    done = subprocess.run(
        [program, "--parsable", str(script)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MachineError(f"sbatch refuses {script}: {said[-1].removeprefix('sbatch: ').removeprefix('error: ')}")
    return done.stdout.strip().partition(";")[0]


def slurm_time(seconds: float) -> str:
    """A duration as Slurm writes it: ``1-00:00:00``; whole minutes, for it knows no shorter ones."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 1440}-{minutes // 60 % 24:02d}:{minutes % 60:02d}:00"


def _directives(kind: str, stage: Stage, asked: Allocation) -> dict[str, str | None]:
    directives: dict[str, str | None] = {}
    if stage.is_array:
        if asked.nodes is not None or (asked.gpus or 0) > 1:
            raise UsageError(f"{kind} has one process an element, with --gpus 0 or 1: more of them by --array 0-15")
        if asked.array is not None:
            directives["array"] = _checked_array(asked.array)
        if asked.gpus is not None:
            directives["gpus"] = str(asked.gpus) if asked.gpus else None
    else:
        if asked.array is not None:
            arrays = " and ".join(name for name, stage in STAGES.items() if stage.is_array)
            raise UsageError(f"--array is for {arrays}; {kind} takes --nodes and --gpus")
        nodes, gpus = (1, 1 if asked.gpus is None else asked.gpus) if stage.is_single else (asked.nodes, asked.gpus)
        if stage.is_single and ((asked.nodes or 1) > 1 or (asked.gpus or 1) > 1):
            raise UsageError(f"{kind} is one process: --nodes 1 and --gpus 1 or 0")
        if nodes is not None:
            directives["nodes"] = str(nodes)
        if gpus is not None:
            directives["ntasks-per-node"] = str(max(1, gpus))
            directives["gpus-per-node"] = str(gpus) if gpus else None
    if asked.time is not None:
        directives["time"] = slurm_time(asked.time)
    for name in ("partition", "account"):
        if (value := getattr(asked, name)) is not None:
            if not re.fullmatch(r"[\w.,:@+-]+", value):
                raise UsageError(f"--{name} {value!r} is no name of a {name}: letters, digits and . , : @ + - alone")
            directives[name] = value
    return directives


def _checked_array(text: str) -> str:
    found = _ARRAY.fullmatch(text)
    if found and int(found[1]) <= int(found[2]):
        return text
    meant = f"; did you mean 0-{int(text) - 1}?" if text.isdecimal() and int(text) > 0 else ""
    raise UsageError(f"--array {text} is no range of elements such as 0-31 or 0-31%8{meant}")


def _check_ranks(recipe: Section, ranks: int) -> None:
    """Whether what a step does can be shared."""
    counts: dict[str, int] = {}
    if isinstance(recipe, DitTrainRecipe):
        key = "sequences" if recipe.samples.max_tokens else "batch_size"
        counts = {f"samples.{key}": getattr(recipe.samples, key)}
    elif isinstance(recipe, VaeTrainRecipe):
        counts = {f"frames.shapes[{n}].batch_size": shape.batch_size for n, shape in enumerate(recipe.frames.shapes)}
    elif isinstance(recipe, CaptionTrainRecipe):
        counts = {f"data.stages[{n}].batch_size": stage.batch_size for n, stage in enumerate(recipe.data.stages)}
    for key, count in counts.items():
        try:
            share_of(range(count), 0, ranks)
        except UsageError as error:
            raise UsageError(f"{key} = {count}: {error}; see --nodes and --gpus, a rank for each GPU") from error
