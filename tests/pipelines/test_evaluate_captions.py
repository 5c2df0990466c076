"""Measuring captions: a writer that knows the scene is flawless, one that errs is caught by kind; sets of any clips."""

import random
from dataclasses import replace

import pytest
import torch

from soracli.core.errors import DataError, UsageError
from soracli.data.manifest import read_manifest
from soracli.metrics.agreement import agreement
from soracli.metrics.caption_text import text_figures
from soracli.models.captioner_store import load_captioner, save_captioner
from soracli.models.tokenizer import train_tokenizer
from soracli.pipelines import evaluate_captions as pipeline
from soracli.pipelines.caption_sources import clip_input
from soracli.pipelines.evaluate_captions import embed_texts, evaluate_captions, world_captions
from soracli.pipelines.score_captions import WorldCaption, caption_scenes, scene_clips, world_figures
from tests.data.clips import make_clip, make_manifest
from tests.models.test_captioner import CAPTIONS, stirred


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "captioner"
    save_captioner(folder, stirred(), train_tokenizer(CAPTIONS, 300), {}, torch.float32)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return scene_clips(folder, world_seed=5, split="held_out", count=10, num_frames=3, seconds=2.0, side=32)


def told(clips, change=lambda text: text):
    rng = random.Random(1)
    return [WorldCaption(clip, change(clip.caption("long", rng)), 0.5, 0.25) for clip in clips]


def test_a_writer_that_knows_the_scenes_is_flawless(scenes):
    assert len(scenes) > 5 and all(clip.scene.held_out for clip in scenes)
    assert scenes[0].times.tolist() == [0, 1, 2]
    found = world_captions("held out", told(scenes))
    assert found.flawless.share == 1.0 and found.unread == 0 and found.confidence_flawed is None
    for kind, shares in found.facts.items():
        if shares.precision is not None:
            assert shares.precision.share == 1.0, kind
        if shares.recall is not None:
            assert shares.recall.share == 1.0, kind
    assert (found.agreement, found.confidence) == (0.25, 0.5)
    figures = world_figures(told(scenes))
    assert figures["precision"] == figures["recall"] == 1.0 and figures["unread"] == 0.0


def test_mistakes_show_in_their_kind_alone(scenes):
    grounds = {"green grass": "grass", "golden sand": "sand", "white snow": "snow", "grey stone": "stone"}

    def on_other_ground(text):
        for long, short in grounds.items():
            text = text.replace(long, short)
        for one, two in (("grass", "@"), ("sand", "grass"), ("snow", "sand"), ("stone", "snow"), ("@", "stone")):
            text = text.replace(one, two)
        return text

    found = world_captions("held out", told(scenes, on_other_ground))
    wrong = {kind for kind, one in found.facts.items() if one.precision is not None and one.precision.share < 1}
    assert wrong == {"visible", "ground"} and found.facts["ground"].precision.right == 0
    assert found.flawless.right == 0 and found.confidence_flawed == 0.5


def test_what_is_no_sentence_tells_nothing(scenes):
    found = world_captions("held out", told(scenes, lambda text: f"{text} hello"))
    assert found.unread == 1.0 and found.flawless.right == 0
    assert found.facts["visible"].precision is None and found.facts["visible"].recall.right == 0


def test_a_captioner_is_measured_on_two_worlds(model, monkeypatch):
    monkeypatch.setattr(pipeline, "WORLD_SEED", 6)
    report = evaluate_captions(model, world=4, seconds=1.0, device="cpu")
    assert [one.name for one in report.worlds] == ["world", "held out"] and report.sets == ()
    assert all(0 < one.scenes <= 4 and 0 < one.confidence <= 1 for one in report.worlds)
    assert report.captioner == load_captioner(model)[2]["hash"]
    with pytest.raises(UsageError, match="nothing to measure"):
        evaluate_captions(model, world=0)


def test_a_batch_is_what_each_is_alone(model, scenes):
    captioner, words, _ = load_captioner(model)
    small = [replace(clip, frames=clip.frames[:, ::2, ::2]) for clip in scenes]
    together = list(caption_scenes(captioner, words, small))
    for number, one in enumerate(together[:3]):
        (alone,) = caption_scenes(captioner, words, small[number : number + 1])
        assert alone.clip is one.clip and alone.agreement == pytest.approx(one.agreement, abs=0.05)


def test_sets_of_clips_by_their_captions_and_by_what_they_came_with(model, tmp_path):
    clips = [make_clip(tmp_path, f"{number}.webp", 3, seed=number) for number in range(4)]
    clips[0] = replace(clips[0], caption="猫が走る", original_caption="a cat runs")
    clips[1] = replace(clips[1], caption="")
    clips[2] = replace(clips[2], original_caption="file 4711")
    (tmp_path / "3.webp").write_bytes(b"nothing")
    manifest = make_manifest(tmp_path, *clips)
    (found,) = evaluate_captions(model, clips=[manifest], world=0, device="cpu").sets
    assert (found.clips, found.uncaptioned, [name for name, _ in found.left_out]) == (4, 1, ["3.webp"])
    assert found.text == text_figures(["猫が走る", "blocks 2"])
    assert found.original_text == text_figures(["a cat runs", "file 4711"])
    captioner, words, _ = load_captioner(model)
    read = read_manifest(manifest)
    pairs = [clip_input(read, read.clips[number], 3, 16) for number in (0, 2)]
    video = torch.stack([pipeline.embed_clip(captioner, *pair) for pair in pairs])
    assert found.agreement == agreement(video, embed_texts(captioner, words, ["猫が走る", "blocks 2"]))
    assert found.original_agreement == agreement(video, embed_texts(captioner, words, ["a cat runs", "file 4711"]))

    with pytest.raises(DataError, match="no clip has a caption; have them captioned: sora caption write"):
        evaluate_captions(model, clips=[make_manifest(tmp_path, clips[1])], world=0, device="cpu")
    with pytest.raises(DataError, match=r"none of 1 captioned clips can be read, the first one: .*3\.webp"):
        evaluate_captions(model, clips=[make_manifest(tmp_path, clips[3])], world=0, device="cpu")
