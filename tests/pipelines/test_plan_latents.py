"""What a dry run says of a cache, against the cache that is made then."""

from pathlib import Path

import pytest
import torch

from soracli.core.errors import DataError, UsageError
from soracli.data.config import WorldLatentsConfig, WorldShape
from soracli.models.store import save_vae
from soracli.pipelines.cache_latents import cache_latents
from soracli.pipelines.describe_latents import describe_latents
from soracli.pipelines.plan_latents import plan_latents
from soracli.pipelines.recipes import LatentsCacheRecipe
from tests.models.tiny import tiny_vae


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    save_vae(tmp_path / "vae", tiny_vae(), torch.zeros(4), torch.ones(4), {})
    return tmp_path / "vae"


def recipe(**changes: object) -> LatentsCacheRecipe:
    world = {"videos": 2, "images": 3, **changes}
    if "shapes" not in changes:
        world = {"seconds": 13 / 12, "height": 32, "width": 32, **world}
    return LatentsCacheRecipe(world=WorldLatentsConfig(**world))


def test_the_plan_is_what_is_made(vae: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    plan = plan_latents(recipe(), vae=vae, clips=None, out=out, device="cpu")
    assert (plan.world_videos, plan.world_images, plan.clips, plan.channels) == (2, 3, 0, 4)
    assert plan.compression == (4, 8, 8) and (plan.shards, plan.shards_made) == (2, 0)
    assert not out.exists()
    cache_latents(recipe(), vae=vae, clips=None, out=out, device="cpu")
    made = describe_latents(out)
    assert plan.num_bytes == made.sources["world"].num_bytes and plan.shards == made.shards
    assert plan_latents(recipe(), vae=vae, clips=None, out=out, device="cpu").shards_made == 2


def test_the_plan_of_several_shapes_is_what_is_made(vae: Path, tmp_path: Path) -> None:
    shapes = (WorldShape(seconds=1, height=16, width=32), WorldShape(seconds=13 / 12, height=24, width=24))
    shapes += (WorldShape(seconds=6, fps=1, height=16, width=16, stills=True),)
    mixed, out = recipe(videos=3, images=3, shapes=shapes), tmp_path / "cache"
    plan = plan_latents(mixed, vae=vae, clips=None, out=out, device="cpu")
    cache_latents(mixed, vae=vae, clips=None, out=out, device="cpu")
    made = describe_latents(out)
    assert plan.num_bytes == made.sources["world"].num_bytes and plan.shards == made.shards == 6


def test_what_would_stop_it(vae: Path, tmp_path: Path) -> None:
    for changes, kind, said in (
        ({"height": 30}, UsageError, "size 32x30 does not fit"),
        ({"videos": 0, "images": 0}, DataError, "nothing to cache"),
    ):
        with pytest.raises(kind, match=said):
            plan_latents(recipe(**changes), vae=vae, clips=None, out=tmp_path / "cache", device="cpu")
