"""What a dry run says of a training, against the training's own modules and batches."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from soracli.core.errors import ArtifactError, UsageError
from soracli.data.latent_samples import LatentSampler
from soracli.data.latents import LatentCache
from soracli.models.dit import DiT
from soracli.models.text_encoder import TextEncoder
from soracli.models.tokens import TEXT, pack_tokens
from soracli.pipelines.dit_batch import draw_batch, draw_sample
from soracli.pipelines.dit_start import learn_tokenizer
from soracli.pipelines.plan_dit import forward_flops, plan_dit
from soracli.training.distributed import World
from soracli.training.seeding import generator_for
from tests.pipelines.runs import dit_recipe, make_cache


def test_a_plan_counts(tmp_path: Path) -> None:
    recipe = dit_recipe().recipe
    vae, latents = make_cache(tmp_path)
    plan = plan_dit(recipe, latents=latents, vae=vae, out=tmp_path / "run", device="cpu")
    dit, text = DiT(recipe.dit, 4, recipe.text.hidden_size), TextEncoder(recipe.text)
    assert plan.dit_parameters == sum(weight.numel() for weight in dit.parameters())
    assert plan.text_parameters == sum(weight.numel() for weight in text.parameters())
    assert (plan.entries, plan.steps, plan.batch_size, plan.device) == (3, 6, 4, "cpu")
    # 4x4 latents are 4 tokens a frame; a sample has 1 to 5 frames, all but the last block both clean and noisy.
    assert 4 < plan.video_tokens < 9 * 4 and 1 < plan.text_tokens < 40
    assert not plan.resumes and not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").touch()
    assert plan_dit(recipe, latents=latents, vae=vae, out=tmp_path / "run", device="cpu").resumes


def test_a_plan_of_packed_sequences(tmp_path: Path) -> None:
    """Samples in a step, and what is empty or too long, as the training will find them."""
    vae, latents = make_cache(tmp_path)
    recipe = dit_recipe("samples.max_tokens=40", "samples.sequences=4").recipe
    plan = plan_dit(recipe, latents=latents, vae=vae, out=tmp_path / "run", device="cpu")
    cache = LatentCache(latents)
    tokenizer, world = learn_tokenizer(cache, recipe), World(0, 1, 0, torch.device("cpu"))
    sampler = LatentSampler(cache, recipe.samples)
    batches = [draw_batch(sampler, tokenizer, recipe, step, world)[0][0] for step in range(32)]
    assert plan.batch_size == pytest.approx(sum(len(tokens.segments) for tokens in batches) / 32, abs=0.5)
    assert plan.padding == pytest.approx(1 - sum(len(tokens.order) for tokens in batches) / (32 * 4 * 40))
    assert 0 < plan.left_out < 1
    plain = plan_dit(dit_recipe().recipe, latents=latents, vae=vae, out=tmp_path / "run", device="cpu")
    assert (plain.padding, plain.left_out) == (0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["dit.text=cross"],
        ["dit.attention=windows", "dit.window_size=[1, 2]"],
        ["dit.block=diffit", "dit.text=cross", "dit.attention=windows"],
    ],
    ids=["joint", "cross", "windows", "all"],
)
def test_work_is_what_torch_counts(tmp_path: Path, changes: list[str]) -> None:
    recipe = dit_recipe(*changes).recipe
    cache = LatentCache(make_cache(tmp_path)[1])
    sampler, tokenizer = LatentSampler(cache, recipe.samples), learn_tokenizer(cache, recipe)
    drawn = [draw_sample(sampler, tokenizer, recipe, generator_for(0, "x", number))[0] for number in range(4)]
    tokens = pack_tokens(drawn, recipe.dit.patch_size, cache.spec.compression[1:])
    dit, text = DiT(recipe.dit, 4, recipe.text.hidden_size), TextEncoder(recipe.text)
    # torch does not count the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        dit(tokens, text(tokens.text, tokens.text_lengths))
    estimate = forward_flops(dit, text, tokens, int((tokens.kind == TEXT).sum()))
    assert estimate == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_what_would_stop_a_training_stops_its_plan(tmp_path: Path) -> None:
    vae, latents = make_cache(tmp_path / "one")
    with pytest.raises(UsageError, match="does not divide the 4x4 latents"):
        plan_dit(dit_recipe("dit.patch_size=[1, 3, 3]").recipe, latents=latents, vae=vae, out=tmp_path, device="cpu")
    with pytest.raises(ArtifactError, match="holds no finished cache"):
        plan_dit(dit_recipe().recipe, latents=tmp_path / "none", vae=vae, out=tmp_path, device="cpu")
    with pytest.raises(ArtifactError, match="holds no vae"):
        plan_dit(dit_recipe().recipe, latents=latents, vae=latents, out=tmp_path, device="cpu")
