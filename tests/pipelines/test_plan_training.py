"""Counts of a plan against a real step's own: operations executed, what it keeps; and arithmetic told again."""

import math

import pytest
import torch

from soracli.core.errors import UsageError
from soracli.models.config import with_quantiser
from soracli.models.discriminator import PatchDiscriminator
from soracli.models.quantised_vae import build_vae
from soracli.pipelines.count_training import USABLE, Cluster, TrainingCost, plan_cluster
from soracli.pipelines.count_vae import count_vae
from soracli.pipelines.plan_dit import plan_dit
from soracli.pipelines.plan_training import count_training, open_cluster
from soracli.pipelines.recipes import JudgeTrainRecipe, LatentsCacheRecipe
from soracli.training.gpus import GPUS, find_gpu
from soracli.training.utilisation import Operations
from tests.pipelines.runs import GAME, dit_recipe, make_cache, vae_recipe

COST = TrainingCost(
    parameters={"dit": 10}, unit="tokens", units=5.0, batch=12.0, shares=12, parts=1, flops=6e12, steps=7200,
    fixed={"weights": 10**9}, activations=5e8, products=((8, 8, 8),), left_out=(), half=False,
)  # fmt: skip


@pytest.mark.parametrize("game", [(), GAME], ids=["alone", "with a discriminator"])
def test_a_vae_is_counted_as_a_step_of_it_is(game):
    shape = "frames.shapes=[{num_frames = 9, crop = 16, batch_size = 3}]"
    recipe = vae_recipe(*game, shape).recipe
    cost = count_vae(recipe, half=False)
    vae = build_vae(with_quantiser(recipe.vae, recipe.quantiser))
    sizes = {}

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    frames = torch.rand(3, 3, 9, 16, 16)
    critic = PatchDiscriminator(recipe.discriminator) if game else None
    with Operations() as operations:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            decoded = vae.decode(vae.encode(frames)[0])[0]
            fooled = critic(decoded).sum() if critic else 0.0
        (decoded.sum() + fooled).backward()
        if critic:
            (critic(frames).sum() + critic(decoded.detach()).sum()).backward()
    assert cost.flops == pytest.approx(operations.total, rel=0.02)
    weights = sum(part.numel() * 4 for part in vae.parameters())
    assert 3 * cost.activations == pytest.approx(sum(sizes.values()) - weights, rel=0.15)
    assert cost.parameters["vae"] == weights / 4 and cost.fixed["average"] == weights
    assert (cost.unit, cost.units, cost.batch, cost.shares) == ("pixels", 9 * 256, 3, 3)


def test_shapes_count_by_their_steps_and_weights():
    shapes = (
        "{num_frames = 1, crop = 16, batch_size = 8, until_step = 3}, "
        "{num_frames = 5, crop = 16, batch_size = 2, weight = 3.0, from_step = 3}, "
        "{num_frames = 1, crop = 16, batch_size = 4, from_step = 3}"
    )
    one, five = (
        count_vae(vae_recipe(f"frames.shapes=[{{num_frames = {n}, crop = 16, batch_size = 1}}]").recipe, half=False)
        for n in (1, 5)
    )
    cost = count_vae(vae_recipe(f"frames.shapes=[{shapes}]").recipe, half=False)
    expected = 0.5 * 8 * one.flops + 0.5 * (0.75 * 2 * five.flops + 0.25 * 4 * one.flops)
    assert cost.flops == pytest.approx(expected) and cost.shares == 2


def test_a_dit_on_a_cache_is_counted_as_its_dry_run_does(tmp_path):
    vae, latents = make_cache(tmp_path)
    recipe = dit_recipe("loop.precision=float32").recipe
    dry = plan_dit(recipe, latents=latents, vae=vae, out=tmp_path / "out", device="cpu")
    cost = count_training(recipe, "cpu", latents=latents)
    assert cost.flops == pytest.approx(dry.flops) and cost.parameters["dit"] == dry.dit_parameters
    plan = plan_cluster(cost, Cluster("x", 1, 1e9, 10**9, 1.0))
    assert sum(plan.memory.values()) == pytest.approx(dry.memory.total, abs=2)


