"""Motion against closed forms (free fall, elastic bounce, two-body collision), over two minutes, and on two grids."""

from __future__ import annotations

import pytest
import torch

from soracli.data.world.grammar import ARENA, GRAVITY, sample_scene
from soracli.data.world.physics import STEP, Trajectory, _collide, simulate
from tests.data.world.scenes import make_object, make_scene

MINUTES = torch.arange(24 * 120) / 24
SCENES = [sample_scene(5, index, split="any") for index in range(100)]
BOUNCING = [
    make_scene(make_object(motion="bounce", position=(0, height, 0), restitution=1.0)) for height in (0.7, 1.0, 1.4)
]
GLIDING = [make_scene(make_object(velocity=velocity)) for velocity in ((0.7, 0, 0), (-1.2, 0, 0), (0, 0, 1.0))]


@pytest.fixture(scope="module")
def two_minutes() -> Trajectory:
    """Lonely objects: the steps are what takes the time, and bodies that could meet make each dearer."""
    return simulate([*BOUNCING, *GLIDING], MINUTES)


@pytest.fixture(scope="module")
def drawn() -> Trajectory:
    """All of ``SCENES`` for 10 seconds."""
    return simulate(SCENES, torch.arange(24 * 10) / 24)


def test_an_elastic_bounce_keeps_its_height(two_minutes: Trajectory) -> None:
    for row, scene in enumerate(BOUNCING):
        height = scene.objects[0].position[1]
        peaks = two_minutes.position[row, :, 0, 1].view(-1, 24 * 5).amax(1)  # in every five seconds
        assert (peaks / height - 1).abs().max() < 0.01


def test_gliding_keeps_its_speed(two_minutes: Trajectory) -> None:
    for row, scene in enumerate(GLIDING, len(BOUNCING)):
        speed = two_minutes.velocity[row, :, 0].norm(dim=-1)
        start = torch.tensor(scene.objects[0].velocity).norm()
        # A frame between the step before and the step after a wall is interpolated between both velocities.
        assert (speed <= start + 1e-5).all()
        assert ((speed - start).abs() < 1e-5).float().mean() > 0.95
        travelled = two_minutes.position[row, 1:, 0] - two_minutes.position[row, :-1, 0]
        assert (travelled.norm(dim=-1) * 24 - start).abs().median() < 1e-3


def test_nothing_leaves_the_arena_or_sinks(drawn: Trajectory) -> None:
    for row, scene in enumerate(SCENES):
        for number, item in enumerate(scene.objects):
            place = drawn.position[row, :, number]
            assert place[:, (0, 2)].abs().max() <= ARENA - item.radius + 1e-5
            assert place[:, 1].min() >= 0
            assert place.isfinite().all()


def test_bodies_hardly_overlap(drawn: Trajectory) -> None:
    """As the spheres they are for collisions; a step lets them sink into each other by at most what it moves them."""
    for row, scene in enumerate(SCENES):
        for one in range(len(scene.objects)):
            for two in range(one):
                radii = torch.tensor([scene.objects[one].radius, scene.objects[two].radius])
                centres = drawn.position[row][:, (one, two)].clone()
                centres[..., 1] += radii
                apart = (centres[:, 0] - centres[:, 1]).norm(dim=-1)
                assert apart.min() > radii.sum() - 0.1


def test_what_falls_comes_to_rest(drawn: Trajectory) -> None:
    alone = [row for row, scene in enumerate(SCENES) if [item.motion for item in scene.objects] == ["fall"]]
    assert alone
    for row in alone:
        assert drawn.position[row, 24 * 5 :, 0, 1].max() == 0
        assert drawn.velocity[row, 24 * 5 :, 0].abs().max() == 0


def test_free_fall_is_the_parabola() -> None:
    times = torch.arange(60) / 96  # on the steps, 0.6 s: before the landing at 0.77 s
    path = simulate([make_scene(make_object(motion="fall", position=(0, 1.2, 0)))], times)
    torch.testing.assert_close(path.position[0, :, 0, 1], 1.2 - 0.5 * GRAVITY * times**2, atol=1e-6, rtol=0)
    torch.testing.assert_close(path.velocity[0, :, 0, 1], -GRAVITY * times, atol=1e-6, rtol=0)


