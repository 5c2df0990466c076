"""A video made block by block with cached keys, against one uncached sequence that holds all of it, computed anew.

And against a plain memory that keeps everything and picks what the window still shows; lengths, seeds, bounds.
"""

import math
from collections import defaultdict
from dataclasses import replace

import pytest
import torch

from soracli.diffusion.objective import sampling_times
from soracli.diffusion.options import SamplingOptions
from soracli.diffusion.order import forward_order
from soracli.diffusion.samplers import SAMPLERS, guided
from soracli.models.dit import DiT, Past
from soracli.models.generator import Generator, use_dtype
from soracli.models.layers.attention import Keys
from soracli.models.past import Memory
from soracli.models.tokens import SOURCE_BLOCK, Piece, Sample, pack_tokens, patchify, unpatchify
from soracli.pipelines import rollout
from soracli.pipelines.blocks import always, gap_blocks
from soracli.pipelines.rollout import Source, roll_out
from soracli.training.seeding import generator_for
from tests.models.tiny import DIT, TEXT, tiny_dit
from tests.pipelines.generators import tiny_generator

SIZE, FPS, SEED = (4, 6), 8.0, 5
PROMPT, NEGATIVE = "a red ball bounces", "two cubes"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return tiny_generator(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def self_conditioned(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return tiny_generator(tmp_path_factory.mktemp("self"), self_conditioned=True)


def options(**changes) -> SamplingOptions:
    return SamplingOptions(
        **{"num_steps": 2, "window": 5, "first_block": 3, "block": 2, "guidance_scale": 2.5} | changes
    )


def made_by(model: Generator, num_latents: int, chosen: SamplingOptions, **changes) -> list[torch.Tensor]:
    given = {"seed": SEED, "latent_size": SIZE, "fps": FPS, "negative_prompt": NEGATIVE} | changes
    blocks = gap_blocks(model.spec, always(given.pop("prompt", PROMPT)), chosen, fps=FPS, num_latents=num_latents)
    return list(roll_out(model, blocks, options=chosen, **given))


def noise_for(purpose: str, block: int, like: torch.Tensor) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator_for(SEED, purpose, block))


@torch.inference_mode()
def made_without_cache(
    model: Generator, num_latents: int, chosen: SamplingOptions, source: Source | None = None
) -> list[torch.Tensor]:
    """Every evaluation packs text, every earlier block and the block in work into one sequence, as training does.

    v-prediction by alpha and sigma; what was said of the data before stands at the end of each sample's patches.
    """
    times = torch.tensor(model.spec.latent_times(num_latents, FPS))
    blocks = forward_order(num_latents, chosen.first_block, chosen.block).blocks
    texts = [PROMPT, NEGATIVE] if chosen.guidance_scale != 1 else [PROMPT]
    seen: list[tuple[Piece, ...]] = [(), ()]
    if source is not None:
        own = Piece(
            source.latents, source.seconds, source.one_frame, torch.zeros(num_latents), SOURCE_BLOCK, clean=True
        )
        texts, seen = [PROMPT, NEGATIVE, NEGATIVE], [(own,), (own,), ()]
    past: list[Piece] = []
    made = []

    def radius(t: float) -> float:
        return math.hypot(1 - t, t) if chosen.objective == "v" else 1.0

    for number, frames in enumerate(blocks):
        index = list(frames)

        def piece(latents: torch.Tensor, t: float, clean: bool, number: int = number, index: list = index) -> Piece:
            first = torch.tensor([frame == 0 for frame in index])
            return Piece(latents, times[index], first, torch.full((len(index),), t), block=1 + number, clean=clean)

        said = {text: torch.zeros(4, len(index), *SIZE) for text in texts}

        def velocity(x: torch.Tensor, t: float, piece=piece, said: dict = said) -> torch.Tensor:
            low, high = chosen.guidance_interval
            used = texts if low < t <= high else texts[:1]
            samples = [
                Sample(model.prompt_tokens(text), (*first, *past, piece(x / radius(t), t, clean=False)))
                for text, first in zip(used, seen, strict=False)
            ]
            patch = model.dit.config.patch_size
            tokens = pack_tokens(samples, patch, model.spec.compression[1:])
            estimates = None
            if model.dit.config.self_conditioned:
                estimates = torch.zeros_like(tokens.patches)
                for own, text in zip(estimates.chunk(len(used)), used, strict=True):
                    last = patchify(said[text], patch).flatten(0, 1)
                    own[-len(last) :] = last
            patches = model.dit(tokens, model.text(tokens.text, tokens.text_lengths), estimates=estimates)[0]
            found = [unpatchify(part, SIZE, patch) for part in patches.unflatten(0, (len(used), x.shape[1], -1))]
            for place, text in enumerate(used):
                if chosen.objective == "v":
                    alpha, sigma = (1 - t) / radius(t), t / radius(t)
                    said[text] = alpha * x / radius(t) - sigma * found[place]
                    found[place] = sigma * x / radius(t) + alpha * found[place] - said[text]
                else:
                    said[text] = x - t * found[place]
            if len(found) == 3:  # InstructPix2Pix, equation 3
                both, alone, neither = found
                towards = chosen.source_guidance_scale * (alone - neither) + chosen.guidance_scale * (both - alone)
                return neither + towards
            return guided(found[0], found[1], chosen.guidance_scale) if len(found) == 2 else found[0]

        noise = noise_for("block", number, torch.empty(4, len(index), *SIZE))
        latents = SAMPLERS[chosen.sampler](
            velocity, noise, sampling_times(chosen.objective, chosen.num_steps, chosen.shift)
        )
        made.append(latents)
        level = chosen.context_noise
        shown = ((1 - level) * latents + level * noise_for("context", number, latents)) / radius(level)
        past.append(piece(shown, level, clean=True))
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {"num_steps": 1, "guidance_scale": 1.0},
        {"num_steps": 1},
        {"num_steps": 3},
        {"sampler": "heun", "context_noise": 0.3},
        {"sampler": "dpmpp_2m", "num_steps": 5},
        {"guidance_interval": (0.3, 0.7), "num_steps": 5},
        {"objective": "v", "num_steps": 3, "context_noise": 0.3},
    ],
    ids=["one step", "guidance", "three steps", "heun", "dpmpp", "interval", "v"],
)
def test_cached_keys_give_what_the_whole_sequence_gives(model: Generator, changes: dict) -> None:
    # Velocities themselves: one Euler step from noise gives noise - velocity.
    chosen = options(window=99, **changes)
    found, expected = made_by(model, 10, chosen), made_without_cache(model, 10, chosen)
    assert [part.shape[1] for part in found] == [3, 2, 2, 2, 1]
    for one, other in zip(found, expected, strict=True):
        assert other.std() > 0.5
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "cross"},
        {"attention": "windows", "window_size": (1, 2)},
        {"text": "cross", "attention": "windows", "window_size": (2, 1), "block": "diffit", "depth": 3},
    ],
    ids=["cross", "windows", "all"],
)
def test_so_do_other_blocks(model: Generator, changes: dict) -> None:
    other = replace(model, dit=tiny_dit(**changes).requires_grad_(False))
    found, expected = (make(other, 7, options(window=99)) for make in (made_by, made_without_cache))
    for one, another in zip(found, expected, strict=True):
        assert another.std() > 0.5
        torch.testing.assert_close(one, another, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"guidance_interval": (0.3, 0.7)}, {"objective": "v", "sampler": "heun"}, {"guidance_scale": 1.0}],
    ids=["guided", "interval", "v", "no guidance"],
)
def test_what_was_said_last_is_seen_next(self_conditioned: Generator, changes: dict) -> None:
    chosen = options(window=99, **{"num_steps": 4, **changes})
    found, expected = made_by(self_conditioned, 5, chosen), made_without_cache(self_conditioned, 5, chosen)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_estimates_count(model: Generator, self_conditioned: Generator) -> None:
    """What the test above would not notice if nothing was ever fed back: the first step sees none, later ones do."""
    weights = {name: value for name, value in self_conditioned.dit.state_dict().items() if "estimate" not in name}
    deaf = replace(model, dit=DiT(DIT, 4, TEXT.hidden_size).eval())
    deaf.dit.load_state_dict(weights)
    for steps in (1, 3):
        one, other = (made_by(each, 3, options(num_steps=steps))[0] for each in (self_conditioned, deaf))
        assert torch.equal(one, other) == (steps == 1)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
