"""Who can write captions of a manifest's clips: a captioner of our own, or a model behind an endpoint. One seam."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from torch import Tensor

from soracli.core.errors import DataError, UsageError
from soracli.data.caption_pool import spread
from soracli.data.captions import clean_caption
from soracli.data.chat_endpoint import Chat
from soracli.data.even_frames import even_frames
from soracli.data.manifest import Clip, Manifest
from soracli.models.caption_decoding import Written, write_captions
from soracli.models.caption_tokens import caption_text
from soracli.models.captioner import Captioner
from soracli.models.captioner_store import load_captioner
from soracli.pipelines.endpoint_captions import CaptionOptions, caption_clips, caption_record
from soracli.pipelines.score_captions import caption_input
from soracli.training.device import mixed_precision
from soracli.training.seeding import generator_for

BATCH: Final = 16
_READERS: Final = 2
_BACKGROUND: Final = (255, 255, 255)

Answers = Generator[tuple[Clip, "WrittenCaption | DataError"], None, None]


@dataclass(frozen=True)
class WrittenCaption:
    """A caption that was written for a clip.

    Attributes:
        text: On one line, never empty.
        confidence: How sure its writer was, in (0, 1]; None if it does not say.
        remark: What was done to it, "" if nothing.
    """

    text: str
    confidence: float | None
    remark: str = ""


@dataclass(frozen=True)
class CaptionSource:
    """Somebody who writes captions.

    Attributes:
        record: Who, and how: plain JSON values that decide the captions.
        unit: Clips written together: a caption may depend on which these are, to a rounding, and on no others.
        write: Captions of clips in their order, or why there is none; takes whole units. Who stops early may leave
            clips out.
    """

    record: dict[str, Any]
    unit: int
    write: Callable[[Manifest, Sequence[Clip]], Answers]


@dataclass(frozen=True)
class DecodingOptions:
    """How our own captioner writes.

    Attributes:
        temperature: 0 is the likeliest caption.
        seed: Of what is drawn at a temperature; each clip has draws of its own.
    """

    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            UsageError: If it is not kept.
        """
        if not 0 <= self.temperature <= 2:
            raise UsageError(f"--temperature must be 0 to 2, got {self.temperature:g}")


def captioner_source(model: Path, options: DecodingOptions, device: torch.device) -> CaptionSource:
    """A captioner of ``sora caption train``.

    Args:
        model: Its folder, a model folder that has one, or a finished run.
        options: How it writes.
        device: Where.

    Raises:
        ArtifactError: If there is none or it is damaged.
    """
    captioner, tokenizer, facts = load_captioner(model, device)
    record = {"captioner": facts["hash"], **asdict(options)}

    def write(manifest: Manifest, clips: Sequence[Clip]) -> Answers:
        reads = _read_ahead(manifest, clips, captioner.config.num_frames, captioner.config.side)
        for first in range(0, len(clips), BATCH):
            some = clips[first : first + BATCH]
            read = [next(reads) for _ in some]
            yield from zip(some, _caption_batch(captioner, tokenizer, some, read, options), strict=True)

    return CaptionSource(record, BATCH, write)


def endpoint_source(chat: Chat, options: CaptionOptions) -> CaptionSource:
    """A vision-language model behind an endpoint."""

    def write(manifest: Manifest, clips: Sequence[Clip]) -> Answers:
        for clip, answer in caption_clips(chat, manifest, clips, options):
            if isinstance(answer, DataError):
                yield clip, answer
            else:
                yield clip, WrittenCaption(answer.text, answer.confidence, answer.remark)

    return CaptionSource(caption_record(chat, options), 1, write)


def clip_input(manifest: Manifest, clip: Clip, num_frames: int, side: int) -> tuple[Tensor, Tensor]:
    """What a captioner looks at of a clip: ``(T, S, S, 3)`` uint8 and ``(T,)`` seconds; T is 1 for a picture.

    Raises:
        DataError: If the file is missing or cannot be decoded.
    """
    frames, times = even_frames(manifest, clip, num_frames, size=(side, side), fit="pad", background=_BACKGROUND)
    picked, moments = spread(frames, times, num_frames)
    return torch.from_numpy(picked), moments


def _read_ahead(
    manifest: Manifest, clips: Sequence[Clip], num_frames: int, side: int
) -> Iterator[tuple[Tensor, Tensor] | DataError]:
    """Frames of clips in their order, some decoded while others are captioned."""

    def read(clip: Clip) -> tuple[Tensor, Tensor] | DataError:
        try:
            return clip_input(manifest, clip, num_frames, side)
        except DataError as error:
            return error

    waiting: deque[Future[tuple[Tensor, Tensor] | DataError]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="frames") as pool:
        try:
            for clip in clips:
                waiting.append(pool.submit(read, clip))
                if len(waiting) > BATCH:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _caption_batch(
    captioner: Captioner,
    tokenizer: Tokenizer,
    clips: Sequence[Clip],
    read: Sequence[tuple[Tensor, Tensor] | DataError],
    options: DecodingOptions,
) -> list[WrittenCaption | DataError]:
    """Captions of one unit: its pictures together, and its videos."""
    answers: list[WrittenCaption | DataError] = [one if isinstance(one, DataError) else DataError("") for one in read]
    lengths = sorted({len(one[0]) for one in read if not isinstance(one, DataError)})
    for length in lengths:
        numbers = [n for n, one in enumerate(read) if not isinstance(one, DataError) and len(one[0]) == length]
        pairs = [one for one in read if not isinstance(one, DataError) and len(one[0]) == length]
        generators = [generator_for(options.seed, "caption", clips[number].clip_id) for number in numbers]
        for number, one in zip(numbers, _write(captioner, pairs, options, generators), strict=True):
            text = clean_caption(caption_text(tokenizer, one.tokens))[0]
            remark = "" if one.ended else f"cut after {len(one.tokens)} tokens"
            answers[number] = (
                WrittenCaption(text, one.confidence, remark)
                if text
                else DataError(f"{clips[number].original_name}: the captioner has nothing to say of it")
            )
    return answers


@torch.no_grad()
def _write(
    captioner: Captioner,
    pairs: Sequence[tuple[Tensor, Tensor]],
    options: DecodingOptions,
    generators: Sequence[torch.Generator],
) -> list[Written]:
    device = captioner.embed.weight.device
    frames, times = caption_input([frames for frames, _ in pairs], [times for _, times in pairs], device)
    with mixed_precision("auto", device):
        seen = captioner.see(frames, times)
        return write_captions(captioner, seen, temperature=options.temperature, generators=generators)
