"""Ranks that want the same port, at once and beside a server that never answers: each finds its own."""

import datetime
import socket
import threading
from dataclasses import replace

import pytest

from soracli.training import rendezvous
from soracli.training.ranks import RankPlace
from soracli.training.rendezvous import meeting

SOON = datetime.timedelta(seconds=60)


@pytest.fixture
def silent():
    """A server of another program, that accepts and never says a word."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.row(38)
def test_two_jobs_at_one_port_that_is_taken_find_their_own(silent, monkeypatch):
    monkeypatch.setattr(rendezvous, "_PATIENCE_SECONDS", 0.2)
    jobs = [RankPlace(0, 2, 0, "127.0.0.1", silent, "srun", name) for name in ("7.0.0", "8.0.0")]
    found = {}

    def look(job: RankPlace) -> None:
        with meeting(replace(job, rank=1), SOON) as store:
            found[job.name] = store.get("whose")

    looking = [threading.Thread(target=look, args=(job,)) for job in jobs]
    for thread in looking:  # before anybody is there
        thread.start()
    with meeting(jobs[0], SOON) as first, meeting(jobs[1], SOON) as second:
        first.set("whose", "seven")
        second.set("whose", "eight")
        for thread in looking:
            thread.join(60)
    assert found == {"7.0.0": b"seven", "8.0.0": b"eight"}
    with socket.create_server(("127.0.0.1", silent + 1)):  # given back
        pass


def test_nobody_there(silent, monkeypatch):
    monkeypatch.setattr(rendezvous, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(rendezvous, "PORTS", 1)
    place = RankPlace(1, 2, 0, "127.0.0.1", silent, "srun", "7.0.0")
    with pytest.raises(OSError, match=r"rank 0 was not there for 0\.3 s"), meeting(place, SOON / 200):
        pass
    with (
        pytest.raises(OSError, match=f"ports {silent} to {silent} are all taken"),
        meeting(replace(place, rank=0), SOON),
    ):
        pass
