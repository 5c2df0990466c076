"""What each part of the VAE and of its training is worth: one arm without it, all at equal counted work.

    python benchmarks/vae_ablation.py --clips all/clips.jsonl --judge film/clips/clips.jsonl --out runs/ablation
    python benchmarks/vae_ablation.py ... --arms full "no GAN" --teraflop 20      # some of them, shorter

Every arm trains the nano VAE from nothing with one seed on the same clips, for as many steps as its counted operations
allow (a discriminator's updates cost about a third of the VAE's, so without it there are more steps), and is judged
on clips it was not shown, whole: 17 frames as most are trained with, 65 frames, single frames. What the product has no
option for (looking ahead, other norms) is put in place of its layers here. An arm that is done is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from soracli.core.progress import SilentReporter
from soracli.data.manifest import read_manifest
from soracli.models import video_vae
from soracli.models.codec import to_frames, to_pixels
from soracli.models.config import VAEConfig
from soracli.models.layers import causal
from soracli.models.perceptual import load_perceptual
from soracli.models.store import load_video_vae
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.recipes import VaeTrainRecipe
from soracli.pipelines.sample_clips import Excerpt, SampleClip, manifest_clips, world_clips
from soracli.pipelines.train_vae import train_vae
from soracli.pipelines.vae_scores import Originals, Tally, find_instruments, set_scores
from soracli.pipelines.vae_step import Update, build_adversary, learn
from soracli.recipe.find import find_recipe
from soracli.recipe.load import load_recipe
from soracli.training.device import set_threads
from soracli.training.distributed import open_world
from soracli.training.ema import build_ema
from soracli.training.optimiser import build_optimiser
from soracli.training.state import TrainState
from soracli.training.utilisation import Operations

COMMON = (
    "compile=true",
    "frames.world_share=0.4",
    "frames.world_scenes=200",
    "loss.emphasis=1.0",
    "loop.eval_every=0",
    "loop.save_every=200",
    "loop.ema_decay=0.99",
    "perceptual.weight=0.005",
    "perceptual.num_frames=4",
    "adversary.r1=0.1",
    "adversary.ramp_steps=50",
)
MIXED = (
    "{num_frames=17,crop=64,batch_size=4,weight=0.6}",
    "{num_frames=33,crop=64,batch_size=2,weight=0.2}",
    "{num_frames=1,crop=64,batch_size=16,weight=0.2}",
)
WITH = {
    "frames.shapes": f"[{','.join(MIXED)}]",
    "perceptual.network": '"efficientnet_lite0"',
    "adversary.weight": "0.3",
}
_GROUP = 16
_LONG = 65
_WORLD_SCENES = 8
_WORLD_SEED = 4242


class NormOverFrame(causal.PositionNorm):
    """Groups of channels over all of a frame: what group norm per frame does."""

    axes: tuple[int, ...] = (2, 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, T, H, W, C)``."""
        groups = x.unflatten(-1, (-1, _GROUP))  # (B, T, H, W, C / g, g)
        scale = torch.rsqrt(groups.square().mean(self.axes, keepdim=True) + 1e-6)
        return (groups * scale).flatten(-2) * self.gain  # (B, T, H, W, C)


class NormOverTime(NormOverFrame):
    """Groups of channels over the whole video, as group norm on 3D features."""

    axes = (1, 2, 3, 5)


