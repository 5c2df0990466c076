"""Whether expansion makes short prompts better obeyed: each is made as it is and expanded, and judged by what it asks.

What the expansion added is not asked: a video is right when it shows what the user typed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from soracli.core.progress import Reporter
from soracli.metrics.contradictions import contradictions, distinct_content
from soracli.metrics.intervals import Share, wilson_share
from soracli.metrics.obedience import QUESTIONS, Obedience, score_scene
from soracli.models.judge import Judge
from soracli.pipelines.expand_prompt import Expansion
from soracli.pipelines.judge import judge_video
from soracli.pipelines.video_maker import VideoMaker
from soracli.pipelines.world_prompts import draw_prompts

VARIANTS = 8
"""Expansions of one prompt whose difference is measured."""
_VARIED = 16


@dataclass(frozen=True)
class ExpansionReport:
    """What expansion changed.

    Attributes:
        prompts: Short prompts.
        expanded: How many of them were expanded; the others stayed as they are.
        contradicted: How many expansions the checker objects to.
        distinct: Mean share of expansions of one prompt that differ in content.
        plain: Share right of videos of the prompts as they are, by question of ``QUESTIONS``.
        with_expansion: The same for expanded prompts and the same seeds.
        gained: Prompts that only came out right expanded, by question.
        lost: Prompts that only came out right as they are.
        protocol: What was measured, for people.
    """

    prompts: int
    expanded: int
    contradicted: int
    distinct: float
    plain: dict[str, Share]
    with_expansion: dict[str, Share]
    gained: dict[str, int]
    lost: dict[str, int]
    protocol: str


def evaluate_expansion(
    maker: VideoMaker,
    judge: Judge,
    expand: Callable[[Sequence[str], Sequence[int]], list[Expansion]],
    *,
    count: int,
    seconds: float,
    seed: int,
    reporter: Reporter,
) -> ExpansionReport:
    """Make and judge two videos of each prompt, from the same noise.

    Args:
        maker: The model.
        judge: A trained judge.
        expand: ``expand_prompts``, with or without an endpoint.
        count: Short prompts, half of them naming combinations that training never shows.
        seconds: Length of each video.
        seed: Decides prompts, expansions and noise.
        reporter: Told how far it is.

    Raises:
        SoraError: As the parts do.
    """
    prompts = [prompt for prompt in draw_prompts(2 * count, seed) if prompt.style == "short"]
    seeds = [seed + number for number in range(count)]
    expansions = expand([prompt.text for prompt in prompts], seeds)
    answers: list[tuple[Obedience, Obedience]] = []
    with reporter.task("expansion", count, "prompt") as task:
        for prompt, expansion, number in zip(prompts, expansions, seeds, strict=True):
            plain, longer = (
                score_scene(prompt.asked, judge_video(judge, maker.make(text, number, seconds), maker.fps))
                for text in (prompt.text, expansion.text)
            )
            answers.append((plain, longer))
            task.advance()
    varied = [prompt.text for prompt in prompts[:_VARIED]]
    variants = [[one.text for one in expand([text] * VARIANTS, range(seed, seed + VARIANTS))] for text in varied]
    pairs = {
        question: [
            (bool(getattr(plain, question)), bool(getattr(longer, question)))
            for plain, longer in answers
            if getattr(plain, question) is not None
        ]
        for question in QUESTIONS
    }
    pairs = {question: found for question, found in pairs.items() if found}
    return ExpansionReport(
        prompts=count,
        expanded=sum(one.text != one.prompt for one in expansions),
        contradicted=sum(bool(contradictions(one.prompt, one.text)) for one in expansions),
        distinct=sum(map(distinct_content, varied, variants)) / len(varied),
        plain={name: wilson_share(sum(one for one, _ in found), len(found)) for name, found in pairs.items()},
        with_expansion={name: wilson_share(sum(two for _, two in found), len(found)) for name, found in pairs.items()},
        gained={name: sum(two and not one for one, two in found) for name, found in pairs.items()},
        lost={name: sum(one and not two for one, two in found) for name, found in pairs.items()},
        protocol=(
            f"{count} short prompts of the world {seed} of obedience, each made as it is and expanded, both from the "
            f"seed {seed} + i, {seconds:g} s; judged by what the short prompt asks; gained and lost are prompts that "
            f"only one of the two videos has right; {VARIANTS} expansions each of {len(varied)} prompts for variety"
        ),
    )
