"""Whether seams show where ``sora extend``, ``connect`` and ``loop`` go on, and whether the user's frames stay.

Videos go the way of the commands: a file is planned for, its frames and those that are made go to an encoder that keeps
every pixel, and are read back. Beside it the same seam without the residual that is carried over it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soracli.core.progress import Reporter
from soracli.data.image_read import Frames
from soracli.data.video_read import stream_frames
from soracli.data.video_write import VideoWriter
from soracli.metrics.intervals import Share, wilson_share
from soracli.metrics.seams import AROUND, FLOOR, frame_step, seam_ratio
from soracli.pipelines.fill_gap import FADE_SECONDS
from soracli.pipelines.lay_out import Stretch, Verb
from soracli.pipelines.plan_gap import GapPlan, plan_gap
from soracli.pipelines.seam_sources import (
    SECONDS,
    WORLD_SEEDS,
    SeamSource,
    SourceFile,
    clip_sources,
    frame_digests,
    world_sources,
    write_source,
)
from soracli.pipelines.video_maker import VideoMaker

VERBS: tuple[Verb, ...] = ("extend", "extend backward", "connect", "loop")
SMOOTH, SMOOTH_FOR_A_CAMERA = 1.5, 2.0
"""Ratios up to which a seam does not show: in drawn pictures, and in camera footage, which is never at rest."""
WORST_SHOWN = 3
"""Seams of each verb and material that are shown, the worst first."""
_SHOWN_EITHER_SIDE, _SHOWN_HEIGHT = 4, 96


@dataclass(frozen=True)
class Seam:
    """One place where what is made meets what was given.

    Attributes:
        after: Seconds of the video before it.
        step: Mean absolute difference of the frames around it, 8-bit levels.
        ratio: The step over the steps around, see ``metrics.seams``.
        plain_ratio: The same without the residual carried over it.
    """

    after: float
    step: float
    ratio: float
    plain_ratio: float


@dataclass(frozen=True)
class SeamCase:
    """One video that was made.

    Attributes:
        material: What it is made from.
        verb: What for.
        video: Name of the user's, or of both.
        prompt: What was asked.
        seed: That it was made with.
        seams: One for extend, two for connect and loop: into what is made and out of it.
        kept: Whether the user's own frames are the same, to the last bit, in what goes into the encoder.
        kept_in_file: Whether they are in the file, read back.
    """

    material: str
    verb: Verb
    video: str
    prompt: str
    seed: int
    seams: tuple[Seam, ...]
    kept: bool
    kept_in_file: bool


@dataclass(frozen=True)
class SeamFigures:
    """What holds of the seams of one verb on one material.

    Attributes:
        material: What videos are made from.
        verb: What for.
        median: Of the ratios.
        smooth: Share of seams with a ratio up to ``SMOOTH``.
        smooth_for_a_camera: Up to ``SMOOTH_FOR_A_CAMERA``.
        worst: The largest.
        plain_median: As above without the residual, as those that follow.
        plain_smooth: Likewise.
        plain_smooth_for_a_camera: Likewise.
        plain_worst: Likewise.
        kept: Share of videos whose own frames go to the encoder as they are.
        kept_in_file: Share of files that hold them.
    """

    material: str
    verb: Verb
    median: float
    smooth: Share
    smooth_for_a_camera: Share
    worst: float
    plain_median: float
    plain_smooth: Share
    plain_smooth_for_a_camera: Share
    plain_worst: float
    kept: Share
    kept_in_file: Share


@dataclass(frozen=True)
class SeamReport:
    """Cases one by one, figures by material and verb, and what was measured, for people."""

    cases: list[SeamCase]
    figures: list[SeamFigures]
    protocol: str


@dataclass(frozen=True)
class ShownSeam:
    """Frames ``(T, H, W, 3)`` uint8 around a seam, small."""

    case: SeamCase
    seam: Seam
    frames: Tensor


def evaluate_seams(
    maker: VideoMaker,
    model: Path,
    *,
    count: int,
    manifests: Sequence[Path] = (),
    seed: int,
    device: torch.device,
    reporter: Reporter,
) -> tuple[SeamReport, list[ShownSeam]]:
    """Make videos longer, connect and loop them, at the defaults of the commands, and look at the seams.

    Args:
        maker: The model.
        model: Its folder, which plans are made for.
        count: Videos of each verb and material.
        manifests: Materials beside the world.
        seed: Decides the videos; number i is gone on with with the seed ``seed + i``.
        device: Where scenes are drawn.
        reporter: Told how far it is.

    Returns:
        The report, and the worst seams of each verb and material.

    Raises:
        DataError: If a manifest cannot be used.
    """
    cases: list[SeamCase] = []
    shown: list[ShownSeam] = []
    materials: dict[str, Iterable[SeamSource]] = {"world": world_sources(maker, count + 1, seed, device)}
    materials |= {_material(path): clip_sources(path, count + 1, seed) for path in manifests}
    total = len(materials) * len(VERBS) * count
    with reporter.task("seams", total, "video") as task, tempfile.TemporaryDirectory() as folder:
        for material, sources in materials.items():
            found: list[ShownSeam] = []
            for number, (source, following) in enumerate(_neighbours(sources)):
                for case, seams in _cases(maker, model, material, source, following, seed + number, Path(folder)):
                    cases.append(case)
                    found = _worst([*found, *seams])
                    task.advance(1, worst=max(seam.ratio for seam in case.seams))
            shown += found
    return SeamReport(cases, seam_figures(cases), _protocol(count, list(materials), seed)), shown


def seam_figures(cases: Sequence[SeamCase]) -> list[SeamFigures]:
    """Figures by material and verb, in the order they come."""
    groups: dict[tuple[str, Verb], list[SeamCase]] = {}
    for case in cases:
        groups.setdefault((case.material, case.verb), []).append(case)
    return [_figures(material, verb, group) for (material, verb), group in groups.items()]


def _figures(material: str, verb: Verb, cases: Sequence[SeamCase]) -> SeamFigures:
    ratios = [seam.ratio for case in cases for seam in case.seams]
    plain = [seam.plain_ratio for case in cases for seam in case.seams]

    def within(values: Sequence[float], limit: float) -> Share:
        return wilson_share(sum(value <= limit for value in values), len(values))

    return SeamFigures(
        material=material,
        verb=verb,
        median=median(ratios),
        smooth=within(ratios, SMOOTH),
        smooth_for_a_camera=within(ratios, SMOOTH_FOR_A_CAMERA),
        worst=max(ratios),
        plain_median=median(plain),
        plain_smooth=within(plain, SMOOTH),
        plain_smooth_for_a_camera=within(plain, SMOOTH_FOR_A_CAMERA),
        plain_worst=max(plain),
        kept=wilson_share(sum(case.kept for case in cases), len(cases)),
        kept_in_file=wilson_share(sum(case.kept_in_file for case in cases), len(cases)),
    )


def _cases(
    maker: VideoMaker,
    model: Path,
    material: str,
    source: SeamSource,
    following: SeamSource,
    seed: int,
    folder: Path,
) -> Iterator[tuple[SeamCase, list[ShownSeam]]]:
    own = write_source(source, folder / "own.mkv")
    second = write_source(following, folder / "second.mkv", source.form)
    files = {file.path: file for file in (own, second)}
    for verb in VERBS:
        paths = [own.path, second.path] if verb == "connect" else [own.path]
        out = folder / "made.mkv"
        plan = plan_gap(
            verb, paths, model=model, prompt=source.prompt, seed=seed, out=out, overwrite=True, lossless=True
        )
        places = seam_places(plan)
        with VideoWriter(out, fps=plan.fps, overwrite=True, lossless=True) as writer:
            made = _watch(_written(maker.verbs.fill_gap(plan, FADE_SECONDS), writer), places)
        plain = _watch(maker.verbs.fill_gap(plan, 0.0), places)
        read = [
            digest
            for frames in stream_frames(out, num_frames=len(made.digests), fps=plan.fps)
            for digest in frame_digests(frames)
        ]
        case = SeamCase(
            material=material,
            verb=verb,
            video=f"{source.name}, {following.name}" if verb == "connect" else source.name,
            prompt=source.prompt,
            seed=seed,
            seams=tuple(
                Seam(
                    after=(place + 1) / plan.fps,
                    step=made.steps[place],
                    ratio=_ratio(made, places, place, plan),
                    plain_ratio=_ratio(plain, places, place, plan),
                )
                for place in places
            ),
            kept=_has_own_frames(made.digests, plan, files),
            kept_in_file=_has_own_frames(read, plan, files),
        )
        shown = [ShownSeam(case, seam, made.around(place)) for seam, place in zip(case.seams, places, strict=True)]
        yield case, shown


def seam_places(plan: GapPlan) -> list[int]:
    """The steps of a planned video that are seams; step k is that from frame k on, the last one of a loop to its first.

    Args:
        plan: Of ``plan_gap``.
    """
    given = 0 if plan.first is None else plan.first.num_frames
    places = [given - 1] if plan.first is not None else []
    runs_into_something = plan.last is not None or plan.verb == "loop"
    return places + ([given + plan.num_frames - 1] if runs_into_something else [])


@dataclass(frozen=True)
class _Watched:
    """What is kept of a video that went by: its steps, a digest of every frame, and small frames around its seams."""

    steps: list[float]
    digests: list[bytes]
    small: Mapping[int, Tensor]

    def around(self, place: int) -> Tensor:
        """Frames ``(T, H, W, 3)`` on both sides of a step."""
        count = len(self.digests)
        near = (number % count for number in _near(place))
        return torch.stack([self.small[number] for number in dict.fromkeys(near)])


def _watch(chunks: Iterable[Frames], places: Sequence[int]) -> _Watched:
    """Steps and digests of a video in constant memory, the step from its last frame to its first among them."""
    steps: list[float] = []
    digests: list[bytes] = []
    small: dict[int, Tensor] = {}
    wanted = {number for place in places for number in _near(place)}
    first = last = None
    for frames in chunks:
        for frame in torch.from_numpy(np.ascontiguousarray(frames)):
            number = len(digests)
            if number in wanted or number < _SHOWN_EITHER_SIDE:
                small[number] = _small(frame)
            digests += frame_digests(frame[None].numpy())
            if last is None:
                first = frame.clone()
            else:
                steps.append(frame_step(last, frame))
            last = frame.clone()
    assert first is not None and last is not None
    return _Watched([*steps, frame_step(last, first)], digests, small)


def _near(place: int) -> range:
    return range(max(0, place + 1 - _SHOWN_EITHER_SIDE), place + 1 + _SHOWN_EITHER_SIDE)


def _ratio(watched: _Watched, places: Sequence[int], place: int, plan: GapPlan) -> float:
    is_loop = plan.verb == "loop"
    steps = watched.steps if is_loop else watched.steps[:-1]
    return seam_ratio(steps, place, other_seams=places, is_loop=is_loop)


def _has_own_frames(digests: Sequence[bytes], plan: GapPlan, files: Mapping[Path, SourceFile]) -> bool:
    """Whether the user's frames stand where they should in the whole video, and it is as long as it should be."""

    def of(stretch: Stretch | None) -> list[bytes]:
        return [] if stretch is None else files[stretch.info.path].digests[stretch.start : stretch.stop]

    first, last = of(plan.first), of(plan.last)
    right_length = len(digests) == len(first) + plan.num_frames + len(last)
    return right_length and [*digests[: len(first)], *digests[len(first) + plan.num_frames :]] == [*first, *last]


