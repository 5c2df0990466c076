"""What is checked before torch is loaded: ranges, sizes, rates, lengths, prompts; each refusal is one clear line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import ArtifactError, UsageError
from soracli.pipelines.plan_generation import GenerationPlan, plan_generation
from tests.pipelines.generators import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def plan(model: Path, prompts: Any = "a ball", **given: Any) -> GenerationPlan:
    return plan_generation(prompts, model=model, **{"seed": 3, **given})


def test_the_model_recommends(model: Path, workspace: Path) -> None:
    found = plan(model)
    assert (found.size, found.fps, found.num_frames, found.notes) == ((32, 32), 8.0, 32, ())
    assert (found.options.window, found.options.first_block, found.options.num_steps) == (5, 3, 2)
    assert found.options.guidance_scale == 4.0  # nothing recommended
    asked = plan(model, num_steps=7, guidance_scale=1.5, fps=8, size=(48, 16), seconds=1.0)
    assert (asked.options.num_steps, asked.options.guidance_scale, asked.num_frames) == (7, 1.5, 8)
    other = plan(model, sampler="dpmpp_2m", guidance_interval=(0.1, 0.8)).options
    assert (other.sampler, other.guidance_interval, other.num_steps) == ("dpmpp_2m", (0.1, 0.8), 2)
    assert (found.options.sampler, found.options.guidance_interval) == ("euler", (0.0, 1.0))
    record = found.jobs[0].record
    assert record["prompt"] == "a ball" and record["seed"] == 3 and record["size"] == "32x32"
    assert record["model"] == json.loads((model / "dit/config.json").read_text())["hash"]


def test_jobs_are_prompts_times_seeds(model: Path, workspace: Path) -> None:
    found = plan(model, ["a", "b"], count=2)
    assert [(job.prompt, job.seed, str(job.path)) for job in found.jobs] == [
        ("a", 3, "a-3.mp4"),
        ("a", 4, "a-4.mp4"),
        ("b", 3, "b-3.mp4"),
        ("b", 4, "b-4.mp4"),
    ]


def test_a_seed_is_drawn_and_told(model: Path, workspace: Path) -> None:
    first, second = plan(model, seed=None), plan(model, seed=None)
    assert first.jobs[0].seed != second.jobs[0].seed
    assert first.notes == (f"seed: {first.jobs[0].seed}",)


@given(seconds=st.floats(0.001, 4000), fps=st.floats(1, 120))
def test_frames_are_seconds_times_rate(model: Path, seconds: float, fps: float) -> None:
    assert plan(model, seconds=seconds, fps=fps).num_frames == max(1, round(seconds * fps))


def test_less_than_a_frame_is_one(model: Path, workspace: Path) -> None:
    found = plan(model, seconds=0.01)
    assert found.num_frames == 1
    assert found.notes == ("0.01s is less than a frame at 8 frames a second; one frame is made",)


def test_far_from_what_was_trained(model: Path, workspace: Path) -> None:
    assert plan(model, size=(32, 48)).notes == ()
    assert plan(model, size=(96, 96)).notes == (
        "the model was trained at 32x32; what it makes at 96x96 may look wrong",
    )
    assert plan(model, fps=24.0).notes == ("the model was trained at 8 frames a second; motion at 24 may look wrong",)


@given(height=st.integers(1, 500), width=st.integers(1, 500))
def test_a_size_fits_or_the_nearest_is_named(model: Path, height: int, width: int) -> None:
    rounded = plan(model, size=(height, width), round_size=True).size
    assert all(side % 16 == 0 and side >= 16 for side in rounded)
    assert abs(rounded[0] - height) <= max(8, 16 - height)
    if rounded == (height, width):
        assert plan(model, size=(height, width)).size == rounded
    else:
        with pytest.raises(UsageError, match=f"the nearest is {rounded[1]}x{rounded[0]}$"):
            plan(model, size=(height, width))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompts": " \n"}, "the prompt is empty"),
        ({"prompts": []}, "no prompt"),
        ({"prompts": "a\udcff"}, "the prompt is no valid text: its character 2 is not UTF-8"),
        (
            {"size": (7, 13)},
            "--size 13x7 does not fit the model: sides must be multiples of 16x16; the nearest is 16x16",
        ),
        ({"size": (32768, 32768)}, "the largest square is 2048x2048"),
        ({"seconds": -1.0}, "--seconds must be above 0"),
        ({"count": 0}, "--count must be at least 1"),
        ({"seed": -1}, "--seed must be 0 to 9223372036854775807, got -1"),
        ({"seed": 2**63 - 1, "count": 2}, "--seed must be 0 to 9223372036854775806"),
        ({"num_steps": 0}, "--steps must be 1 to 1000, got 0"),
        ({"guidance_scale": float("nan")}, "--guidance-scale must be 0 to 100, got nan"),
        ({"guidance_interval": (0.8, 0.1)}, "--guidance-interval must be 0 <= LOW < HIGH <= 1, got 0.8:0.1"),
        ({"sampler": "dpmpp"}, "unknown sampler 'dpmpp'; did you mean dpmpp_2m? (euler, heun, dpmpp_2m)"),
        ({"out": Path("x.avi")}, "cannot write 'x.avi'"),
        ({"out": Path("x.png"), "seconds": 4.0}, "x.png is a picture; leave out --seconds, or name a .mp4"),
        ({"out": Path("x.png"), "contact_sheet": True, "fps": 8.0}, "leave out --fps and --contact-sheet"),
    ],
)
def test_refusals(model: Path, workspace: Path, given: dict, said: str) -> None:
    with pytest.raises(UsageError) as error:
        plan(model, **given)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert list(workspace.iterdir()) == []


def test_wrong_models(model: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").touch()
    (tmp_path / "old/dit").mkdir(parents=True)
    record = json.loads((model / "dit/config.json").read_text())
    (tmp_path / "old/dit/config.json").write_text(json.dumps({**record, "defaults": {}}))
    vae_only = tmp_path / "vae_run"
    (vae_only / "model/vae").mkdir(parents=True)
    (vae_only / "model/vae/config.json").write_text((model / "vae/config.json").read_text())
    (vae_only / "run.json").touch()
    for folder, said in (
        (tmp_path / "run", "is a run that is not finished"),
        (vae_only, "holds vae, but no dit: name a model that has one"),
        (model / "vae", "holds a vae, not a dit"),
        (tmp_path / "old", "does not say which rate and size it was trained for"),
        (tmp_path, "holds no dit"),
    ):
        with pytest.raises(ArtifactError) as error:
            plan(folder)
        assert said in str(error.value)


def test_a_picture(model: Path, workspace: Path) -> None:
    found = plan(model, out=Path("x.PNG"))
    assert found.num_frames == 1 and found.jobs[0].path == Path("x.PNG")


def test_long_prompts_are_recorded_in_part(model: Path, workspace: Path) -> None:
    (job,) = plan(model, "word " * 20_000).jobs
    assert len(job.prompt) == 99_999 and len(job.record["prompt"]) == 4000


def test_torch_is_not_loaded(model: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from soracli.pipelines.plan_generation import plan_generation as p\n"
        f"p('a ball', model=Path({str(model)!r}), out=Path('x'))\n"
        "assert not {'torch', 'torchvision', 'timm', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
