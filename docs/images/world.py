"""Draw docs/images/world.png: five scenes of the world in six frames each, with their captions.

Run in the root of a checkout: python docs/images/world.py
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from PIL import Image

from soracli.data.image_write import write_contact_sheet
from soracli.data.world.captions import caption_scene
from soracli.data.world.grammar import sample_scene
from soracli.data.world.physics import simulate
from soracli.data.world.render import render_scene

SCENES = (12, 21, 47, 5, 32)
SIDE, COLUMNS = 112, 6

times = torch.linspace(0, 4, COLUMNS)
rows = []
for index in SCENES:
    scene = sample_scene(0, index)
    path = simulate([scene], times)
    contact = bool(path.contact[0, -1] > 0)
    caption = caption_scene(scene, style="short", moving=True, rng=random.Random(index), contact=contact)
    rows.append((caption, render_scene(scene, path.position[0], times, SIDE, SIDE).frames.numpy()))

picture = Path(__file__).with_suffix(".png")
write_contact_sheet(picture, rows, columns=COLUMNS, cell_height=SIDE)
# Without the two lowest bits of each colour the file is half as large and looks the same.
Image.open(picture).point(lambda value: value & 0xFC | value >> 6).save(picture, optimize=True)