class ModulatedDecoder(video_vae.Decoder):
    """A decoder whose norms over space are scaled and shifted by the latent of their position (AdaGN of MAGViT-v2)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        self.modulations = nn.ModuleList(
            causal.Kernel(config.latent_channels, 2 * width) for width in config.widths[::-1]
        )
        for modulation in self.modulations:
            nn.init.zeros_(modulation.weight)  # type: ignore[arg-type]

    def forward(self, latents: Tensor, tape: causal.Tape) -> Tensor:
        """As that of ``Decoder``, for a whole video."""
        condition = rearrange(latents, "b c t h w -> b t h w c")  # (B, T', H', W', C)
        x = self.stem(condition)  # (B, T', H', W', D)
        level: Any
        up: Any
        for index, (level, modulation) in enumerate(zip(self.levels, self.modulations, strict=True)):
            scale, shift = modulation(condition).chunk(2, -1)  # 2 (B, T, H, W, D)
            for block in level:
                h = block.space(nn.functional.silu(block.space_norm(x) * (1 + scale) + shift))
                x = x + block.time(nn.functional.silu(block.time_norm(h)), tape)  # (B, T, H, W, D)
            if index < len(self.ups):
                up = self.ups[index]
                x = up(x, tape)  # (B, T s, 2H, 2W, D')
                frames = condition.repeat_interleave(up.temporal_stride, 1)[:, up.temporal_stride - 1 :]
                condition = frames.repeat_interleave(2, 2).repeat_interleave(2, 3)  # (B, T s, 2H, 2W, C)
        x = self.head(nn.functional.silu(self.norm(x)))  # (B, T, H/p, W/p, 3pp)
        p = self.patch_size
        frames = rearrange(x, "b t h w (p q c) -> b c t (h p) (w q)", p=p, q=p)  # (B, 3, T, H, W)
        return frames if self.linear is None else frames + self.linear(latents, tape)  # (B, 3, T, H, W)


def modulate() -> None:
    """Decoders are modulated by the latents."""
    video_vae.Decoder = ModulatedDecoder  # type: ignore[misc]


def look_ahead() -> None:
    """Half of what a time convolution sees lies before a frame, half after it."""

    def around(tape: causal.Tape, x: Tensor, num_frames: int) -> Tensor:
        behind = num_frames // 2
        return torch.nn.functional.pad(x, (0, 0) * 3 + (num_frames - behind, behind))

    setattr(causal.Tape, "exchange", around)  # noqa: B010 - a type checker minds the names of arguments


def norm_with(norm: type[causal.PositionNorm]) -> Callable[[], None]:
    """Another norm in encoder and decoder; the discriminator keeps its own."""

    def put() -> None:
        for module in (causal, video_vae):
            module.PositionNorm = norm  # type: ignore[attr-defined]

    return put


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes:
        change: Recipe values other than ``WITH``.
        put: Replaces layers, if the recipe cannot say it.
    """

    change: dict[str, str]
    put: Callable[[], None] | None = None


ARMS = {
    "full": Arm({}),
    "no linear code": Arm({"vae.linear_code": "false"}),
    "no GAN": Arm({"adversary.weight": "0"}),
    "no perceptual": Arm({"perceptual.network": '"off"'}),
    "17 frames only": Arm({"frames.shapes": f"[{MIXED[0]}]"}),
    "not causal": Arm({}, look_ahead),
    "norm per frame": Arm({}, norm_with(NormOverFrame)),
    "norm over time": Arm({}, norm_with(NormOverTime)),
    "AdaGN decoder": Arm({}, modulate),
}


