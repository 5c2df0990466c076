"""``sora vae encode`` and ``decode``: options to files and back, and every refusal as one line with its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from soracli.cli.app import main
from soracli.data.latents_file import LatentsWriter, read_latents_record
from soracli.data.latents_record import LatentsRecord
from soracli.data.video_probe import probe_video
from soracli.models.store import load_vae
from soracli.pipelines import decode_file, encode_file
from tests.data.media import make_video
from tests.pipelines.files import write_vae

LOSSLESS = ("-c:v", "png", "-pix_fmt", "rgb24")


@pytest.fixture
def video(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for module in (encode_file, decode_file):
        monkeypatch.setattr(module, "set_threads", lambda count: count)
    write_vae(workspace / "mine/model/vae")
    make_video(workspace / "a.mkv", "testsrc2=s=33x21:r=12:d=0.5,format=gbrp", *LOSSLESS)
    return "a.mkv"


def run(command: str, *arguments: str) -> int:
    return main(["vae", command, "--device", "cpu", *arguments])


def test_there_and_back(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("encode", video, "--out", "a.safetensors", "--model", "mine") == 0
    out, error = capsys.readouterr()
    assert out == "a.safetensors\n" and error.startswith("encode: 6/6 frames, in ") and error.count("\n") == 1
    assert run("decode", "a.safetensors", "-o", "deep/b.mp4", "--model", "mine/model", "--json") == 0
    out, error = capsys.readouterr()
    assert json.loads(out) == {"video": "deep/b.mp4"} and error.startswith("decode: 6/6 frames, in ")
    info = probe_video(Path("deep/b.mp4"))
    assert (info.num_frames, info.height, info.width, info.fps) == (6, 21, 33, 12)
    assert load_file("a.safetensors")["latents"].shape == (4, 3, 3, 5)


def test_options_arrive(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGBA", (60, 50), (0, 0, 0, 0)).save("clear.png")
    tiles = ["--chunk-frames", "9", "--tile", "40px", "--tile-overlap", "8"]
    options = [*tiles, "--dtype", "float16", "--background", "skyblue", "--model", "mine"]
    assert run("encode", "clear.png", "-o", "c.safetensors", *options) == 0
    record = read_latents_record(Path("c.safetensors"))
    assert (record.stored, record.num_frames, record.padding) == ("float16", 1, (0, 6, 4))
    wanted = {"background": "#87ceeb", "chunk_frames": 8, "tile": 40, "tile_overlap": 8}
    assert wanted.items() <= record.made.items()
    assert run("decode", "c.safetensors", "-o", "d.png", *tiles, "--model", "mine") == 0
    error = capsys.readouterr().err
    for word in ("encoding", "decoding"):
        assert f"{word} in 3x3 tiles of up to 40 pixels, overlapping by 8, of the " in error
    assert run("decode", "c.safetensors", "-o", "d.png", "--overwrite", "--tile", "off", "--model", "mine") == 0
    assert "tiles" not in capsys.readouterr().err


def test_dry_run(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("encode", video, "-o", "a.safetensors", "--model", "mine", "--dry-run") == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert (lines["shape"], lines["num bytes"], lines["tiles"]) == ("4x3x3x5", "720", "whole frames")
    assert lines["padding"] == "frames 3, rows 3, columns 7"
    assert not Path("a.safetensors").exists()
    assert run("encode", video, "-o", "a.safetensors", "--model", "mine") == 0
    capsys.readouterr()
    assert run("decode", "a.safetensors", "-o", "b.mp4", "--model", "mine", "--dry-run", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["num_frames"], facts["width"], facts["height"], facts["fps"]) == (6, 33, 21, "12")
    assert facts["made"]["source"] == "a.mkv" and facts["shape"] == [4, 3, 3, 5]
    assert not Path("b.mp4").exists()


@pytest.mark.parametrize(
    ("kind", "source", "arguments"),
    [
        ("one frame", "testsrc2=s=16x16:r=1:d=1", LOSSLESS),
        ("1x1", "color=c=red:s=1x1:r=12:d=0.5", LOSSLESS),
        ("odd", "testsrc2=s=17x9:r=12:d=0.2,format=gbrp", LOSSLESS),
        ("10-bit", "testsrc2=s=18x10:r=12:d=0.5", ("-c:v", "ffv1", "-pix_fmt", "yuv420p10le")),
        ("grey", "testsrc2=s=18x10:r=12:d=0.5", ("-c:v", "ffv1", "-pix_fmt", "gray")),
        ("alpha", "color=c=red@0.5:s=18x10:r=12:d=0.5,format=rgba", ("-c:v", "qtrle", "-pix_fmt", "argb")),
    ],
)
def test_every_kind_comes_back_whole(
    video: str, capsys: pytest.CaptureFixture[str], kind: str, source: str, arguments: tuple[str, ...]
) -> None:
    path = make_video(Path("kind.mov" if kind == "alpha" else "kind.mkv"), source, *arguments)
    assert run("encode", str(path), "-o", "k.safetensors", "--model", "mine") == 0
    assert run("decode", "k.safetensors", "-o", "k.mp4", "--model", "mine") == 0
    assert capsys.readouterr().out == "k.safetensors\nk.mp4\n"
    given, made = probe_video(path), probe_video(Path("k.mp4"))
    assert (made.num_frames, made.height, made.width, made.fps) == (
        given.num_frames,
        given.height,
        given.width,
        given.fps,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["encode", "none.mp4", "-o", "x.safetensors"], 3, "none.mp4: no such file"),
        (["encode", "text.mp4", "-o", "x.safetensors"], 3, "text.mp4: not a video that can be read"),
        (["encode", "a.mkv"], 2, "missing option"),
        (["encode", "a.mkv", "-o", "text.mp4"], 2, "text.mp4 exists; give another name, or --overwrite"),
        (["encode", "a.mkv", "-o", "x.s", "--tile", "of"], 2, "did you mean off?"),
        (["encode", "a.mkv", "-o", "x.s", "--tile", "8", "--tile-overlap", "5"], 2, "use at least 24, or a smaller"),
        (["encode", "a.mkv", "-o", "x.s", "--dtype", "bfloat16"], 2, "did you mean float16?"),
        (["encode", "a.mkv", "-o", "x.s", "--background", "whitte"], 2, "did you mean white?"),
        (["encode", "a.mkv", "-o", "x.s", "--chunk-frames", "0"], 2, "--chunk-frames"),
        (["encode", "a.mkv", "-o", "x.s", "--device", "cudda"], 2, "did you mean cuda?"),
        (["encode", "a.mkv", "-o", "text.mp4/x.s"], 5, "cannot write"),
        (["encode", "a.mkv", "-o", "x.s", "--model", "mien"], 4, "no model 'mien'; did you mean 'mine'?"),
        (["encode", "a.mkv", "-o", "x.s", "--model", "bad"], 6, "the VAE's encoder gave numbers that are not finite"),
        (["decode", "none.s", "-o", "x.mp4"], 4, "none.s: no such file; make latents: sora vae encode VIDEO"),
        (["decode", "a.mkv", "-o", "x.mp4"], 4, "a.mkv is no latents file, or it is damaged"),
        (["decode", "other.s", "-o", "x.mp4"], 4, "other.s holds no latents of a video"),
        (["decode", "a.s", "-o", "x.mp5"], 2, "try x.mp4"),
        (["decode", "a.s", "-o", "x.png"], 2, "x.png holds one picture, a.s is 6 frames; name a .mp4"),
        (["decode", "a.s", "-o", "text.mp4"], 2, "text.mp4 exists; give another name, or --overwrite"),
        (["decode", "a.s", "-o", "x.mp4", "--model", "bad"], 4, "name the one that made them with --model"),
        (["decode", "a.s", "-o", "x.mp4", "--num-frames", "3"], 2, "no option --num-frames"),
    ],
)
def test_refusals(video: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    Path("text.mp4").write_text("no video")
    write_vae(Path("bad"), nan="encoder.stem.conv.bias")
    save_file(load_file("bad/model.safetensors"), "other.s")
    assert run("encode", video, "-o", "a.s", "--model", "mine") == 0
    capsys.readouterr()
    model = [] if "--model" in arguments else ["--model", "mine"]
    assert run(*arguments, *model) == code
    out, error = capsys.readouterr()
    last = error.splitlines()[-1]
    assert out == "" and last.startswith("sora: error: ") and said in last
    assert error.count("\n") == (2 if code == 6 else 1)  # with numbers, work had begun
    assert not list(Path().glob("*.part*")) and not list(Path().glob("x.*"))
    assert Path("text.mp4").read_text() == "no video"


def test_an_interrupt(video: str) -> None:
    """The real thing: ^C at a running command, its exit code, its line, and the part that plays."""
    spec = load_vae(Path("mine"))[1]
    record = LatentsRecord(
        spec=spec, num_frames=1_000_000, height=8, width=8, fps=Fraction(24), stored="float32", made={}
    )
    with LatentsWriter(Path("long.s"), record) as writer:
        writer.write(torch.zeros(record.shape))
    command = [sys.executable, "-m", "soracli.cli.app", "vae", "decode", "long.s", "-o", "x.mp4", "--model", "mine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        part = Path("x.part.mp4")
        while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 1000):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 75 and out == ""
    last = error.splitlines()[-1]
    assert last.startswith("sora: stopped: SIGINT: ") and "frames are in x.part.mp4, which plays" in last
    assert probe_video(part).num_frames == int(last.split()[3]) and not Path("x.mp4").exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_length(video: str, repository: Path) -> None:
    """A minute takes at most 1.05 times what 5 seconds take, each way; the script tells by its exit code."""
    command = [sys.executable, str(repository / "benchmarks/vae_memory.py"), "--model", "mine", "--size", "64x64"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(repository)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["encode", "decode"]
