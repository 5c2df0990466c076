"""Cut the listed stretches out of footage without loss; called by fetch_film.sh.

Usage: cut_film.py LIST.tsv SOURCES CLIPS

Every line of the list has ``name``, ``start`` (seconds after the first frame), ``frames``, ``caption`` and ``split``;
the footage is SOURCES/<name>. Writes CLIPS/<name>.mkv (FFV1: without loss, with the footage's own pixels and frames)
and CLIPS/metadata.jsonl.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
from clip_output import write_metadata
from unpack_listed import Record, read_list


def cut(source: Path, target: Path, start: float, frames: int) -> None:
    """Write ``frames`` frames from ``start`` seconds on, so that a file under its final name is whole.

    Raises:
        subprocess.CalledProcessError: If ffmpeg cannot.
    """
    part = target.with_suffix(".part.mkv")
    # Half a millisecond earlier: a frame that begins at ``start`` must not be lost to rounding.
    chosen = f"trim=start={max(start - 5e-4, 0)},setpts=PTS-STARTPTS"
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"),
        *("-i", str(source), "-map", "0:v:0", "-vf", chosen, "-fps_mode", "passthrough", "-frames:v", str(frames)),
        *("-c:v", "ffv1", "-level", "3", "-g", "1", "-threads", "1", str(part)),
    ]
    subprocess.run(command, check=True)
    part.replace(target)


def main(listed: Path, sources: Path, clips: Path) -> int:
    """Cut what is there; the folder of the clips goes to stdout."""
    clips.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    for line in read_list(listed):
        source = sources / line["name"]
        if not source.is_file():
            continue
        target = clips / f"{source.stem}.mkv"
        if not target.is_file():
            cut(source, target, float(line["start"]), int(line["frames"]))
        records.append({"file_name": target.name, "caption": line["caption"], "split": line["split"]})
    write_metadata(clips, records)
    print(f"{len(records)} clips", file=sys.stderr)
    print(clips)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} LIST.tsv SOURCES CLIPS")
    sys.exit(main(*map(Path, sys.argv[1:])))
