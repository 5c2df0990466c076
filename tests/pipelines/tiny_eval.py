"""A whole tiny model and a tiny judge that know nothing, and makers of videos that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soracli.models.config import JudgeConfig
from soracli.models.generator import save_dit
from soracli.models.judge import Judge
from soracli.models.judge_store import save_judge
from soracli.models.store import load_vae, save_vae
from soracli.models.tokenizer import train_tokenizer
from soracli.pipelines.video_maker import Memory, VideoMaker, VideoVerbs
from tests.models.tiny import DIT, tiny_dit, tiny_text, tiny_vae

FPS = 8.0
SIDE = 32
JUDGE = JudgeConfig(side=32, num_frames=5, seconds_between=0.125, widths=(8, 8, 8), scene_width=8, track_width=8)


def save_tiny_model(folder: Path, window: int = 4, **changes: Any) -> Path:
    """A model folder with a judge in it, that remembers so many latents; ``changes`` are the DiT's."""
    save_vae(folder / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    spec = load_vae(folder)[1]
    tokenizer = train_tokenizer(["a red ball"], 300)
    defaults = {"fps": FPS, "size": [SIDE, SIDE], "first_block": 2, "block": 2, "window": window, "num_steps": 2}
    dit, config = tiny_dit(**changes), DIT.model_copy(update=changes)
    save_dit(folder, dit.state_dict(), config, tiny_text(), tokenizer, spec, {"defaults": defaults})
    torch.manual_seed(3)
    save_judge(folder / "judge", Judge(JUDGE), {})
    return folder


def pretend_maker(
    make: Callable[[str, int, int], Tensor],
    *,
    side: int = SIDE,
    fps: float = FPS,
    sliding: Callable[[str, int, int, int], Tensor] | None = None,
    **verbs: Any,
) -> VideoMaker:
    """A maker that makes what it is told, of a prompt, a seed and a number of frames; its VAE loses nothing.

    Args:
        make: Its videos.
        side: Their height and width.
        fps: Their rate.
        sliding: Those with a plain window, of its length too; None makes the same.
        verbs: Fields of ``VideoVerbs``; those that are not given refuse.
    """
    pretended = {"go_on": _refuse, "fill_gap": _refuse, "edit": None, "memory": Memory(4, 2, 4), **verbs}
    return VideoMaker(
        make=lambda prompt, seed, seconds: make(prompt, seed, round(seconds * fps)),
        decode_again=lambda frames: frames,
        fps=fps,
        height=side,
        width=side,
        settings={"model": "pretended"},
        make_sliding=lambda prompt, seed, seconds, window: (
            sliding(prompt, seed, round(seconds * fps), window) if sliding else make(prompt, seed, round(seconds * fps))
        ),
        verbs=VideoVerbs(**pretended),
    )


def _refuse(*given: Any) -> Any:
    raise AssertionError(f"nobody asked for it: {given}")


def flat(value: int | tuple[int, int, int], num_frames: int) -> Tensor:
    """A video of one colour."""
    return torch.full((num_frames, SIDE, SIDE, 3), 0, dtype=torch.uint8) + torch.tensor(value, dtype=torch.uint8)
