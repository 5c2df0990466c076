"""Identity with makers that are known: true renders keep it, one that changes the colour does not, nor one at rest."""

from dataclasses import replace

import pytest
import torch

from soracli.core.progress import SilentReporter
from soracli.data.world.grammar import COLOURS
from soracli.data.world.physics import simulate
from soracli.data.world.prompts import parse_prompt
from soracli.data.world.render import render_scene
from soracli.metrics.framing import ShownObjects
from soracli.metrics.obedience import ObjectWords
from soracli.models.judge import Judge
from soracli.models.judge_store import load_judge
from soracli.pipelines import evaluate_identity as module
from soracli.pipelines.evaluate_identity import (
    FIGURES,
    KEPT,
    KEPT_OF_SEEN,
    MADE,
    SEEN,
    THROUGH_VAE,
    TRUE,
    evaluate_identity,
    recognise,
)
from soracli.pipelines.find_model import find_model
from soracli.pipelines.identity_cases import find_cases
from soracli.pipelines.judge import picked_frames
from soracli.pipelines.video_maker import Memory
from tests.pipelines.tiny_eval import FPS, JUDGE, pretend_maker

COUNT, SEED = 2, 1
MEMORY = Memory(window=6, block=2, frames_per_latent=4)
GROUPS = ("inside", "beyond")
CPU = torch.device("cpu")


def recoloured(case, fps, side):
    """What follows in a scene whose hidden object has the next colour that none has, and that colour."""
    scene, number = case.drawn.scene, case.drawn.number
    taken = {item.colour for item in scene.objects}
    place = COLOURS.index(scene.objects[number].colour)
    colour = next(name for name in (*COLOURS[place:], *COLOURS) if name not in taken)
    objects = tuple(replace(item, colour=colour) if n == number else item for n, item in enumerate(scene.objects))
    times = torch.arange(case.moments.handed_over, case.moments.end) / fps
    return render_scene(replace(scene, objects=objects), simulate([scene], times).position[0], times, side, side).frames


def mark(frames):
    return frames.numpy().tobytes()


@pytest.fixture(scope="module")
def cases():
    maker = pretend_maker(lambda *given: None, memory=MEMORY)
    return {group: list(find_cases(maker, group, COUNT, SEED, CPU)) for group in GROUPS}


@pytest.fixture(scope="module")
def cheats(cases):
    return {mark(case.given): recoloured(case, FPS, 32) for group in GROUPS for case in cases[group]}


@pytest.fixture(autouse=True)
def knows(request, monkeypatch):
    """The same cases each time, and a judge that is right about their frames, recoloured too, and blind to others."""
    if "slow" in request.keywords:
        return
    cases, cheats = request.getfixturevalue("cases"), request.getfixturevalue("cheats")
    known = {}
    for case in (case for group in GROUPS for case in cases[group]):
        words = [ObjectWords(colour=item.colour, shape=item.shape) for item in case.drawn.scene.objects]
        known[mark(case.truth)] = case, words
        words = list(words)
        words[case.drawn.number] = replace(words[case.drawn.number], colour="another")
        known[mark(cheats[mark(case.given)])] = case, words

    def find(judge, frames, fps):
        case, words = known.get(mark(frames), (None, []))
        member = torch.zeros(len(picked_frames(judge, len(frames), fps)), len(words), 2, 2, dtype=torch.bool)
        if case is not None:
            member[1:] = True
        return ShownObjects(tuple(words), member, torch.zeros(member.shape[:2]))

    monkeypatch.setattr(module, "find_objects", find)
    monkeypatch.setattr(module, "find_cases", lambda maker, group, *given: iter(cases[group]))


def evaluate(go_on, **given):
    maker = pretend_maker(lambda *given: None, memory=MEMORY, go_on=go_on)
    maker = replace(maker, decode_again=given.pop("decode_again", maker.decode_again))
    known = {"count": COUNT, "seed": SEED, "device": CPU, "reporter": SilentReporter(), **given}
    return evaluate_identity(maker, Judge(JUDGE), **known)


