"""Training a VAE: stopped equals never stopped, first losses are the golden ones, one picture is learnt by heart."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from soracli.core.errors import NumericsError, RecipeError, Stopped, UsageError
from soracli.models.codec import encode_video
from soracli.models.quantised_vae import QuantisedVAE
from soracli.models.store import load_vae
from soracli.pipelines import train_vae as pipeline
from soracli.pipelines import vae_step
from soracli.pipelines.train_vae import train_vae
from soracli.training.distributed import World
from tests.data.clips import make_clip, make_manifest
from tests.pipelines.runs import GAME, Notes, StopAfter, assert_same_run, figures, vae_recipe, weights

WIDE = "frames.shapes=[{num_frames = 5, crop = 32, batch_size = 2}]"


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(pipeline, "_STATISTICS_SAMPLES", 8)
    monkeypatch.setattr(pipeline, "_EVAL_CLIPS", 1)


@pytest.mark.row(18)
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_stopped_is_never_stopped(tmp_path, golden_numbers, optimiser):
    def train(name, **options):
        return train_vae(
            vae_recipe(f"optimiser.name={optimiser}"), clips=None, out=tmp_path / name, device="cpu", **options
        )

    whole = train("whole")
    for steps in (2, 1):  # the first call of each says where it begins
        with pytest.raises(Stopped, match="SIGUSR1 after step"):
            train("parts", reporter=StopAfter(1 + steps))
        assert (tmp_path / "parts/stopped").read_text() == "SIGUSR1\n"
    assert not (tmp_path / "parts/model").exists()
    assert_same_run(whole, train("parts"))
    assert not (tmp_path / "parts/stopped").exists()
    golden_numbers(f"losses/train_vae_{optimiser}.txt", figures(whole)[:3])


def test_a_finished_run_holds_a_vae_whose_latents_are_normal(tmp_path):
    run = train_vae(vae_recipe("loop.eval_every=6", WIDE), clips=None, out=tmp_path / "run", device="cpu")
    vae, spec = load_vae(run)
    assert spec.compression == (4, 8, 8) and vae.config == vae_recipe().recipe.vae
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (50, 32, 32, 3), dtype=torch.uint8, generator=generator)
    assert encode_video(vae, spec, frames, torch.device("cpu")).shape == (4, 13, 4, 4)
    assert json.loads((run / "model/vae/config.json").read_text())["trained"] == {
        "steps": 6,
        "recipe": "recipe.toml of the run",
        "seed": 0,
    }
    (held_out,), (inside,) = figures(run, "held_out_psnr"), figures(run, "held_out_psnr_objects")
    assert 0 < inside < 40 and 0 < held_out < 40
    train_vae(vae_recipe("loop.eval_every=6", WIDE), clips=None, out=run, device="cpu")  # nothing left to do
    assert len(figures(run)) == 6
    with pytest.raises(RecipeError, match=r"loss\.kl"):
        train_vae(vae_recipe("loss.kl=0.1", WIDE), clips=None, out=run, device="cpu")


def test_one_picture_is_learnt_by_heart(tmp_path):
    recipe = vae_recipe(
        "frames.world_scenes=1", "frames.shapes=[{num_frames = 1, crop = 32, batch_size = 4}]", "loop.steps=150",
        "optimiser.name=muon", "optimiser.learning_rate=0.02", "vae.widths=[16, 24, 32]", "loop.save_every=150",
    )  # fmt: skip
    run = train_vae(recipe, clips=None, out=tmp_path / "run", device="cpu")
    psnr = figures(run, "psnr")
    assert psnr[0] < 15
    assert sum(psnr[-5:]) / 5 > 35


def test_clips_are_learnt_from(tmp_path):
    clip = make_clip(tmp_path, "a.webp", 6, alpha=True)
    recipe = vae_recipe("frames.world_share=0", "loop.steps=2")
    run = train_vae(recipe, clips=make_manifest(tmp_path, clip), out=tmp_path / "run", device="cpu")
    assert len(figures(run)) == 2


@pytest.mark.row(59)
def test_a_clip_that_is_gone_is_left_out_and_told(tmp_path):
    clips = [make_clip(tmp_path, f"{number}.webp", 6, seed=number) for number in range(2)]
    manifest, notes = make_manifest(tmp_path, *clips), Notes()
    (tmp_path / "0.webp").unlink()
    few = vae_recipe("frames.world_share=0", "loop.steps=3", "loop.eval_every=0")
    train_vae(few, clips=manifest, out=tmp_path / "run", device="cpu", reporter=notes)
    assert notes.said.count("clips that cannot be read any more, left out: 1; sora clips index tells why") == 1
    assert len(figures(tmp_path / "run")) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("frames.shapes=[{num_frames = 7}]", r"frames\.shapes\[0\]\.num_frames = 7 does not fit .* use 5 or 9"),
        ("frames.shapes=[{crop = 16}, {crop = 20}]", r"shapes\[1\]\.crop = 20 must be a multiple of 8 .* use 16"),
        ("frames.shapes=[{crop = 40}]", "use 32"),
    ],
)
def test_frames_that_do_not_fit_are_refused_before_anything_is_made(tmp_path, change, says):
    with pytest.raises(UsageError, match=says):
        train_vae(vae_recipe(change), clips=None, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_that_falls_apart_goes_back_by_itself(tmp_path, monkeypatch):
    """Two steps in a row lose their loss: back to step 4, other samples, half the rate; then it ends well."""
    learn, calls = pipeline.learn, []

    def breaks_once(*arguments):
        figures = learn(*arguments)
        calls.append(figures)
        return {**figures, "loss": float("nan")} if len(calls) in (6, 7) else figures

    monkeypatch.setattr(pipeline, "learn", breaks_once)
    notes = Notes()
    recipe = vae_recipe("guard.patience=2", "loop.steps=8")
    train_vae(recipe, clips=None, out=tmp_path / "run", device="cpu", reporter=notes)
    (said,) = [note for note in notes.said if "diverged" in note]
    assert "diverged after step 6 (loss is nan): back to step 4" in said and "times 0.5" in said
    troubled = list(calls)
    assert len(troubled) == 7 + 4
    assert figures(tmp_path / "run") == [call["loss"] for call in troubled[:4] + troubled[7:]]
    untroubled = train_vae(vae_recipe("loop.steps=8"), clips=None, out=tmp_path / "other", device="cpu")
    assert figures(untroubled)[:4] == [call["loss"] for call in troubled[:4]]
    assert figures(untroubled)[4:] != [call["loss"] for call in troubled[7:]]
    assert troubled[-1]["learning_rate"] == figures(untroubled, "learning_rate")[-1] / 2


@pytest.mark.row(43)
def test_a_run_that_falls_apart_for_good_keeps_its_last_good_checkpoint(tmp_path, monkeypatch):
    learn = pipeline.learn

    def breaks(*arguments):
        good = learn(*arguments)
        return good if arguments[0].state.step < 3 else {**good, "loss": float("inf")}

    monkeypatch.setattr(pipeline, "learn", breaks)
    with pytest.raises(NumericsError, match=r"loss is inf\), 3 times after going back; the last good checkpoint"):
        train_vae(vae_recipe("guard.patience=1"), clips=None, out=tmp_path / "run", device="cpu")
    assert [path.name for path in sorted((tmp_path / "run/checkpoints").iterdir())] == ["step_00000002"]


@pytest.mark.row(43)
def test_lost_numbers_roll_back_before_the_optimiser_gives_up(tmp_path, monkeypatch):
    """NaN in the loss itself, as often as the optimiser skips at most; the guard alone would wait longer."""
    reconstruct, calls = vae_step.reconstruction_loss, []

    def breaks(*arguments):
        calls.append(0)
        l1, gradient = reconstruct(*arguments)
        return (l1 * float("nan"), gradient) if len(calls) in (4, 5) else (l1, gradient)

    monkeypatch.setattr(vae_step, "reconstruction_loss", breaks)
    notes = Notes()
    recipe = vae_recipe("optimiser.max_skipped_steps=2")
    run = train_vae(recipe, clips=None, out=tmp_path / "run", device="cpu", reporter=notes)
    (said,) = [note for note in notes.said if "diverged" in note]
    assert "not finite 2 steps in a row" in said and "back to step 2" in said
    assert len(calls) == 5 + 4 and len(figures(run)) == 6 and load_vae(run)


def test_a_run_does_not_end_in_an_alarm(tmp_path, monkeypatch):
    """An alarm at the last step: its steps since the last checkpoint are done again, and the model is a good one."""
    learn, calls = pipeline.learn, []

    def breaks(*arguments):
        calls.append(learn(*arguments))
        return {**calls[-1], "loss": float("inf")} if len(calls) == 6 else calls[-1]

    monkeypatch.setattr(pipeline, "learn", breaks)
    run = train_vae(vae_recipe(), clips=None, out=tmp_path / "run", device="cpu")
    assert len(calls) == 6 + 2 and len(figures(run)) == 6


def test_a_checkpoint_waits_for_the_end_of_an_alarm(tmp_path, monkeypatch):
    learn, calls = pipeline.learn, []

    def breaks(*arguments):
        calls.append(learn(*arguments))
        return {**calls[-1], "loss": float("inf")} if len(calls) in (2, 5) else calls[-1]

    monkeypatch.setattr(pipeline, "learn", breaks)
    with pytest.raises(Stopped, match=r"after step 5: the last good state is saved \(loss is inf\)"):
        train_vae(vae_recipe(), clips=None, out=tmp_path / "run", device="cpu", reporter=StopAfter(6))
    assert [path.name for path in sorted((tmp_path / "run/checkpoints").iterdir())] == [
        "step_00000003",
        "step_00000004",
    ]


def test_a_decoder_alone_leaves_the_latents_as_they_are(tmp_path):
    first = train_vae(vae_recipe(WIDE), clips=None, out=tmp_path / "first", device="cpu")
    with pytest.raises(UsageError, match="--init"):
        train_vae(vae_recipe(WIDE, "train=decoder"), clips=None, out=tmp_path / "no", device="cpu")
    with pytest.raises(UsageError, match=r"--set vae\.widths=\[4, 6, 8\] would build that"):
        train_vae(vae_recipe(WIDE, "vae.widths=[4, 6, 4]"), clips=None, init=first, out=tmp_path / "no", device="cpu")
    run = train_vae(
        vae_recipe(WIDE, "train=decoder", "loop.seed=1"), clips=None, init=first, out=tmp_path / "second", device="cpu"
    )
    (old, old_spec), (new, new_spec) = load_vae(first), load_vae(run)
    for name, tensor in old.encoder.state_dict().items():
        assert torch.equal(new.encoder.state_dict()[name], tensor), name
    assert not torch.equal(old.decoder.head.conv.weight, new.decoder.head.conv.weight)
    assert new_spec == old_spec  # so latents that the first one made still fit


def test_statistics_are_measured_or_kept(tmp_path):
    with pytest.raises(UsageError, match='statistics = "kept" keeps those of another VAE: give it with --init'):
        train_vae(vae_recipe(WIDE, "statistics=kept"), clips=None, out=tmp_path / "no", device="cpu")
    first = train_vae(vae_recipe(WIDE), clips=None, out=tmp_path / "first", device="cpu")
    specs = {}
    for choice in ("measured", "kept"):
        recipe = vae_recipe(WIDE, f"statistics={choice}", "loop.seed=1")
        _, specs[choice] = load_vae(train_vae(recipe, clips=None, init=first, out=tmp_path / choice, device="cpu"))
    _, old = load_vae(first)
    assert (specs["kept"].mean, specs["kept"].std) == (old.mean, old.std)
    assert specs["measured"].std != old.std
    assert specs["kept"].vae_hash != old.vae_hash


TOKENS = ("quantiser.kind=lfq", "quantiser.num_bits=6", "quantiser.group_bits=4")


def test_tokens_are_trained_stopped_or_not(tmp_path):
    whole = train_vae(vae_recipe(*TOKENS), clips=None, out=tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped, match="SIGUSR1 after step"):
        train_vae(vae_recipe(*TOKENS), clips=None, out=tmp_path / "parts", device="cpu", reporter=StopAfter(4))
    train_vae(vae_recipe(*TOKENS), clips=None, out=tmp_path / "parts", device="cpu")
    assert_same_run(whole, tmp_path / "parts")
    vae, spec = load_vae(whole)
    assert isinstance(vae, QuantisedVAE) and vae.num_codes == 64 and spec.channels == 6
    for name in ("code_entropy", "codebook_entropy", "commitment", "perplexity"):
        assert len(figures(whole, name)) == 6 and min(figures(whole, name)) > 0
    assert not figures(whole, "kl")


def test_a_dimension_that_never_changes_makes_no_broken_model(tmp_path):
    """An encoder that has learnt nothing rounds everything to the middle level, whose deviation is 0."""
    recipe = vae_recipe("quantiser.kind=fsq", "quantiser.levels=[3, 3]", "loop.steps=1", "optimiser.learning_rate=1e-9")
    run = train_vae(recipe, clips=None, out=tmp_path / "run", device="cpu")
    vae, spec = load_vae(run)
    assert spec.std == (1.0, 1.0) and spec.mean == (0.0, 0.0)
    frames = torch.zeros(5, 16, 16, 3, dtype=torch.uint8)
    assert bool((encode_video(vae, spec, frames, torch.device("cpu")) == 0).all())


def test_the_mean_over_ranks_has_the_gradient_of_this_rank(monkeypatch):
    """What two ranks make of it together is in tests/models/test_quantisers.py."""
    other = [3.0, -1.0]
    monkeypatch.setattr(
        vae_step, "all_mean", lambda ours, world: [(a + b) / 2 for a, b in zip(ours, other, strict=True)]
    )
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    mean = vae_step._mean_over_ranks(values, World(0, 2, 0, torch.device("cpu")))
    assert mean.tolist() == [2.0, 0.5]
    (gradient,) = torch.autograd.grad((mean * torch.tensor([5.0, 7.0])).sum(), values)
    assert gradient.tolist() == [5.0, 7.0]


def test_the_game_begins_late_and_is_stopped_or_not(tmp_path):
    whole = train_vae(vae_recipe(*GAME), clips=None, out=tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped, match="SIGUSR1 after step"):
        train_vae(vae_recipe(*GAME), clips=None, out=tmp_path / "parts", device="cpu", reporter=StopAfter(5))
    train_vae(vae_recipe(*GAME), clips=None, out=tmp_path / "parts", device="cpu")
    assert_same_run(whole, tmp_path / "parts")
    plain = train_vae(vae_recipe(), clips=None, out=tmp_path / "plain", device="cpu")
    assert figures(whole)[:3] == figures(plain)[:3] and figures(whole)[3:] != figures(plain)[3:]
    assert len(figures(whole, "told")) == len(figures(whole, "fooled")) == 4
    lecam = weights(whole)["partner/lecam"]
    assert bool((lecam != 0).all())


def test_what_a_network_sees_is_paid_for(tmp_path):
    """Any network of timm; here one that has learnt nothing."""
    network = timm.create_model("test_convnext", pretrained=False, num_classes=0)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    seen = (
        "perceptual.network=timm", "perceptual.backbone=test_convnext",
        f"perceptual.weights={tmp_path}/weights.safetensors",
        "frames.shapes=[{num_frames = 5, crop = 32, batch_size = 2}]", "loop.steps=2",
    )  # fmt: skip

    def losses(name, *changes):
        run = train_vae(vae_recipe(*seen, *changes), clips=None, out=tmp_path / name, device="cpu")
        return figures(run), figures(run, "perceptual")

    (little, seen_little), (much, seen_much) = losses("a", "perceptual.weight=0"), losses("b", "perceptual.weight=2")
    assert seen_little[0] == pytest.approx(seen_much[0]) and seen_much[0] > 0
    assert much[0] - little[0] == pytest.approx(2 * seen_much[0], rel=1e-4)
    (_, some) = losses("c", "perceptual.num_frames=2")
    assert some[0] != seen_much[0]
