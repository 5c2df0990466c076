"""What the DiT is shown: stretches against the cached latents, their times against frames counted by hand."""

import pytest
import torch

from soracli.core.errors import DataError
from soracli.core.latent_spec import LatentSpec
from soracli.data.config import CaptionConfig, LatentSamplesConfig
from soracli.data.latent_samples import LatentSampler, shown_size
from soracli.data.latents import LatentCache, Tail, write_index, write_shard

SPEC = LatentSpec(channels=1, compression=(4, 8, 8), mean=(0.0,), std=(1.0,), vae_hash="ab")
LENGTHS = {"world": (9, 4), "clips": (6, 1)}


@pytest.fixture
def cache(tmp_path):
    """Latent frame k of an entry is filled with 100 * entry + k."""
    latents, records = [], []
    for number, (source, length) in enumerate((s, n) for s, lengths in LENGTHS.items() for n in lengths):
        latents.append((100.0 * number + torch.arange(length)).view(1, -1, 1, 1).expand(1, length, 2, 2))
        records.append(
            {
                "source": source,
                "name": str(number),
                "fps": 8.0 + number,
                "captions": [f"{number} moves", f"{number} goes"],
                "still_captions": [f"{number} stands"],
            }
        )
    write_shard(tmp_path, "all", latents, records)
    write_index(tmp_path, SPEC, ["all"], {})
    return LatentCache(tmp_path)


def draws(cache, count=200, **options):
    sampler = LatentSampler(cache, LatentSamplesConfig(**options))
    return [sampler.sample(torch.Generator().manual_seed(seed)) for seed in range(count)]


def place(sample) -> tuple[int, int]:
    """Entry and first latent frame."""
    return divmod(int(sample.latents[0, 0, 0, 0]), 100)


def test_videos_are_stretches_with_their_times(cache):
    seen = set()
    for sample in draws(cache, image_share=0, latent_frames=(3, 5), middle_share=0.5):
        entry, start = place(sample)
        count = sample.latents.shape[1]
        seen.add((entry, start, count))
        assert count in (3, 5) or (entry, count) == (1, 4)  # no longer than the video
        assert sample.latents[0, :, 0, 0].tolist() == [100 * entry + start + k for k in range(count)]
        # The mean time of the frames a latent holds: frame 0 alone, then frames 1-4, 5-8 and so on.
        middles = [0.0 if k == 0 else (4 * k - 3 + 4 * k) / 2 for k in range(start, start + count)]
        expected = torch.tensor([(middle - middles[0]) / (8.0 + entry) for middle in middles])
        torch.testing.assert_close(sample.seconds, expected)
        assert sample.begins == (start == 0)
        assert sample.one_frame.tolist() == [start == 0] + [False] * (count - 1)
        assert sample.caption in (f"{entry} moves", f"{entry} goes")
    assert {entry for entry, _, _ in seen} == {0, 1, 2}
    assert {start for entry, start, count in seen if (entry, count) == (0, 3)} == set(range(7))


def test_pictures_are_first_frames(cache):
    entries = set()
    for sample in draws(cache, image_share=1):
        entry, start = place(sample)
        entries.add(entry)
        assert (start, sample.latents.shape[1]) == (0, 1)
        assert sample.seconds.tolist() == [0] and sample.one_frame.tolist() == [True] and sample.begins
        assert sample.caption == f"{entry} stands"
    assert entries == {0, 1, 2, 3}


def test_pictures_alone_when_asked(cache):
    sampler = LatentSampler(cache, LatentSamplesConfig(image_share=0))
    for seed in range(20):
        assert sampler.sample(torch.Generator().manual_seed(seed), pictures_only=True).latents.shape[1] == 1
        assert sampler.sample(torch.Generator().manual_seed(seed)).latents.shape[1] > 1


def test_shares(cache):
    samples = draws(cache, 1000, image_share=0.3, world_share=0.8, middle_share=0.4, latent_frames=(4,))
    assert sum(sample.latents.shape[1] == 1 for sample in samples) / 1000 == pytest.approx(0.3, abs=0.04)
    assert sum(place(sample)[0] < 2 for sample in samples) / 1000 == pytest.approx(0.8, abs=0.04)
    roomy = [sample for sample in samples if place(sample)[0] in (0, 2) and sample.latents.shape[1] == 4]
    assert sum(not sample.begins for sample in roomy) / len(roomy) == pytest.approx(0.4, abs=0.06)


