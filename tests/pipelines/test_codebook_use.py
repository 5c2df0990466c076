"""Use of a codebook on clips: against tokens counted by hand, long clips as short ones, and what people read."""

import pytest
import torch

from soracli.cli.vae_eval import codebook_lines
from soracli.core.errors import DataError
from soracli.metrics.codebook import CodebookUse
from soracli.models.config import QuantiserConfig, with_quantiser
from soracli.models.quantised_vae import QuantisedVAE, build_vae
from soracli.pipelines.codebook_use import codebook_report
from tests.models.tiny import VAE, stir, tiny_vae


@pytest.fixture
def vae() -> QuantisedVAE:
    torch.manual_seed(0)
    found = stir(build_vae(with_quantiser(VAE, QuantiserConfig(kind="fsq", levels=(8, 5, 5)))), size=1.0).eval()
    assert isinstance(found, QuantisedVAE)
    return found.double()  # so that blocks and whole clips round alike


def _clip(num_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randint(0, 256, (num_frames, 16, 8, 3), dtype=torch.uint8, generator=generator)


def _report(vae, clips) -> CodebookUse:
    found = codebook_report(vae, clips)
    assert found is not None
    return found


def test_tokens_of_all_clips_are_counted(vae):
    clips = [_clip(1), _clip(9), _clip(45), _clip(8)]
    with torch.no_grad():
        tokens = [vae.encode_indices(_floats(clip[: 1 + (len(clip) - 1) // 4 * 4]))[0].flatten() for clip in clips]
    by_hand = torch.cat(tokens)
    use = _report(vae, iter(clips))
    assert use.num_codes == 200 and use.num_tokens == len(by_hand) == 2 * (1 + 3 + 12 + 2)
    counts = by_hand.unique(return_counts=True)[1]
    share = counts / counts.sum()
    assert use.num_used == len(counts) > 4
    assert use.perplexity == pytest.approx(float((-(share * share.log()).sum()).exp()))


def _floats(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(3, 0, 1, 2)[None].float().div(127.5).sub(1).double()


def test_lines_for_people(vae):
    use = _report(vae.float(), [_clip(9)])
    codebook, perplexity, levels = codebook_lines(use)
    assert codebook.startswith(f"codebook: {use.num_used} of 200 codes in use (") and " by 6 tokens" in codebook
    assert perplexity == f"perplexity: {use.perplexity:.1f} ({use.entropy_bits:.2f} bits a token)"
    assert levels.startswith("levels in use and their bits, by dimension: ")
    used = [sum(share > 0 for share in shares) for shares in use.level_shares]
    assert f"{used[0]}/8 " in levels and f", {used[2]}/5 " in levels and levels.count(",") == 3


def test_a_continuous_vae_has_no_tokens_and_no_clips_have_no_use(vae):
    assert codebook_report(tiny_vae(), iter([_clip(1)])) is None
    for clips in ([], [_clip(0)]):
        with pytest.raises(DataError, match="no clips to count tokens of"):
            codebook_report(vae, clips)