def test_true_renders_keep_it_and_are_shown(cases):
    truth = {mark(case.given): case for group in GROUPS for case in cases[group]}
    asked = []

    def go_on(frames, prompt, seed, count):
        case = truth[mark(frames)]
        asked.append((prompt, seed))
        assert count == len(case.truth)
        return case.truth

    report, shown = evaluate(go_on, decode_again=lambda frames: frames.flip(2))
    assert [(case.prompt, case.seed) for case in report.cases] == asked
    assert [seed for _, seed in asked] == [SEED, SEED + 1] * 2
    assert [case.group for case in report.cases] == ["inside"] * 2 + ["beyond"] * 2
    assert list(report.shares) == [MADE, TRUE, THROUGH_VAE]
    for source in (MADE, TRUE):
        for group in GROUPS:
            found = report.shares[source][group]
            assert list(found) == list(FIGURES) and {share.share for share in found.values()} == {1.0}
            assert found[SEEN].total == found[KEPT].total == COUNT
            assert [found[name].total for name in FIGURES[3:]] == [1, 1]
    for case, drawn in zip(report.cases, [*cases["inside"], *cases["beyond"]], strict=True):
        named = parse_prompt(case.prompt)["objects"]
        assert [one["colour"] for one in named if one["shape"] == case.shape] == [None]
        moments = drawn.moments
        assert case.hidden_seconds == (moments.back - moments.hidden) / FPS
        assert 1 <= case.hidden_seconds <= 3 or case.group == "beyond"
        # The judge was made to see it from its second look on, an eighth of a second after the first.
        assert case.answers[MADE].hidden_seconds == (moments.handed_over + 1 - moments.hidden) / FPS
    mirrored = report.shares[THROUGH_VAE]["inside"]  # mirrored frames are nobody's
    assert mirrored[SEEN].right == mirrored[KEPT].right == 0 and KEPT_OF_SEEN not in mirrored
    for frames, drawn in zip(shown, [*cases["inside"], *cases["beyond"]], strict=True):
        assert len(frames) == 8 and frames[3].equal(drawn.given[-1]) and frames[7].equal(drawn.truth[-1])
    for word in ("5000001", "Wilson", "at 8 fps", "32x32", "beyond: hidden for longer than all"):
        assert word in report.protocol
    colours = {group: [case.drawn.scene.objects[case.drawn.number].colour for case in cases[group]] for group in GROUPS}
    assert report.chance == {group: float(one == two) for group, (one, two) in colours.items()}


def test_another_colour_is_seen_again_and_not_kept(cheats):
    report, _ = evaluate(lambda frames, prompt, seed, count: cheats[mark(frames)])
    for group in GROUPS:
        found = report.shares[MADE][group]
        assert found[SEEN].right == COUNT and found[KEPT].right == found[KEPT_OF_SEEN].right == 0
        assert report.shares[TRUE][group][KEPT].right == COUNT
    assert report.chance == {"inside": 0.0, "beyond": 0.0}


def test_what_never_comes_back_is_not_kept():
    report, _ = evaluate(lambda frames, prompt, seed, count: frames[-1:].repeat(count, 1, 1, 1))
    for group in GROUPS:
        found = report.shares[MADE][group]
        assert found[SEEN].right == found[KEPT].right == 0 and KEPT_OF_SEEN not in found
    assert report.chance == {} and all(case.answers[MADE].hidden_seconds is None for case in report.cases)


def test_a_memory_that_is_given_more_than_the_world_hides_has_no_beyond(cases, monkeypatch):
    monkeypatch.setattr(module, "measured_groups", lambda memory, fps: ("inside",))
    truth = {mark(case.given): case.truth for case in cases["inside"]}
    report, _ = evaluate(lambda frames, prompt, seed, count: truth[mark(frames)])
    assert list(report.shares[MADE]) == ["inside"] and "nothing is beyond it" in report.protocol


def test_the_hidden_one_is_what_is_left_of_its_shape(cases):
    case = cases["inside"][0]
    item = case.drawn.scene.objects[case.drawn.number]
    other = case.drawn.scene.objects[1 - case.drawn.number]
    third = next(shape for shape in ("ball", "cube", "cone") if shape not in (item.shape, other.shape))

    def place(*found):
        words = [ObjectWords(colour=colour, shape=shape) for colour, shape in found]
        return recognise(case.drawn.scene, case.drawn.number, words)

    them = (other.colour, other.shape)
    assert place() is None and place(them) is None
    assert place(them, (item.colour, item.shape)) == 1
    assert place(them, (item.colour, third)) is None
    assert place((other.colour, item.shape), them) == 0  # it took the other one's colour
    assert place((other.colour, item.shape)) is None  # the other one, taken for its shape
    assert place(("grey", item.shape), them, (item.colour, item.shape)) == 0  # the most seen one counts


@pytest.mark.slow
def test_the_shipped_judge_tells_true_renders_from_another_colour():
    judge = load_judge(find_model("nano"))
    memory = Memory(window=9, block=4, frames_per_latent=4)
    maker = pretend_maker(lambda *given: None, side=128, fps=12.0, memory=memory)
    cases = list(find_cases(maker, "inside", 6, SEED, CPU))
    truth = [module.answer_identity(judge, case, case.truth, 12.0) for case in cases]
    cheat = [module.answer_identity(judge, case, recoloured(case, 12.0, 128), 12.0) for case in cases]
    assert sum(answer.kept for answer in truth) >= 5
    assert not any(answer.kept for answer in cheat) and sum(answer.colour is not None for answer in cheat) >= 5
