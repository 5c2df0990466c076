"""What ``fuzz_inputs.py`` spoils and who reads it: small whole files of every kind, and the product's own reading.

Each kind is a writer of a whole input, a spoiler of one of its files, and a reader. A reader gets the folder of a
spoilt input and an empty one to write to; it may raise what the product shows to a person as one line, nothing else.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_mutations import repair_png, spoil_bytes, spoil_header, spoil_json, spoil_toml
from PIL import Image
from safetensors.torch import load as load_tensors

from soracli.core.errors import RecipeError, SoraError
from soracli.core.files import sha256_file
from soracli.core.latent_spec import LatentSpec
from soracli.data.ffmpeg import ffmpeg_path
from soracli.data.latents import LatentCache, Tail, entry_hash, write_index, write_shard
from soracli.data.latents_file import LatentsWriter, read_latents_record, stream_latents
from soracli.data.latents_record import LatentsRecord
from soracli.data.manifest import read_manifest
from soracli.data.prompt_file import read_prompts
from soracli.data.video_read import probe_video, read_frames, stream_frames
from soracli.data.video_record import read_record
from soracli.models.config import DiTConfig, TextEncoderConfig, VAEConfig
from soracli.models.dit import DiT
from soracli.models.generator import load_generator, save_dit
from soracli.models.part_hash import hash_part
from soracli.models.store import load_vae, save_vae
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokenizer import train_tokenizer
from soracli.models.video_vae import VideoVAE
from soracli.pipelines.describe_latents import describe_latents
from soracli.pipelines.describe_model import describe_model
from soracli.pipelines.find_model import find_model
from soracli.pipelines.index_clips import IndexOptions, index_clips
from soracli.pipelines.plan_generation import plan_generation
from soracli.pipelines.recipes import RECIPES
from soracli.pipelines.sampling_choice import checked_prompt
from soracli.pipelines.scenes import read_storyboard
from soracli.recipe.load import load_recipe, recipe_kind
from soracli.training.checkpoint import load_latest, save_checkpoint

TIMEOUT = 3.0
"""Seconds of silence after which a decoder is stopped here; the limit for an input as a whole is 10."""

REFUSALS = frozenset({2, 3, 4, 6})
"""Exit codes of what is wrong with an input; 1 is a bug and 5 blames the machine."""

Spoil = Callable[[Path, random.Random], None]
Read = Callable[[Path, Path], object]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        write: Writes whole inputs below a folder, one folder each.
        spoil: Spoils a copy of one.
        read: Reads it as the product does, given a folder to write to.
        weight: How often it is drawn.
    """

    write: Callable[[Path], None]
    spoil: Spoil
    read: Read
    weight: float = 1.0


