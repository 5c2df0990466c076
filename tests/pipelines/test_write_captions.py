"""Captions of a whole manifest: killed anywhere it ends with the same one, shared it is the same, nothing is lost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soracli.core.errors import ArtifactError, DataError, Stopped, UsageError
from soracli.data.caption_journal import read_journals
from soracli.data.chat_endpoint import Chat, Limits
from soracli.data.chat_http import Endpoint
from soracli.data.manifest import read_manifest, write_manifest
from soracli.models.caption_tokens import caption_text
from soracli.models.captioner_store import save_captioner
from soracli.models.tokenizer import train_tokenizer
from soracli.pipelines import caption_sources
from soracli.pipelines.caption_sources import DecodingOptions, captioner_source, clip_input, endpoint_source
from soracli.pipelines.endpoint_captions import CaptionOptions
from soracli.pipelines.write_captions import default_out, plan_captions, write_captions_of
from tests.chat_server import KEY, chat_server, completion
from tests.data.clips import make_clip, make_manifest
from tests.models.test_captioner import CAPTIONS, stirred, written_anew
from tests.pipelines.runs import StopAfter

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_units(monkeypatch):
    monkeypatch.setattr(caption_sources, "BATCH", 3)
    # So that what is compared with is the same on machines with and without bfloat16.
    monkeypatch.setattr(caption_sources, "mixed_precision", lambda *_: torch.autocast("cpu", enabled=False))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "captioner"
    save_captioner(folder, stirred(), train_tokenizer(CAPTIONS, 300), {}, torch.float32)
    return folder


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Videos, a picture, one that stands still, one without a caption, one in another script, one that is broken."""
    folder = tmp_path_factory.mktemp("clips")
    clips = [make_clip(folder, f"{number}.webp", 2 + number, seed=number, alpha=number == 1) for number in range(4)]
    clips += [make_clip(folder, "picture.png", 1, seed=9), make_clip(folder, "other.webp", 4, seed=10)]
    clips += [make_clip(folder, "broken.webp", 4, seed=11), make_clip(folder, "last.webp", 3, seed=12)]
    clips[2] = replace(clips[2], caption="")
    clips[3] = replace(clips[3], caption="猫が走る 🐈", split="validation")
    clips[5] = replace(clips[5], original_caption="as it came")
    (folder / "broken.webp").write_bytes(b"RIFF nothing")
    return make_manifest(folder, *clips)


def own(model, **options):
    return captioner_source(model, DecodingOptions(**options), CPU)


def test_every_clip_has_its_caption_and_what_it_came_with(model, manifest, tmp_path):
    done = write_captions_of(manifest, own(model), out=tmp_path / "new.jsonl")
    before, after = read_manifest(manifest), read_manifest(tmp_path / "new.jsonl")
    captioner, words = stirred(), train_tokenizer(CAPTIONS, 300)
    for old, new in zip(before.clips, after.clips, strict=True):
        assert after.locate(new).samefile(before.locate(old))
        if old.original_name == "broken.webp":
            assert replace(new, path=old.path) == old
            continue
        frames, times = clip_input(before, old, 3, 16)
        assert len(frames) == (1 if old.kind == "image" else 3)
        with torch.no_grad():
            seen = captioner.see(frames.permute(0, 3, 1, 2)[None].float() / 127.5 - 1, times[None])
            tokens, confidence, _ = written_anew(captioner, seen, 0, 15)
        assert new.caption == " ".join(caption_text(words, tokens).split()) != ""
        assert new.caption_confidence == pytest.approx(confidence, rel=1e-3)
        assert new.original_caption == (old.original_caption or old.caption)
        assert replace(new, path=old.path, caption="", original_caption="", caption_confidence=0.0) == replace(
            old, caption="", original_caption=""
        )
    assert (done.captioned, done.manifest) == (7, tmp_path / "new.jsonl")
    assert [name for name, _ in done.problems] == ["broken.webp"] and done.confidence is not None
    assert len(after.options["captions"]["captioner"]) == 64


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), data=st.data())
def test_killed_anywhere_it_ends_with_the_same_manifest(model, manifest, tmp_path, share, data):
    """A process that is killed leaves the beginning of its journal, cut at any byte."""
    whole = tmp_path / "whole.jsonl"
    write_captions_of(manifest, own(model), out=whole)
    (journal,) = (tmp_path / "whole.captions").rglob("*.jsonl")
    content = journal.read_bytes()
    name = f"cut{data.draw(st.integers(0, 10**9))}"
    other = tmp_path / f"{name}.captions" / journal.parent.name / journal.name
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(content[: int(share * len(content))])
    write_captions_of(manifest, own(model), out=tmp_path / f"{name}.jsonl")
    assert (tmp_path / f"{name}.jsonl").read_bytes() == whole.read_bytes()


