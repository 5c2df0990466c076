"""``sora expand``: one expansion a line on stdout, reasons on stderr, an endpoint's options checked."""

from __future__ import annotations

import json

import pytest

from soracli.cli.app import main
from tests.chat_server import KEY, Fault, chat_server, completion


def test_lines_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expand", "a ball", "--count", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == 3
    assert main(["expand", "a ball", "--seed", "1", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record == {"prompt": "a ball", "text": lines[1], "by": "rules", "remark": ""}


def test_what_is_left_as_it_is_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expand", "rocket"]) == 0
    told = capsys.readouterr()
    assert told.out == "rocket\n" and "'rocket' is left as it is: it is not of the world" in told.err


def test_an_endpoint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with chat_server(lambda number, asked: completion("A red ball rests on pale sand at dawn.")) as server:
        assert main(["expand", "a red ball", "--endpoint", server.url, "--model", "see-er", "--key-env", "MY_KEY"]) == 0
    told = capsys.readouterr()
    assert told.out == "A red ball rests on pale sand at dawn.\n" and KEY not in told.out + told.err
    assert server.received[0].headers["Authorization"].endswith(KEY)
    with chat_server(lambda number, asked: Fault(401, body=f"wrong key {KEY}".encode())) as server:
        given = [
            "expand",
            "a red ball",
            "--endpoint",
            server.url,
            "--model",
            "see-er",
            "--key-env",
            "MY_KEY",
            "--debug",
        ]
        assert main(given) == 2
    told = capsys.readouterr()
    assert "wrong key [key]; is the key right?" in told.err and KEY not in told.out + told.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--endpoint", "http://localhost:1"], "--endpoint and --model go together"),
        (["--model", "m"], "--endpoint and --model go together"),
        (
            ["--endpoint", "https://api.example.com", "--model", "m", "--key-env", "NO_SUCH_KEY"],
            "NO_SUCH_KEY is not set",
        ),
        (["--endpoint", "gopher://x", "--model", "m"], "http or https"),
    ],
)
def test_wrong_use(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expand", "a ball", *more]) == 2
    told = capsys.readouterr()
    assert says in told.err and told.out == "" and told.err.count("\n") == 1
