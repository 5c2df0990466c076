"""Claims of shards between processes: one owner each, at once free again when it dies, and no locks is no claim."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from soracli.core.errors import MachineError
from soracli.data.shard_claims import claimed, open_claims

HOLD = """
import sys
from pathlib import Path
from soracli.data.shard_claims import claimed, open_claims
with open_claims(Path(sys.argv[1])) as claims, claimed(claims, "a") as ours:
    print(ours, flush=True)
    sys.stdin.read()
"""


def test_one_owner_until_it_dies(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        with open_claims(tmp_path) as claims:
            for _ in range(2):
                with claimed(claims, "a") as ours, claimed(claims, "b") as other:
                    assert not ours and other
            holder.kill()
            holder.wait()
            with claimed(claims, "a") as ours:
                assert ours
    assert [path.name for path in tmp_path.iterdir()] == ["lock"] and (tmp_path / "lock").read_text() == ""


def test_without_locks_everything_is_ours(tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with open_claims(tmp_path) as claims, claimed(claims, "a") as ours:
        assert ours


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot write"), open_claims(tmp_path / "file"):
        pass
