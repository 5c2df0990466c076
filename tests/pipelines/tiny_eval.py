"""A whole tiny model and a tiny judge that know nothing, and makers of videos that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from soracli.models.config import JudgeConfig
from soracli.models.generator import save_dit
from soracli.models.judge import Judge
from soracli.models.judge_store import save_judge
from soracli.models.store import load_vae, save_vae
from soracli.models.tokenizer import train_tokenizer
from soracli.pipelines.video_maker import VideoMaker
from tests.models.tiny import DIT, tiny_dit, tiny_text, tiny_vae

FPS = 8.0
SIDE = 32
JUDGE = JudgeConfig(side=32, num_frames=5, seconds_between=0.125, widths=(8, 8, 8), scene_width=8, track_width=8)


def save_tiny_model(folder: Path) -> Path:
    """A model folder with a judge in it."""
    save_vae(folder / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    spec = load_vae(folder)[1]
    tokenizer = train_tokenizer(["a red ball"], 300)
    defaults = {"fps": FPS, "size": [SIDE, SIDE], "first_block": 2, "block": 2, "window": 4, "num_steps": 2}
    save_dit(folder, tiny_dit().state_dict(), DIT, tiny_text(), tokenizer, spec, {"defaults": defaults})
    torch.manual_seed(3)
    save_judge(folder / "judge", Judge(JUDGE), {})
    return folder


def pretend_maker(make: Callable[[str, int, int], Tensor]) -> VideoMaker:
    """A maker that makes what it is told, of a prompt, a seed and a number of frames; its VAE loses nothing."""
    return VideoMaker(
        make=lambda prompt, seed, seconds: make(prompt, seed, round(seconds * FPS)),
        decode_again=lambda frames: frames,
        fps=FPS,
        height=SIDE,
        width=SIDE,
        settings={"model": "pretended"},
    )


def flat(value: int | tuple[int, int, int], num_frames: int) -> Tensor:
    """A video of one colour."""
    return torch.full((num_frames, SIDE, SIDE, 3), 0, dtype=torch.uint8) + torch.tensor(value, dtype=torch.uint8)
