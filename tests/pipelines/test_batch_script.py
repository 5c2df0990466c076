"""Scripts that are written, against those they are made of, what they would run, and what cannot be asked for."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import MachineError, UsageError
from soracli.pipelines.batch_script import STAGES, Allocation, batch_script, fill_script, send_script, slurm_time
from soracli.pipelines.recipes import RECIPES
from soracli.recipe.find import recipe_folder

INPUTS = {"clips": "my clips.jsonl", "latents": "l", "vae": "v", "model": "m", "init": "i"}


def made(kind, tmp_path, inputs=None, changes=(), **asked):
    if inputs is None:
        inputs = {name.rstrip("!"): INPUTS[name.rstrip("!")] for name in STAGES[kind].inputs}
    recipe = RECIPES[kind]() if kind in RECIPES else None
    asked.setdefault("gpus", 1)
    return batch_script(
        kind, recipe, "r", out=tmp_path / "run", inputs=inputs, changes=changes, allocation=Allocation(**asked)
    )


def test_every_kind_of_recipe_has_a_script():
    assert set(RECIPES) < set(STAGES)
    for stage in STAGES.values():
        assert (recipe_folder() / "slurm" / f"{stage.script}.sbatch").is_file()


@pytest.mark.parametrize("kind", STAGES)
def test_a_script_runs_the_command_of_its_stage_without_arguments(kind, tmp_path):
    text = made(kind, tmp_path, changes=[] if kind == "captions" else ["loop.steps=9"])
    asked = {name: (tmp_path / name) for name in ("srun", "sora", "scontrol", "sleep")}
    for name, path in asked.items():
        body = (
            'while [[ $1 == --* ]]; do shift; done; exec "$@"'
            if name == "srun"
            else f'printf "%s\\n" "$@" > {path}.seen'
        )
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "3"}
    subprocess.run(["bash"], input=text, env=environment, text=True, check=True, cwd=tmp_path, timeout=60)
    words = (tmp_path / "sora.seen").read_text().splitlines()
    command = {"captions": "caption write", "latents.cache": "latents cache"}.get(kind, kind.replace(".", " "))
    assert " ".join(words[:2]) == command
    assert words[words.index("--out") + 1] == str(tmp_path / "run")
    for name in STAGES[kind].inputs:
        assert INPUTS[name.rstrip("!")] in words
    assert ("loop.steps=9" in words) is (kind != "captions")


def test_what_is_asked_for_replaces_what_the_script_says(tmp_path):
    text = made("dit.train", tmp_path, nodes=4, gpus=6, time=86400.0, partition="gpu", account="lab")
    for line in ("nodes=4", "ntasks-per-node=6", "gpus-per-node=6", "time=1-00:00:00", "partition=gpu", "account=lab"):
        assert text.count(f"\n#SBATCH --{line}\n") == 1
    assert text.index("#SBATCH --account") < text.index("set -- r l")  # sbatch reads no further than the first command
    source = (recipe_folder() / "slurm" / "dit.sbatch").read_text()
    assert set(source.splitlines()) - set(text.splitlines()) == {
        "#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=4", "#SBATCH --gpus-per-node=4", "#SBATCH --time=24:00:00",
    }  # fmt: skip
    without = made("dit.train", tmp_path, gpus=0)
    assert "gpus" not in without.split("RECIPE=")[0].split("#SBATCH", 1)[1] and "--ntasks-per-node=1\n" in without
    assert "--array=0-31%8\n" in made("latents.cache", tmp_path, array="0-31%8")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1), min_size=1))
def test_any_arguments_arrive_as_they_are(words):
    text = fill_script('#!/bin/bash\n#SBATCH --nodes=1\n\nprintf "%s\\0" "$@"\n', {"time": "1"}, words)
    done = subprocess.run(["bash"], input=text.encode(), capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(("seconds", "said"), [(90, "0-00:02:00"), (86400, "1-00:00:00"), (5, "0-00:01:00")])
def test_times(seconds, said):
    assert slurm_time(seconds) == said


@pytest.mark.parametrize(
    ("kind", "asked", "said"),
    [
        ("dit.train", {"nodes": 5}, r"samples.batch_size = 24: .* fit: 1, 2, 3, 4, 6, 8, 12, 24"),
        ("dit.train", {"array": "0-3"}, "--array is for latents.cache and captions"),
        ("latents.cache", {"nodes": 2}, "more of them by --array 0-15"),
        ("latents.cache", {"array": "8"}, r"did you mean 0-7\?"),
        ("latents.cache", {"array": "4-2"}, "no range"),
        ("judge.train", {"gpus": 2}, "one process"),
        ("dit.train", {"partition": "a b"}, "no name of a partition"),
        ("dit.train", {"inputs": {"clips": "c"}}, "--clips is not for dit.train, which takes --latents and --vae"),
        ("dit.train", {"inputs": {}}, "dit.train needs --latents"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(kind, asked, said, tmp_path):
    with pytest.raises(UsageError, match=said) as error:
        made(kind, tmp_path, **asked)
    assert "\n" not in str(error.value)


def test_sbatch_that_is_not_there_or_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no sbatch here"):
        send_script(tmp_path / "x.sbatch")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    with pytest.raises(MachineError, match=r"refuses .*x.sbatch: invalid partition"):
        send_script(tmp_path / "x.sbatch")
