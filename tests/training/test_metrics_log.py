"""The metrics log: read back as written; a resume drops later and torn lines; TensorBoard reads the same."""

import math
import sys
from pathlib import Path

import pytest

from soracli.core.errors import MachineError
from soracli.training.metrics_log import open_metrics, read_metrics


def test_lines_are_there_at_once_and_exact(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with open_metrics(path) as log:
        log.write(10, {"loss": 1 / 3, "norm": math.nan, "peak": math.inf})
        [line] = read_metrics(path)
    assert (line["step"], line["loss"]) == (10, 1 / 3)
    assert math.isnan(float(line["norm"])) and float(line["peak"]) == math.inf
    assert "NaN" not in path.read_text()


def test_resume_drops_what_comes_after_and_counts_time_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with open_metrics(path) as log:
        for step in (1, 2, 3):
            log.write(step, {"loss": float(step)})
    text = path.read_text().replace('"seconds": ', '"seconds": 10')
    path.write_text(text + '{"step": 4, "seco')
    with open_metrics(path, resumed_step=2) as log:
        log.write(3, {"loss": 30.0})
    lines = read_metrics(path)
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert lines[2]["seconds"] >= lines[1]["seconds"] >= 100
    with open_metrics(path):  # a new run in the same place begins with an empty log
        pass
    assert read_metrics(path) == []


def test_what_was_given_up_is_dropped_while_the_log_is_open(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with open_metrics(path) as log:
        for step in (1, 2, 3):
            log.write(step, {"loss": float(step)})
        log.rewind(1)
        log.write(2, {"loss": 20.0})
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(1, 1.0), (2, 20.0)]


def test_other_ranks_write_nothing(tmp_path):
    with open_metrics(None) as log:
        log.write(1, {"loss": 1.0})
    assert read_metrics(tmp_path / "absent") == []


def test_unwritable_place_is_a_machine_error():
    with pytest.raises(MachineError, match="cannot write"), open_metrics(Path("/proc/metrics.jsonl")):
        pass


def test_tensorboard_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(MachineError, match=r"pip install 'sora-trainer\[tensorboard\]'"),
        open_metrics(tmp_path / "metrics.jsonl", tensorboard=tmp_path / "board"),
    ):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for resumed in (0, 1):
        with open_metrics(tmp_path / "metrics.jsonl", resumed, tmp_path / "board") as log:
            for step in range(resumed + 1, 4):
                log.write(step, {"loss": float(10 * resumed + step)})
    events = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 12.0), (3, 13.0)]
