"""Our DiT with DiT's options and the weights of diffusers' DiTTransformer2DModel: the same numbers.

No path of our forward is made for this. What DiT has and we have otherwise is loaded as weights: fixed positions of
patches as the embeddings of kinds of tokens (with coordinates 0, which turn nothing), the label's vector as the bias
of the embedding of step sizes. On their side the sinusoids' frequencies are put right: diffusers divides by 127 where
DiT divides by 128, and gives each block an embedding of time of its own where DiT has one.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from soracli.models.config import DiTConfig
from soracli.models.dit import DiT
from soracli.models.tokens import Piece, Sample, pack_tokens, unpatchify
from tests.models.tiny import stir

diffusers = pytest.importorskip("diffusers")

HEADS, WIDTH, DEPTH, SIDE, CLASSES, LABEL = 4, 32, 3, 8, 10, 7


def published() -> nn.Module:
    from diffusers.models.embeddings import Timesteps

    torch.manual_seed(0)
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        in_channels=4,
        num_layers=DEPTH,
        sample_size=SIDE,
        patch_size=2,
        num_embeds_ada_norm=CLASSES,
        norm_eps=1e-6,
    )
    stir(model, size=1.0).eval()
    first = model.transformer_blocks[0].norm1.emb
    first.time_proj = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
    for block in model.transformer_blocks:
        block.norm1.emb = first
    return model


def filled(theirs: nn.Module) -> DiT:
    config = DiTConfig(hidden_size=WIDTH, depth=DEPTH, num_heads=HEADS, modulation_rank=0, qk_norm=False, gelu="tanh")
    dit = DiT(config, 4, 8)
    embed, positions = theirs.transformer_blocks[0].norm1.emb, theirs.pos_embed.pos_embed[0]  # (S, D)
    dit.kind_embed = nn.Embedding.from_pretrained(positions)
    copied = {
        "patch_embed": as_layer(
            theirs.pos_embed.proj.weight.permute(0, 2, 3, 1).flatten(1), theirs.pos_embed.proj.bias
        ),
        "time_embed.embed_in": embed.timestep_embedder.linear_1.state_dict(),
        "time_embed.embed_out": embed.timestep_embedder.linear_2.state_dict(),
        "step_embed.embed_out": as_layer(torch.zeros(WIDTH, WIDTH), embed.class_embedder.embedding_table.weight[LABEL]),
        "final_modulation": theirs.proj_out_1.state_dict(),
        "final": theirs.proj_out_2.state_dict(),
    }
    for number, block in enumerate(theirs.transformer_blocks):
        three = [block.attn1.to_q, block.attn1.to_k, block.attn1.to_v]
        qkv = as_layer(torch.cat([one.weight for one in three]), torch.cat([one.bias for one in three]))
        copied |= {
            f"blocks.{number}.attention.qkv": qkv,
            f"blocks.{number}.attention.out": block.attn1.to_out[0].state_dict(),
            f"blocks.{number}.modulation.expand": block.norm1.linear.state_dict(),
            f"blocks.{number}.mlp.up": block.ff.net[0].proj.state_dict(),
            f"blocks.{number}.mlp.down": block.ff.net[2].state_dict(),
        }
    for name, weights in copied.items():
        dit.get_submodule(name).load_state_dict(weights)
    used = {name.rpartition(".")[0] for name, _ in dit.named_parameters()}
    untouched = {
        "kind_embed",
        "text_embed",
        "step_embed.embed_in",
        "guidance_embed.embed_in",
        "guidance_embed.embed_out",
    }
    assert used == copied.keys() | untouched
    return dit


def as_layer(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    return {"weight": weight.detach(), "bias": bias.detach()}


@torch.no_grad()
def test_same_weights_same_output():
    theirs = published()
    dit = filled(theirs)
    latents, steps = torch.randn(2, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), torch.tensor([37, 861])
    expected = theirs(latents, steps, torch.tensor([LABEL, LABEL])).sample  # (2, C, H, W)

    samples = [
        Sample(
            torch.zeros(0, dtype=torch.long),
            (Piece(image[:, None], torch.zeros(1), torch.tensor([True]), step[None] / 1000, block=1, clean=False),),
        )
        for image, step in zip(latents, steps, strict=True)
    ]
    tokens = pack_tokens(samples, (1, 2, 2), (8, 8))
    count = (SIDE // 2) ** 2
    tokens = replace(tokens, kind=torch.arange(count).repeat(2), coordinates=torch.zeros(2 * count, 3))
    velocities, _ = dit(tokens, torch.zeros(0, 8))
    found = [unpatchify(part, (SIDE, SIDE), (1, 2, 2)) for part in velocities.view(2, 1, count, -1)]  # 2 (C, 1, H, W)
    assert expected.std() > 0.5
    torch.testing.assert_close(torch.cat(found, 1).transpose(0, 1), expected, atol=1e-5, rtol=0)
