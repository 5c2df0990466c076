"""How a video is sampled: a model's recommendation over ours, and where guidance acts."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from soracli.diffusion.config import SamplingConfig
from soracli.diffusion.flow import time_grid
from soracli.diffusion.options import SamplingOptions, recommended_options


def test_what_a_recipe_says_comes_back_from_a_model() -> None:
    said = SamplingConfig(sampler="heun", guidance_interval=(0.1, 0.9), num_steps=7)
    found = recommended_options(json.loads(said.model_dump_json()) | {"objective": "v", "fps": 8.0})
    assert found == SamplingOptions(
        sampler="heun", guidance_interval=(0.1, 0.9), num_steps=7, objective="v", later_guidance_scale=4.0
    )
    assert {name: asdict(found)[name] for name in said.model_dump()} == said.model_dump()


def test_models_from_before_are_guided_everywhere() -> None:
    found = recommended_options({"num_steps": 3, "shift": 2.0})
    assert (found.objective, found.sampler, found.guidance_interval) == ("flow", "euler", (0.0, 1.0))


@given(steps=st.integers(1, 50), shift=st.floats(0.05, 20))
def test_by_default_every_step_is_guided(steps: int, shift: float) -> None:
    assert all(SamplingOptions().is_guided(t) for t in time_grid(steps, shift)[:-1].tolist())


@given(low=st.floats(0, 0.98), width=st.floats(0.01, 1), t=st.floats(0, 1))
def test_an_interval_ends_where_it_says(low: float, width: float, t: float) -> None:
    high = min(1.0, low + width)
    assert SamplingOptions(guidance_interval=(low, high)).is_guided(t) == (low < t <= high)


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_intervals_that_are_none(interval: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match=r"0 <= low < high <= 1|finite number"):
        SamplingConfig(guidance_interval=interval)
