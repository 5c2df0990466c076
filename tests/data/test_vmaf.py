"""VMAF: against ffmpeg called by hand on two files, on copies and blurs, and what is refused."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from soracli.core.errors import MachineError
from soracli.data import vmaf
from soracli.data.image_read import Frames
from soracli.data.vmaf import SMALLEST_SIDE, has_vmaf, vmaf_score
from soracli.data.world.clips import world_frames

pytestmark = pytest.mark.skipif(not has_vmaf(), reason="this ffmpeg has no libvmaf")


def _clip(num_frames: int = 5, height: int = 64, width: int = 80) -> Frames:
    frames, _ = world_frames(3, 1, num_frames=num_frames, fps=12, height=height, width=width, split="train")
    return frames.numpy()


def _blurred(frames: Frames, times: int = 1) -> Frames:
    wide = frames.astype(float)
    for _ in range(times):
        for axis in (1, 2):
            wide = (np.roll(wide, 1, axis) + wide + np.roll(wide, -1, axis)) / 3
    return np.rint(wide).astype(np.uint8)


def _by_hand(folder: Path, decoded: Frames, frames: Frames) -> float:
    """Two raw files, as anybody would do it."""
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    inputs = []
    for name, video in (("decoded", decoded), ("original", frames)):
        (folder / f"{name}.rgb").write_bytes(video.tobytes())
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-framerate", "25")
        inputs += [*raw, "-i", str(folder / f"{name}.rgb")]
    convert = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_inp,format=yuv444p"
    graph = f"[0:v]{convert}[a];[1:v]{convert}[b];[a][b]libvmaf=log_fmt=json:log_path={folder / 'log.json'}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", *inputs, "-lavfi", graph, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (folder / "log.json").stat().st_size > 0
    return float(done.stderr.partition("VMAF score: ")[2].split()[0])


@pytest.mark.parametrize(("num_frames", "height", "width"), [(5, 64, 80), (1, 64, 80), (3, 33, 47)])
def test_score_is_that_of_ffmpeg_on_two_files(tmp_path: Path, num_frames: int, height: int, width: int) -> None:
    frames = _clip(num_frames, height, width)
    decoded = _blurred(frames)
    assert vmaf_score(decoded, frames) == pytest.approx(_by_hand(tmp_path, decoded, frames), abs=1e-4)


def test_a_copy_is_above_95_and_a_blur_below() -> None:
    frames = _clip()
    copy, blurred, very = (vmaf_score(video, frames) for video in (frames, _blurred(frames), _blurred(frames, 4)))
    assert copy > 95 > blurred > very + 5


def test_which_is_the_original_matters() -> None:
    """A blur is worse than its original; were the two confused, it would look like a sharpened one."""
    frames = _clip()
    assert vmaf_score(_blurred(frames, 2), frames) < vmaf_score(frames, _blurred(frames, 2))


def test_misfits_are_refused() -> None:
    frames = _clip()
    small = frames[:, : SMALLEST_SIDE - 1]
    for decoded, original, said in (
        (frames, frames[:-1], "two videos"),
        (frames[:0], frames[:0], "two videos"),
        (small, small, "at least 32x32"),
    ):
        with pytest.raises(ValueError, match=said):
            vmaf_score(decoded, original)
    with pytest.raises(ValueError, match="uint8"):
        vmaf_score(frames.astype(np.float32), frames)
    assert vmaf_score(frames[:, :SMALLEST_SIDE, :SMALLEST_SIDE], frames[:, :SMALLEST_SIDE, :SMALLEST_SIDE]) > 90


def _program(folder: Path, text: str) -> str:
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_ffmpeg_without_vmaf_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _program(tmp_path, "echo \"Unknown filter 'libvmaf'.\"")
    monkeypatch.setattr(vmaf, "ffmpeg_path", lambda: program)
    assert not has_vmaf()
    with pytest.raises(MachineError, match="no libvmaf"):
        vmaf_score(_clip(), _clip())


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("cat >/dev/null; echo '[error] cannot load model' >&2; exit 3", "cannot load model"),
        ("exec sleep 9", "stopped"),
    ],
)
def test_an_ffmpeg_that_fails_or_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, said: str
) -> None:
    program = _program(tmp_path, f'case "$*" in *filter=libvmaf*) echo "libvmaf AVOptions:";; *) {does};; esac')
    monkeypatch.setattr(vmaf, "ffmpeg_path", lambda: program)
    with pytest.raises(MachineError, match=said):
        vmaf_score(_clip(), _clip(), timeout=0.3)
