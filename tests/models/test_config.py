"""Sections of models: what cannot be built is refused with both numbers."""

import pytest
from pydantic import ValidationError

from soracli.models.config import (
    DiscriminatorConfig,
    DiTConfig,
    PerceptualConfig,
    QuantisedVAEConfig,
    QuantiserConfig,
    TextEncoderConfig,
    VAEConfig,
    with_quantiser,
)


@pytest.mark.parametrize(
    ("section", "values", "says"),
    [
        (VAEConfig, {"temporal_strides": (2,)}, "temporal_strides must have 2 numbers for 3 widths, got 1"),
        (VAEConfig, {"temporal_strides": (2, 3)}, "must be 1 or 2"),
        (VAEConfig, {"decoder_blocks": (1, 1)}, "decoder_blocks must have 3"),
        (VAEConfig, {"encoder_blocks": (0, 0, 0)}, "need a block each"),
        (VAEConfig, {"decoder_blocks": (1, -1, 1)}, "not below 0"),
        (VAEConfig, {"widths": (4, 0, 4)}, "widths must be above 0"),
        (VAEConfig, {"widths": (), "temporal_strides": (), "encoder_blocks": (), "decoder_blocks": ()}, "must"),
        (DiscriminatorConfig, {"temporal_strides": (2,)}, "temporal_strides must have 3 numbers for 4 widths, got 1"),
        (DiscriminatorConfig, {"temporal_strides": (1, 2, 4)}, "must be 1 or 2"),
        (DiscriminatorConfig, {"widths": (), "temporal_strides": ()}, "widths must have a number for each level"),
        (DiscriminatorConfig, {"widths": (8, 0), "temporal_strides": (1,)}, "all above 0"),
        (PerceptualConfig, {"network": "timm", "backbone": "vgg16"}, "needs weights"),
        (PerceptualConfig, {"network": "timm", "weights": "vgg16.safetensors"}, "needs backbone"),
        (PerceptualConfig, {"network": "efficientnet_lite0", "backbone": "vgg16"}, 'backbone = "vgg16" is for'),
        (PerceptualConfig, {"weights": "vgg16.safetensors"}, 'is for network = "timm", not "off"'),
        (TextEncoderConfig, {"hidden_size": 60, "num_heads": 8}, "divisible by 2 num_heads"),
        (TextEncoderConfig, {"hidden_size": 12, "num_heads": 4}, "divisible by 2 num_heads"),
        (TextEncoderConfig, {"frozen": "transformers"}, "needs frozen_model: a folder, or hf:OWNER/NAME"),
        (TextEncoderConfig, {"frozen": "minilm", "frozen_model": "t5"}, 'is for frozen = "transformers", not "minilm"'),
        (DiTConfig, {"hidden_size": 60, "num_heads": 8}, "even number from 6 on"),
        (DiTConfig, {"hidden_size": 32, "num_heads": 8}, "even number from 6 on"),
        (DiTConfig, {"patch_size": (2, 2, 2)}, "patch_size"),
        (DiTConfig, {"patch_size": (1, 0, 2)}, "patch_size"),
        (QuantiserConfig, {"levels": (8, 2)}, r"3 to 64 each, got \(8, 2\); two levels are kind = 'lfq'"),
        (QuantiserConfig, {"levels": (65,)}, "3 to 64 each"),
        (QuantiserConfig, {"levels": ()}, "3 to 64 each"),
        (QuantiserConfig, {"levels": (64, 64, 64, 64, 3)}, "make 50331648 codes, more than 16777216"),
        (QuantisedVAEConfig, {"quantiser": QuantiserConfig()}, "quantiser.kind is none"),
    ],
)
def test_refused(section, values, says):
    with pytest.raises(ValidationError, match=says):
        section(**values)


def test_a_quantiser_joins_a_vae_or_leaves_it_as_it_is():
    vae = VAEConfig(latent_channels=8)
    assert with_quantiser(vae, QuantiserConfig(levels=(8, 5))) is vae
    bits = QuantiserConfig(kind="lfq", num_bits=3)
    joined = with_quantiser(vae, bits)
    assert isinstance(joined, QuantisedVAEConfig) and joined.quantiser == bits
    assert joined.model_dump(exclude={"quantiser"}) == vae.model_dump()
    levels = [QuantiserConfig(kind=kind, levels=(8, 5), num_bits=3).code_levels for kind in ("none", "fsq", "lfq")]
    assert levels == [(), (8, 5), (2, 2, 2)]


def test_compression():
    assert VAEConfig().compression == (4, 16, 16)
    flat = VAEConfig(patch_size=8, widths=(8,), temporal_strides=(), encoder_blocks=(1,), decoder_blocks=(1,))
    assert flat.compression == (1, 8, 8)
    assert DiscriminatorConfig().compression == (4, 8, 8)
    assert DiscriminatorConfig(widths=(8,), temporal_strides=()).compression == (1, 1, 1)
