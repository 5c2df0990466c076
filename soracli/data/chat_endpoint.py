"""Asking a language model behind an endpoint: again where that helps, not too often at once, within a budget.

Torch-free. Threads may ask at the same time; what one learns (the server is busy, the budget is spent, the key is
wrong) holds for all.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn

from soracli.core.errors import DataError, MachineError, SoraError, Stopped, UsageError
from soracli.data.answers import printable
from soracli.data.chat_http import MAX_ANSWER_BYTES, Endpoint, Reply, error_text, is_local, post, without_key

Message = Mapping[str, Any]
"""``role`` and ``content``, as the protocol has them."""

_AGAIN: Final = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_SAME_FOR_ALL: Final = (401, 402, 403, 404, 405)
"""Statuses that the next request will meet as well: of the key, the address, the model's name."""
_FAILED_IN_A_ROW: Final = 5
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_LONGEST_RETRY_AFTER: Final = 300.0


class AnswerError(DataError):
    """One question has no usable answer; the next may have one."""


@dataclass(frozen=True)
class Limits:
    """How much may be asked.

    Attributes:
        timeout: Seconds for one request.
        attempts: Requests for one question, at most.
        concurrency: Requests at once.
        max_requests: Requests of this call in all, further attempts included; 0 sets no limit.
        max_tokens: Tokens of this call in all, as the server counts them; 0 sets no limit. Requests on the way when it
            is reached are finished, so it may be passed by ``concurrency`` answers.
    """

    timeout: float = 120.0
    attempts: int = 6
    concurrency: int = 4
    max_requests: int = 0
    max_tokens: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If one is not kept.
        """
        for name, value, least in (
            ("--timeout", self.timeout, 0.001),
            ("--attempts", self.attempts, 1),
            ("--concurrency", self.concurrency, 1),
            ("--max-requests", self.max_requests, 0),
            ("--max-tokens", self.max_tokens, 0),
        ):
            if value < least:
                raise UsageError(f"{name} must be at least {least:g}, got {value:g}")


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        text: As it came, apart from the key, which is taken out if the server echoes it.
        model: What the server calls the model that answered; "" if it does not say.
        tokens: Of question and answer, as the server counts; 0 if it does not.
    """

    text: str
    model: str
    tokens: int