def test_a_wall_turns_a_ball_back_with_its_speed() -> None:
    item = make_object(radius=0.3, velocity=(1.0, 0, 0))
    times = torch.arange(200) / 50
    path = simulate([make_scene(item)], times)
    reach = ARENA - 0.3
    expected = torch.where(times < reach, times, 2 * reach - times)
    torch.testing.assert_close(path.position[0, :, 0, 0], expected, atol=2 * STEP, rtol=0)


@pytest.mark.parametrize("heavy", [0.3, 0.6])
def test_a_central_collision_is_the_textbook_one(heavy: float) -> None:
    """Of spheres at one height: v1' = (m1 - m2) / (m1 + m2) v and v2' = 2 m1 / (m1 + m2) v."""
    lift = (heavy - 0.3, 0.0)  # so that both centres are at one height; neither falls far in the time looked at
    one = make_object(radius=0.3, position=(-0.7, 1 + lift[0], 0), velocity=(1.2, 0, 0))
    two = make_object(radius=heavy, position=(0.3, 1 + lift[1], 0))
    path = simulate([make_scene(one, two)], torch.arange(64) / 96)
    share = 0.3**3 / (0.3**3 + heavy**3)
    assert path.contact[0, 0] == 0
    assert path.contact[0, -1] == 1
    assert path.velocity[0, -1, 0, 0] == pytest.approx(1.2 * (2 * share - 1), abs=1e-3)
    assert path.velocity[0, -1, 1, 0] == pytest.approx(1.2 * 2 * share, abs=1e-3)


def test_collisions_keep_momentum_and_energy_and_part_the_bodies() -> None:
    generator = torch.Generator().manual_seed(3)
    radius = 0.25 + 0.4 * torch.rand(500, 3, generator=generator, dtype=torch.float64)
    position = torch.randn(500, 3, 3, generator=generator, dtype=torch.float64) * 0.4
    velocity = torch.randn(500, 3, 3, generator=generator, dtype=torch.float64)
    present = torch.ones(500, 3, dtype=torch.bool)
    present[:100, 2] = False
    after, contacts = _collide(position, velocity, radius, present, torch.zeros(500, dtype=torch.int64))
    mass = radius[..., None] ** 3
    assert (contacts > 0).sum() > 200
    torch.testing.assert_close((mass * after).sum(1), (mass * velocity).sum(1))
    torch.testing.assert_close((mass * after**2).sum((1, 2)), (mass * velocity**2).sum((1, 2)))
    assert (after[contacts == 0] == velocity[contacts == 0]).all()
    assert (after[:100, 2] == velocity[:100, 2]).all()
    struck = (contacts == 1) & ~present[:, 2]
    centre = position.clone()
    centre[..., 1] += radius
    parting = ((after[:, 1] - after[:, 0]) * (centre[:, 1] - centre[:, 0])).sum(-1)
    assert struck.sum() > 5
    assert (parting[struck] > 0).all()


def test_two_grids_of_times_agree() -> None:
    coarse, fine = (simulate(SCENES[:20], torch.arange(count) / fps) for count, fps in ((48, 12), (96, 24)))
    assert torch.equal(coarse.position, fine.position[:, ::2])
    assert torch.equal(coarse.velocity, fine.velocity[:, ::2])
    assert torch.equal(coarse.contact, fine.contact[:, ::2])


def test_a_scene_does_not_depend_on_its_batch() -> None:
    together = simulate(SCENES[:20], torch.arange(12) / 6)
    assert {len(scene.objects) for scene in SCENES[:20]} == {1, 2, 3}
    for row in range(0, 20, 4):
        alone = simulate([SCENES[row]], torch.arange(12) / 6)
        count = len(SCENES[row].objects)
        assert torch.equal(alone.position[0], together.position[row, :, :count])
        assert torch.equal(alone.velocity[0], together.velocity[row, :, :count])
        assert torch.equal(alone.contact[0], together.contact[row])
