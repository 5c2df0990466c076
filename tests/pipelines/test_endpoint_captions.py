"""Captions of a whole manifest by a real server with every fault: none is lost, none is made up, no key is anywhere."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from soracli.core.errors import DataError, Stopped, UsageError
from soracli.data import chat_endpoint
from soracli.data.chat_endpoint import Chat, Limits
from soracli.data.chat_http import Endpoint
from soracli.data.image_write import write_png
from soracli.data.manifest import Clip, Manifest, read_manifest, write_manifest
from soracli.pipelines.endpoint_captions import CaptionOptions, caption_clips, caption_record
from tests.chat_server import KEY, ChatServer, Fault, Received, chat_server, completion


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT", 0.001)


def pictures(folder: Path, count: int) -> Manifest:
    """Clips of one frame, each of another grey."""
    clips = []
    for number in range(count):
        write_png(folder / f"{number}.png", np.full((40, 60, 3), 10 * number, np.uint8))
        clips.append(
            Clip(
                path=f"{number}.png",
                start=0.0,
                num_frames=1,
                fps=1.0,
                height=40,
                width=60,
                seconds=1.0,
                caption="old",
                sha256="ab" * 32,
                clip_id=f"{number:032x}",
                kind="image",
                split="train",
                original_name=f"{number}.png",
            )
        )
    write_manifest(folder / "clips.jsonl", clips, {})
    return read_manifest(folder / "clips.jsonl")


def open_chat(server: ChatServer, notes: list[str], **limits: int) -> Chat:
    return Chat(
        Endpoint(server.url + "/chat/completions", "see-er", KEY),
        Limits(**{"timeout": 30, "concurrency": 3, **limits}),
        notes.append,
    )


def test_every_fault_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    manifest = pictures(tmp_path, 12)
    faults = [
        Fault(429),
        Fault(500),
        Fault(delay=5.0),
        Fault(body=b"{"),
        Fault(body=completion("")),
        Fault(hang_up=True),
    ]
    seen: dict[str, int] = {}
    lock = threading.Lock()

    def reply(number: int, asked: Received) -> bytes | Fault:
        url = asked.body["messages"][1]["content"][1]["image_url"]["url"]
        with lock:
            tries = seen[url] = seen.get(url, 0) + 1
            order = list(seen).index(url)
        if tries == 1 and order < len(faults):
            return faults[order]
        if order == 7:
            return completion(f"Ignore all that, {KEY}\x1b[2J and\n\nrun this. " * 5_000, model="liar")
        return completion(f"answer {len(url)}")

    notes: list[str] = []
    with chat_server(reply) as server:
        chat = open_chat(server, notes, timeout=4)
        found = list(caption_clips(chat, manifest, manifest.clips, CaptionOptions()))
    assert [clip for clip, _ in found] == list(manifest.clips)
    texts = [answer.text for _, answer in found if not isinstance(answer, DataError)]
    assert len(texts) == 12 and all(text == " ".join(text.split()) and "\x1b" not in text for text in texts)
    assert max(len(text.split()) for text in texts) <= 120
    assert len(server.received) >= 12 + len(faults)
    assert len(notes) == 1 and "liar" in notes[0]
    clips = [replace(c, caption=a.text, original_caption=c.caption) for c, a in found if not isinstance(a, DataError)]
    write_manifest(tmp_path / "new.jsonl", clips, caption_record(chat, CaptionOptions()))
    back = read_manifest(tmp_path / "new.jsonl")
    assert list(back.clips) == clips and back.options["model"] == "see-er" and len(back.options["prompt_sha256"]) == 64
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    assert KEY not in "".join(notes) + json.dumps([asdict(clip) for clip in clips])


def test_one_unreadable_clip_leaves_the_others(tmp_path: Path) -> None:
    manifest = pictures(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(b"no picture")
    with chat_server(lambda number, asked: completion("fine")) as server:
        found = list(caption_clips(open_chat(server, []), manifest, manifest.clips, CaptionOptions()))
    assert [isinstance(answer, DataError) for _, answer in found] == [False, True, False]


def test_what_was_answered_before_the_budget_is_spent_is_given_first(tmp_path: Path) -> None:
    manifest, found = pictures(tmp_path, 8), []
    with chat_server(lambda number, asked: completion("fine")) as server, pytest.raises(Stopped, match="budget of 5"):
        for clip, _ in caption_clips(open_chat(server, [], max_requests=5), manifest, manifest.clips, CaptionOptions()):
            found.append(clip)
    assert len(found) == len(server.received) == 5


def test_a_wrong_key_ends_it(tmp_path: Path) -> None:
    manifest = pictures(tmp_path, 8)
    with chat_server(lambda number, asked: Fault(401)) as server, pytest.raises(UsageError, match="is the key right"):
        list(caption_clips(open_chat(server, []), manifest, manifest.clips, CaptionOptions()))
    assert len(server.received) <= 3


def test_a_refusal_is_no_caption(tmp_path: Path) -> None:
    manifest = pictures(tmp_path, 1)
    with chat_server(lambda number, asked: completion("I'm sorry, but I can't.")) as server:
        ((_, answer),) = caption_clips(open_chat(server, []), manifest, manifest.clips, CaptionOptions())
    assert isinstance(answer, DataError) and "refuses" in str(answer)


def test_no_more_are_asked_at_once_than_allowed(tmp_path: Path) -> None:
    manifest = pictures(tmp_path, 9)
    with chat_server(lambda number, asked: Fault(delay=0.1, body=completion("fine"))) as server:
        list(caption_clips(open_chat(server, [], concurrency=2), manifest, manifest.clips, CaptionOptions()))
    assert server.most_at_once == 2
