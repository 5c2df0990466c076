"""The chat client against a real HTTP server on loopback: what it sends, faults that pass and that do not, the key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from soracli.core.errors import MachineError, SoraError, Stopped, UsageError
from soracli.data import chat_endpoint
from soracli.data.chat_endpoint import AnswerError, Chat, Limits
from soracli.data.chat_http import MAX_ANSWER_BYTES, Endpoint, open_endpoint
from tests.chat_server import KEY, ChatServer, Fault, chat_server, completion

ASKED = [{"role": "user", "content": "what is it?"}]


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def open_chat(server: ChatServer, notes: list[str] | None = None, **limits: Any) -> Chat:
    said = notes if notes is not None else []
    return Chat(
        Endpoint(server.url + "/chat/completions", "see-er", KEY), Limits(**{"timeout": 5, **limits}), said.append
    )


def ask(chat: Chat) -> str:
    return chat.ask(ASKED, max_tokens=50, temperature=0.0, seed=3).text


def test_what_is_sent_is_the_protocol_and_the_key_is_in_its_header_only() -> None:
    with chat_server(lambda number, asked: completion("a ball")) as server:
        chat = open_chat(server)
        assert ask(chat) == "a ball"
    (asked,) = server.received
    assert asked.path == "/v1/chat/completions" and asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        **{"model": "see-er", "messages": ASKED, "max_tokens": 50, "temperature": 0.0, "seed": 3},
    }
    assert chat.requests == 1 and chat.tokens == 100
    assert KEY not in repr(chat.endpoint) and KEY not in repr(vars(chat))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(503, body=b"<html>busy</html>"),
        Fault(429, headers={"Retry-After": "0"}),
        Fault(429, headers={"Retry-After": "next tuesday"}),
        Fault(body=b"{not json"),
        Fault(body=b"[]"),
        Fault(body=b'{"choices": []}'),
        Fault(body=b"[" * 100_000),
        Fault(body=completion("")),
        Fault(body=completion(" \n")),
        Fault(body=completion(None)),
        Fault(hang_up=True),
        Fault(body=b"x" * (MAX_ANSWER_BYTES + 2)),
        Fault(delay=1.0),
    ],
    ids=lambda fault: f"{fault.status} {(fault.body or b'')[:12]!r} {fault.delay or ''}",
)
def test_a_fault_that_passes_is_asked_again(fault: Fault) -> None:
    with chat_server(lambda number, asked: fault if number < 2 else completion("at last")) as server:
        assert ask(open_chat(server, timeout=0.3 if fault.delay else 5)) == "at last"
    assert len(server.received) == 3


def test_one_that_stays_is_an_error_of_this_question_and_then_of_all() -> None:
    with chat_server(lambda number, asked: Fault(500)) as server:
        chat = open_chat(server, attempts=2)
        for _ in range(4):
            with pytest.raises(AnswerError, match="2 attempts, the last: status 500: as ordered"):
                ask(chat)
        with pytest.raises(MachineError, match="5 questions in a row"):
            ask(chat)
        before = len(server.received)
        with pytest.raises(MachineError):
            ask(chat)
    assert before == len(server.received) == 10


def test_retry_after_is_kept_to() -> None:
    def reply(number: int, asked: object) -> bytes | Fault:
        return Fault(429, headers={"Retry-After": "1"}) if number == 0 else completion("now")

    with chat_server(reply) as server:
        began = time.monotonic()
        assert ask(open_chat(server)) == "now"
    assert time.monotonic() - began >= 0.99


@pytest.mark.parametrize("text", ["7", "Wed, 01 Jan 2200 00:00:00 GMT", "", "soon", "-3", "nan", "1e999", "9" * 400])
def test_any_retry_after_gives_seconds(text: str) -> None:
    seconds = chat_endpoint._seconds_of(text)
    assert seconds >= 0 and (seconds > 0) == (text in ("7", "Wed, 01 Jan 2200 00:00:00 GMT", "9" * 400))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_all_at_once_and_shows_no_key(status: int) -> None:
    said = f'{{"error": {{"message": "Incorrect key {KEY}. {"Blah " * 1000}"}}}}'.encode()
    with chat_server(lambda number, asked: Fault(status, body=said)) as server:
        chat = open_chat(server)
        for _ in range(2):
            with pytest.raises(UsageError) as caught:
                ask(chat)
    assert len(server.received) == 1
    assert KEY not in str(caught.value) and "[key]" in str(caught.value) and len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_spent_account_is_not_asked_again() -> None:
    body = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    with chat_server(lambda number, asked: Fault(429, body=body)) as server, pytest.raises(UsageError, match="quota"):
        ask(open_chat(server))
    assert len(server.received) == 1


def test_a_question_that_is_refused_leaves_the_others() -> None:
    with chat_server(lambda number, asked: Fault(400) if number == 0 else completion("fine")) as server:
        chat = open_chat(server)
        with pytest.raises(AnswerError, match="status 400: as ordered"):
            ask(chat)
        assert ask(chat) == "fine"


def test_the_key_never_reaches_another_server() -> None:
    with chat_server(lambda number, asked: completion("stolen")) as thief:
        moved = Fault(307, headers={"Location": f"{thief.url}/chat/completions"})
        with chat_server(lambda number, asked: moved) as server, pytest.raises(UsageError, match="another server"):
            ask(open_chat(server))
    assert len(server.received) == 1 and thief.received == []


def test_a_redirect_at_home_is_followed_and_a_circle_is_not() -> None:
    def reply(number: int, asked: Any) -> bytes | Fault:
        return completion("home") if asked.path == "/there" else Fault(308, headers={"Location": "/there"})

    with chat_server(reply) as server:
        assert ask(open_chat(server)) == "home"
    assert server.received[1].headers["Authorization"] == f"Bearer {KEY}"
    with (
        chat_server(lambda number, asked: Fault(302, headers={"Location": asked.path})) as server,
        pytest.raises(MachineError, match="redirects"),
    ):
        ask(open_chat(server))


@pytest.mark.parametrize("escaped", [False, True])
def test_a_server_that_echoes_the_key(escaped: bool) -> None:
    said = completion(f"a ball {KEY}", model=f"m {KEY}")
    if escaped:
        said = said.replace(KEY.encode(), "".join(f"\\u{ord(sign):04x}" for sign in KEY).encode())
    notes: list[str] = []
    with chat_server(lambda number, asked: said) as server:
        answer = open_chat(server, notes).ask(ASKED, max_tokens=5, temperature=0, seed=0)
    assert answer.text == "a ball [key]" and KEY not in answer.model + "".join(notes)


def test_a_server_that_lies_about_its_model_is_told_of_once() -> None:
    notes: list[str] = []
    with chat_server(lambda number, asked: completion("a ball", model="cheap\x1b[2J-one")) as server:
        chat = open_chat(server, notes)
        answers = [chat.ask(ASKED, max_tokens=5, temperature=0, seed=0) for _ in range(3)]
    assert notes == ["asked for the model see-er, the server says it answered with cheap[2J-one"]
    assert {answer.model for answer in answers} == {"cheap[2J-one"}
    for named in ("see-er-2026-01-01", "SEE-ER:latest", "hub/see-er"):
        with chat_server(lambda number, asked, named=named: completion("a ball", model=named)) as server:  # type: ignore[misc]
            ask(open_chat(server, notes))
    assert len(notes) == 1


def test_budgets() -> None:
    with chat_server(lambda number, asked: completion("a ball")) as server:
        chat = open_chat(server, max_requests=2)
        assert [ask(chat), ask(chat)] == ["a ball"] * 2
        with pytest.raises(Stopped, match="budget of 2 requests"):
            ask(chat)
        assert len(server.received) == 2
        chat = open_chat(server, max_tokens=150)
        assert [ask(chat), ask(chat)] == ["a ball"] * 2
        with pytest.raises(Stopped, match="budget of 150 tokens"):
            ask(chat)
    with (
        chat_server(lambda number, asked: completion("a ball", tokens=0)) as server,
        pytest.raises(UsageError, match="does not count tokens"),
    ):
        ask(open_chat(server, max_tokens=150))


def test_who_waits_is_woken_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT", 60.0)
    with chat_server(lambda number, asked: Fault(500)) as server:
        chat = open_chat(server)
        chat.stop()
        with pytest.raises(Stopped):
            ask(chat)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/v1", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("localhost:8000", "http or https"),
        ("", "http or https"),
        ("http://", "http or https"),
        ("http://host:99999/v1", "no URL"),
        ("http://user:secret@host/v1", "must not hold a user"),
        ("http://host/v1?api-key=secret", "must not hold a user"),
        ("http://host/a b", "blank"),
        ("http://[::1/v1", "no URL"),
    ],
)
def test_other_urls_are_refused(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        open_endpoint(url, "m", "none")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1/chat/completions"),
        ("http://127.0.0.1:1/v1/", "http://127.0.0.1:1/v1/chat/completions"),
        ("https://h/api/v3/chat/completions", "https://h/api/v3/chat/completions"),
    ],
)
def test_the_address_is_completed(given: str, taken: str) -> None:
    assert open_endpoint(given, "m", "none").url == taken


def test_where_the_key_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_endpoint("http://localhost:1", "m").key == ""
    with pytest.raises(UsageError, match=r"OPENAI_API_KEY is not set.*--key-env"):
        open_endpoint("https://api.example.com/v1", "m")
    with pytest.raises(UsageError, match="MY_KEY is not set"):
        open_endpoint("http://localhost:1", "m", "MY_KEY")
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    assert open_endpoint("https://api.example.com/v1", "m", "MY_KEY").key == KEY
    assert open_endpoint("https://api.example.com/v1", "m", "none").key == ""
    monkeypatch.setenv("MY_KEY", "two words\r\nEvil: header")
    with pytest.raises(UsageError) as caught:
        open_endpoint("https://api.example.com/v1", "m", "MY_KEY")
    assert "Evil" not in str(caught.value)
    with pytest.raises(UsageError, match="--model"):
        open_endpoint("http://localhost:1", " ")


def test_plain_http_elsewhere_is_told_of() -> None:
    notes: list[str] = []
    Chat(Endpoint("http://node7:8000/v1/chat/completions", "m", KEY), note=notes.append)
    Chat(Endpoint("https://node7:8000/v1/chat/completions", "m", KEY), note=notes.append)
    Chat(Endpoint("http://127.0.0.1:8000/v1/chat/completions", "m", KEY), note=notes.append)
    assert len(notes) == 1 and "unencrypted" in notes[0]


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"attempts": 0}, {"concurrency": 0}, {"max_requests": -1}])
def test_limits_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Limits(**wrong)


def test_nobody_there(tmp_path: Path) -> None:
    chat = Chat(Endpoint("http://127.0.0.1:9/v1/chat/completions", "m", KEY), Limits(attempts=2), lambda text: None)
    with pytest.raises(SoraError, match=r"no connection: .*refused"):
        ask(chat)
