"""One request to an OpenAI-compatible server: where it goes, what travels with it, what may be told of the answer.

Source: OpenAI's API reference, "Create chat completion"; vLLM, llama.cpp's server and Ollama speak the same.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from soracli.core.errors import MachineError, UsageError
from soracli.data.answers import printable

DEFAULT_KEY_ENV: Final = "OPENAI_API_KEY"
MAX_ANSWER_BYTES: Final = 8 << 20
"""A longer answer is not read to its end."""

_SECRET_FROM: Final = 8
"""Characters from which on a key is a secret; "EMPTY" and "none", which local servers take, are words."""
_MAX_ERROR_BYTES: Final = 1 << 16
_SHOWN: Final = 200
_MAX_REDIRECTS: Final = 3
_CHUNK: Final = 1 << 16


@dataclass(frozen=True)
class Endpoint:
    """Where to ask.

    Attributes:
        url: Of chat completions; safe to write down: it has neither user, password nor query.
        model: Name of the model there.
        key: Sent in the header and nowhere else; "" sends none. Not shown by ``repr``.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: Of the answer; names in lower case.
        body: At most ``MAX_ANSWER_BYTES`` and one byte, so that a longer one is seen to be longer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def open_endpoint(url: str, model: str, key_env: str | None = None) -> Endpoint:
    """Check an endpoint and take its key from the environment; nothing is sent.

    Args:
        url: Such as ``http://localhost:8000/v1``: what the server's documents call the base URL.
        model: As the server calls it.
        key_env: Environment variable of the key, "none" for a server that wants none. None takes ``DEFAULT_KEY_ENV``,
            which a server on this machine may do without.

    Raises:
        UsageError: If the URL is no http or https URL or holds a key itself, or the key is missing or cannot be sent.
    """
    if not model.strip():
        raise UsageError("--model is empty; name a model of the endpoint, as its list at .../v1/models has it")
    checked = _checked_url(url)
    name = DEFAULT_KEY_ENV if key_env is None else key_env
    key = "" if name == "none" else os.environ.get(name, "").strip()
    if not key and name != "none" and (key_env is not None or not is_local(checked)):
        raise UsageError(
            f"the key is missing: {name} is not set; set it, name another variable with --key-env NAME, "
            "or --key-env none for a server that wants none"
        )
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise UsageError(f"the key in {name} holds a blank or a sign that no header can carry: set it again")
    return Endpoint(checked, model.strip(), key)


def is_local(url: str) -> bool:
    """Whether a URL's host is this machine by name or address."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_url(url: str) -> str:
    example = "as in --endpoint http://localhost:8000/v1"
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"--endpoint is no URL ({error}), {example}") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            "--endpoint must not hold a user, a password, a query or a fragment, because it is written into manifests; "
            "the key comes from the environment (--key-env)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--endpoint must be an http or https URL, {example}; got {printable(url, 80)!r}")
    if not re.fullmatch(r"[\x21-\x7e]+", url.strip()):
        raise UsageError(f"--endpoint holds a blank or a sign that no URL has, {example}")
    path = parts.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def without_key(text: str, key: str) -> str:
    """A text in which the key, as it is or as JSON writes it, stands no more."""
    if len(key) < _SECRET_FROM:
        return text
    for form in {key, json.dumps(key)[1:-1]}:
        text = text.replace(form, "[key]")
    return text


def error_text(reply: Reply, key: str) -> str:
    """What a server says went wrong, on one line of at most 200 characters, without the key."""
    text = reply.body[:_MAX_ERROR_BYTES].decode("utf-8", "replace")
    if len(reply.body) > _MAX_ERROR_BYTES:
        text = text[: -len(key) or None]  # half a key at the cut would not be recognised
    try:
        said = json.loads(text)
        inner = said.get("error", said) if isinstance(said, dict) else said
        text = str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    except (ValueError, RecursionError):
        pass
    # Cleaned first, so that no hidden sign splits the key; cut last, so that the beginning of one cannot stay.
    return printable(without_key(printable(text, _MAX_ERROR_BYTES), key), _SHOWN) or "no reason given"


def post(endpoint: Endpoint, body: Mapping[str, Any], timeout: float) -> Reply:
    """Send one request and read what comes back, whatever its status.

    Redirects are followed on the same scheme, host and port only, so the key never reaches another server.

    Args:
        endpoint: Where.
        body: Of the request, as JSON values.
        timeout: Seconds, for connecting, for each piece of the answer, and for its whole body.

    Raises:
        OSError: If there is no connection, it breaks, or the time is over (``TimeoutError``).
        UsageError: If the server sends us to another one.
        MachineError: If it sends us in circles.
    """
    # A proxy of the environment cannot reach this machine's own addresses.
    proxies = [urllib.request.ProxyHandler({})] if is_local(endpoint.url) else []
    opener = urllib.request.build_opener(_StayHere, *proxies)
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "sora-trainer"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    url, data = endpoint.url, json.dumps(body).encode()
    deadline = time.monotonic() + timeout
    for _ in range(_MAX_REDIRECTS + 1):
        reply = _exchange(opener, urllib.request.Request(url, data, headers, method="POST"), timeout, deadline)
        if reply.status not in (301, 302, 303, 307, 308):
            return reply
        target = urljoin(url, reply.headers.get("location", ""))
        if _origin(target) != _origin(endpoint.url):
            place = printable(without_key(f"{urlsplit(target).scheme}://{urlsplit(target).netloc}", endpoint.key), 80)
            raise UsageError(f"{endpoint.url} sends on to another server ({place}); name that one if you trust it")
        url = target
    raise MachineError(f"{endpoint.url} redirects more than {_MAX_REDIRECTS} times")


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Hands redirects back as answers instead of following them with all headers."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow none."""


def _exchange(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float, deadline: float
) -> Reply:
    try:
        answer = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from None
    with answer:
        pieces, size = [], 0
        while size <= MAX_ANSWER_BYTES and (piece := answer.read1(_CHUNK)):
            if time.monotonic() > deadline:
                raise TimeoutError("the answer takes too long")
            pieces.append(piece)
            size += len(piece)
        headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(int(answer.status or 0), headers, b"".join(pieces)[: MAX_ANSWER_BYTES + 1])


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return "", None, None
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)
