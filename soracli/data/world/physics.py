"""How scenes move: rigid bodies under gravity in a walled arena, many scenes at a time.

Axes: B scenes, N objects (padded to the largest count), 3 = (x, y, z), T frames. Gliding is without friction and
walls and collisions are elastic, so that scenes that move go on moving for any number of seconds; bounces off the
ground keep each object's own share of speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.data.world.grammar import ARENA, GRAVITY, Scene

STEP = 1 / 96
"""Seconds of one integration step; frames between steps are interpolated."""
_SETTLED = 0.25
"""Vertical speed under which an inelastic bounce ends."""


@dataclass(frozen=True)
class Trajectory:
    """What the objects of B scenes do.

    Attributes:
        position: ``(B, T, N, 3)``, lowest point of each object, units.
        velocity: ``(B, T, N, 3)``, units a second.
        contact: ``(B, T)``, number of collisions between objects so far.
        times: ``(T,)`` seconds.
    """

    position: Tensor
    velocity: Tensor
    contact: Tensor
    times: Tensor


def simulate(scenes: Sequence[Scene], times: Tensor) -> Trajectory:
    """Integrate scenes to every time asked for.

    Args:
        scenes: B scenes.
        times: ``(T,)`` seconds from the start of the scene, not negative, ascending.

    Returns:
        The trajectory on the CPU in float32; missing objects of a padded scene stay far outside.
    """
    most = max(len(scene.objects) for scene in scenes)
    count = len(scenes)
    position = torch.zeros(count, most, 3, dtype=torch.float64)
    position[..., 0] = 1e3 * torch.arange(1, most + 1)
    velocity = torch.zeros(count, most, 3, dtype=torch.float64)
    radius = torch.full((count, most), 0.1, dtype=torch.float64)
    restitution = torch.zeros(count, most, dtype=torch.float64)
    present = torch.zeros(count, most, dtype=torch.bool)
    for row, scene in enumerate(scenes):
        for column, item in enumerate(scene.objects):
            position[row, column] = torch.tensor(item.position, dtype=torch.float64)
            velocity[row, column] = torch.tensor(item.velocity, dtype=torch.float64)
            radius[row, column] = item.radius
            restitution[row, column] = item.restitution
            present[row, column] = True

    num_steps = int(torch.ceil(times.max() / STEP).item()) + 1
    contacts = torch.zeros(count, dtype=torch.int64)
    positions, velocities, counts = [position], [velocity], [contacts]
    for _ in range(num_steps):
        position, velocity = _fly(position, velocity, restitution)
        position, velocity = _turn_at_walls(position, velocity, radius, present)
        velocity, contacts = _collide(position, velocity, radius, present, contacts)
        positions.append(position)
        velocities.append(velocity)
        counts.append(contacts)

    exact = times.double() / STEP
    below = exact.floor().long()
    part = (exact - below)[None, :, None, None]
    path, speed = torch.stack(positions, 1), torch.stack(velocities, 1)
    return Trajectory(
        position=torch.lerp(path[:, below], path[:, below + 1], part).float(),
        velocity=torch.lerp(speed[:, below], speed[:, below + 1], part).float(),
        contact=torch.stack(counts, 1)[:, below],
        times=times,
    )


def _fly(position: Tensor, velocity: Tensor, restitution: Tensor) -> tuple[Tensor, Tensor]:
    """One step under gravity; a bounce takes its speed from energy, so elastic ones never lose height."""
    height, rise = position[..., 1], velocity[..., 1]
    new_height = height + rise * STEP - 0.5 * GRAVITY * STEP**2
    new_rise = rise - GRAVITY * STEP
    lands = new_height <= 0
    impact = (rise.square() + 2 * GRAVITY * height.clamp(min=0)).sqrt()
    rebound = restitution * impact
    rebound = torch.where((restitution < 1) & (rebound < _SETTLED), 0.0, rebound)
    position, velocity = position + velocity * STEP, velocity.clone()
    position[..., 1] = torch.where(lands, 0.0, new_height)
    velocity[..., 1] = torch.where(lands, rebound, new_rise)
    return position, velocity


def _turn_at_walls(position: Tensor, velocity: Tensor, radius: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    reach = (ARENA - radius)[..., None]
    position, velocity = position.clone(), velocity.clone()
    for axis in (0, 2):
        place, speed = position[..., axis : axis + 1], velocity[..., axis : axis + 1]
        outside = (place.abs() > reach) & present[..., None]
        position[..., axis : axis + 1] = torch.where(outside, place.sign() * (2 * reach - place.abs()), place)
        velocity[..., axis : axis + 1] = torch.where(outside, -place.sign() * speed.abs(), speed)
    return position, velocity


def _collide(
    position: Tensor, velocity: Tensor, radius: Tensor, present: Tensor, contacts: Tensor
) -> tuple[Tensor, Tensor]:
    """Elastic impulses between objects taken as spheres with mass in proportion to radius cubed."""
    most = position.shape[1]
    lift = torch.stack([torch.zeros_like(radius), radius, torch.zeros_like(radius)], -1)
    centre = position + lift
    mass = radius**3
    for first in range(most):
        for second in range(first + 1, most):
            apart = centre[:, second] - centre[:, first]
            distance = apart.norm(dim=-1, keepdim=True).clamp(min=1e-9)
            normal = apart / distance
            closing = ((velocity[:, first] - velocity[:, second]) * normal).sum(-1, keepdim=True)
            touch = (distance < (radius[:, first] + radius[:, second])[:, None]) & (closing > 0)
            touch &= (present[:, first] & present[:, second])[:, None]
            one, two = mass[:, first, None], mass[:, second, None]
            impulse = torch.where(touch, 2 * closing * one * two / (one + two), 0.0) * normal
            velocity = velocity.clone()
            velocity[:, first] -= impulse / one
            velocity[:, second] += impulse / two
            contacts = contacts + touch[:, 0]
    return velocity, contacts