def _ffmpeg(path: Path, *arguments: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=12:d=1"]
    subprocess.run([ffmpeg_path(), "-nostdin", "-v", "error", *source, *arguments, str(path)], check=True)


def _write_videos(folder: Path) -> None:
    yuv = ("-pix_fmt", "yuv420p", "-g", "6")
    _ffmpeg(folder / "mp4/a.mp4", *yuv, "-movflags", "+faststart", "-metadata", 'comment={"prompt": "a", "seed": 1}')
    _ffmpeg(folder / "fragments/a.mp4", *yuv, "-movflags", "frag_keyframe+empty_moov")
    _ffmpeg(folder / "hevc/a.mov", "-c:v", "libx265", "-x265-params", "log-level=none", *yuv)
    _ffmpeg(folder / "mkv/a.mkv", *yuv)
    _ffmpeg(folder / "ffv1/a.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp")
    _ffmpeg(folder / "vp8/a.webm", "-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0")
    _ffmpeg(folder / "vp9/a.webm", "-c:v", "libvpx-vp9", *yuv)
    _ffmpeg(folder / "avi/a.avi")
    _ffmpeg(folder / "mjpeg/a.avi", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    _ffmpeg(folder / "ts/a.ts", *yuv)
    _ffmpeg(folder / "mpg/a.mpg", "-c:v", "mpeg2video", "-r", "25")
    _ffmpeg(folder / "ogg/a.ogg", "-c:v", "libtheora", "-pix_fmt", "yuv420p")


def _write_pictures(folder: Path) -> None:
    ramp = np.linspace(0, 255, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    frames = [Image.fromarray(np.roll(ramp, 5 * number, 1)) for number in range(4)]
    clear = frames[0].convert("RGBA")
    clear.putalpha(128)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter

    def put(name: str, picture: Image.Image, **options: Any) -> None:
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture.save(folder / name / f"a.{name.partition('_')[0]}", **options)

    moving = {"save_all": True, "append_images": frames[1:], "duration": 100}
    for name in ("png", "jpg", "bmp", "webp"):
        put(name, frames[0])
    put("png_alpha", clear)
    put("png_palette", frames[0].quantize(16))
    put("png_deep", Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)))
    put("png_moving", frames[0], **moving)
    put("jpg_turned", frames[0], exif=exif)
    put("jpg_progressive", frames[0], progressive=True)
    put("gif_moving", frames[0], **moving)
    put("webp_moving", frames[0], **moving, lossless=True)
    put("webp_alpha", clear)
    put("bmp_palette", frames[0].quantize(16))


def _spoil_any_bytes(folder: Path, generator: random.Random) -> None:
    (path,) = folder.iterdir()
    others = sorted(folder.parents[1].glob("whole/*/*/*"))
    others = [
        other for other in others if other.is_file() and other.suffix in (".mp4", ".mkv", ".webm", ".png", ".gif")
    ]
    other = generator.choice(others).read_bytes() if others else b""
    content = spoil_bytes(path.read_bytes(), generator, other)
    path.write_bytes(repair_png(content) if path.suffix == ".png" and generator.random() < 0.7 else content)


def _read_video(folder: Path, out: Path) -> None:
    (path,) = folder.iterdir()
    read_record(path)
    _each(lambda: index_clips(folder, out / "clips.jsonl", IndexOptions(timeout=TIMEOUT)))
    info = probe_video(path, TIMEOUT, allow_damaged=True)
    excerpt = {"num_frames": min(info.num_frames, 32), "fps": info.fps, "timeout": TIMEOUT, "allow_damaged": True}
    _each(lambda: deque(stream_frames(path, size=(32, 32), background=None, **excerpt), 0))
    if info.width * info.height < 1 << 20:
        deque(stream_frames(path, size=None, **excerpt), 0)


def _write_captions(folder: Path) -> None:
    lines = [{"file_name": f"{name}.png", "caption": f"picture {name}", "split": "train"} for name in "ab"]
    table = 'file_name,caption,split\na.png,"a, b",train\nb.png,two,validation\n'
    texts = {"metadata.jsonl": "\n".join(map(json.dumps, lines)), "metadata.csv": table, "a.txt": "a caption\n"}
    for name, text in texts.items():
        clips = folder / name.replace(".", "_")
        clips.mkdir(parents=True)
        for picture in "ab":
            Image.new("RGB", (8, 8), "red").save(clips / f"{picture}.png")
        (clips / name).write_text(text)


def _spoil_captions(folder: Path, generator: random.Random) -> None:
    (path,) = (path for path in folder.iterdir() if path.suffix != ".png")
    if path.suffix == ".jsonl" and generator.random() < 0.7:
        _spoil_line(path, generator)
    else:
        path.write_bytes(spoil_bytes(path.read_bytes(), generator))


def _spoil_line(path: Path, generator: random.Random) -> None:
    lines = path.read_text().splitlines()
    number = generator.randrange(len(lines))
    lines[number] = spoil_json(json.loads(lines[number]), generator)
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))


def _read_captions(folder: Path, out: Path) -> None:
    index_clips(folder, out / "clips.jsonl")
    read_manifest(out / "clips.jsonl")


def _write_manifest(folder: Path) -> None:
    clips = folder / "clips"
    clips.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(clips / "a.png")
    _ffmpeg(clips / "b.mp4", "-pix_fmt", "yuv420p")
    index_clips(clips)


def _spoil_manifest(folder: Path, generator: random.Random) -> None:
    path = folder / "clips.jsonl"
    if generator.random() < 0.75:
        _spoil_line(path, generator)
    else:
        path.write_bytes(spoil_bytes(path.read_bytes(), generator))


def _read_manifest(folder: Path, out: Path) -> None:
    manifest = read_manifest(folder / "clips.jsonl")
    for clip in manifest.clips:
        excerpt = {"start": clip.start, "num_frames": clip.num_frames, "fps": clip.fps, "size": (16, 16)}
        read_frames(manifest.locate(clip), **excerpt, timeout=TIMEOUT)
    index_clips(folder, out / "clips.jsonl")


def _write_recipes(folder: Path) -> None:
    for source in sorted(Path(__file__).parents[1].glob("recipes/*/*.toml")):
        (folder / f"{source.parent.name}_{source.stem}").mkdir(parents=True)
        shutil.copy(source, folder / f"{source.parent.name}_{source.stem}" / "recipe.toml")
    (folder / "storyboard").mkdir()
    scenes = '[[scene]]\nat = "0s"\nprompt = "a ball"\n[[scene]]\nat = 4.5\nprompt = "it rains"\n'
    (folder / "storyboard" / "storyboard.toml").write_text(scenes)


