"""Stopping on signals: real signals set the flag by weight, a second ^C raises, and handlers come back."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from soracli.training.signals import kept_signals, signal_name, stop_on_signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGUSR1", "SIGTERM"])
def test_a_signal_sets_the_flag_and_handlers_come_back(name):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with stop_on_signals() as flag:
        assert not flag and signal_name(flag.level) is None
        os.kill(os.getpid(), number)
        assert flag and signal_name(flag.level) == name
    assert signal.getsignal(number) is before


def test_the_weightiest_counts_in_either_order():
    for order in (("SIGUSR1", "SIGTERM", "SIGUSR1"), ("SIGTERM", "SIGUSR1")):
        with stop_on_signals() as flag:
            for name in order:
                os.kill(os.getpid(), signal.Signals[name])
            assert signal_name(flag.level) == "SIGTERM"


def test_a_second_interrupt_raises_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_the_flag_stays_down():
    seen: list[bool] = []

    def body() -> None:
        with stop_on_signals() as flag:
            seen.append(bool(flag))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [False]


def test_signals_ignored_by_a_batch_script_are_heard_again():
    code = (
        "import os, signal, sys\n"
        "from soracli.training.signals import stop_on_signals\n"
        "assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN and 'torch' not in sys.modules\n"
        "with stop_on_signals() as flag:\n"
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    print(flag.level)\n"
    )
    script = 'trap "" USR1 TERM; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", script, "_", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout == "2\n"


@pytest.mark.row(28)
def test_signals_that_a_batch_script_has_ignored_wait_until_they_are_heard():
    code = (
        "import os, signal, sys\n"
        "from soracli.training.signals import kept_signals, stop_on_signals\n"
        "with kept_signals():\n"
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    import random\n"
        "    with stop_on_signals() as flag:\n"
        "        print(flag.level)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('alive', signal.pthread_sigmask(signal.SIG_BLOCK, []) == set())\n"
    )
    done = subprocess.run(
        ["bash", "-c", 'trap "" USR1 TERM; exec "$@"', "_", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout == "2\nalive True\n"


def test_a_process_that_a_person_started_is_killed_as_ever():
    with kept_signals():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint({signal.SIGTERM, signal.SIGUSR1})
