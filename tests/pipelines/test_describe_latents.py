"""What is said of a cache, against its latents all at once."""

from pathlib import Path

import pytest
import torch

from soracli.core.errors import ArtifactError
from soracli.data.latents import LatentCache
from soracli.pipelines.describe_latents import describe_latents
from tests.pipelines.runs import make_cache


def test_a_cache_is_summed_up(tmp_path: Path) -> None:
    folder = make_cache(tmp_path, (7, 6, 1, 1))[1]
    found, cache = describe_latents(folder), LatentCache(folder)
    values = torch.cat([cache.latents(entry).flatten(1) for entry in cache.entries], 1)
    torch.testing.assert_close(torch.tensor(found.mean), values.mean(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(found.std), values.std(1, unbiased=False), rtol=0, atol=1e-5)
    assert found.entries == len(cache.entries) == 4 and found.spec == cache.spec.to_dict()
    by_source = {name: (part.videos, part.images) for name, part in found.sources.items()}
    assert by_source == {"clips": (1, 1), "world": (1, 1)}
    assert found.sources["world"].seconds == pytest.approx((1 + 6 * 4) / 8)
    assert found.sources["clips"].num_bytes == 2 * 4 * 4 * 4 * (6 + 1)
    assert found.file_bytes == sum(path.stat().st_size for path in (folder / "shards").iterdir())
    assert len(found.captions) == 4 and "ball" in found.captions[0]


def test_damage_is_named(tmp_path: Path) -> None:
    folder = make_cache(tmp_path)[1]
    next((folder / "shards").glob("*.safetensors")).write_bytes(b"short")
    with pytest.raises(ArtifactError, match=r"missing or damaged .*: remove it and run sora latents cache again"):
        describe_latents(folder)
    with pytest.raises(ArtifactError, match="holds no finished cache"):
        describe_latents(tmp_path / "none")