def test_the_same_generator_draws_the_same(cache):
    for one, other in zip(draws(cache, 20), draws(cache, 20), strict=True):
        assert torch.equal(one.latents, other.latents) and one.caption == other.caption


def test_what_cannot_be_is_said(tmp_path):
    write_index(tmp_path, SPEC, [], {})
    with pytest.raises(DataError, match="holds no latents"):
        LatentSampler(LatentCache(tmp_path), LatentSamplesConfig())
    record = {"source": "world", "name": "a", "fps": 8.0, "captions": [], "still_captions": []}
    write_shard(tmp_path, "one", [torch.zeros(1, 1, 2, 2)], [record])
    write_index(tmp_path, SPEC, ["one"], {})
    with pytest.raises(DataError, match=r"pictures only: set samples\.image_share = 1"):
        LatentSampler(LatentCache(tmp_path), LatentSamplesConfig())
    picture = LatentSampler(LatentCache(tmp_path), LatentSamplesConfig(image_share=1)).sample(torch.Generator())
    assert picture.caption == ""


def test_the_square_is_the_middle(tmp_path):
    """Rows or columns are cut on both sides; what is drawn is the same stretch of the same entry."""
    grid = torch.arange(6.0).view(1, 1, 6, 1) + 10 * torch.arange(4.0)
    latents = [grid.expand(1, 3, 6, 4), grid.mT.expand(1, 3, 4, 6), grid[:, :, :4].expand(1, 3, 4, 4)]
    record = {"source": "world", "name": "a", "fps": 8.0, "captions": ["a"], "still_captions": ["b"]}
    write_shard(tmp_path, "all", latents, [record] * 3)
    write_index(tmp_path, SPEC, ["all"], {})
    for native, square in zip(
        draws(LatentCache(tmp_path), 30, latent_frames=(2,)),
        draws(LatentCache(tmp_path), 30, latent_frames=(2,), square=True),
        strict=True,
    ):
        rows, columns = native.latents.shape[2:]
        assert torch.equal(square.latents, native.latents[:, :, (rows - 4) // 2 :, (columns - 4) // 2 :][:, :, :4, :4])
        assert torch.equal(square.seconds, native.seconds) and square.caption == native.caption
    assert shown_size((1, 3, 6, 4), LatentSamplesConfig()) == (6, 4)


def mixed(folder, **texts):
    """A cache of one video with such texts."""
    record = {"source": "world", "name": "a", "fps": 8.0, "captions": ["written"], "still_captions": ["written still"]}
    write_shard(folder, "all", [torch.zeros(1, 3, 2, 2)], [{**record, **texts}])
    write_index(folder, SPEC, ["all"], {})
    return LatentCache(folder)


@pytest.mark.parametrize("synthetic", [0.0, 0.5, 0.95, 1.0])
def test_written_captions_and_originals_are_mixed_as_asked(tmp_path, synthetic):
    cache = mixed(tmp_path, originals=["found"], still_originals=["found still"])
    sampler = LatentSampler(cache, LatentSamplesConfig(image_share=0.5), CaptionConfig(synthetic=synthetic))
    drawn = [sampler.sample(torch.Generator().manual_seed(seed)) for seed in range(2000)]
    for sample in drawn:
        assert sample.caption.endswith("still") == (sample.latents.shape[1] == 1)
    share = sum(sample.caption.startswith("written") for sample in drawn) / len(drawn)
    assert abs(share - synthetic) <= 5 * (synthetic * (1 - synthetic) / len(drawn)) ** 0.5


def test_texts_of_one_kind_are_always_shown(tmp_path):
    cache = mixed(tmp_path / "one", captions=[], still_captions=[], originals=["found"], still_originals=["found"])
    assert {sample.caption for sample in draws(cache, 20)} == {"found"}
    plain = mixed(tmp_path / "two")
    for synthetic in (0.0, 1.0):
        sampler = LatentSampler(plain, LatentSamplesConfig(), CaptionConfig(synthetic=synthetic))
        given = [sampler.choose(torch.Generator().manual_seed(seed)) for seed in range(20)]
        assert given == [
            LatentSampler(plain, LatentSamplesConfig()).choose(torch.Generator().manual_seed(seed))
            for seed in range(20)
        ]
        assert {choice.caption for choice in given} <= {"written", "written still"}


@pytest.fixture
def cut_cache(tmp_path):
    """Two videos with tails and one of stills; a tail's latent frame k is filled with 1000 + 100 * entry + k."""
    lengths, tails = (9, 4, 6), {0: Tail(5, torch.arange(3)), 1: Tail(1, torch.arange(2))}
    latents = [(100.0 * e + torch.arange(n)).view(1, -1, 1, 1).expand(1, n, 2, 2) for e, n in enumerate(lengths)]
    record = {"source": "world", "captions": ["it moves"], "still_captions": ["it stands"], "fps": 8.0}
    records = [{**record, "name": "a"}, {**record, "name": "b"}, {**record, "name": "c", "fps": 1.0, "stills": True}]
    filled = {
        e: Tail(t.after, (1000.0 + 100 * e + t.latents).view(1, -1, 1, 1).expand(1, -1, 2, 2)) for e, t in tails.items()
    }
    write_shard(tmp_path, "all", latents, records, tails=filled)
    write_index(tmp_path, SPEC, ["all"], {})
    return LatentCache(tmp_path)


def test_cut_samples_run_into_a_video_of_its_own(cut_cache):
    seen = set()
    for sample in draws(cut_cache, image_share=0, cut_share=1, latent_frames=(3, 5), middle_share=0):
        values = sample.latents[0, :, 0, 0].tolist()
        entry, start = place(sample)
        after = {0: 5, 1: 1}[entry]
        head = len(values) - sample.tail
        assert sample.tail >= 1 and head >= 1
        # Up to the cut, from as far back as the length asked for allows, and then the beginning of what follows.
        assert values[:head] == [100 * entry + k for k in range(after - head, after)]
        assert values[head:] == [1000 + 100 * entry + k for k in range(sample.tail)]
        assert len(values) in (3, 5) or (entry == 1 and head == 1)
        # Frames by hand: the head's latents hold frames 0, 1-4, 5-8 and so on; the tail begins with the frame after.
        frame = 1 + 4 * (after - 1)
        held = [[0] if k == 0 else list(range(4 * k - 3, 4 * k + 1)) for k in range(after - head, after)]
        held += [[frame] if k == 0 else list(range(frame + 4 * k - 3, frame + 4 * k + 1)) for k in range(sample.tail)]
        middles = torch.tensor([sum(some) / len(some) / 8 for some in held])
        torch.testing.assert_close(sample.seconds, middles - middles[0])
        assert sample.one_frame.tolist() == [len(some) == 1 for some in held]
        assert sample.begins == (start == 0)
        seen.add((entry, head, sample.tail))
    assert seen >= {(0, 4, 1), (0, 2, 1), (0, 3, 2), (0, 2, 3), (1, 1, 1), (1, 1, 2)}


def test_without_cuts_no_sample_has_a_tail(cut_cache):
    assert not any(sample.tail for sample in draws(cut_cache, image_share=0))
    shares = [sample.tail > 0 for sample in draws(cut_cache, count=600, image_share=0, cut_share=0.3)]
    assert sum(shares) / 600 == pytest.approx(0.3, abs=0.06)


def test_stills_are_a_rate_apart_and_have_no_past(cut_cache):
    found = [s for s in draws(cut_cache, image_share=0, latent_frames=(3,), middle_share=0.5) if place(s)[0] == 2]
    assert {place(sample)[1] for sample in found} >= {0, 1, 2}
    for sample in found:
        assert sample.seconds.tolist() == [0.0, 1.0, 2.0]
        assert sample.begins and sample.one_frame.all()


def test_cuts_that_are_not_there_are_named(cache):
    with pytest.raises(DataError, match=r"world\.tails=true"):
        LatentSampler(cache, LatentSamplesConfig(cut_share=0.1))