def _spoil_recipe(folder: Path, generator: random.Random) -> None:
    (path,) = folder.iterdir()
    path.write_bytes(spoil_toml(path.read_text(), generator))


def _read_recipe(folder: Path, out: Path) -> None:
    (path,) = folder.iterdir()
    if path.name == "storyboard.toml":
        read_storyboard(path)
        return
    load_recipe(RECIPES[recipe_kind(path, RECIPES)], path)


def _write_prompts(folder: Path) -> None:
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts" / "prompts.txt").write_text("# two\na red ball\n\ntwo cubes, then -i /etc/passwd\n")


def _read_prompts(folder: Path, out: Path) -> None:
    prompts = [checked_prompt(prompt) for prompt in read_prompts(folder / "prompts.txt")]
    for job in plan_generation(prompts, model=find_model("nano"), seed=1, out=out / "made").jobs:
        if out not in job.path.parents:
            raise AssertionError(f"would be written outside: {job.path}")


def _spec(vae_hash: str = "ab") -> LatentSpec:
    return LatentSpec(channels=2, compression=(4, 8, 8), mean=(0.0, 1.0), std=(1.0, 2.0), vae_hash=vae_hash)


def _write_model(folder: Path) -> None:
    torch.manual_seed(0)
    model = folder / "model"
    widths = {"latent_channels": 4, "widths": (4, 6, 8), "encoder_blocks": (1, 1, 1), "decoder_blocks": (1, 1, 1)}
    config = VAEConfig(patch_size=2, **widths)
    save_vae(model / "vae", VideoVAE(config), torch.zeros(4), torch.ones(4), {"trained": {"steps": 1}})
    text = TextEncoderConfig(vocabulary_size=300, hidden_size=16, depth=1, num_heads=2)
    dit = DiTConfig(hidden_size=24, depth=1, num_heads=2, modulation_rank=4)
    defaults = {"fps": 8.0, "size": [32, 32], "shift": 1.5, "first_block": 3, "block": 2, "window": 5, "num_steps": 2}
    tokenizer = train_tokenizer(["a red ball bounces on green grass", "two cubes"], 300)
    weights, spec = DiT(dit, 4, 16).state_dict(), load_vae(model)[1]
    save_dit(model, weights, dit, TextEncoder(text), tokenizer, spec, {"defaults": defaults, "trained": {"steps": 2}})


def _spoil_model(folder: Path, generator: random.Random) -> None:
    part = folder / generator.choice(("vae", "dit", "text"))
    if generator.random() < 0.4:
        path = part / "model.safetensors"
        path.write_bytes(spoil_header(path.read_bytes(), generator))
    elif part.name == "text" and generator.random() < 0.3:
        path = part / "tokenizer.json"
        path.write_bytes(spoil_json(json.loads(path.read_text()), generator).encode("utf-8", "surrogatepass"))
    else:
        path = part / "config.json"
        path.write_bytes(spoil_json(json.loads(path.read_text()), generator).encode("utf-8", "surrogatepass"))
    if generator.random() < 0.7:
        _sign_part(part)


def _sign_part(part: Path) -> None:
    """What somebody would do who wants it to be read: the hash made right again."""
    try:
        record = json.loads((part / "config.json").read_text())
        record["hash"] = hash_part(part.name, record["config"], load_tensors((part / "model.safetensors").read_bytes()))
        if part.name == "text":
            dit = part.parent / "dit/config.json"
            dit.write_text(json.dumps({**json.loads(dit.read_text()), "text_hash": record["hash"]}))
        (part / "config.json").write_text(json.dumps(record))
    except Exception:
        return


def _read_model(folder: Path, out: Path) -> None:
    _each(lambda: describe_model(folder))
    _each(lambda: plan_generation("a ball", model=folder, seed=1, out=out / "a.mp4"))
    _each(lambda: load_vae(folder))
    load_generator(folder)


def _each(read: Callable[[], object]) -> None:
    """One of several ways to read an input, where a refusal does not keep the others from being tried."""
    try:
        read()
    except SoraError as error:
        check_refusal(error)


def check_refusal(error: SoraError) -> None:
    """Whether a refusal is one line that blames the input.

    Raises:
        AssertionError: If not.
    """
    lines = error.problems if isinstance(error, RecipeError) else [str(error)]
    if error.exit_code not in REFUSALS or any("\n" in line or not line for line in lines):
        raise AssertionError(f"no line for a person: exit code {error.exit_code}, {lines!r:.300}") from error