def test_outside_the_interval_the_prompt_is_alone(
    model: Generator, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """Half the tokens; and an interval that holds everything, or no level at all, is guidance, or none."""
    counts: list[tuple[float, int]] = []
    original = rollout._evaluate

    def watch(setting, work, latents, t, *more):
        counts.append((t, work.num_segments))
        return original(setting, work, latents, t, *more)

    monkeypatch.setattr(rollout, "_evaluate", watch)
    made_by(model, 3, options(sampler=sampler, num_steps=6, shift=1.0, guidance_interval=(0.4, 0.7)))
    assert sorted({t for t, count in counts if count == 2}) == pytest.approx([0.5, 4 / 6])
    assert len({t for t, count in counts if count == 1}) == 4
    chosen = options(sampler=sampler, num_steps=3, shift=1.0)
    whole, none = (
        made_by(model, 3, replace(chosen, guidance_interval=interval))[0] for interval in ((0.2, 1.0), (0.4, 0.6))
    )
    assert torch.equal(whole, made_by(model, 3, chosen)[0])
    torch.testing.assert_close(none, made_by(model, 3, replace(chosen, guidance_scale=1.0))[0], rtol=0, atol=1e-6)


def test_the_past_is_seen(model: Generator) -> None:
    """What the test above would not notice if nothing looked back at all."""
    chosen = options(window=99, num_steps=1)
    usual, forgetful = made_by(model, 10, chosen), made_by(model, 10, options(window=1, num_steps=1))
    assert torch.equal(usual[1], forgetful[1]) is False
    assert (usual[-1] - forgetful[-1]).abs().max() > 1e-3


@torch.inference_mode()
def made_with_plain_memory(model: Generator, num_latents: int, chosen: SamplingOptions) -> list[torch.Tensor]:
    """Keys of every latent frame are kept for ever, by number; each block looks at those its window shows."""
    patch, tokens_a_frame = model.dit.config.patch_size, SIZE[0] // 2 * (SIZE[1] // 2)
    times = torch.tensor(model.spec.latent_times(num_latents, FPS))
    sample = pack_tokens([Sample(model.prompt_tokens(PROMPT), ())], patch, model.spec.compression[1:])
    text_past = model.dit(sample, model.text(sample.text, sample.text_lengths))[1]
    kept: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = defaultdict(list)
    made = []
    for number, frames in enumerate(forward_order(num_latents, chosen.first_block, chosen.block).blocks):
        index, before = list(frames), list(range(frames[0]))
        window = before[max(0, len(before) - chosen.window) :] if chosen.sink + chosen.window < len(before) else before
        shown = before[: chosen.sink] + [frame for frame in window if frame >= chosen.sink]
        later = [frame for frame in shown if frame >= chosen.sink] or shown
        start = float(times[later[0]]) if later else 0.0
        layers = []
        for layer, own in enumerate(text_past.keys):
            parts = [(own[0].key, own[0].value), *(kept[frame][layer] for frame in shown)]
            keys, values = (torch.cat(part) for part in zip(*parts, strict=True))
            layers.append((Keys(keys, values),))
        piece = Piece(
            torch.zeros(4, len(index), *SIZE),
            times[index] - start,
            torch.tensor([frame == 0 for frame in index]),
            torch.zeros(len(index)),
            block=1,
            clean=False,
        )
        grid = pack_tokens([Sample(torch.zeros(0).long(), (piece,))], patch, model.spec.compression[1:]).coordinates
        places = [text_past.coordinates[0]]
        for frame in shown:
            place = grid[:tokens_a_frame].clone()
            place[:, 0] = max(0.0, float(times[frame]) - start)
            places.append(place)
        context = model.dit.look_at(Past(tuple(layers), (torch.cat(places),)))

        def evaluate(x: torch.Tensor, t: float, piece=piece, context=context) -> tuple[torch.Tensor, Past]:
            now = Piece(x, piece.seconds, piece.one_frame, torch.full((x.shape[1],), t), block=1, clean=False)
            tokens = pack_tokens([Sample(torch.zeros(0).long(), (now,))], patch, model.spec.compression[1:])
            patches, own = model.dit(tokens, torch.zeros(0, model.text.config.hidden_size), context)
            return unpatchify(patches.unflatten(0, (x.shape[1], -1)), SIZE, patch), own

        noise = noise_for("block", number, piece.latents)
        latents = noise - evaluate(noise, 1.0)[0]
        made.append(latents)
        level = chosen.context_noise
        own = evaluate((1 - level) * latents + level * noise_for("context", number, latents), level)[1]
        for place, frame in enumerate(index):
            rows = slice(place * tokens_a_frame, (place + 1) * tokens_a_frame)
            kept[frame] = [(layer[0].key[rows], layer[0].value[rows]) for layer in own.keys]
    return made


@pytest.mark.parametrize(("sink", "window"), [(0, 5), (2, 3), (1, 1)])
def test_the_window_slides(model: Generator, sink: int, window: int) -> None:
    chosen = options(sink=sink, window=window, num_steps=1, guidance_scale=1.0)
    found, expected = made_by(model, 17, chosen), made_with_plain_memory(model, 17, chosen)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_memory_does_not_grow(model: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept after every block: the window, in storage of its own, at times that the model was trained at."""
    sizes, spans = [], []
    original = rollout.remember

    def watch(*arguments) -> Memory:
        memory = original(*arguments)
        layers = [keys for layer in memory.past.keys for keys in layer]
        sizes.append(sum(part.untyped_storage().nbytes() for keys in layers for part in (keys.key, keys.value)))
        spans.append(float(memory.seconds.max() - memory.seconds.min()))
        return memory

    monkeypatch.setattr(rollout, "remember", watch)
    latents = made_by(model, 61, options(num_steps=1))
    assert len(latents) == 30 == len(sizes) + 1
    assert len(set(sizes[2:])) == 1 and sizes[0] < sizes[2]
    assert max(spans) == pytest.approx(4 * 4 / FPS)  # from the first to the fifth latent


@pytest.mark.parametrize("num_latents", [1, 2, 3, 4, 5, 8])
def test_any_length_begins_like_a_longer_one(model: Generator, num_latents: int) -> None:
    whole, part = torch.cat(made_by(model, 9, options()), 1), torch.cat(made_by(model, num_latents, options()), 1)
    assert part.shape == (4, num_latents, *SIZE)
    full_blocks = max([0, *(cut for cut in (3, 5, 7, 9) if cut <= num_latents)])
    assert torch.equal(part[:, :full_blocks], whole[:, :full_blocks])


def test_a_seed_decides_everything(model: Generator) -> None:
    first, again, other = (torch.cat(made_by(model, 7, options(), seed=seed), 1) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.1


def test_prompts_and_guidance_count(model: Generator) -> None:
    plain = torch.cat(made_by(model, 5, options(guidance_scale=1.0)), 1)
    for changed in (
        made_by(model, 5, options(guidance_scale=3.0)),
        made_by(model, 5, options(guidance_scale=1.0), prompt=NEGATIVE),
    ):
        assert (plain - torch.cat(changed, 1)).abs().max() > 1e-3


def test_half_precision_is_near(tmp_path) -> None:
    halved, whole = tiny_generator(tmp_path), tiny_generator(tmp_path)
    use_dtype(halved, torch.bfloat16)
    found, expected = (torch.cat(made_by(one, 7, options(guidance_scale=1.0)), 1) for one in (halved, whole))
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()


def given_latents(count: int, seed: int) -> torch.Tensor:
    return torch.randn(4, count, *SIZE, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def made_around_without_cache(model: Generator, blocks: list, chosen: SamplingOptions) -> list[torch.Tensor]:
    """One Euler step from noise for each block that is made, all earlier ones in the same sequence, at their times."""
    past: list[Piece] = []
    made = []
    for number, block in enumerate(blocks):
        level = 0.0
        if block.given is None:
            noise = noise_for("block", len(made), torch.empty(4, len(block.seconds), *SIZE))
            ones = torch.ones(len(block.seconds))
            piece = Piece(noise, block.seconds, block.one_frame, ones, block=1 + number, clean=False)
            sample = Sample(model.prompt_tokens(block.prompt), (*past, piece))
            tokens = pack_tokens([sample], model.dit.config.patch_size, model.spec.compression[1:])
            patches = model.dit(tokens, model.text(tokens.text, tokens.text_lengths))[0]
            latents = noise - unpatchify(patches.unflatten(0, (noise.shape[1], -1)), SIZE, model.dit.config.patch_size)
            level = chosen.context_noise
            made.append(latents)
            latents = (1 - level) * latents + level * noise_for("context", len(made) - 1, latents)
        else:
            latents = block.given
        levels = torch.full((len(block.seconds),), level)
        past.append(Piece(latents, block.seconds, block.one_frame, levels, block=1 + number, clean=True))
    return made


@pytest.mark.parametrize(("before", "after"), [(4, 0), (1, 0), (4, 2)], ids=["on", "image", "between"])
def test_around_what_is_given(model: Generator, before: int, after: int) -> None:
    """Verbs with cached keys, against one sequence that holds everything; given latents carry no noise.

    Not towards the beginning: there every block begins at second 0, so it stands elsewhere to the text.
    """
    chosen = options(window=99, num_steps=1, guidance_scale=1.0, context_noise=0.2)
    blocks = gap_blocks(
        model.spec,
        always(PROMPT),
        chosen,
        fps=FPS,
        num_latents=5,
        before=given_latents(before, 1) if before else None,
        after=given_latents(after, 2) if after else None,
    )
    found = list(roll_out(model, blocks, latent_size=SIZE, fps=FPS, seed=SEED, options=chosen))
    expected = made_around_without_cache(model, blocks, chosen)
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_after_a_new_prompt_what_is_remembered_is_read_beside_it(model: Generator) -> None:
    """As one sequence has it whose only text is the new prompt, then the first again."""
    chosen = options(window=99, num_steps=1, guidance_scale=1.0, context_noise=0.2)
    plain = gap_blocks(model.spec, always(PROMPT), chosen, fps=FPS, num_latents=9)
    prompts = [PROMPT, PROMPT, NEGATIVE, PROMPT]
    blocks = [replace(block, prompt=prompt) for block, prompt in zip(plain, prompts, strict=True)]
    found = list(roll_out(model, blocks, latent_size=SIZE, fps=FPS, seed=SEED, options=chosen))
    for one, other in zip(found, made_around_without_cache(model, blocks, chosen), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    same = [replace(block, prompt=PROMPT) for block in blocks]
    usual = list(roll_out(model, same, latent_size=SIZE, fps=FPS, seed=SEED, options=chosen))
    assert [torch.equal(*pair) for pair in zip(found, usual, strict=True)] == [True, True, False, False]


def test_after_a_new_prompt_no_more_is_read_than_was_remembered(
    model: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []
    original = rollout.remember

    def watch(memory: Memory, made: Past, seconds: torch.Tensor, *arguments) -> Memory:
        times.append(seconds.tolist())
        return original(memory, made, seconds, *arguments)

    monkeypatch.setattr(rollout, "remember", watch)
    chosen = options(window=3, sink=1, num_steps=1)
    *before, last = gap_blocks(model.spec, always(PROMPT), chosen, fps=FPS, num_latents=11)
    blocks = [*before, replace(last, prompt=NEGATIVE)]
    list(roll_out(model, blocks, latent_size=SIZE, fps=FPS, seed=SEED, options=chosen))
    seconds = torch.tensor(model.spec.latent_times(11, FPS))
    again = [time for part in times[4:] for time in part]
    assert again == [float(seconds[frame]) for frame in (0, 6, 7, 8)]


def test_strength_keeps_what_it_does_not_hide(model: Generator) -> None:
    """0 gives the origin back; 1 is noise alone; between them, the steps below the strength from a noised origin."""
    chosen = options(num_steps=4, guidance_scale=1.0)
    (block,) = gap_blocks(model.spec, always(PROMPT), chosen, fps=FPS, num_latents=3)
    origin = given_latents(3, 3)

    def made(strength: float) -> torch.Tensor:
        edited = replace(block, origin=origin, strength=strength)
        return next(roll_out(model, [edited], latent_size=SIZE, fps=FPS, seed=SEED, options=chosen))

    assert torch.equal(made(0.0), origin)
    plain = next(roll_out(model, [block], latent_size=SIZE, fps=FPS, seed=SEED, options=chosen))
    torch.testing.assert_close(made(1.0), plain)
    gaps = [float((made(strength) - origin).abs().mean()) for strength in (0.1, 0.3, 0.6, 1.0)]
    assert gaps == sorted(gaps) and gaps[0] > 0


def edited(model: Generator, num_latents: int) -> Source:
    latents = torch.randn(4, num_latents, *SIZE, generator=torch.Generator().manual_seed(9))
    first = torch.arange(num_latents) == 0
    return Source(latents, torch.tensor(model.spec.latent_times(num_latents, FPS)), first)


@pytest.fixture(scope="module", params=["joint", "cross"])
def editor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    model = tiny_generator(tmp_path_factory.mktemp("edits"), edits=True, text=request.param)
    assert model.dit.source_embed is not None
    torch.nn.init.normal_(model.dit.source_embed, generator=torch.Generator().manual_seed(3))
    return model


@pytest.mark.parametrize("changes", [{"num_steps": 3}, {"guidance_interval": (0.3, 0.7), "num_steps": 5}])
def test_an_edit_sees_its_source_as_in_training(editor: Generator, changes: dict) -> None:
    chosen = options(window=99, source_guidance_scale=1.7, **changes)
    source = edited(editor, 8)
    found, expected = made_by(editor, 8, chosen, source=source), made_without_cache(editor, 8, chosen, source)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    without = made_by(editor, 8, chosen)
    assert all((one - other).abs().max() > 0.01 for one, other in zip(found, without, strict=True))


def test_an_edit_that_is_not_steered_is_evaluated_once(editor: Generator) -> None:
    chosen = options(window=99, guidance_scale=1.0, source_guidance_scale=1.0)
    steered = options(window=99, guidance_scale=1.0 + 1e-9, source_guidance_scale=1.0)
    source = edited(editor, 6)
    one, other = (torch.cat(made_by(editor, 6, how, source=source), 1) for how in (chosen, steered))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_source_is_seen_as_far_as_window_and_block_reach(editor: Generator) -> None:
    """Of a long source only what stands beside window and block makes a difference to a block."""
    chosen = options(window=3)
    source = edited(editor, 20)
    made = made_by(editor, 20, chosen, source=source)
    changed = source.latents.clone()
    changed[:, 14:] += 5
    other = made_by(editor, 20, chosen, source=replace(source, latents=changed))
    same = [torch.equal(a, b) for a, b in zip(made, other, strict=True)]
    # Blocks end at latents 3, 5, 7 and so on; the reach is that of six latents from where the window begins.
    assert same[:4] == [True] * 4 and not any(same[6:]) and len(same) == 10
