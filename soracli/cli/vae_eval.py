"""``sora vae eval``: options in, tables with their protocol or JSON out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soracli.cli.console import TerminalReporter, print_json, print_result, print_table
from soracli.cli.options import DeviceOption, JsonOption, OverwriteOption
from soracli.core.errors import UsageError
from soracli.core.units import parse_size

if TYPE_CHECKING:
    from soracli.metrics.codebook import CodebookUse
    from soracli.metrics.latent_health import LatentHealth
    from soracli.pipelines.vae_report import VaeReport
    from soracli.pipelines.vae_scores import Scores


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="nano, a model folder, a finished run, or a published VAE: its folder, or hf:OWNER/NAME.",
        ),
    ] = "nano",
    clips: Annotated[
        list[Path] | None,
        typer.Option("--clips", metavar="MANIFEST", help="Judge all validation clips of this list too. Repeatable."),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit",
            metavar="MANIFEST",
            help="Whose training clips the linear code learns.",
            show_default="each list's own, else the first that has some",
        ),
    ] = None,
    world: Annotated[
        int, typer.Option("--world", min=0, metavar="N", help="Held-out scenes of the built-in world; 0: none.")
    ] = 32,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="SIZE", help="Size of the excerpts.", show_default="as near to 128x128 as fits"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PICTURE", help="A .png of originals and both decoded, side by side."),
    ] = None,
    channels: Annotated[bool, typer.Option("--channels", help="Show each channel of the latents too.")] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**31 - 1, metavar="N", help="Which scenes and backgrounds.")
    ] = 0,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """How well held-out clips are kept, beside a linear code of equal compression, and how good latents are to learn.

    PSNR and SSIM whole and inside objects, VMAF, perceptual and Fréchet distances, flicker; then scale, correlations,
    spectrum and dead channels of the latents. Every result has its protocol.
    """
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out} exists; give another name, or --overwrite")
    if fit is not None and not clips:
        raise UsageError("--fit says what the linear code learns for --clips: give --clips MANIFEST too")
    height_and_width = None if size is None else parse_size(size)
    from soracli.pipelines.evaluate_vae import evaluate_vae
    from soracli.pipelines.find_model import find_vae

    report = evaluate_vae(
        find_vae(model),
        clips=clips or (),
        fit=fit,
        world=world,
        size=height_and_width,
        seed=seed,
        device=device,
        picture=out,
        reporter=TerminalReporter(),
    )
    if json:
        print_json(asdict(report))
    else:
        show_report(report, channels=channels)


def show_report(report: VaeReport, *, channels: bool = False) -> None:
    """Print what was found, each table with its protocol; ``channels`` adds a table of every channel."""
    time, height, width = report.compression
    print_result(
        f"{report.model}: {report.channels} channels at {time}x{height}x{width}, "
        f"1 number for {report.ratio:g} of the video"
    )
    rows = []
    for found in report.sets:
        rows.append((found.name, "VAE", *_cells(found.vae)))
        rows.append((found.name, "linear", *_cells(found.linear_code)))
        rows.append((found.name, "floor", *["-"] * 6, _cell(found.floor.frechet, 2), _cell(found.floor.flicker, 3)))
    headers = ("PSNR dB", "SSIM", "PSNR objects", "SSIM objects", "VMAF", "perceptual", "Fréchet", "flicker")
    print_table(("clips", "code", *headers), rows)
    for name, reason in report.missing.items():
        print_result(f"{name}: absent, {reason}")
    for found in report.sets:
        print_result(
            f"{found.name}: {found.protocol}; {found.num_masked} of {found.num_clips} have masks of objects, "
            f"{found.num_still} stand still somewhere"
        )
    print_result(f"protocol: {report.protocol}")
    for found in report.sets:
        if found.codebook is not None:
            print_result(f"\ntokens, {found.name}")
            for line in codebook_lines(found.codebook):
                print_result(line)
    _show_latents(report)
    if channels:
        _show_channels(report)


def _show_latents(report: VaeReport) -> None:
    print_result("\nlatents")
    rows = []
    for found in report.sets:
        rows.append((found.name, "VAE", *_scale(found.latents), *_shape(found.latents)))
        rows.append((found.name, "linear", *["-"] * 4, *_shape(found.linear_latents)))
        noise = " ".join(f"{100 * share:.0f}" for share in found.latents.noise_bands)
        rows.append((found.name, "noise", *["-"] * 6, noise, "0", "1"))
    headers = ("std", "|mean| up to", "dead", "noise", "|r| up to", "effective", "energy %", "slope", "change")
    print_table(("clips", "code", *headers), rows)
    print_result(f"protocol: {report.latents_protocol}")


def _show_channels(report: VaeReport) -> None:
    for found in report.sets:
        print_result(f"\nchannels of the VAE's latents, {found.name}")
        rows = [
            (
                number,
                f"{one.mean:+.3f}",
                f"{one.std:.3f}",
                f"{one.raw_std:.4g}",
                _cell(one.noise, 3),
                f"{one.correlation:.3f}",
                f"{100 * one.high:.1f}",
                _cell(one.change, 3),
                "dead" if one.dead else "",
            )
            for number, one in enumerate(found.latents.channels)
        ]
        print_table(("channel", "mean", "std", "raw std", "noise", "|r| up to", "high %", "change", ""), rows)


def _cells(scores: Scores) -> tuple[str, ...]:
    return (
        f"{scores.psnr:.2f}",
        f"{scores.ssim:.4f}",
        _cell(scores.psnr_objects, 2),
        _cell(scores.ssim_objects, 4),
        _cell(scores.vmaf, 2),
        _cell(scores.perceptual, 4),
        _cell(scores.frechet, 2),
        _cell(scores.flicker, 3),
    )


def _scale(health: LatentHealth) -> tuple[str, ...]:
    """What depends on the scale of latents, or on a posterior."""
    stds = [one.std for one in health.channels]
    return (
        f"{min(stds):.2f}-{max(stds):.2f}",
        f"{max(abs(one.mean) for one in health.channels):.2f}",
        f"{health.dead} of {len(health.channels)}",
        _cell(health.noise, 3),
    )


def _shape(health: LatentHealth) -> tuple[str, ...]:
    """What does not."""
    return (
        f"{health.correlation:.2f}",
        f"{health.effective_channels:.1f} of {len(health.channels)}",
        " ".join(f"{100 * share:.0f}" for share in health.bands),
        f"{health.slope:.2f}",
        _cell(health.change, 3),
    )


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def codebook_lines(use: CodebookUse) -> list[str]:
    """A report for people, a sentence a line."""
    by_dimension = [
        f"{sum(share > 0 for share in shares)}/{len(shares)} {_entropy_bits(shares):.2f}" for shares in use.level_shares
    ]
    return [
        f"codebook: {use.num_used} of {use.num_codes} codes in use ({use.used_share:.1%}) by {use.num_tokens} tokens, "
        f"{use.reachable_share:.1%} of what so many tokens could use; {use.num_dead} never",
        f"perplexity: {use.perplexity:.1f} ({use.entropy_bits:.2f} bits a token)",
        f"levels in use and their bits, by dimension: {', '.join(by_dimension)}",
    ]


def _entropy_bits(shares: Sequence[float]) -> float:
    return -sum(share * math.log2(share) for share in shares if share)
