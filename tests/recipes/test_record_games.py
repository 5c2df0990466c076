"""Recorded games with a stand-in for the engine, a room without monsters: files, captions, splits, and going on."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import MagicMock

import numpy as np
import pytest

from soracli.data.video_read import read_frames

BASE = Path(__file__).resolve().parents[2] / "recipes" / "base"


class Room:
    """An empty square room of 1000 units; the frame's brightness is the way to the wall ahead. Level 5 has an exit."""

    opened: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.x = self.y = 500.0
        self.angle = 0.0
        self.level = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("set_", "init", "close", "send_")):
            return lambda *_: None
        raise AttributeError(name)

    def set_doom_map(self, name: str) -> None:
        self.level = int(name.removeprefix("MAP"))
        Room.opened.append(self.level)

    def new_episode(self) -> None:
        self.x = self.y = 500.0

    def make_action(self, action: list[float], tics: int) -> None:
        self.angle += np.radians(action[1] * tics)
        self.x = float(np.clip(self.x + action[0] * tics * np.cos(self.angle), 0, 1000))
        self.y = float(np.clip(self.y + action[0] * tics * np.sin(self.angle), 0, 1000))

    def get_state(self) -> SimpleNamespace | None:
        if self.level == 5 and max(abs(self.x - 500), abs(self.y - 500)) > 100:
            return None
        depth = np.full((8, 12), 200 if 60 < self.x < 940 and 60 < self.y < 940 else 5, np.uint8)
        screen = np.repeat(depth[:, :, None], 3, axis=2).repeat(60, axis=0).repeat(640 // 12 + 1, axis=1)[:480, :640]
        imp = SimpleNamespace(object_name="DoomImp", width=99, height=99)
        small = SimpleNamespace(object_name="HealthBonus", width=3, height=3)
        return SimpleNamespace(
            screen_buffer=screen, depth_buffer=depth, labels=[imp, small], game_variables=[self.x, self.y]
        )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    engine = MagicMock(__file__="vizdoom/__init__.py", DoomGame=Room)
    monkeypatch.setitem(sys.modules, "vizdoom", engine)
    monkeypatch.delitem(sys.modules, "record_games", raising=False)
    monkeypatch.syspath_prepend(str(BASE))
    module = importlib.import_module("record_games")
    monkeypatch.setattr(Room, "opened", [])
    return module


def record(script: ModuleType, folder: Path) -> list[dict[str, str]]:
    assert script.main([str(folder), "--each", "2", "--frames", "4"]) == 0
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_levels_become_clips(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "LEVELS", (7, 8))
    records = record(script, tmp_path)
    assert [(r["file_name"], r["split"]) for r in records] == [
        ("level-07-00.mp4", "train"),
        ("level-07-01.mp4", "train"),
        ("level-08-00.mp4", "validation"),
        ("level-08-01.mp4", "validation"),
    ]
    for r in records:
        assert r["caption"].startswith("a first-person game, the player ")
        assert r["caption"].endswith(", in sight: doom imp")
    frames = read_frames(tmp_path / "level-07-00.mp4")
    assert frames.shape == (4, 240, 320, 3)
    assert abs(int(frames[0, 100, 100, 0]) - 200) <= 1


def test_only_missing_levels_are_recorded(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "LEVELS", (1,))
    first = record(script, tmp_path)
    monkeypatch.setattr(script, "LEVELS", (1, 2))
    assert record(script, tmp_path)[:2] == first
    assert Room.opened == [1, 2]


def test_a_walk_out_of_the_level_is_left_out(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "WARM_UP_FRAMES", 60)
    assert script.record_level(5, 3, "320x240", 60, 0, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_player_comes_off_walls(script: ModuleType) -> None:
    """A player that walks for three minutes keeps moving: no ten seconds in one place."""
    for seed in range(3):
        room, walker = Room(), script.Walker(np.random.default_rng(seed))
        places = []
        for _ in range(12 * 180):
            state = room.get_state()
            assert state is not None
            room.make_action(walker.act((room.x, room.y), state.depth_buffer), 3)
            places.append((room.x, room.y))
        path = np.array(places)
        moved = np.abs(path[120:] - path[:-120]).max(axis=1)
        assert (moved > 1).mean() > 0.99
        assert np.ptp(path, axis=0).min() > 500


def test_words(script: ModuleType) -> None:
    assert script.words_of("HealthBonus") == "health bonus"
    still, walk = [0.0, 0.0], [10.0, 2.0]
    assert script.caption_of([still], {}) == "a first-person game, the player looks around"
    assert script.caption_of([walk], {"imp": 2, "key": 5, "lamp": 1}) == (
        "a first-person game, the player walks on and turns right, in sight: key, imp"
    )
    assert "backs off and turns left" in script.caption_of([[-6.0, -3.0]], {})


def test_halving_is_a_mean(script: ModuleType) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    halved = script.halved(frame)
    assert halved.shape == (2, 3, 3)
    assert abs(float(halved[1, 2, 0]) - float(frame[2:4, 4:6, 0].mean())) <= 0.5
