"""Record walks through the levels of a 3D game: clips with captions of what the player did and saw.

Usage: record_games.py CLIPS [--each 12] [--size 320x240] [--frames 49] [--seed 0]

The game is the Doom engine in the PyPI package vizdoom (MIT) with the levels and art of Freedoom (BSD-3-Clause), which
the package brings:  pip install vizdoom  (64 MB). No screen is needed. Every one of 32 levels gives ``--each`` clips at
35 / 3 frames a second; levels 8, 16, 24 and 32 are the validation split. The player walks on and turns, turns away from
walls, looks around or backs off; nothing hurts it. Frames are drawn at twice the size and averaged down, without weapon
and status bar.

The same command again records only the levels that are missing; a walk that leaves its level is left out. Then:
``sora clips index CLIPS``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import vizdoom
from clip_output import write_clip, write_metadata
from numpy.typing import NDArray

LEVELS = range(1, 33)
VALIDATION_EVERY = 8
TICS_A_SECOND = 35
TICS_A_FRAME = 3
WARM_UP_FRAMES = 12
STUCK = 4.0
"""Map units in a frame below which the player stands at a wall; it walks about 25."""

SIZES = {
    "320x240": vizdoom.ScreenResolution.RES_640X480,
    "400x300": vizdoom.ScreenResolution.RES_800X600,
    "512x288": vizdoom.ScreenResolution.RES_1024X576,
    "640x360": vizdoom.ScreenResolution.RES_1280X720,
}
"""Sizes of a clip, and of what is drawn for them."""

NEAR = 14
"""Depth (of 255) in the middle of the frame below which the player turns to the freer side."""

SEEN_SHARE = 0.002
"""Share of the frame from which on an object counts as in sight."""

Record = dict[str, str]
Frame = NDArray[np.uint8]


def open_game(level: int, size: str, seed: int) -> vizdoom.DoomGame:
    """A game without a window, weapon or status bar, that knows the names of what is in sight."""
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(Path(vizdoom.__file__).parent / "freedoom2.wad"))
    game.set_screen_resolution(SIZES[size])
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    for shown in ("hud", "weapon", "crosshair", "messages", "particles"):
        getattr(game, f"set_render_{shown}")(False)
    game.set_labels_buffer_enabled(True)
    game.set_depth_buffer_enabled(True)
    game.set_available_buttons([vizdoom.Button.MOVE_FORWARD_BACKWARD_DELTA, vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
    game.set_available_game_variables([vizdoom.GameVariable.POSITION_X, vizdoom.GameVariable.POSITION_Y])
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_episode_timeout(0)
    game.set_seed(seed)
    game.set_doom_map(f"MAP{level:02d}")
    game.init()
    return game


def halved(frame: Frame) -> Frame:
    """A frame at half the size, each pixel the mean of four: uint8 ``(H, W, 3)`` to ``(H / 2, W / 2, 3)``."""
    height, width, _ = frame.shape
    blocks = frame.reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    return ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


class Walker:
    """A player that walks without aim: a wish for speed and turning, held for a while, and a way out of corners."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left = 0
        self._wish = (0.0, 0.0)
        self._turning = 0.0
        self._before = (0.0, 0.0)
        self._slow = 0

    def act(self, position: tuple[float, float], depth: NDArray[np.uint8]) -> list[float]:
        """Speed (units a tic) and turning (degrees a tic, right is above 0) for the next frame.

        Args:
            position: Where the player stands, map units.
            depth: How far away is what is seen, ``(H, W)``, 255 the farthest.
        """
        left, middle, right = (float(part.mean()) for part in np.array_split(depth[depth.shape[0] // 2], 3))
        moved = float(np.hypot(position[0] - self._before[0], position[1] - self._before[1]))
        self._before = position
        # Several frames, because a player who starts to walk is slow too.
        self._slow = self._slow + 1 if self._wish[0] != 0 and moved < STUCK else 0
        if self._slow > 3:
            self._wish, self._left = (0.0, float(self._rng.choice((-1, 1)) * self._rng.uniform(4, 7))), 8
        elif self._wish[0] > 0 and middle < NEAR:
            self._wish, self._left = (5.0, 5.0 if right > left else -5.0), 3
        elif self._left == 0:
            speed = float(self._rng.choice((10.0, 0.0, -6.0), p=(0.8, 0.15, 0.05)))
            turn = float(self._rng.normal(0, 1.2 if speed else 3.0))
            self._wish, self._left = (speed, turn), int(self._rng.integers(12, 36))
        self._left -= 1
        # A head has mass: turning reaches what is wished in a few frames.
        self._turning += 0.35 * (self._wish[1] - self._turning)
        return [self._wish[0], self._turning]


def caption_of(actions: list[list[float]], seen: dict[str, int]) -> str:
    """What happened, in words: how the player moved, where it turned, and what was in sight the most."""
    speed, turn = (float(np.mean([action[k] for action in actions])) for k in (0, 1))
    does = "walks on" if speed > 2 else "backs off" if speed < -2 else "looks around"
    turns = f" and turns {'right' if turn > 0 else 'left'}" if abs(turn) > 0.5 else ""
    often = sorted(seen, key=lambda name: (-seen[name], name))[:2]
    return f"a first-person game, the player {does}{turns}" + (f", in sight: {', '.join(often)}" if often else "")


def words_of(name: str) -> str:
    """An object's name in the game, such as ``HealthBonus``, as words: health bonus."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def begin_level(game: vizdoom.DoomGame) -> None:
    """The start of the level; nothing hurts the player, nothing looks for it."""
    game.new_episode()
    for cheat in ("iddqd", "notarget"):
        game.send_game_command(cheat)


def walk(game: vizdoom.DoomGame, walker: Walker, frames: int) -> tuple[list[Frame], str] | None:
    """Frames and caption of one walk, or None if the player came out of the level."""
    shown: list[Frame] = []
    actions: list[list[float]] = []
    seen: dict[str, int] = {}
    for k in range(WARM_UP_FRAMES + frames):
        state = game.get_state()
        if state is None:
            return None
        position = (float(state.game_variables[0]), float(state.game_variables[1]))
        actions.append(walker.act(position, np.asarray(state.depth_buffer)))
        if k >= WARM_UP_FRAMES:
            screen = np.asarray(state.screen_buffer)
            shown.append(halved(screen))
            least = SEEN_SHARE * screen.shape[0] * screen.shape[1]
            for label in state.labels:
                if label.object_name != "DoomPlayer" and label.width * label.height > least:
                    name = words_of(label.object_name)
                    seen[name] = seen.get(name, 0) + 1
        game.make_action(actions[-1], TICS_A_FRAME)
    return shown, caption_of(actions[WARM_UP_FRAMES:], seen)


def record_level(level: int, each: int, size: str, frames: int, seed: int, folder: Path) -> list[Record]:
    """Record the clips of one level; their records."""
    digest = hashlib.sha256(f"{seed}/{level}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    width, _, height = size.partition("x")
    split = "validation" if level % VALIDATION_EVERY == 0 else "train"
    records: list[Record] = []
    # The engine leaves its settings in the current folder.
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        game = open_game(level, size, int(rng.integers(1 << 31)))
        begin_level(game)
        walker = Walker(rng)
        for number in range(each):
            walked = walk(game, walker, frames)
            if walked is None:
                begin_level(game)
                continue
            name = f"level-{level:02d}-{number:02d}.mp4"
            write_clip(folder / name, walked[0], (int(width), int(height)), TICS_A_SECOND / TICS_A_FRAME)
            records.append({"file_name": name, "caption": walked[1], "split": split})
        game.close()
    return records


def main(arguments: list[str]) -> int:
    """Record what is missing; the folder of the clips goes to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--each", type=int, default=12, metavar="N", help="clips of every level")
    parser.add_argument("--size", choices=SIZES, default="320x240")
    parser.add_argument("--frames", type=int, default=49, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    said = parser.parse_args(arguments)
    if said.each < 1 or said.frames < 2:
        parser.error("--each must be at least 1 and --frames at least 2")
    said.clips.mkdir(parents=True, exist_ok=True)
    listed = said.clips / "metadata.jsonl"
    records: list[Record] = [json.loads(line) for line in listed.read_text().splitlines()] if listed.is_file() else []
    done = {record["file_name"][:8] for record in records}
    for level in LEVELS:
        if f"level-{level:02d}" in done:
            continue
        records += record_level(level, said.each, said.size, said.frames, said.seed, said.clips.absolute())
        # After every level, so that a run that was stopped goes on.
        write_metadata(said.clips, records)
    validation = sum(record["split"] == "validation" for record in records)
    print(f"{len(records)} clips ({validation} for validation)", file=sys.stderr)
    print(said.clips)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
