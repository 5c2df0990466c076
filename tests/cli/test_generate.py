"""``sora generate``: options to files, one path a line, and every refusal as one line with its exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from soracli.cli.app import main
from soracli.data.video_probe import probe_video
from soracli.pipelines import generate as pipeline
from tests.pipelines.generators import write_model


@pytest.fixture
def model(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(pipeline, "set_threads", lambda count: count)
    write_model(workspace / "mine/model")
    return "mine"


def run(*arguments: str) -> int:
    return main(["generate", "--device", "cpu", *arguments])


def test_a_path_a_line(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a red ball", "--model", model, "--seed", "3", "--seconds", "1s", "--count", "2", "--steps", "1") == 0
    out, error = capsys.readouterr()
    assert out.splitlines() == ["a-red-ball-3.mp4", "a-red-ball-4.mp4"]
    assert "generate: 16/16 frames, in " in error and "seconds of video a second" in error
    assert run("a red ball", "--model", model, "--seed", "3", "--seconds", "1") == 0
    assert capsys.readouterr().out == "a-red-ball-3-2.mp4\n"


def test_a_drawn_seed_is_printed(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a ball", "--model", model, "--seconds", "0.2") == 0
    out, error = capsys.readouterr()
    assert f"seed: {out.strip().removeprefix('a-ball-').removesuffix('.mp4')}" in error.splitlines()


def test_prompts_from_a_file(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("# two\na ball\n\ntwo cubes\n")
    arguments = ["--prompts", "list.txt", "--model", model, "--seed", "1", "--seconds", "0.5", "-o", "out", "--json"]
    for _ in range(2):
        assert run(*arguments) == 0
        out, error = capsys.readouterr()
        assert [(item["path"], item["prompt"], item["seed"], item["num_frames"]) for item in json.loads(out)] == [
            ("out/a-ball-1.mp4", "a ball", 1, 4),
            ("out/two-cubes-1.mp4", "two cubes", 1, 4),
        ]
    assert "2 of 2 are there already" in error


def test_how_it_is_sampled(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = {}
    for name, words in (
        ("plain", ""),
        ("sampler", "--sampler dpmpp_2m"),
        ("interval", "--guidance-interval 0.2:0.5"),
    ):
        arguments = ["--model", model, "--seed", "1", "--steps", "4", "-o", f"{name}.png", "--json", *words.split()]
        assert run("a ball", *arguments) == 0
        (item,) = json.loads(capsys.readouterr().out)
        made[name] = (item["sampler"], item["guidance_interval"], Path(f"{name}.png").read_bytes())
    assert made["plain"][:2] == ("euler", [0.0, 1.0])
    assert made["sampler"][:2] == ("dpmpp_2m", [0.0, 1.0]) and made["interval"][:2] == ("euler", [0.2, 0.5])
    assert len({pixels for _, _, pixels in made.values()}) == 3


def test_sizes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (words, size) in enumerate(
        (("48x16", (16, 48)), ("30P --aspect 16:9", (32, 48)), ("40p --aspect 1:1", (32, 32)))
    ):
        assert run("a ball", "--model", model, "--seconds", "0.2", "--size", *words.split(), "-o", f"{number}.mp4") == 0
        info = probe_video(Path(f"{number}.mp4"))
        assert (info.height, info.width) == size
    capsys.readouterr()


def test_a_picture_is_set_in_motion(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 20), (200, 30, 30)).save("red.png")
    assert run("--image", "red.png", "--model", model, "--seed", "1", "--seconds", "1s", "--steps", "1") == 0
    out, error = capsys.readouterr()
    assert out == "red-1.mp4\n" and "red.png (64x20) is shown at 48x16" in error
    info = probe_video(Path("red-1.mp4"))
    assert (info.num_frames, info.height, info.width) == (8, 16, 48)
    assert run("a", "--image", "red-1.mp4", "--model", model) == 3
    assert "sora extend red-1.mp4" in capsys.readouterr().err


@pytest.mark.row(67, 68)
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["", "--model", "mine"], 2, "the prompt is empty"),
        ([], 2, 'say what to show: sora generate "a red ball bounces on green grass", or --prompts FILE'),
        (["a", "--prompts", "x"], 2, "both PROMPT and --prompts were given"),
        (["a", "b", "--model", "mine"], 2, "too many arguments: b; quote what has spaces"),
        (["a", "--model", "mine", "--seconds", "-3"], 2, "did you mean 3s?"),
        (["a", "--model", "mine", "--seconds", "0"], 2, "--seconds must be above 0"),
        (["a", "--model", "mine", "--size", "13x7"], 2, "the nearest is 16x16"),
        (["a", "--model", "mine", "--aspect", "16:9"], 2, "--aspect goes with --size, as in --size 480p --aspect 16:9"),
        (["a", "--model", "mine", "--fps", "0"], 2, "--fps must be above 0"),
        (["a", "--model", "mine", "--steps", "0"], 2, "--steps must be 1 to 1000"),
        (["a", "--model", "mine", "--sampler", "huen"], 2, "unknown sampler 'huen'; did you mean heun?"),
        (["a", "--model", "mine", "--guidance-interval", "0.9:0.2"], 2, "did you mean 0.2:0.9?"),
        (["a", "--model", "mine", "--dtype", "float23"], 2, "did you mean float32?"),
        (["a", "--model", "mine", "--device", "cudda"], 2, "did you mean cuda?"),
        (["a", "--model", "mien"], 4, "no model 'mien'; did you mean 'mine'?"),
        (["a", "--model", "mine/model/vae"], 4, "holds a vae, not a dit"),
        (["--prompts", "none.txt", "--model", "mine"], 3, "none.txt: no such file"),
        (["a", "--model", "mine", "-o", "there.mp4"], 2, "there.mp4 exists; give another name, or --overwrite"),
        (["a", "--model", "mine", "-o", "x.mp5"], 2, "try x.mp4"),
        (["a", "--model", "mine", "-o", "there.mp4/x.mp4"], 5, "cannot write"),
        (["a", "--num-inference-steps", "3"], 2, "no option --num-inference-steps; did you mean --steps?"),
        (["a", "--num-frames", "3"], 2, "did you mean --seconds?"),
        (["a", "--cfg", "3"], 2, "did you mean --guidance-scale?"),
        (["a", "--width", "3"], 2, "did you mean --size?"),
    ],
)
def test_refusals(model: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    Path("there.mp4").touch()
    assert run(*arguments, "--seed", "1") == code
    out, error = capsys.readouterr()
    assert out == "" and said in error.splitlines()[-1]
    # Once work has begun there is a line of progress before it.
    assert error.count("\n") == (2 if code == 5 else 1)
    assert not list(Path().glob("*.part.*"))


@pytest.mark.row(68)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_a_full_disk(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.part.mp4").symlink_to("/dev/full")
    assert run("a ball", "--model", model, "--seconds", "1", "--seed", "1", "-o", "x.mp4") == 5
    out, error = capsys.readouterr()
    assert out == "" and "the disk is full" in error.splitlines()[-1]
    assert not Path("x.mp4").exists()


def test_an_interrupt_leaves_what_plays(model: str) -> None:
    """The real thing: ^C at a running command, its exit code, its line, and the part that plays."""
    command = [sys.executable, "-m", "soracli.cli.app", "generate", "a ball", "--model", model, "--seconds", "1h"]
    with subprocess.Popen(
        [*command, "--seed", "1", "-o", "x.mp4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        part = Path("x.part.mp4")
        while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 1000):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 75 and out == ""
    last = error.splitlines()[-1]
    assert last.startswith("sora: stopped: SIGINT: ") and last.endswith(
        "frames are in x.part.mp4, which plays; the seed is 1"
    )
    assert probe_video(part).num_frames == int(last.split()[3])


def test_nothing_heavy_that_is_not_needed() -> None:
    script = (
        "import sys, soracli.cli.generate, soracli.pipelines.generate\n"
        "assert not {'timm', 'torchvision', 'tensorboard', 'transformers', 'typer.rich_utils'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
