"""Rays against a slow reference that knows only what is inside a body: sampled along the ray, then bisected."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from soracli.data.world.grammar import SHAPES, SceneObject, Shape
from soracli.data.world.shapes import CONE_BASE, CONE_HEIGHT, CUBE_SIDE, FAR, HITS, Vector
from tests.data.world.scenes import make_object

PLACE = (0.25, 0.5, -0.25)  # exact in any number type
REACH, SAMPLES = 7.0, 2000


def inside_ball(item: SceneObject, point: Tensor) -> Tensor:
    return (point - torch.tensor([0, item.radius, 0], dtype=point.dtype)).norm(dim=-1) < item.radius


def inside_cube(item: SceneObject, point: Tensor) -> Tensor:
    half = CUBE_SIDE * item.radius / 2
    corner = torch.tensor([math.cos(item.yaw), math.sin(item.yaw)], dtype=point.dtype)
    across = (point[..., (0, 2)] * corner).sum(-1).abs()
    along = (point[..., (2, 0)] * corner * torch.tensor([1, -1])).sum(-1).abs()
    return (across < half) & (along < half) & (point[..., 1] > 0) & (point[..., 1] < 2 * half)


def inside_cone(item: SceneObject, point: Tensor) -> Tensor:
    height = CONE_HEIGHT * item.radius
    width = CONE_BASE * item.radius * (1 - point[..., 1] / height)
    return (point[..., 1] > 0) & (point[..., 1] < height) & (point[..., (0, 2)].norm(dim=-1) < width)


INSIDE: dict[Shape, Callable[[SceneObject, Tensor], Tensor]] = {
    "ball": inside_ball,
    "cube": inside_cube,
    "cone": inside_cone,
}


def rays(count: int = 1500) -> tuple[Tensor, Tensor]:
    """Origins and directions ``(n, 3)`` from all around, also from below, aimed at and past the body."""
    generator = torch.Generator().manual_seed(11)
    draw = torch.randn(2, count, 3, generator=generator, dtype=torch.float64)
    origin = torch.tensor(PLACE) + 3 * torch.nn.functional.normalize(draw[0], dim=-1)
    aim = torch.tensor(PLACE, dtype=torch.float64) + torch.tensor([0, 0.5, 0]) + 0.45 * draw[1]
    return origin, torch.nn.functional.normalize(aim - origin, dim=-1)


def as_vector(points: Tensor) -> Vector:
    return points[:, 0], points[:, 1], points[:, 2]


def place_of(points: Tensor) -> Vector:
    return as_vector(torch.tensor(PLACE, dtype=points.dtype).expand_as(points))


def hit(item: SceneObject, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    distance, normal = HITS[item.shape](item, place_of(origin), as_vector(origin), as_vector(direction))
    return distance, torch.stack(torch.broadcast_tensors(*normal), -1)


def slow_hit(item: SceneObject, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the first hit (infinite if none), and how many samples lay inside."""

    def inside(distance: Tensor) -> Tensor:
        point = origin[:, None] + distance[..., None] * direction[:, None] - torch.tensor(PLACE)
        return INSIDE[item.shape](item, point)

    grid = torch.linspace(0, REACH, SAMPLES, dtype=torch.float64)
    within = inside(grid.expand(len(origin), SAMPLES))
    first = within.int().argmax(1)
    low, high = grid[(first - 1).clamp(min=0)], grid[first]
    for _ in range(45):
        middle = (low + high) / 2
        found = inside(middle[:, None])[:, 0]
        low, high = torch.where(found, low, middle), torch.where(found, middle, high)
    return torch.where(within.any(1), high, math.inf), within.sum(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_distances_are_those_of_the_reference(shape: Shape) -> None:
    item = make_object(shape, radius=0.5, yaw=0.7)
    origin, direction = rays()
    distance, _ = hit(item, origin, direction)
    expected, depth = slow_hit(item, origin, direction)
    struck = expected.isfinite()
    assert struck.sum() > 300
    assert (~struck).sum() > 300
    # Between two samples the reference can miss a corner that is only grazed.
    grazed = (distance < FAR) & ~struck
    assert grazed.sum() < 5
    assert (distance[struck & (depth > 1)] < FAR).all()
    torch.testing.assert_close(distance[struck], expected[struck], atol=1e-9, rtol=0)
    single, _ = hit(item, origin.float(), direction.float())
    clear = struck & (depth > 20)
    torch.testing.assert_close(single[clear].double(), expected[clear], atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_are_unit_outward_and_upright_on_the_surface(shape: Shape) -> None:
    """A point moved along the surface and a little inward is inside; moved as much outward it is outside."""
    item = make_object(shape, radius=0.5, yaw=0.7)
    origin, direction = rays()
    distance, normal = hit(item, origin, direction)
    struck = distance < FAR
    direction, normal = direction[struck], normal[struck]
    point = origin[struck] + distance[struck, None] * direction - torch.tensor(PLACE)
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(len(normal), dtype=torch.float64))
    assert ((normal * direction).sum(-1) < 1e-9).all()
    across = torch.nn.functional.normalize(torch.linalg.cross(normal, direction), dim=-1)
    other = torch.linalg.cross(normal, across)
    along, deep = 2e-3, 4e-5  # pins the normal to 1.2 degrees; a ball's own bend is 4e-6 there
    right = torch.ones(len(point), dtype=torch.bool)
    for step in (across, -across, other, -other):
        right &= INSIDE[shape](item, point + along * step - deep * normal)
        right &= ~INSIDE[shape](item, point + along * step + deep * normal)
    # Within 2e-3 of an edge both cannot hold.
    assert right.double().mean() > (0.999 if shape == "ball" else 0.97)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_body_does_not_shade_where_it_faces_the_light(shape: Shape) -> None:
    """All three are convex: a ray that leaves the surface outward never comes back. In the float32 of the renderer."""
    item = make_object(shape, radius=0.5, yaw=0.7)
    origin, direction = (values.float() for values in rays())
    distance, normal = hit(item, origin, direction)
    struck = distance < FAR
    point = (origin + distance[:, None] * direction + 2e-3 * normal)[struck]
    light = torch.nn.functional.normalize(torch.tensor([0.4, 0.8, 0.45]), dim=0).expand_as(point)
    facing = (normal[struck] * light).sum(-1) > 0.05
    back, _ = hit(item, point, light)
    assert facing.sum() > 200
    assert (back[facing] == FAR).all()
    if shape != "cone":  # a slanted side may turn away from the light and still see past the apex
        turned = (normal[struck] * light).sum(-1) < -0.05
        assert (back[turned] < FAR).double().mean() > 0.95


def test_rays_along_the_axes_do_not_break() -> None:
    """Divisions by zero would be there: straight down and along a cube's faces."""
    direction = torch.tensor([[0.0, -1, 0], [0, 1, 0], [1, 0, 0], [0, 0, -1]])
    origin = torch.tensor(PLACE) + torch.tensor([0, 0.3, 0]) - 3 * direction
    for shape in SHAPES:
        distance, normal = hit(make_object(shape, radius=0.5, yaw=0.0), origin, direction)
        assert (distance < FAR).all()
        torch.testing.assert_close(normal.norm(dim=-1), torch.ones(4), atol=1e-4, rtol=0)
