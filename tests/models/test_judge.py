"""The judge: its places in the arena against the world's own camera, its words against the grammar, its size."""

import torch

from soracli.data.judge_clips import scene_clips
from soracli.data.world import camera, grammar
from soracli.data.world.grammar import sample_scene
from soracli.data.world.physics import simulate
from soracli.models.config import JudgeConfig
from soracli.models.judge import Judge, JudgeMaps
from soracli.models.judge_loss import judge_loss
from soracli.models.judge_store import load_judge, save_judge

TINY = JudgeConfig(side=32, num_frames=5, seconds_between=0.5, widths=(8, 8, 8), scene_width=8, track_width=8)
SCENES = [sample_scene(5, index, split="any") for index in range(4)]


def tiny_clips():
    return scene_clips(SCENES, num_frames=5, seconds_between=0.5, side=32)


def test_words_and_camera_are_those_of_the_world():
    config = JudgeConfig()
    assert config.colours == grammar.COLOURS
    assert config.shapes == grammar.SHAPES
    assert config.sizes == grammar.SIZES
    assert config.motions == grammar.MOTIONS
    assert config.grounds == grammar.GROUNDS
    assert config.cameras == grammar.CAMERAS
    assert (config.camera_distance, config.camera_elevation) == (camera.DISTANCE, camera.ELEVATION)
    assert (config.camera_target, config.camera_field) == (camera.TARGET, camera.FIELD)


def test_a_measured_object_stands_where_physics_put_it():
    clips, judge = tiny_clips(), Judge(TINY)
    position = simulate(SCENES, torch.arange(5) * 0.5).position
    index = clips["object_index"].long()
    member = torch.stack([index == number for number in range(3)], 2)
    place = torch.einsum("btnyx,btnc->btcyx", member.float(), clips["centre"])
    blank = torch.zeros(4, 5, 1, 16, 16)
    maps = JudgeMaps(
        there=blank[:, :, 0],
        colour=blank,
        shape=blank,
        size=blank.expand(-1, -1, 2, -1, -1),
        centre=place[:, :, :2],
        depth=place[:, :, 2],
        pose=clips["pose"],
        ground=blank,
        camera=blank,
    )
    measured = judge._measure(maps, member.float())
    checked = 0
    for video, scene in enumerate(SCENES):
        for number, item in enumerate(scene.objects):
            seen = member[video, :, number].sum((1, 2)) >= 3
            true = position[video, :, number] + torch.tensor([0.0, item.radius, 0.0])
            assert torch.allclose(measured[video, number, :, :3][seen], true[seen], atol=1e-4)
            assert torch.equal(measured[video, number, :, -1] > 0, seen)
            assert (measured[video, number][~seen] == 0).all()
            checked += int(seen.sum())
    assert checked > 10


def test_shapes_and_every_weight_learns():
    clips, judge = tiny_clips(), Judge(TINY)
    frames = clips.pop("frames").permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    maps = judge.look(frames)
    assert maps.there.shape == maps.depth.shape == (4, 5, 16, 16)
    assert maps.colour.shape == (4, 5, 8, 16, 16)
    assert maps.pose.shape == (4, 5, 3)
    motion, size = judge.follow(maps, torch.ones(4, 5, 2, 16, 16))
    assert motion.shape == (4, 2, 7)
    assert size.shape == (4, 2, 2)
    judge_loss(judge, judge.look(frames), clips)["loss"].backward()
    without = [name for name, weight in judge.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_an_answer_about_one_video_does_not_depend_on_its_neighbours():
    clips, judge = tiny_clips(), Judge(TINY).eval()
    frames = clips["frames"].permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    with torch.no_grad():
        together, alone = judge.look(frames), judge.look(frames[1:2])
    assert torch.allclose(together.colour[1], alone.colour[0], atol=1e-5)
    assert torch.allclose(together.camera[1], alone.camera[0], atol=1e-5)


def test_a_perfect_look_costs_nothing_but_its_words():
    clips, judge = tiny_clips(), Judge(TINY)
    frames = clips.pop("frames").permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    maps = judge.look(frames)
    parts = judge_loss(judge, maps, clips)
    parts_again = judge_loss(judge, maps, {**clips, "pose": maps.pose.detach()})
    assert float(parts_again["pose"].detach()) == 0 < float(parts["pose"].detach())


def test_the_shipped_size_is_small_and_comes_back_from_its_folder(tmp_path):
    judge = Judge(JudgeConfig()).eval()
    save_judge(tmp_path / "judge", judge, {"trained": {"steps": 0}})
    assert (tmp_path / "judge" / "model.safetensors").stat().st_size <= 600_000
    loaded = load_judge(tmp_path)
    for name, weight in judge.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], weight, atol=1e-3), name
