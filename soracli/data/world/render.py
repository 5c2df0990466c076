"""Pictures of scenes: ray tracing with shadows, antialiased where it matters.

Every pixel gets one ray; pixels whose neighbours show another thing (an object, a shadow, the horizon) are traced
again with ``samples`` rays. Ground patterns fade out with distance instead of aliasing. Light is computed in linear
colour and stored with gamma 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from soracli.data.world.camera import FIELD, CameraPath, camera_path
from soracli.data.world.grammar import Colour, Scene
from soracli.data.world.ground import ground_colour, sky_colour
from soracli.data.world.shapes import FAR, HITS, Vector

_PAINT: dict[Colour, tuple[float, float, float]] = {
    "red": (0.72, 0.03, 0.03),
    "orange": (0.90, 0.26, 0.01),
    "yellow": (0.90, 0.72, 0.02),
    "green": (0.03, 0.34, 0.06),
    "blue": (0.03, 0.10, 0.70),
    "purple": (0.30, 0.03, 0.50),
    "white": (0.88, 0.88, 0.88),
    "black": (0.015, 0.015, 0.018),
}
_AMBIENT, _SUN = 0.38, 0.80
_SPECULAR = 0.22
_CHUNK = 1 << 17
"""Rays traced at once on a CPU: their vectors stay in its cache."""
_CHUNK_DEVICE = 1 << 23


@dataclass(frozen=True)
class Rendered:
    """Pictures of one scene.

    Attributes:
        frames: ``(T, H, W, 3)`` uint8.
        object_index: ``(T, H, W)`` int8, which object the middle of each pixel shows; -1 ground or sky.
    """

    frames: Tensor
    object_index: Tensor


def render_scene(
    scene: Scene, position: Tensor, times: Tensor, height: int, width: int, *, samples: int = 9
) -> Rendered:
    """Draw one scene.

    Args:
        scene: What stands where, and who looks.
        position: ``(T, N, 3)`` of ``simulate``, on the device that shall draw.
        times: ``(T,)`` seconds, same device.
        height: Rows of pixels.
        width: Columns of pixels.
        samples: Rays through each pixel on an edge, a square number.
    """
    path = camera_path(scene, times)
    num_frames, device = position.shape[0], position.device
    middle = torch.full((num_frames * height * width,), 0.5, device=device)
    pixel = torch.arange(num_frames * height * width, device=device)
    colour, label = _trace(scene, position, path, pixel, middle, middle, height, width)

    label = label.view(num_frames, height, width)
    edges = _edges(label).view(-1).nonzero()[:, 0]
    side = math.isqrt(samples)
    total = torch.zeros(len(edges), 3, device=device)
    for row in range(side):
        for column in range(side):
            across = torch.full((len(edges),), (column + 0.5) / side, device=device)
            down = torch.full((len(edges),), (row + 0.5) / side, device=device)
            total += _trace(scene, position, path, edges, across, down, height, width)[0]
    colour[edges] = total / side**2

    frames = (colour.clamp(0, 1) ** (1 / 2.2) * 255).round().to(torch.uint8).view(num_frames, height, width, 3)
    shown = (label // 2 - 2).clamp(min=-1).to(torch.int8)
    return Rendered(frames=frames, object_index=shown)


def _edges(label: Tensor) -> Tensor:
    """``(T, H, W)`` pixels with a neighbour, also across a corner, that shows another thing."""
    padded = torch.nn.functional.pad(label[:, None].float(), (1, 1, 1, 1), mode="replicate")
    highest = torch.nn.functional.max_pool2d(padded, 3, 1)
    lowest = -torch.nn.functional.max_pool2d(-padded, 3, 1)
    return (highest != lowest)[:, 0]


def _trace(
    scene: Scene,
    position: Tensor,
    path: CameraPath,
    pixel: Tensor,
    across: Tensor,
    down: Tensor,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    """Colour ``(n, 3)`` and label ``(n,)`` of rays through given points of given pixels.

    A label is 0 for sky, 2 for ground, ``4 + 2 * object`` for objects, one more in shadow.
    """
    chunk = _CHUNK if pixel.device.type == "cpu" else _CHUNK_DEVICE
    parts = [
        _trace_chunk(scene, position, path, p, a, d, height, width)
        for p, a, d in zip(pixel.split(chunk), across.split(chunk), down.split(chunk), strict=True)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _trace_chunk(
    scene: Scene,
    position: Tensor,
    path: CameraPath,
    pixel: Tensor,
    across: Tensor,
    down: Tensor,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    frame = pixel // (height * width)
    within = pixel - frame * (height * width)
    row = within // width
    scale = 2 * FIELD / min(height, width)
    u = ((within - row * width) + across - width / 2) * scale
    v = (height / 2 - row - down) * scale
    length = torch.rsqrt(u * u + v * v + 1)
    direction: Vector = tuple(  # type: ignore[assignment]
        (path.forward[frame, axis] + u * path.right[frame, axis] + v * path.up[frame, axis]) * length
        for axis in range(3)
    )
    origin: Vector = tuple(path.origin[frame, axis] for axis in range(3))  # type: ignore[assignment]
    places: list[Vector] = [
        tuple(position[frame, number, axis] for axis in range(3))  # type: ignore[misc]
        for number in range(len(scene.objects))
    ]

    drop = direction[1].clamp(max=-1e-4)
    nearest = torch.where(direction[1] < -1e-4, -origin[1] / drop, FAR)
    label = torch.where(nearest < FAR, 2, 0)
    hx, hz = origin[0] + nearest * direction[0], origin[2] + nearest * direction[2]
    footprint = nearest * scale / -drop
    red, green, blue = ground_colour(scene.ground, scene.phase, hx, hz, footprint)
    nx, ny, nz = torch.zeros_like(u), torch.ones_like(u), torch.zeros_like(u)
    gloss = torch.zeros_like(u)
    for number, item in enumerate(scene.objects):
        distance, normal = HITS[item.shape](item, places[number], origin, direction)
        closer = distance < nearest
        nearest = torch.where(closer, distance, nearest)
        label = torch.where(closer, 4 + 2 * number, label)
        nx, ny, nz = (torch.where(closer, a, b) for a, b in zip(normal, (nx, ny, nz), strict=True))
        paint = _PAINT[item.colour]
        red, green, blue = (torch.where(closer, a, b) for a, b in zip(paint, (red, green, blue), strict=True))
        gloss = torch.where(closer, _SPECULAR, gloss)

    azimuth, elevation = scene.sun
    sun = (math.cos(elevation) * math.sin(azimuth), math.sin(elevation), math.cos(elevation) * math.cos(azimuth))
    point: Vector = tuple(o + nearest * d for o, d in zip(origin, direction, strict=True))  # type: ignore[assignment]
    lifted: Vector = (point[0] + 2e-3 * nx, point[1] + 2e-3 * ny, point[2] + 2e-3 * nz)
    light: Vector = tuple(torch.full_like(u, value) for value in sun)  # type: ignore[assignment]
    facing = (nx * sun[0] + ny * sun[1] + nz * sun[2]).clamp(min=0)
    shaded = torch.zeros_like(u, dtype=torch.bool)
    for number, item in enumerate(scene.objects):
        shaded |= HITS[item.shape](item, places[number], lifted, light)[0] < FAR
    lit = torch.where(shaded, 0.0, facing)

    mirrored = 2 * (nx * direction[0] + ny * direction[1] + nz * direction[2])
    glance = sum((d - mirrored * n) * s for d, n, s in zip(direction, (nx, ny, nz), sun, strict=True))
    shine = torch.where(shaded, 0.0, gloss * torch.as_tensor(glance).clamp(min=0) ** 24)
    # The sky lights what looks up a little more than what looks down.
    brightness = _AMBIENT * (0.75 + 0.25 * ny) + _SUN * lit
    haze = 1 - torch.exp(-(nearest.clamp(max=200) / 30).square())
    sky = sky_colour(scene.sky, direction[1])
    is_sky = label == 0
    colour = torch.stack(
        [
            torch.where(is_sky, above, (1 - haze) * (paint * brightness + shine) + haze * above)
            for paint, above in zip((red, green, blue), sky, strict=True)
        ],
        -1,
    )
    return colour, label + (shaded & ~is_sky)
