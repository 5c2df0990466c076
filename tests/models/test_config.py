"""Sections of models: what cannot be built is refused with both numbers."""

import pytest
from pydantic import ValidationError

from soracli.models.config import DiscriminatorConfig, DiTConfig, PerceptualConfig, TextEncoderConfig, VAEConfig


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
        (DiTConfig, {"hidden_size": 60, "num_heads": 8}, "even number from 6 on"),
        (DiTConfig, {"hidden_size": 32, "num_heads": 8}, "even number from 6 on"),
        (DiTConfig, {"patch_size": (2, 2, 2)}, "patch_size"),
        (DiTConfig, {"patch_size": (1, 0, 2)}, "patch_size"),
    ],
)
def test_refused(section, values, says):
    with pytest.raises(ValidationError, match=says):
        section(**values)


def test_compression():
    assert VAEConfig().compression == (4, 16, 16)
    flat = VAEConfig(patch_size=8, widths=(8,), temporal_strides=(), encoder_blocks=(1,), decoder_blocks=(1,))
    assert flat.compression == (1, 8, 8)
    assert DiscriminatorConfig().compression == (4, 8, 8)
    assert DiscriminatorConfig(widths=(8,), temporal_strides=()).compression == (1, 1, 1)