class Chat:
    """A model behind an endpoint.

    Attributes:
        endpoint: Where.
        limits: How much may be asked.
        requests: Sent so far.
        tokens: Used so far, as the server counts them.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits | None = None, note: Callable[[str], None] = print) -> None:
        """Send nothing yet.

        Args:
            endpoint: Of ``open_endpoint``.
            limits: How much may be asked.
            note: Told once of everything a person should know.
        """
        self.endpoint, self.limits = endpoint, limits or Limits()
        self.requests = self.tokens = 0
        self._note, self._told = note, set[str]()
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._slots = threading.BoundedSemaphore(self.limits.concurrency)
        self._not_before, self._failed = 0.0, 0
        self._fatal: SoraError | None = None
        self._jitter = random.Random()
        if endpoint.key and endpoint.url.startswith("http:") and not is_local(endpoint.url):
            self._tell("the key travels unencrypted: the endpoint is http, not https")

    def stop(self) -> None:
        """Wake everyone who waits; they and all later questions end with ``Stopped``."""
        self._stopped.set()

    def ask(self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int) -> Answer:
        """Ask one question, again after faults that may pass.

        Args:
            messages: The conversation so far.
            max_tokens: Of the answer; a server may not keep to it.
            temperature: 0 is the likeliest answer.
            seed: For servers that know seeds.

        Raises:
            AnswerError: If this question has no usable answer.
            Stopped: If the budget is spent, or ``stop`` was called.
            UsageError: If no question can be answered: the key, the model's name or the address is wrong.
            MachineError: If the endpoint has not answered for a long time.
        """
        body = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        problem = ""
        for attempt in range(self.limits.attempts):
            if attempt:
                self._pause(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1)) * self._jitter.uniform(0.5, 1.0))
            with self._slots:
                self._wait_for_turn()
                self._count_request()
                try:
                    reply = post(self.endpoint, body, self.limits.timeout)
                except TimeoutError:
                    problem = f"no answer in {self.limits.timeout:g} s"
                    continue
                except (OSError, http.client.HTTPException) as error:
                    # An exception's text may be what the server sent.
                    problem = f"no connection: {printable(without_key(str(error), self.endpoint.key), 120)}"
                    continue
                except SoraError as error:
                    self._fail_for_all(error)
            if reply.status in _AGAIN or reply.status >= 500:
                problem = f"status {reply.status}: {error_text(reply, self.endpoint.key)}"
                if b"insufficient_quota" in reply.body[:4096]:
                    self._fail_for_all(UsageError(f"{self.endpoint.url}: {problem}"))
                self._put_off(reply)
                continue
            if reply.status != 200:
                self._refuse(reply)
            try:
                answer = self._read(reply)
            except AnswerError as error:
                problem = str(error)
                continue
            self._failed = 0
            return answer
        self._give_up(problem)

    def _refuse(self, reply: Reply) -> NoReturn:
        said = f"{self.endpoint.url} answers with status {reply.status}: {error_text(reply, self.endpoint.key)}"
        if reply.status in _SAME_FOR_ALL:
            hint = {401: "; is the key right?", 403: "; is the key right?", 404: "; are address and --model right?"}
            self._fail_for_all(UsageError(said + hint.get(reply.status, "")))
        raise AnswerError(said)

    def _read(self, reply: Reply) -> Answer:
        if len(reply.body) > MAX_ANSWER_BYTES:
            raise AnswerError(f"the answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
        try:
            said = json.loads(reply.body.decode("utf-8", "replace"))
            content = said["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise AnswerError("the answer is not the JSON of a chat completion") from None
        usage = said.get("usage")
        counted = usage.get("total_tokens") if isinstance(usage, dict) else None
        tokens = counted if isinstance(counted, int) and counted > 0 else 0
        with self._lock:
            self.tokens += tokens
        if self.limits.max_tokens and not tokens:
            self._fail_for_all(UsageError("the server does not count tokens: limit --max-requests, not --max-tokens"))
        if isinstance(content, list):  # parts, as some servers give
            content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if not isinstance(content, str) or not content.strip():
            raise AnswerError("the answer is empty")
        named = said["model"] if isinstance(said.get("model"), str) else ""
        model = without_key(printable(named, 200), self.endpoint.key)[:100]
        if model and not _is_same_model(self.endpoint.model, model):
            self._tell(f"asked for the model {self.endpoint.model}, the server says it answered with {model}")
        return Answer(without_key(content, self.endpoint.key), model, tokens)

    def _count_request(self) -> None:
        with self._lock:
            limits = self.limits
            for name, spent, limit in (
                ("requests", self.requests, limits.max_requests),
                ("tokens", self.tokens, limits.max_tokens),
            ):
                if limit and spent >= limit:
                    raise Stopped(
                        f"the budget of {limit} {name} is spent: what was answered is kept; the same command goes on"
                    )
            self.requests += 1

    def _wait_for_turn(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        self._pause(self._not_before - time.monotonic())
        if self._fatal is not None:
            raise self._fatal

    def _pause(self, seconds: float) -> None:
        if self._stopped.wait(max(0.0, seconds)):
            raise Stopped("stopped: what was answered is kept; the same command goes on")

    def _put_off(self, reply: Reply) -> None:
        """A busy server's ``Retry-After`` holds for all threads."""
        wait = _seconds_of(reply.headers.get("retry-after", ""))
        if wait:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + min(wait, _LONGEST_RETRY_AFTER))

    def _give_up(self, problem: str) -> NoReturn:
        with self._lock:
            self._failed += 1
            failed = self._failed
        if failed >= _FAILED_IN_A_ROW:
            self._fail_for_all(
                MachineError(
                    f"{self.endpoint.url} has failed {failed} questions in a row, the last after "
                    f"{self.limits.attempts} attempts: {problem}; what was answered is kept"
                )
            )
        raise AnswerError(f"no usable answer in {self.limits.attempts} attempts, the last: {problem}")

    def _fail_for_all(self, error: SoraError) -> NoReturn:
        self._fatal = self._fatal or error
        raise self._fatal

    def _tell(self, text: str) -> None:
        with self._lock:
            known, self._told = text in self._told, self._told | {text}
        if not known:
            self._note(text)


def _is_same_model(asked: str, said: str) -> bool:
    """Servers add a date (gpt-4o-2024-08-06), a tag (llava:latest) or leave out a folder."""
    one, two = (name.lower().rsplit("/", 1)[-1] for name in (asked, said))
    return two.startswith(one) or one.startswith(two)


def _seconds_of(retry_after: str) -> float:
    """Seconds that a ``Retry-After`` asks for, 0 if it asks for nothing that can be read (RFC 9110, 10.2.3)."""
    try:
        return (
            max(0.0, float(retry_after))
            if re.fullmatch(r"\s*\d+(\.\d+)?\s*", retry_after)
            else max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
        )
    except (ValueError, TypeError, OverflowError):
        return 0.0
