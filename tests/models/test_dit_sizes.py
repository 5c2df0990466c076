"""The sizes that come as recipes, against published counts of parameters: DiT's (with its modulation) and W.A.L.T's."""

import pytest
import torch

from soracli.models.dit import DiT
from soracli.pipelines.recipes import DitTrainRecipe
from soracli.recipe.find import find_recipe, list_recipes
from soracli.recipe.load import load_recipe


def millions(name: str, **changes: object) -> float:
    """Of a DiT over 4 channels, as published ones are, without the layer that takes the text in."""
    config = load_recipe(DitTrainRecipe, find_recipe(f"sizes/dit_{name}")).recipe.dit.model_copy(update=changes)
    with torch.device("meta"):
        dit = DiT(config, 4, 8)
    return sum(weight.numel() for name, weight in dit.named_parameters() if not name.startswith("text_embed")) / 1e6


@pytest.mark.parametrize(("name", "published"), [("s", 33), ("b", 130), ("l", 458), ("xl", 675)])
def test_dit_as_published(name: str, published: float) -> None:
    """Ours has inputs for step size and guidance, theirs a table of labels: less than a hundredth and a half apart."""
    assert millions(name, modulation_rank=0) == pytest.approx(published, rel=0.015)


@pytest.mark.parametrize(("name", "published"), [("l", 313), ("xl", 460)])
def test_low_rank_as_walt(name: str, published: float) -> None:
    """W.A.L.T, table 1: AdaLN-LoRA of rank 2."""
    assert millions(name, modulation_rank=2) == pytest.approx(published, rel=0.015)


@pytest.mark.parametrize(("name", "billions"), [("2b", 2), ("3b", 3)])
def test_billions(name: str, billions: float) -> None:
    assert millions(name) / 1000 == pytest.approx(billions, rel=0.05)


def test_large_recipes_are_built_of_sizes() -> None:
    """The two for real machines have DiT-XL's blocks and those of two billion."""
    assert {"large/dit_24gb", "large/dit_8xh100"} <= set(list_recipes())
    for machine, size in (("large/dit_24gb", "sizes/dit_xl"), ("large/dit_8xh100", "sizes/dit_2b")):
        one, other = (load_recipe(DitTrainRecipe, find_recipe(name)).recipe for name in (machine, size))
        assert one.dit == other.dit
        assert one.checkpoint_activations and one.loop.precision == "bfloat16"
