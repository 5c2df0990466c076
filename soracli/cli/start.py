"""What the installed ``sora`` begins with: signals and ^C are in good hands before anything takes time to import."""

from __future__ import annotations

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

            return run()
    except KeyboardInterrupt:
        print("sora: interrupted", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
