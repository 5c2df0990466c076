"""Where ranks that srun started meet: a port that is taken by somebody else is left to him, and the next one tried.

Every rank works out the same port, so two jobs of a node seldom want the same one. When they do, or when a server of
another program listens there, rank 0 takes the next that is free. There it tells whoever asks its name and where its
store is; the others ask at each port until they hear their own name.
"""

from __future__ import annotations

import datetime
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from soracli.training.ranks import RankPlace

PORTS = 16
"""How many ports are tried, from the one of the job and its step on."""
_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.2
_LONGEST = 4096


@contextmanager
def meeting(place: RankPlace, timeout: datetime.timedelta) -> Iterator[TCPStore]:
    """While open, the store by which these ranks find one another.

    Args:
        place: This rank, and where to begin to look.
        timeout: How long to wait for rank 0, and later for what other ranks put into the store.

    Raises:
        OSError: If rank 0 finds no free port, or another rank does not find it in time.
    """
    if place.rank > 0:
        yield TCPStore(place.address, _ask(place, timeout), is_master=False, timeout=timeout)
        return
    with _listen(place) as server:
        # The store's own port is any that is free.
        store = TCPStore(place.address, 0, is_master=True, wait_for_workers=False, timeout=timeout)
        told = json.dumps({"sora": place.name, "port": store.port}).encode() + b"\n"
        threading.Thread(target=_tell, args=(server, told), daemon=True).start()
        try:
            yield store
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # closing it alone would leave the thread waiting, and the port taken


def _listen(place: RankPlace) -> socket.socket:
    for port in range(place.port, place.port + PORTS):
        with suppress(OSError):
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
    raise OSError(f"ports {place.port} to {place.port + PORTS - 1} are all taken")


def _tell(server: socket.socket, told: bytes) -> None:
    """Answer everybody until the socket is closed."""
    while True:
        try:
            asking, _ = server.accept()
        except OSError:
            return
        with suppress(OSError), asking:
            asking.sendall(told)


def _ask(place: RankPlace, timeout: datetime.timedelta) -> int:
    """The port of the store of rank 0."""
    end = time.monotonic() + timeout.total_seconds()
    while time.monotonic() < end:
        for port in range(place.port, place.port + PORTS):
            with suppress(OSError, ValueError, KeyError, TypeError):
                heard = json.loads(_hear(place.address, port))
                if heard["sora"] == place.name:
                    return int(heard["port"])
        time.sleep(_PAUSE_SECONDS)
    raise OSError(f"rank 0 was not there for {timeout.total_seconds():g} s")


def _hear(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), _PATIENCE_SECONDS) as asked:
        asked.settimeout(_PATIENCE_SECONDS)
        return asked.makefile("rb").readline(_LONGEST)