def test_stopped_it_goes_on_with_what_is_missing(model, manifest, tmp_path):
    out = tmp_path / "new.jsonl"
    with pytest.raises(Stopped, match="SIGUSR1: 4 clips are left and every caption is kept"):
        write_captions_of(manifest, own(model), out=out, reporter=StopAfter(4))
    assert not out.exists()
    plan = plan_captions(manifest, own(model), out=out)
    assert (plan.clips, plan.uncaptioned, plan.done, plan.mine) == (8, 1, 4, 5)  # the second three are done anew
    write_captions_of(manifest, own(model), out=out)
    write_captions_of(manifest, own(model), out=tmp_path / "whole.jsonl")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_elements_of_an_array_share_the_clips(model, manifest, tmp_path, monkeypatch):
    write_captions_of(manifest, own(model), out=tmp_path / "one.jsonl")
    out = tmp_path / "three.jsonl"
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    for element, left in ((2, 6), (0, 3)):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(element))
        with pytest.raises(Stopped, match=f"{left} of 8 clips are left to the other tasks"):
            write_captions_of(manifest, own(model), out=out)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    with pytest.raises(Stopped, match="SIGUSR1: 2 clips"):
        write_captions_of(manifest, own(model), out=out, reporter=StopAfter(1))
    assert (tmp_path / "three.captions" / "stopped.1").read_text() == "SIGUSR1\n"
    write_captions_of(manifest, own(model), out=out)
    assert out.read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_drawn_captions_are_those_of_their_seed(model, manifest, tmp_path):
    texts = {}
    for name, options in {"a": {"seed": 1}, "b": {"seed": 1}, "c": {"seed": 2}}.items():
        write_captions_of(manifest, own(model, temperature=1.5, **options), out=tmp_path / f"{name}.jsonl")
        texts[name] = [clip.caption for clip in read_manifest(tmp_path / f"{name}.jsonl").clips]
    assert texts["a"] == texts["b"] != texts["c"]
    with pytest.raises(UsageError, match="--temperature must be 0 to 2"):
        DecodingOptions(temperature=3)


def test_an_endpoint_is_another_writer_of_the_same(manifest, tmp_path):
    out = tmp_path / "new.jsonl"
    with chat_server(lambda number, asked: completion(f"answer {number // 100} of {KEY}")) as server:

        def source(**limits):
            endpoint = Endpoint(server.url + "/chat/completions", "see-er", KEY)
            return endpoint_source(Chat(endpoint, Limits(**limits), lambda text: None), CaptionOptions(num_frames=2))

        assert plan_captions(manifest, source(), out=out).mine == 8
        assert not server.received and not (tmp_path / "new.captions").exists()
        with pytest.raises(Stopped, match="budget of 3"):
            write_captions_of(manifest, source(max_requests=3), out=out)
        assert len(server.received) == 3 and not out.exists()
        done = write_captions_of(manifest, source(), out=out)
    assert len(server.received) == 7 and done.captioned == 7 and done.confidence is None
    new = read_manifest(out)
    assert new.options["captions"]["model"] == "see-er"
    assert [name for name, _ in done.problems] == ["broken.webp"]
    assert all(clip.caption.startswith("answer 0 of") == (clip.original_name != "broken.webp") for clip in new.clips)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_what_failed_is_asked_again_when_wanted(model, manifest, tmp_path):
    out = tmp_path / "new.jsonl"
    broken = read_manifest(manifest)
    write_captions_of(manifest, own(model), out=out)
    assert plan_captions(manifest, own(model), out=out).mine == 0
    path = manifest.parent / "broken.webp"
    content = path.read_bytes()
    try:
        make_clip(manifest.parent, "broken.webp", 4, seed=11)
        assert write_captions_of(manifest, own(model), out=out).captioned == 7
        assert write_captions_of(manifest, own(model), out=out, retry=True).captioned == 8
    finally:
        path.write_bytes(content)
    assert [clip.clip_id for clip in read_manifest(out).clips] == [clip.clip_id for clip in broken.clips]


def test_files_that_are_there_are_safe(model, manifest, tmp_path):
    content = manifest.read_bytes()
    for out, says in (
        (manifest, "is the manifest that is read"),
        (tmp_path, r"name it --out .*clips\.jsonl"),
        (tmp_path / "new.txt", r"name it --out .*new\.txt\.jsonl"),
    ):
        with pytest.raises(UsageError, match=says):
            write_captions_of(manifest, own(model), out=out, overwrite=True)
    other = tmp_path / "other.jsonl"
    write_manifest(other, read_manifest(manifest).clips, {})
    with pytest.raises(UsageError, match="its captions were not written by this"):
        write_captions_of(manifest, own(model), out=other)
    write_captions_of(manifest, own(model), out=other, overwrite=True)
    write_captions_of(manifest, own(model), out=other)
    assert manifest.read_bytes() == content and default_out(manifest) == manifest.parent / "clips.captioned.jsonl"


def test_nothing_to_caption_is_an_error_of_the_first(model, tmp_path):
    clip = make_clip(tmp_path, "gone.webp", 2)
    path = make_manifest(tmp_path, clip)
    (tmp_path / "gone.webp").unlink()
    with pytest.raises(DataError, match=r"none of 1 clips could be captioned, the first one: .*gone\.webp"):
        write_captions_of(path, own(model), out=tmp_path / "new.jsonl")
    assert not (tmp_path / "new.jsonl").exists()
    with pytest.raises(ArtifactError):
        captioner_source(tmp_path, DecodingOptions(), CPU)


def test_journals_of_others_and_torn_lines(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"number": 1, "text": "one"}\n{"number": 2, "problem": "no"}\n{"numb')
    (tmp_path / "b.jsonl").write_bytes(b'{"number": 2, "text": "two"}\n[1]\n{"number": 3, "other": 1}\n\xff\n')
    found = read_journals(tmp_path)
    assert {number: entry.text for number, entry in found.items()} == {1: "one", 2: "two"}
    (tmp_path / "b.jsonl").unlink()
    assert sorted(read_journals(tmp_path)) == [1, 2] and sorted(read_journals(tmp_path, with_problems=False)) == [1]


def test_a_still_clip_is_looked_at_as_it_is(tmp_path):
    clip = make_clip(tmp_path, "two.webp", 2)
    frames, times = clip_input(read_manifest(make_manifest(tmp_path, clip)), clip, 5, 16)
    assert times.tolist() == pytest.approx([0, 0, 0, 0.08, 0.08]) and np.array_equal(frames[0], frames[1])