def _write_latents(folder: Path) -> None:
    record = LatentsRecord(
        spec=_spec(), num_frames=9, height=16, width=16, fps=Fraction(12), stored="float32", made={"source": "a.mp4"}
    )
    with LatentsWriter(folder / "file" / "a.safetensors", record) as writer:
        writer.write(torch.zeros(record.shape))


def _spoil_latents(folder: Path, generator: random.Random) -> None:
    path = folder / "a.safetensors"
    content = path.read_bytes()
    if generator.random() < 0.6:
        path.write_bytes(spoil_header(content, generator))
        return
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["sora"] = spoil_json(json.loads(header["__metadata__"]["sora"]), generator)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def _read_latents(folder: Path, out: Path) -> None:
    path = folder / "a.safetensors"
    for _ in stream_latents(path, read_latents_record(path), 2):
        pass


def _write_cache(folder: Path) -> None:
    torch.manual_seed(0)
    about = [
        {"source": "clips", "name": name, "fps": 12.0, "captions": [name], "still_captions": [name]} for name in "ab"
    ]
    videos = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)]
    write_shard(folder / "cache", "first", videos, about, videos, {1: Tail(2, torch.randn(2, 2, 4, 4))})
    write_index(folder / "cache", _spec(), ["first"], {"recipe": {}})


def _spoil_cache(folder: Path, generator: random.Random) -> None:
    path = generator.choice([folder / "latents.json", *sorted((folder / "shards").iterdir())])
    if path.suffix == ".safetensors":
        path.write_bytes(spoil_header(path.read_bytes(), generator))
    else:
        path.write_bytes(spoil_json(json.loads(path.read_text()), generator).encode("utf-8", "surrogatepass"))
    if generator.random() < 0.7:
        _sign_shard(folder / "shards" / "first.json")


def _sign_shard(path: Path) -> None:
    """What somebody would do who wants it to be read: the hashes of its entries made right again."""
    try:
        tensors = load_tensors(path.with_suffix(".safetensors").read_bytes())
        records = json.loads(path.read_text())
        signed = [{**record, "sha256": entry_hash("first", n, tensors)} for n, record in enumerate(records)]
        path.write_text(json.dumps(signed))
    except Exception:
        return


def _read_cache(folder: Path, out: Path) -> None:
    _each(lambda: describe_latents(folder))
    opened = LatentCache(folder)
    for entry in opened.entries:
        opened.latents(entry)
        if entry.paired:
            opened.source_latents(entry)
        if entry.tail:
            opened.tail_latents(entry)


def _write_checkpoint(folder: Path) -> None:
    (folder / "run").mkdir(parents=True)
    parts = {"model": {"weight": torch.ones(4, 3)}, "optimiser": {"step": torch.tensor(1)}}
    save_checkpoint(folder / "run", 1, parts, {"optimiser": {"groups": []}, "ema_updates": 1}, 1)


def _spoil_checkpoint(folder: Path, generator: random.Random) -> None:
    step = folder / "step_00000001"
    path = generator.choice(sorted(step.iterdir()))
    if path.suffix == ".safetensors":
        path.write_bytes(spoil_header(path.read_bytes(), generator))
    else:
        path.write_bytes(spoil_json(json.loads(path.read_text()), generator).encode("utf-8", "surrogatepass"))
    if path.name != "manifest.json" and generator.random() < 0.7:
        manifest = json.loads((step / "manifest.json").read_text())
        manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        (step / "manifest.json").write_text(json.dumps(manifest))


def _read_checkpoint(folder: Path, out: Path) -> None:
    load_latest(folder)


KINDS: dict[str, Kind] = {
    "video": Kind(_write_videos, _spoil_any_bytes, _read_video, 1.0),
    "picture": Kind(_write_pictures, _spoil_any_bytes, _read_video, 2.0),
    "captions": Kind(_write_captions, _spoil_captions, _read_captions, 1.0),
    "manifest": Kind(_write_manifest, _spoil_manifest, _read_manifest, 1.0),
    "recipe": Kind(_write_recipes, _spoil_recipe, _read_recipe, 2.0),
    "prompts": Kind(_write_prompts, _spoil_any_bytes, _read_prompts, 0.5),
    "model": Kind(_write_model, _spoil_model, _read_model, 1.5),
    "latents": Kind(_write_latents, _spoil_latents, _read_latents, 1.0),
    "cache": Kind(_write_cache, _spoil_cache, _read_cache, 1.0),
    "checkpoint": Kind(_write_checkpoint, _spoil_checkpoint, _read_checkpoint, 1.0),
}
"""Everything that is read from outside, by name."""
