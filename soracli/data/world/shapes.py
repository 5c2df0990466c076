"""Where rays meet balls, cubes and cones, in closed form.

Rays are tuples of flat tensors ``(x, y, z)``, n rays each; every function returns the distance to the first hit
(``FAR`` where there is none) and the outward normal there. Places are the object's lowest point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from soracli.data.world.grammar import SceneObject, Shape

Vector = tuple[Tensor, Tensor, Tensor]
FAR = 1e6
_NEAR = 1e-3
CUBE_SIDE = 1.62
"""Side of a cube over the radius of the ball that looks as large."""
CONE_BASE, CONE_HEIGHT = 1.0, 2.0
"""Base radius and height of a cone over that radius."""


def hit_ball(item: SceneObject, place: Vector, origin: Vector, direction: Vector) -> tuple[Tensor, Vector]:
    """First hit of a sphere that rests on ``place``."""
    cx, cy, cz = place[0] - origin[0], place[1] + item.radius - origin[1], place[2] - origin[2]
    along = cx * direction[0] + cy * direction[1] + cz * direction[2]
    inside = item.radius**2 - (cx * cx + cy * cy + cz * cz - along * along)
    distance = along - inside.clamp(min=0).sqrt()
    distance = torch.where((inside > 0) & (distance > _NEAR), distance, FAR)
    scale = 1 / item.radius
    normal = (
        (distance * direction[0] - cx) * scale,
        (distance * direction[1] - cy) * scale,
        (distance * direction[2] - cz) * scale,
    )
    return distance, normal


def hit_cube(item: SceneObject, place: Vector, origin: Vector, direction: Vector) -> tuple[Tensor, Vector]:
    """First hit of a cube turned about the vertical axis: the slab test of Kay and Kajiya."""
    half = 0.5 * CUBE_SIDE * item.radius
    cos, sin = math.cos(item.yaw), math.sin(item.yaw)
    ox, oy, oz = origin[0] - place[0], origin[1] - place[1] - half, origin[2] - place[2]
    ox, oz = cos * ox + sin * oz, cos * oz - sin * ox
    dx, dz = cos * direction[0] + sin * direction[2], cos * direction[2] - sin * direction[0]
    enter_by_axis, leave = [], torch.full_like(dx, FAR)
    for offset, step in ((ox, dx), (oy, direction[1]), (oz, dz)):
        inverse = 1 / torch.where(step.abs() < 1e-9, 1e-9, step)
        middle, reach = -offset * inverse, half * inverse.abs()
        enter_by_axis.append(middle - reach)
        leave = torch.minimum(leave, middle + reach)
    enter = torch.maximum(torch.maximum(enter_by_axis[0], enter_by_axis[1]), enter_by_axis[2])
    distance = torch.where((enter < leave) & (enter > _NEAR), enter, FAR)
    by_x = enter_by_axis[0] >= enter
    by_y = ~by_x & (enter_by_axis[1] >= enter)
    nx = torch.where(by_x, -dx.sign(), 0.0)
    ny = torch.where(by_y, -direction[1].sign(), 0.0)
    nz = torch.where(by_x | by_y, 0.0, -dz.sign())
    return distance, (cos * nx - sin * nz, ny, sin * nx + cos * nz)


def hit_cone(item: SceneObject, place: Vector, origin: Vector, direction: Vector) -> tuple[Tensor, Vector]:
    """First hit of an upright cone: its side, or its base when seen from below."""
    height, slope = CONE_HEIGHT * item.radius, CONE_BASE / CONE_HEIGHT
    ox, oy, oz = origin[0] - place[0], origin[1] - place[1] - height, origin[2] - place[2]
    dx, dy, dz = direction
    a = dx * dx + dz * dz - slope**2 * dy * dy
    b = ox * dx + oz * dz - slope**2 * oy * dy
    c = ox * ox + oz * oz - slope**2 * oy * oy
    root = (b * b - a * c).clamp(min=0).sqrt()
    real = b * b > a * c
    inverse = 1 / torch.where(a.abs() < 1e-9, 1e-9, a)
    side = torch.full_like(dx, FAR)
    for candidate in ((-b - root) * inverse, (-b + root) * inverse):
        level = oy + candidate * dy
        good = real & (candidate > _NEAR) & (level <= 0) & (level >= -height)
        side = torch.minimum(side, torch.where(good, candidate, FAR))
    base = (-height - oy) / torch.where(dy.abs() < 1e-9, 1e-9, dy)
    bx, bz = ox + base * dx, oz + base * dz
    base = torch.where((base > _NEAR) & (bx * bx + bz * bz < (slope * height) ** 2), base, FAR)
    distance = torch.minimum(side, base)
    on_side = side <= base
    hx, hz = ox + distance * dx, oz + distance * dz
    flat = 1 / ((hx * hx + hz * hz).sqrt() * math.sqrt(1 + slope**2)).clamp(min=1e-6)
    nx = torch.where(on_side, hx * flat, 0.0)
    nz = torch.where(on_side, hz * flat, 0.0)
    ny = torch.where(on_side, slope / math.sqrt(1 + slope**2), -1.0)
    return distance, (nx, ny, nz)


HITS: dict[Shape, Callable[[SceneObject, Vector, Vector, Vector], tuple[Tensor, Vector]]] = {
    "ball": hit_ball,
    "cube": hit_cube,
    "cone": hit_cone,
}
