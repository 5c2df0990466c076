"""Caching latents: against encoding here; names follow content; what is missing is made again; many tasks are one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import DataError, NumericsError, Stopped, UsageError
from soracli.core.progress import SilentReporter
from soracli.data.config import ClipLatentsConfig, WorldLatentsConfig, WorldShape
from soracli.data.latents import LatentCache, shard_name
from soracli.data.video_read import read_frames
from soracli.data.world.clips import world_frames
from soracli.models.codec import encode_video
from soracli.models.store import load_vae, save_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines import cache_latents as pipeline
from soracli.pipelines import clip_shards, world_shards
from soracli.pipelines.cache_latents import cache_latents, plan_jobs
from soracli.pipelines.clip_shards import native_size
from soracli.pipelines.recipes import LatentsCacheRecipe
from soracli.pipelines.world_shards import deal_scenes
from tests.data.clips import make_clip, make_manifest
from tests.models.tiny import SPEC, stir, tiny_vae
from tests.pipelines.runs import Notes, StopAfter

CPU = torch.device("cpu")
WORLD = WorldLatentsConfig(videos=3, images=2, seconds=0.8, fps=8, height=16, width=24, captions=3)
RECIPE = LatentsCacheRecipe(world=WORLD, clips=ClipLatentsConfig(side_multiple=8, max_pixels=24 * 24))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    for module, name in (
        (world_shards, "_SHARD_VIDEOS"),
        (world_shards, "_SHARD_IMAGES"),
        (clip_shards, "_SHARD_CLIPS"),
    ):
        monkeypatch.setattr(module, name, 2)


@pytest.fixture
def vae(tmp_path):
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    return tmp_path / "vae"


def run(vae, out, recipe=RECIPE, clips=None, reporter=None):
    return LatentCache(cache_latents(recipe, vae=vae, clips=clips, out=out, device="cpu", reporter=reporter))


def test_scenes_are_encoded_with_their_captions(vae, tmp_path):
    cache = run(vae, tmp_path / "out")
    model, spec = load_vae(vae)
    assert cache.spec == spec and len(cache.entries) == 5
    for number, entry in enumerate(cache.entries):
        num_frames = 5 if number < 3 else 1  # 0.8 s at 8 fps are 6 frames, 5 of which fill latents
        assert (entry.name, entry.source, entry.fps) == (f"world 11 scene {number}", "world", 8.0)
        assert entry.shape == (4, 2 if number < 3 else 1, 2, 3)
        frames, _ = world_frames(11, number, num_frames=num_frames, fps=8, height=16, width=24)
        expected = encode_video(model, spec, frames, CPU)
        torch.testing.assert_close(cache.latents(entry), expected, atol=2e-3, rtol=2e-3)  # stored in float16
        assert len(entry.captions) == len(entry.still_captions) == 3 and all(entry.captions + entry.still_captions)
        assert number < 3 or entry.captions == entry.still_captions


def shards(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


@pytest.mark.row(60, 61)
def test_only_what_is_missing_is_made_again(vae, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(vae, out)
    before, made = shards(out), []
    original = pipeline.write_shard
    monkeypatch.setattr(pipeline, "write_shard", lambda *arguments: (made.append(arguments[1]), original(*arguments)))
    run(vae, out)
    assert made == []
    for suffix in ("safetensors", "json"):
        lost = sorted((out / "shards").glob(f"*.{suffix}"))[0]
        lost.unlink()
        run(vae, out)
        assert made == [lost.stem] and shards(out) == before
        made.clear()


def names(vae, recipe=RECIPE, clips=None) -> list[str]:
    model, spec = load_vae(vae)
    return [job.name for job in plan_jobs(recipe, model, spec, clips, CPU, SilentReporter())]


@pytest.mark.row(61)
@pytest.mark.parametrize(
    "change", [{"fps": 9}, {"seconds": 1.2}, {"height": 24}, {"width": 16}, {"captions": 4}, {"seed": 12}]
)
def test_another_world_is_other_shards(vae, change):
    other = RECIPE.model_copy(update={"world": WORLD.model_copy(update=change)})
    assert set(names(vae)).isdisjoint(names(vae, other))


SHAPES = (
    WorldShape(seconds=0.8, fps=8, height=16, width=24, weight=2.0),
    WorldShape(seconds=1.2, fps=5, height=24, width=16),
)


def test_shards_without_shapes_are_those_of_before():
    """Names that caches already have; written down before there were shapes."""
    jobs = plan_jobs(RECIPE, None, SPEC, None, CPU, SilentReporter())
    assert [job.name for job in jobs] == [
        "ad8ff5c569516bd8085aebf5d96f9f0d",
        "1d428c497f97bba82ad836e21fd48ade",
        "3cb17c10905d4a03e2440c4a5df116e9",
    ]


def test_scenes_are_dealt_out_over_shapes(vae, tmp_path):
    mixed = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"videos": 6, "images": 3, "shapes": SHAPES})})
    cache = run(vae, tmp_path / "out", mixed)
    found = {entry.name.removeprefix("world 11 scene "): (entry.fps, *entry.shape[1:]) for entry in cache.entries}
    wide, high = (8.0, 2, 2, 3), (5.0, 2, 3, 2)
    assert found == {
        "0": wide, "1": high, "2": wide, "3": wide, "4": high, "5": wide,
        "6": (8.0, 1, 2, 3), "7": (5.0, 1, 3, 2), "8": (8.0, 1, 2, 3),
    }  # fmt: skip
    frames, _ = world_frames(11, 4, num_frames=5, fps=5, height=24, width=16)
    model, spec = load_vae(vae)
    entry = next(entry for entry in cache.entries if entry.name.endswith("scene 4"))
    torch.testing.assert_close(cache.latents(entry), encode_video(model, spec, frames, CPU), atol=2e-3, rtol=2e-3)
    # A shape is what a recipe with that size alone would be: the shard of scenes 0 and 2 is the same.
    alone = plan_jobs(mixed, None, SPEC, None, CPU, SilentReporter())[0].name
    # Keys that came later are not in the names of shards that have nothing of them.
    world = WORLD.model_dump(
        mode="json", exclude={"videos", "images", "shapes", "originals", "alt_text", "tails", "stills"}
    )
    assert alone == shard_name(SPEC, {"world": world, "kind": "videos", "scenes": [0, 2]})


@given(weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=5), count=st.integers(0, 60), more=st.integers(0, 20))
def test_shares_are_kept_and_more_scenes_move_none(weights, count, more):
    world = WorldLatentsConfig(shapes=tuple(WorldShape(weight=weight) for weight in weights))
    dealt = deal_scenes(world, range(5, 5 + count))
    assert sorted(number for part in dealt for number in part) == list(range(5, 5 + count))
    for weight, part in zip(weights, dealt, strict=True):
        assert abs(len(part) - weight / sum(weights) * count) < len(weights)
    for part, longer in zip(dealt, deal_scenes(world, range(5, 5 + count + more)), strict=True):
        assert longer[: len(part)] == part


def test_a_shape_that_does_not_fit_is_named(vae, tmp_path):
    bad = WORLD.model_copy(update={"shapes": (*SHAPES, WorldShape(height=20, width=24))})
    with pytest.raises(UsageError, match="size 24x20 does not fit the model"):
        run(vae, tmp_path / "out", RECIPE.model_copy(update={"world": bad}))


@pytest.mark.row(61)
def test_another_vae_is_other_shards(vae, tmp_path):
    save_vae(tmp_path / "b", stir(tiny_vae(), 3, 1e-3), torch.zeros(4), torch.ones(4), {})
    save_vae(
        tmp_path / "c", tiny_vae(), torch.zeros(4), 2 * torch.ones(4), {}
    )  # the same weights, normalised otherwise
    assert len({name for part in ("vae", "b", "c") for name in names(tmp_path / part)}) == 3 * 3


def test_more_of_the_same_world_keeps_what_is_there(vae):
    more = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"videos": 6, "images": 0})})
    assert names(vae)[0] in names(vae, more)


@pytest.mark.row(61)
def test_clips_are_read_at_their_own_size_and_addressed_by_content(vae, tmp_path):
    clips = [make_clip(tmp_path, f"{number}.webp", 6, seed=number) for number in range(3)]
    clips[2] = replace(clips[2], split="validation")
    manifest = make_manifest(tmp_path, *clips)
    only_clips = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"videos": 0, "images": 0})})
    cache = run(vae, tmp_path / "out", only_clips, manifest)
    model, spec = load_vae(vae)
    assert [(entry.name, entry.captions) for entry in cache.entries] == [
        ("0.webp", ("blocks 0",)),
        ("1.webp", ("blocks 1",)),
    ]
    frames = read_frames(tmp_path / "0.webp", num_frames=5, fps=12.0, size=(24, 24), background=(255, 255, 255))
    expected = encode_video(model, spec, torch.from_numpy(frames), CPU)
    torch.testing.assert_close(cache.latents(cache.entries[0]), expected, atol=2e-3, rtol=2e-3)
    assert cache.entries[0].fps == 12.0  # the recipe's, under the clip's 12.5

    (before,) = names(vae, only_clips, manifest)
    (tmp_path / "renamed.webp").write_bytes((tmp_path / "0.webp").read_bytes())
    renamed = replace(clips[0], path="renamed.webp")
    for changed, same in (
        ([renamed, clips[1]], True),
        ([replace(clips[0], caption="other"), clips[1]], False),
        ([make_clip(tmp_path, "0.webp", 6, seed=9), clips[1]], False),
        ([clips[1], clips[0]], False),
        ([clips[0]], False),
    ):
        assert (names(vae, only_clips, make_manifest(tmp_path, *changed)) == [before]) == same
    for change in ({"fps": 6}, {"max_pixels": 16 * 16}, {"background": (0, 0, 0)}, {"side_multiple": 16}):
        other = only_clips.model_copy(update={"clips": RECIPE.clips.model_copy(update=change)})
        assert names(vae, other, make_manifest(tmp_path, *clips)) != [before]


def test_no_frame_is_lost_to_rounding(vae, tmp_path):
    """29 frames at 25 fps last 1.16 s, which are 28.999999999999996 frames."""
    clip = make_clip(tmp_path, "a.webp", 29, size=16)
    clip = replace(clip, fps=25.0, seconds=29 / 25.0)
    assert int(clip.seconds * clip.fps) == 28
    recipe = RECIPE.model_copy(
        update={
            "world": WORLD.model_copy(update={"videos": 0, "images": 0}),
            "clips": ClipLatentsConfig(side_multiple=8, fps=25),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            clip_shards,
            "read_frames",
            lambda path, *, num_frames, **unused: torch.zeros(num_frames, 16, 16, 3).byte().numpy(),
        )
        cache = run(vae, tmp_path / "out", recipe, make_manifest(tmp_path, clip))
    assert cache.entries[0].shape[1] == 8


@pytest.mark.row(61)
def test_what_other_settings_made_is_counted_and_not_used(vae, tmp_path):
    other = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"videos": 2, "images": 2, "fps": 9})})
    run(vae, tmp_path / "out", other)
    notes = Notes()
    cache = run(vae, tmp_path / "out", reporter=notes)
    assert notes.said == [f"2 shards in {tmp_path / 'out'} were made with other settings and are not used"]
    assert {entry.fps for entry in cache.entries} == {8.0}
    next((tmp_path / "out/shards").glob(f"{cache.entries[0].shard}.json")).unlink()
    again = Notes()
    run(vae, tmp_path / "out", reporter=again)
    assert again.said == ["2 of 3 shards are there already", notes.said[0]]


@pytest.mark.row(59)
def test_clips_that_cannot_be_read_are_left_out_by_name(vae, tmp_path):
    clips = [make_clip(tmp_path, f"{number}.webp", 5, seed=number) for number in range(2)]
    (tmp_path / "0.webp").write_bytes(b"no picture")
    reporter = Notes()
    recipe = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"videos": 0, "images": 0})})
    cache = run(vae, tmp_path / "out", recipe, make_manifest(tmp_path, *clips), reporter)
    assert [entry.name for entry in cache.entries] == ["1.webp"]
    assert len(reporter.said) == 1 and "left out" in reporter.said[0] and "0.webp" in reporter.said[0]


def spoil_bright(monkeypatch, value):
    """Let the VAE give something else than it should where frames are bright."""
    encode = VideoVAE.encode

    def spoilt(vae, frames, *state):
        mean, *rest = encode(vae, frames, *state)
        return (mean + value if frames.mean() > 0.5 else mean, *rest)

    monkeypatch.setattr(VideoVAE, "encode", spoilt)


@pytest.mark.row(44)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e9])
def test_latents_that_are_not_finite_are_left_out_by_the_name_of_their_clip(vae, tmp_path, monkeypatch, value):
    """The last are finite, but not as they are stored."""

    def bright_or_dark(path, **asked):
        frames = read_frames(path, **asked)
        return frames // 8 + 224 if path.name == "0.webp" else frames // 2

    monkeypatch.setattr(clip_shards, "read_frames", bright_or_dark)
    spoil_bright(monkeypatch, value)
    clips = make_manifest(tmp_path, *(make_clip(tmp_path, f"{number}.webp", 5, seed=number) for number in range(2)))
    only_clips = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"videos": 0, "images": 0})})
    notes = Notes()
    cache = run(vae, tmp_path / "out", only_clips, clips, notes)
    assert [entry.name for entry in cache.entries] == ["1.webp"]
    assert len(notes.said) == 1 and notes.said[0].startswith(
        "left out: 0.webp: the VAE's encoder gave numbers that are"
    )
    cache.latents(cache.entries[0])


@pytest.mark.row(44)
def test_a_vae_that_breaks_on_the_world_caches_nothing(vae, tmp_path, monkeypatch):
    nothing = torch.full((1, 4, 2, 2, 3), torch.nan)
    monkeypatch.setattr(VideoVAE, "encode", lambda *given: (nothing, nothing, ()))
    with pytest.raises(NumericsError, match="encoder gave numbers that are not finite"):
        run(vae, tmp_path / "out")
    assert not (tmp_path / "out/shards").exists()


def test_two_array_tasks_make_what_one_makes(vae, tmp_path, monkeypatch):
    run(vae, tmp_path / "one")
    array = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_STEP": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
    for name, value in array.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    with pytest.raises(Stopped, match="2 of 3 shards are left to the other tasks"):
        run(vae, tmp_path / "two")
    assert len(shards(tmp_path / "two")) == 2 and not (tmp_path / "two/latents.json").exists()
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    run(vae, tmp_path / "two")
    assert shards(tmp_path / "two") == shards(tmp_path / "one")
    assert (tmp_path / "two/latents.json").read_bytes() == (tmp_path / "one/latents.json").read_bytes()


@pytest.mark.row(60)
def test_a_stop_keeps_finished_shards(vae, tmp_path):
    with pytest.raises(Stopped, match="SIGUSR1: every finished shard is kept"):
        run(vae, tmp_path / "parts", reporter=StopAfter(1))
    assert len(shards(tmp_path / "parts")) == 2
    assert not list((tmp_path / "parts").glob("stopped*"))
    run(vae, tmp_path / "whole")
    run(vae, tmp_path / "parts")
    assert shards(tmp_path / "parts") == shards(tmp_path / "whole")


def test_an_element_of_an_array_says_why_it_stopped(vae, tmp_path, monkeypatch):
    """The batch script asks for another turn by that file."""
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    with pytest.raises(Stopped, match="SIGUSR1"):
        run(vae, tmp_path / "out", reporter=StopAfter(1))
    assert (tmp_path / "out/stopped.1").read_text() == "SIGUSR1\n"


@pytest.mark.parametrize(
    ("world", "clips", "error", "says"),
    [
        ({"height": 20}, {}, UsageError, "size 24x20 does not fit the model"),
        ({}, {"side_multiple": 12}, UsageError, r"clips\.side_multiple = 12 does not fit the VAE: use 16"),
        ({"videos": 0, "images": 0}, None, DataError, "nothing to cache"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(vae, tmp_path, world, clips, error, says):
    recipe = LatentsCacheRecipe(world=WORLD.model_copy(update=world), clips=RECIPE.clips.model_copy(update=clips or {}))
    manifest = None if clips is None else make_manifest(tmp_path, make_clip(tmp_path, "a.webp", 2))
    with pytest.raises(error, match=says):
        run(vae, tmp_path / "out", recipe, manifest)
    assert not (tmp_path / "out").exists()


def test_the_shortest_video_is_a_frame(vae, tmp_path):
    recipe = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"seconds": 0.01, "images": 0, "videos": 1})})
    assert run(vae, tmp_path / "out", recipe).entries[0].shape == (4, 1, 2, 3)


sides = st.integers(8, 4000)


@given(height=sides, width=sides, unit=st.sampled_from([8, 32]))
def test_sizes(height, width, unit):
    config = ClipLatentsConfig(max_pixels=128 * 128, side_multiple=unit)
    rows, columns = native_size(height, width, config)
    assert rows % unit == columns % unit == 0 and min(rows, columns) >= unit
    if min(height, width) >= unit:
        assert rows <= height + unit / 2 and columns <= width + unit / 2
    if max(height, width) <= 4 * min(height, width):
        assert rows * columns <= 1.6 * 128 * 128 + unit**2
        scaled = min(1, (128 * 128 / (height * width)) ** 0.5)
        assert abs(rows - height * scaled) <= max(unit / 2, unit - height * scaled)


def test_known_sizes():
    config = ClipLatentsConfig(max_pixels=128 * 128, side_multiple=32)
    assert native_size(512, 512, config) == (128, 128)
    assert native_size(1080, 1920, config) == (96, 160)
    assert native_size(100, 100, config) == (96, 96)
    assert native_size(10, 10, config) == (32, 32)


def test_originals_stand_beside_the_same_latents_and_captions(vae, tmp_path):
    plain = run(vae, tmp_path / "out")
    recipe = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"originals": 2})})
    found = run(vae, tmp_path / "out", recipe)
    for one, two in zip(plain.entries, found.entries, strict=True):
        assert one.shard != two.shard and one.originals == one.still_originals == ()
        assert one.captions == two.captions and torch.equal(plain.latents(one), found.latents(two))
        assert len(two.originals) == len(two.still_originals) == 2 and all(two.originals + two.still_originals)


def test_the_text_a_clip_came_with_is_its_original(vae, tmp_path):
    clips = [make_clip(tmp_path, f"{number}.webp", 6, seed=number) for number in range(2)]
    clips[0] = replace(clips[0], caption="written", original_caption="found")
    recipe = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"videos": 0, "images": 0})})
    first, second = run(vae, tmp_path / "out", recipe, make_manifest(tmp_path, *clips)).entries
    assert first.captions == ("written",) and first.originals == first.still_originals == ("found",)
    assert second.captions == ("blocks 1",) and second.originals == second.still_originals == ()


def test_tails_are_what_follows_a_cut_as_a_video_of_its_own(vae, tmp_path):
    cut = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"seconds": 1.7, "tails": True})})
    plain = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"seconds": 1.7})})
    clips = make_manifest(tmp_path, make_clip(tmp_path, "a.webp", 14, size=24))
    clips_cut = cut.model_copy(update={"clips": RECIPE.clips.model_copy(update={"tails": True})})
    cache = run(vae, tmp_path / "out", clips_cut, clips)
    model, spec = load_vae(vae)
    videos = [entry for entry in cache.entries if entry.shape[1] > 1]
    assert {entry.source for entry in videos} == {"world", "clips"} and len(videos) == 4
    assert len({entry.tail_after for entry in videos}) > 1
    for entry in videos:
        assert 1 <= entry.tail_after < entry.shape[1] == 4
        if entry.source == "world":
            frames, _ = world_frames(11, int(entry.name.split()[-1]), num_frames=13, fps=8, height=16, width=24)
        else:
            found = next(tmp_path.glob("a*"))
            frames = torch.from_numpy(read_frames(found, start=0.0, num_frames=13, fps=entry.fps, size=(24, 24)))
        expected = encode_video(model, spec, frames[4 * entry.tail_after - 3 :][: 4 * entry.tail - 3], CPU)
        assert 4 * entry.tail_after - 3 + 4 * entry.tail - 3 > 13 - 4 or entry.tail == 5  # as many as there are
        torch.testing.assert_close(cache.tail_latents(entry), expected, atol=2e-3, rtol=2e-3)
    assert not any(entry.tail for entry in cache.entries if entry.shape[1] == 1)
    whole = run(vae, tmp_path / "whole", plain, clips)
    assert set(names(vae, clips_cut, clips)).isdisjoint(names(vae, plain, clips)[:2])
    for one, other in zip(videos, [entry for entry in whole.entries if entry.shape[1] > 1], strict=True):
        assert torch.equal(cache.latents(one), whole.latents(other)) and not other.tail


def test_stills_are_frames_encoded_by_themselves(vae, tmp_path):
    shapes = (WorldShape(seconds=3, fps=1, height=16, width=24, stills=True),)
    stills = RECIPE.model_copy(update={"world": WORLD.model_copy(update={"shapes": shapes, "tails": True})})
    cache = run(vae, tmp_path / "out", stills)
    model, spec = load_vae(vae)
    for number, entry in enumerate(cache.entries):
        count = 3 if number < 3 else 1
        assert (entry.shape[1], entry.stills, entry.tail) == (count, True, 0)
        frames, _ = world_frames(11, number, num_frames=count, fps=1, height=16, width=24)
        expected = torch.cat([encode_video(model, spec, frame[None], CPU) for frame in frames], 1)
        torch.testing.assert_close(cache.latents(entry), expected, atol=2e-3, rtol=2e-3)