def test_a_dit_without_a_cache_grows_with_its_videos():
    recipe = dit_recipe("dit.patch_size=[1, 2, 2]").recipe
    small, large = (count_training(recipe, "h100", size=size) for size in ((64, 64), (128, 64)))
    text = 64  # tokens of a caption, of which an image and a video of any size has as many
    assert (large.units - text) / (small.units - text) == pytest.approx(2) and large.activations > small.activations
    with pytest.raises(UsageError, match="the nearest is 64x96"):
        count_training(recipe, "h100", size=(100, 60))
    packed = count_training(dit_recipe("samples.max_tokens=512", "samples.sequences=3").recipe, "h100")
    assert packed.batch * packed.units == pytest.approx(3 * 512) and packed.shares == 3


def test_ranks_may_hold_a_dit_between_them():
    whole = count_training(dit_recipe().recipe, "h100")
    for wanted, ranks, slices in ((0, 4, 4), (2, 4, 2), (0, 1, 1)):
        held = count_training(dit_recipe(f"shard_ranks={wanted}").recipe, "h100", ranks=ranks)
        assert held.fixed["average"] == pytest.approx(whole.fixed["average"] / slices, rel=0.1)
        assert ("gathered" in held.fixed) == (slices > 1) and held.activations == whole.activations
    with pytest.raises(UsageError, match="shard_ranks = 3 does not divide 4 ranks"):
        count_training(dit_recipe("shard_ranks=3").recipe, "h100", ranks=4)


def test_a_cluster():
    plan = plan_cluster(COST, Cluster("x", 4, 2e12, 4 * 10**9, 0.5, 2.0))
    assert plan.step_seconds == pytest.approx(6 / 4) and plan.days == pytest.approx(0.125)
    assert plan.device_hours == pytest.approx(12) and plan.price == pytest.approx(24)
    assert plan.memory == {"weights": 10**9, "activations": 15 * 10**8} and plan.fits
    assert plan.most_samples == math.floor((USABLE * 4e9 - 1e9) / 5e8) == 5
    tight = plan_cluster(COST, Cluster("x", 1, 2e12, 4 * 10**9, 0.5))
    assert not tight.fits and tight.price == 0
    assert plan_cluster(COST, Cluster("x", 1, 2e12, 10**9, 0.5)).most_samples == 0
    with pytest.raises(UsageError, match="batch of 12 cannot be shared by 5 ranks"):
        plan_cluster(COST, Cluster("x", 5, 2e12, 4 * 10**9, 0.5))


def test_devices():
    cluster = open_cluster(COST, "H100", nodes=2, gpus=8, utilisation=0.4)
    assert (cluster.ranks, cluster.rate, cluster.memory) == (16, GPUS["h100"].rate, 80 * 10**9)
    here = open_cluster(COST, "cpu", nodes=2, gpus=8, utilisation=0.4)
    assert here.ranks == 1 and 1e7 < here.rate < 1e14 and here.memory > 10**8
    with pytest.raises(UsageError, match="did you mean h100"):
        find_gpu("h10")


@pytest.mark.parametrize(
    ("recipe", "given", "said"),
    [
        (LatentsCacheRecipe(), {}, "not latents.cache"),
        (JudgeTrainRecipe(), {}, "not judge.train"),
        (vae_recipe().recipe, {"size": (64, 64)}, "are for recipes of a DiT"),
        (dit_recipe().recipe, {"latents": "x", "vae": "nano"}, "leave --size and --vae away"),
    ],
)
def test_what_cannot_be_planned(recipe, given, said):
    with pytest.raises(UsageError, match=said):
        count_training(recipe, "h100", **given)
