"""The captioner: cached decoding against reading anew each time, causality, its size, and that it can learn at all."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soracli.core.errors import ArtifactError
from soracli.models.caption_decoding import write_captions
from soracli.models.caption_tokens import IGNORED, caption_text, caption_tokens
from soracli.models.captioner import MARK, Captioner
from soracli.models.captioner_loss import TEMPERATURE, contrastive_loss, language_loss
from soracli.models.captioner_store import load_captioner, save_captioner
from soracli.models.config import CaptionerConfig
from soracli.models.tokenizer import train_tokenizer
from soracli.training.config import OptimiserConfig
from soracli.training.optimiser import build_optimiser

TINY = CaptionerConfig(
    side=16, num_frames=3, widths=(4, 6, 8), blocks=(1, 0, 1), hidden_size=24, num_heads=2, video_depth=1,
    read_depth=1, write_depth=2, embedding_size=8, vocabulary_size=300, max_tokens=16,
)  # fmt: skip
CAPTIONS = ["a red ball rolls", "two blue cubes rest on sand", "a cone", "猫が走る"]


def clips(count=4, num_frames=3, side=16):
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(count, num_frames, 3, side, side, generator=generator) * 2 - 1
    return frames, torch.arange(num_frames).expand(count, -1) * 0.5


def stirred() -> Captioner:
    """Weights large enough that words differ from clip to clip."""
    torch.manual_seed(3)
    captioner = Captioner(TINY).eval()
    with torch.no_grad():
        for parameter in captioner.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return captioner


def test_the_shipped_size():
    captioner = Captioner(CaptionerConfig())
    assert 2 * sum(parameter.numel() for parameter in captioner.parameters()) < 5.9e6


def written_anew(captioner, seen, row, most):
    """The likeliest caption of one clip with nothing kept: every token is read again for each new one."""
    tokens, product = [MARK], 1.0
    looked = captioner.look(seen[row : row + 1])
    for _ in range(most):
        chances = captioner.tell(torch.tensor([tokens]), looked).logits[0, -1].softmax(-1)
        tokens.append(int(chances.argmax()))
        product *= float(chances.max())
        if tokens[-1] == MARK:
            return tuple(tokens[1:-1]), product ** (1 / (len(tokens) - 1)), True
    return tuple(tokens[1:]), product ** (1 / most), False


def test_cached_is_uncached():
    captioner = stirred()
    with torch.no_grad():
        seen = captioner.see(*clips())
        found = write_captions(captioner, seen)
        for row, one in enumerate(found):
            tokens, confidence, ended = written_anew(captioner, seen, row, TINY.max_tokens - 1)
            assert (one.tokens, one.ended) == (tokens, ended)
            assert one.confidence == pytest.approx(confidence, rel=1e-4)
    assert len({one.tokens for one in found}) > 1
    assert max(len(set(one.tokens)) for one in found) > 1


@given(cut=st.integers(1, 11))
def test_a_text_in_two_parts_is_the_whole(cut):
    captioner = stirred()
    tokens = torch.randint(1, 300, (2, 12), generator=torch.Generator().manual_seed(cut))
    with torch.no_grad():
        looked = captioner.look(captioner.see(*clips(2)))
        whole = captioner.tell(tokens, looked)
        first = captioner.tell(tokens[:, :cut], looked)
        second = captioner.tell(tokens[:, cut:], looked, first.past)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat([first.read, second.read], 1), whole.read, atol=1e-4, rtol=1e-4)


def test_nobody_sees_what_comes_after_and_embeddings_do_not_see_the_video():
    captioner = stirred()
    told = caption_tokens(train_tokenizer(CAPTIONS, 300), CAPTIONS, 16)
    frames, times = clips()
    with torch.no_grad():
        seen = captioner.see(frames, times)
        whole = captioner.tell(told.tokens, captioner.look(seen))
        changed = told.tokens.clone()
        changed[:, 5] = 7
        other = captioner.tell(changed, captioner.look(seen))
        assert torch.equal(other.logits[:, :5], whole.logits[:, :5])
        assert not torch.equal(other.logits[:, 5], whole.logits[:, 5])
        without = captioner.embed_text(told.tokens, told.ends)
        torch.testing.assert_close(without, captioner.embed_read(whole.read, told.ends))
        blind = captioner.tell(told.tokens, captioner.look(torch.zeros_like(seen)))
        assert torch.equal(blind.read, whole.read) and not torch.equal(blind.logits, whole.logits)


def test_a_clip_among_others_is_the_clip_alone_and_its_times_count():
    captioner = stirred()
    frames, times = clips()
    with torch.no_grad():
        together = captioner.see(frames, times)
        for row in range(len(frames)):
            alone = captioner.see(frames[row : row + 1], times[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(captioner.see(frames, 2 * times), together, atol=1e-3)
        assert captioner.see(frames[:, :1], times[:, :1]).shape == (4, 1, 24)


def test_drawn_captions_depend_on_the_generator_of_the_clip_alone():
    captioner = stirred()

    def draw(seeds, rows):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return write_captions(captioner, seen[rows], temperature=1.5, generators=generators)

    with torch.no_grad():
        seen = captioner.see(*clips())
        together = draw([5, 6, 7], [0, 1, 2])
        assert draw([6], [1])[0].tokens == together[1].tokens
        assert draw([8], [1])[0].tokens != together[1].tokens
        cold = write_captions(captioner, seen, temperature=1e-4, generators=[torch.Generator() for _ in range(4)])
        assert [one.tokens for one in cold] == [one.tokens for one in write_captions(captioner, seen)]
    assert all(0 < one.confidence <= 1 for one in together)
    with pytest.raises(ValueError, match="needs a generator for each of 4"):
        write_captions(captioner, seen, temperature=1.0)


def test_draws_follow_the_chances():
    captioner = stirred()
    with torch.no_grad():
        seen = captioner.see(*clips(1))
        chances = captioner.tell(torch.tensor([[MARK]]), captioner.look(seen)).logits[0, -1].softmax(-1)
        generators = [torch.Generator().manual_seed(seed) for seed in range(2000)]
        drawn = write_captions(
            captioner, seen.expand(2000, -1, -1), temperature=1.0, generators=generators, max_tokens=1
        )
    first = torch.bincount(torch.tensor([one.tokens[0] if one.tokens else MARK for one in drawn]), minlength=300)
    likeliest = chances.topk(3)
    for chance, token in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True):
        assert abs(float(first[token]) / 2000 - chance) < 4 * math.sqrt(chance * (1 - chance) / 2000) + 1e-3


def test_tokens_of_captions_in_any_script_and_too_long_ones():
    tokenizer = train_tokenizer(CAPTIONS[:3], 300)
    told = caption_tokens(tokenizer, [*CAPTIONS, "", "a " * 50], 40)
    for row, caption in enumerate(CAPTIONS):
        end = int(told.ends[row])
        assert told.tokens[row, 0] == told.tokens[row, end] == MARK
        assert caption_text(tokenizer, told.tokens[row, :end].tolist()) == caption
        assert told.targets[row, :end].tolist() == told.tokens[row, 1 : end + 1].tolist()
        assert set(told.targets[row, end:].tolist()) == {IGNORED}
    assert int(told.ends[4]) == 1 and told.targets[4, 0] == MARK
    assert told.tokens.shape == (6, 40)  # the long one: no end is learnt where it was cut
    assert int(told.ends[5]) == 39 and MARK not in told.targets[5].tolist()
    assert caption_text(tokenizer, [*told.tokens[3, 1:2].tolist()]) == ""  # one byte of a letter is none


def test_losses_are_their_formulas():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[1, 2, IGNORED], [4, IGNORED, IGNORED]])
    nats = -logits.log_softmax(-1)
    expected = 0.5 * ((nats[0, 0, 1] + nats[0, 1, 2]) / 2 + nats[1, 0, 4])
    torch.testing.assert_close(language_loss(logits, targets), expected)
    video, text = torch.nn.functional.normalize(torch.randn(2, 3, 4), dim=-1)
    scores = (video @ text.T / TEMPERATURE).exp()
    own = scores.diagonal()
    expected = -0.5 * ((own / scores.sum(0)).log().mean() + (own / scores.sum(1)).log().mean())
    loss, paired = contrastive_loss(video, text)
    torch.testing.assert_close(loss, expected)
    assert float(paired) == pytest.approx(float((scores.argmax(1) == torch.arange(3)).float().mean()))


def test_a_tiny_batch_is_learnt_by_heart():
    torch.manual_seed(0)
    tokenizer, captioner = train_tokenizer(CAPTIONS, 300), Captioner(TINY)
    told = caption_tokens(tokenizer, CAPTIONS, TINY.max_tokens)
    frames, times = clips()
    config = OptimiserConfig(name="muon", learning_rate=5e-3, warmup_steps=0, schedule="constant")
    optimiser = build_optimiser(captioner.named_parameters(), config, ("stem", "*embed*", "head*"))
    for step in range(120):
        seen = captioner.see(frames, times)
        said = captioner.tell(told.tokens, captioner.look(seen))
        pairing, paired = contrastive_loss(captioner.embed_video(seen), captioner.embed_read(said.read, told.ends))
        loss = language_loss(said.logits, told.targets) + 0.3 * pairing
        loss.backward()
        optimiser.step(step, 120, loss.item())
    with torch.no_grad():
        found = write_captions(captioner, captioner.see(frames, times))
    assert [caption_text(tokenizer, one.tokens) for one in found][:3] == CAPTIONS[:3]
    assert min(one.confidence for one in found) > 0.8 and float(paired) == 1.0


def test_stored_and_read_again(tmp_path):
    captioner, tokenizer = stirred(), train_tokenizer(CAPTIONS, 300)
    save_captioner(tmp_path, captioner, tokenizer, {"trained": {"steps": 3}}, torch.bfloat16)
    found, words, record = load_captioner(tmp_path)
    assert record["trained"] == {"steps": 3} and words.to_str() == tokenizer.to_str()
    for name, tensor in captioner.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor.bfloat16().float()), name
    (tmp_path / "tokenizer.json").write_text(train_tokenizer(["other words"], 300).to_str())
    with pytest.raises(ArtifactError, match="its tokenizer is not the one"):
        load_captioner(tmp_path)