def _written(chunks: Iterable[Frames], writer: VideoWriter) -> Iterator[Frames]:
    for frames in chunks:
        writer.write(frames)
        yield frames


def _neighbours(sources: Iterable[SeamSource]) -> Iterator[tuple[SeamSource, SeamSource]]:
    """Each but the last, with the one after it."""
    before = None
    for source in sources:
        if before is not None:
            yield before, source
        before = source


def _worst(seams: Sequence[ShownSeam]) -> list[ShownSeam]:
    """The worst ``WORST_SHOWN`` of each verb."""
    by_verb = {verb: [seam for seam in seams if seam.case.verb == verb] for verb in VERBS}
    return [seam for group in by_verb.values() for seam in sorted(group, key=lambda one: -one.seam.ratio)[:WORST_SHOWN]]


def _small(frame: Tensor) -> Tensor:
    height, width = frame.shape[:2]
    if height <= _SHOWN_HEIGHT:
        return frame.clone()
    size = (_SHOWN_HEIGHT, max(1, round(width * _SHOWN_HEIGHT / height)))
    levels = functional.interpolate(frame.permute(2, 0, 1)[None].float(), size, mode="area")
    return levels[0].round().to(torch.uint8).permute(1, 2, 0)


def _material(path: Path) -> str:
    """What people call a manifest: its folder, or the one above where that is called clips."""
    folder = path.absolute().parent
    return folder.parent.name if folder.name == "clips" else folder.name


def _protocol(count: int, materials: Sequence[str], seed: int) -> str:
    clips = f", and clips of {', '.join(materials[1:])} at their own" if len(materials) > 1 else ""
    return (
        f"{count} videos of each verb and material: scenes of the world {WORLD_SEEDS + seed}, as it draws them, at the "
        f"model's size and rate{clips}, up to {SECONDS:g} s, at the defaults of the commands, each with its caption; "
        f"video i with seed {seed} + i; connected to the next one in its size and rate; step at the seam (mean "
        f"absolute difference of the frames around it) over the median of the {AROUND} steps on either side, at least "
        f"{FLOOR:g} of 255 levels; extended videos have one seam, the others two; plain: no residual is carried over; "
        "kept: the user's own frames are the same, bit for bit, in what goes to the encoder, and in a lossless file, "
        "read back; in brackets Wilson's 95 % intervals"
    )
