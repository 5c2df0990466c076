"""What the installed ``sora`` begins with: signals and ^C are in good hands before anything takes time to import."""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130


def main() -> int:
    """Run one command of ``sora``, as ``soracli.cli.app.main`` does.

    Returns:
        The exit code; also of a ^C while the command line is still being imported.
    """
    try:
        from soracli.training.signals import kept_signals

        with kept_signals():
            from soracli.cli.app import main as run

            code = run()
        _leave_if_rank(code)
        return code
    except KeyboardInterrupt:
        print("sora: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _leave_if_rank(code: int) -> None:
    """End one of several ranks here, where all is written and told.

    While Python takes itself down, a thread of torch's transfers that wants a word with it aborts the process
    ("terminate called without an active exception"): seldom, but a rank that has done all would be taken for one that
    failed.
    """
    from soracli.cli.runs import has_peers
    from soracli.core.errors import UsageError

    try:
        if not has_peers():
            return
    except UsageError:  # variables that make no sense, as was said
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
