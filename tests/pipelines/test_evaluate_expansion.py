"""What expansion is said to change, with a judge that is right about expanded prompts only, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import Tensor

from soracli.core.progress import SilentReporter
from soracli.metrics.obedience import SceneWords
from soracli.models.judge import Judge
from soracli.pipelines import evaluate_expansion as module
from soracli.pipelines.evaluate_expansion import ExpansionReport, evaluate_expansion
from soracli.pipelines.expand_prompt import Expansion, expand_prompts
from soracli.pipelines.world_prompts import draw_prompts
from tests.pipelines.tiny_eval import JUDGE, flat, pretend_maker

COUNT, SEED = 6, 50


def measure(
    monkeypatch: pytest.MonkeyPatch, *, right_when_expanded: bool, variants: int | None = None
) -> ExpansionReport:
    prompts = [prompt for prompt in draw_prompts(2 * COUNT, SEED) if prompt.style == "short"]
    made: list[tuple[str, int]] = []

    def make(prompt: str, seed: int, frames: int) -> Tensor:
        made.append((prompt, seed))
        return flat(seed, frames)

    def see(judge: Judge, frames: Tensor, fps: float) -> SceneWords:
        text, seed = made[-1]
        asked = prompts[seed - SEED]
        return asked.asked if (text != asked.text) == right_when_expanded else SceneWords(count=0)

    def expand(texts: Sequence[str], seeds: Sequence[int]) -> list[Expansion]:
        return expand_prompts(texts, [variants if variants is not None else seed for seed in seeds])

    monkeypatch.setattr(module, "judge_video", see)
    report = evaluate_expansion(
        pretend_maker(make), Judge(JUDGE), expand, count=COUNT, seconds=0.75, seed=SEED, reporter=SilentReporter()
    )
    assert [seed for _, seed in made] == [SEED + number // 2 for number in range(2 * COUNT)]
    assert [text for text, _ in made[::2]] == [prompt.text for prompt in prompts]
    return report


def test_gains_and_losses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for better in (True, False):
        report = measure(monkeypatch, right_when_expanded=better)
        assert (report.prompts, report.expanded, report.contradicted) == (COUNT, COUNT, 0)
        assert report.with_expansion["colour_and_shape"].share == float(better)
        assert report.plain["colour_and_shape"].share == float(not better)
        gained, lost = report.gained["colour_and_shape"], report.lost["colour_and_shape"]
        assert (gained, lost) == ((COUNT, 0) if better else (0, COUNT))


def test_expansions_that_are_always_the_same_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure(monkeypatch, right_when_expanded=True).distinct > 0.8
    assert measure(monkeypatch, right_when_expanded=True, variants=1).distinct == pytest.approx(1 / module.VARIANTS)
