"""One list of clips out of several: what ``--clips`` takes is one manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soracli.core.errors import DataError, UsageError
from soracli.data.manifest import Clip, Manifest, path_in_manifest, read_manifest, write_manifest


@dataclass(frozen=True, kw_only=True)
class MergeSummary:
    """What was merged.

    Attributes:
        manifest: The file that was written.
        num_clips: Clips in it.
        num_validation: Those of them that are for validation.
        duplicates: Clips that an earlier manifest, or an earlier line, already had.
        taken: Clips of each manifest that was read, in order.
    """

    manifest: Path
    num_clips: int
    num_validation: int
    duplicates: int
    taken: tuple[tuple[Path, int], ...]


def merge_clips(out: Path, manifests: Sequence[Path], limit: int | None = None, *, overwrite: bool) -> MergeSummary:
    """Write the clips of several manifests into one, in order; files stay where they are.

    A clip that is in two of them is taken once, from the first.

    Args:
        out: The manifest to write; files inside its folder are named relative to it, others absolutely.
        manifests: At least one.
        limit: Take at most so many training clips of each manifest, evenly spread over it; None takes all. Clips for
            validation are always all taken.
        overwrite: Whether ``out`` may exist.

    Raises:
        UsageError: If ``out`` exists, or is itself merged.
        DataError: If a manifest cannot be read, or a file is trained on in one and validated on in another.
    """
    if any(out.absolute() == path.absolute() for path in manifests):
        raise UsageError(f"{out}: would be merged into itself; choose another OUT")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; --overwrite replaces it")
    read = [read_manifest(path) for path in manifests]
    _check_splits(read)
    clips: dict[str, Clip] = {}
    duplicates, taken = 0, []
    for manifest in read:
        before = len(clips)
        fresh = {clip.clip_id: clip for clip in reversed(manifest.clips) if clip.clip_id not in clips}
        duplicates += len(manifest.clips) - len(fresh)
        for clip in _spread(list(reversed(fresh.values())), limit):
            path = path_in_manifest(manifest.locate(clip), out.parent)
            clips[clip.clip_id] = replace(clip, path=path)
        taken.append((manifest.path, len(clips) - before))
    out.parent.mkdir(parents=True, exist_ok=True)
    merged = list(clips.values())
    write_manifest(out, merged, {"merged": [str(path) for path in manifests], "limit": limit})
    return MergeSummary(
        manifest=out,
        num_clips=len(merged),
        num_validation=sum(clip.split == "validation" for clip in merged),
        duplicates=duplicates,
        taken=tuple(taken),
    )


def _spread(clips: list[Clip], limit: int | None) -> list[Clip]:
    """The clips with at most ``limit`` for training, evenly spread, in their order."""
    training = [clip.clip_id for clip in clips if clip.split == "train"]
    if limit is None or len(training) <= limit:
        return clips
    kept = {training[index * len(training) // limit] for index in range(limit)}
    return [clip for clip in clips if clip.split == "validation" or clip.clip_id in kept]


def _check_splits(manifests: Sequence[Manifest]) -> None:
    """Figures on clips that were trained on would say nothing."""
    seen: dict[str, tuple[str, Path]] = {}
    for manifest in manifests:
        for clip in manifest.clips:
            split, path = seen.setdefault(clip.sha256, (clip.split, manifest.path))
            if split != clip.split:
                raise DataError(
                    f"{manifest.locate(clip)}: is for {clip.split} in {manifest.path} and for {split} in {path}; "
                    "give it one split in both"
                )
