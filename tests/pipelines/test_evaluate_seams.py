"""Seams of makers whose answer is known: some go on, some jump, some touch the user's frames; and of the real verbs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soracli.core.errors import DataError
from soracli.core.progress import SilentReporter
from soracli.data.image_read import Frames
from soracli.data.video_read import read_frames
from soracli.data.video_write import VideoWriter
from soracli.pipelines import evaluate_seams as module
from soracli.pipelines.evaluate_seams import VERBS, SeamReport, ShownSeam, evaluate_seams
from soracli.pipelines.fill_gap import FADE_SECONDS
from soracli.pipelines.index_clips import index_clips
from soracli.pipelines.plan_gap import GapPlan
from soracli.pipelines.video_maker import open_model
from tests.pipelines.tiny_eval import FPS, SIDE, flat, pretend_maker, save_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def moving(count: int, size: tuple[int, int] = (SIDE, SIDE), speed: int = 1) -> Frames:
    """Stripes of period 16 that move by a pixel a frame, so any 16 frames are a loop: every step is the same."""
    stripes = (np.arange(size[1]) % 16 * 16).astype(np.uint8)
    frames = [np.broadcast_to(np.roll(stripes, speed * k)[None, :, None], (*size, 3)) for k in range(count)]
    return np.stack(frames)


def rolled(frames: Frames, by: int) -> Frames:
    return np.stack([np.roll(frame, by + k, 1) for k, frame in enumerate(frames)])


class Pretended:
    """Writes the user's frames and goes on with them; what it makes may jump, without the residual by more."""

    def __init__(self, jump: int = 0, plain_jump: int = 0, touched: str = "") -> None:
        self.jump, self.plain_jump, self.touched = jump, plain_jump, touched
        self.plans: list[GapPlan] = []

    def __call__(self, plan: GapPlan, fade_seconds: float) -> Iterator[Frames]:
        self.plans.append(plan)
        jump = self.jump if fade_seconds == FADE_SECONDS else self.plain_jump
        own = [self.own(stretch) for stretch in (plan.first, plan.last)]
        if own[0] is not None:
            made = np.repeat(own[0][-1:], plan.num_frames, 0)
        else:
            made = np.repeat(own[1][:1], plan.num_frames, 0)  # type: ignore[index]
        made = np.clip(made.astype(int) + jump, 0, 255).astype(np.uint8)
        if own[0] is not None:
            yield self.touch(own[0], "first")
        yield made
        if own[1] is not None:
            yield self.touch(own[1], "last")

    @staticmethod
    def own(stretch: Any) -> Frames | None:
        return None if stretch is None else read_frames(stretch.info.path)[stretch.start : stretch.stop]

    def touch(self, frames: Frames, part: str) -> Frames:
        if self.touched != part:
            return frames
        changed = frames.copy()
        changed[len(changed) // 2, 3, 3, 1] ^= 1
        return changed


def evaluate(model: Path, made: Pretended, **given: Any) -> tuple[SeamReport, list[ShownSeam]]:
    maker = pretend_maker(lambda prompt, seed, count: flat(0, count), fill_gap=made)
    known: dict[str, Any] = {"count": 2, "seed": 3, "device": CPU, "reporter": SilentReporter(), **given}
    return evaluate_seams(maker, model, **known)


def still_clips(folder: Path, *, size: tuple[int, int] = (24, 40), count: int = 3, fps: float = 16.0) -> Path:
    """Clips of one picture each, which stand still, so that going on with the last frame is right."""
    folder.mkdir()
    for number in range(count):
        frames = np.full((int(2 * fps), *size, 3), 100, np.uint8)
        frames[:, 4 : 10 + number, 5:20] = 160
        with VideoWriter(folder / f"{number}.mkv", fps=fps, lossless=True) as writer:
            writer.write(frames)
        (folder / f"{number}.txt").write_text(f"clip {number}")
    return index_clips(folder).manifest


def test_no_seam_in_what_goes_on_as_it_was(model: Path, workspace: Path) -> None:
    report, shown = evaluate(model, Pretended(), manifests=[still_clips(workspace / "film")])
    by_place = {(row.material, row.verb): row for row in report.figures}
    assert list(by_place) == [(material, verb) for material in ("world", "film") for verb in VERBS]
    for verb in VERBS:
        row = by_place["film", verb]
        seams = 2 * (1 if "extend" in verb else 2)
        assert row.smooth.total == row.smooth_for_a_camera.total == seams
        if verb != "connect":  # a connection from one still picture to another ends with a cut
            assert row.worst == row.plain_worst == 0 and row.smooth.right == seams
        assert row.kept.share == row.kept_in_file.share == 1
    assert by_place["film", "connect"].worst > 1.5
    assert len(shown) == sum(min(3, row.smooth.total) for row in report.figures)
    assert all(1 < len(seam.frames) <= 8 for seam in shown)
    for word in ("4000003", "film", "2 videos of each verb"):
        assert word in report.protocol


def test_a_jump_at_the_seam_fails(model: Path, workspace: Path) -> None:
    clips = still_clips(workspace / "film")
    report, shown = evaluate(model, Pretended(jump=6, plain_jump=20), manifests=[clips])
    for case in (case for case in report.cases if case.material == "film" and case.verb != "connect"):
        assert [round(seam.step, 3) for seam in case.seams] == [6.0] * len(case.seams)
        assert all(seam.ratio == pytest.approx(6) and seam.plain_ratio == pytest.approx(20) for seam in case.seams)
        assert case.kept and case.kept_in_file
    for row in (row for row in report.figures if row.material == "film"):
        assert row.smooth.right == row.smooth_for_a_camera.right == 0 and row.median >= 2
    worst = [seam.seam.ratio for seam in shown if seam.case.verb == "loop" and seam.case.material == "film"]
    assert worst == sorted(worst, reverse=True)


@pytest.mark.parametrize(
    ("part", "touched"), [("first", {"extend", "connect", "loop"}), ("last", {"extend backward", "connect"})]
)
def test_one_bit_of_one_frame_of_the_users_is_noticed(part: str, touched: set[str], model: Path) -> None:
    report, _ = evaluate(model, Pretended(touched=part), count=1)
    assert {case.verb for case in report.cases if not case.kept} == touched
    assert {case.verb for case in report.cases if not case.kept_in_file} == touched


def test_plans_are_those_of_the_commands(model: Path, workspace: Path) -> None:
    """Four seconds longer, two between; the second video in the first one's form; each with its caption."""
    made = Pretended()
    report, _ = evaluate(model, made, manifests=[still_clips(workspace / "film")], count=1)
    film = [plan for plan in made.plans if plan.fps != FPS][::2]
    assert [plan.verb for plan in film] == list(VERBS) and len(made.plans) == 2 * 2 * len(VERBS)
    assert [plan.num_frames for plan in film] == [64, 64, 33, 9]  # a loop makes up to half of it anew
    assert all((plan.size, plan.fps) == ((24, 40), 16.0) and plan.seed == 3 for plan in film)
    assert {plan.prompt for plan in film} == {case.prompt for case in report.cases if case.material == "film"}
    assert all(case.prompt.startswith("clip ") for case in report.cases if case.material == "film")
    connected = next(case for case in report.cases if case.material == "film" and case.verb == "connect")
    assert [round(seam.after * 16) for seam in connected.seams] == [32, 65]


def test_seams_repeat_themselves_and_the_users_frames_stay(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real verbs of a model that knows nothing."""
    monkeypatch.setattr(module, "VERBS", ("connect", "loop"))
    maker = open_model(model, CPU)
    reports = [
        evaluate_seams(maker, model, count=1, seed=0, device=CPU, reporter=SilentReporter())[0] for _ in range(2)
    ]
    assert reports[0] == reports[1]
    for case in reports[0].cases:
        assert case.kept and case.kept_in_file
        assert len(case.seams) == 2
    residual = [seam for case in reports[0].cases for seam in case.seams]
    assert sum(seam.ratio < seam.plain_ratio for seam in residual) > len(residual) / 2


def test_clips_that_cannot_be_used(model: Path, workspace: Path) -> None:
    with pytest.raises(DataError, match="no clip of 1 s or more"):
        folder = workspace / "short"
        folder.mkdir()
        with VideoWriter(folder / "a.mkv", fps=8.0, lossless=True) as writer:
            writer.write(moving(4))
        evaluate(model, Pretended(), manifests=[index_clips(folder).manifest])