def overrides_of(arm: Arm, steps: int, threads: int) -> list[str]:
    """``--set`` values; the game begins halfway."""
    values = WITH | arm.change | {"loop.steps": str(steps), "adversary.start": str(steps // 2)}
    return [*COMMON, f"loop.num_threads={threads}", *(f"{key}={value}" for key, value in values.items())]


def gigaflop_per_step(arm: Arm, threads: int) -> float:
    """Counted operations of a mean step: before and after the game has begun, over the shapes by their weights."""
    recipe = load_recipe(VaeTrainRecipe, find_recipe("nano/vae"), overrides_of(arm, 2, threads)).recipe
    total, weights = 0.0, sum(shape.weight for shape in recipe.frames.shapes)
    with open_world("cpu") as world:
        vae = VideoVAE(recipe.vae)
        optimiser = build_optimiser(vae.named_parameters(), recipe.optimiser, ("stem", "head"))
        state = TrainState(vae, build_ema(vae, 0.9), optimiser, partner=build_adversary(recipe, world))
        update = Update(recipe, state, load_perceptual(recipe.perceptual), world)
        for shape in recipe.frames.shapes:
            frames = torch.rand(1, 3, shape.num_frames, shape.crop, shape.crop) * 2 - 1
            for state.step in (0, 1):
                with Operations() as counter:
                    learn(update, frames, 0)
                total += 0.5 * shape.weight / weights * shape.batch_size * counter.total
    return total / 1e9


def clips_for(judge: Path, num_frames: int) -> dict[str, list[SampleClip]]:
    """Held-out excerpts of 128x128: of the manifest and of the world."""
    excerpt = Excerpt(num_frames, 4, 128, 128, 12.0)
    manifest = read_manifest(judge)
    held_out = [clip for clip in manifest.clips if clip.split == "validation"]
    return {
        "clips": list(manifest_clips(manifest, held_out, 0, excerpt)),
        "world": list(world_clips(_WORLD_SEED, _WORLD_SCENES, "held_out", excerpt)),
    }


@torch.inference_mode()
def judged(vae: VideoVAE, clips: list[SampleClip], closely: bool) -> dict[str, float | None]:
    """Figures of one set, each clip encoded and decoded whole."""
    instruments = find_instruments(torch.device("cpu"), 128 if closely else 1)
    if not closely:
        instruments = type(instruments)(None, False, {})
    originals = Originals(instruments)
    tally = Tally(originals)
    for clip in clips:
        originals.add(clip.frames)
        latents, _, _ = vae.encode(to_frames(clip.frames))
        tally.add(to_pixels(vae.decode(latents)[0].clamp(-1, 1)), clip)
    (found,) = set_scores(originals, [tally])[1]
    figures = {"psnr": found.psnr, "ssim": found.ssim}
    return figures | ({"vmaf": found.vmaf, "perceptual": found.perceptual} if closely else {})


def run(name: str, given: argparse.Namespace) -> None:
    """Train one arm and judge it; in a process of its own, because layers are replaced."""
    arm = ARMS[name]
    if arm.put is not None:
        arm.put()
    set_threads(given.threads)
    work = gigaflop_per_step(arm, given.threads)
    steps = round(1000 * given.teraflop / work)
    folder = given.out / name.replace(" ", "_")
    loaded = load_recipe(VaeTrainRecipe, find_recipe("nano/vae"), overrides_of(arm, steps, given.threads))
    began = time.monotonic()
    train_vae(loaded, clips=given.clips, out=folder, device="cpu", reporter=SilentReporter())
    seconds = time.monotonic() - began
    vae, _ = load_video_vae(folder / "model/vae")
    figures: dict[str, object] = {"steps": steps, "gigaflop_per_step": work, "seconds": seconds}
    for num_frames in (17, _LONG, 1):
        for kind, clips in clips_for(given.judge, num_frames).items():
            figures[f"{kind}, {num_frames}"] = judged(vae, clips, num_frames == 17)
    (folder / "ablation.json").write_text(json.dumps(figures, indent=1) + "\n")


def show(given: argparse.Namespace) -> None:
    """Print the table of what is done."""
    print(
        f"nano VAE, {given.teraflop:g} TFLOP an arm, one seed; judged on {given.judge.parent.parent.name} and the world"
    )
    print("| arm | steps | PSNR | SSIM | VMAF | perceptual | 65 frames | 1 frame | world PSNR | 65 frames | 1 frame |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in given.arms:
        path = given.out / name.replace(" ", "_") / "ablation.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        close = found["clips, 17"]
        cells = [
            name,
            str(found["steps"]),
            f"{close['psnr']:.2f}",
            f"{close['ssim']:.3f}",
            "" if close["vmaf"] is None else f"{close['vmaf']:.1f}",
            "" if close["perceptual"] is None else f"{close['perceptual']:.3f}",
            f"{found[f'clips, {_LONG}']['psnr']:.2f}",
            f"{found['clips, 1']['psnr']:.2f}",
            *(f"{found[f'world, {frames}']['psnr']:.2f}" for frames in (17, _LONG, 1)),
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Run what is not done yet, one after another, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="manifest to train on")
    parser.add_argument("--judge", type=Path, required=True, help="manifest whose validation clips are judged")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--teraflop", type=float, default=100.0, help="counted work of each arm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        run(given.child, given)
        return
    for name in given.arms:
        if not (given.out / name.replace(" ", "_") / "ablation.json").exists():
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child", name], check=True)
    show(given)


if __name__ == "__main__":
    main()
