"""Choice of device, dtype and threads, with the machine's answers replaced; errors name what there is."""

import pytest
import torch

from soracli.core.errors import MachineError, UsageError
from soracli.training import device
from soracli.training.device import (
    choose_device,
    choose_dtype,
    mixed_precision,
    product_dtype,
    set_threads,
    usable_cores,
)


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count: int) -> None:
        found = [f"cuda:{index}" for index in range(count)]
        monkeypatch.setattr(device, "available_devices", lambda: [*found, "cpu"])

    return pretend


def test_auto_takes_the_best_there_is(gpus):
    gpus(0)
    assert choose_device("auto") == torch.device("cpu")
    gpus(2)
    assert choose_device("auto") == torch.device("cuda:0")
    assert choose_device("auto", local_rank=1) == choose_device("cuda", 1) == torch.device("cuda:1")
    assert choose_device("cuda:1", local_rank=0) == torch.device("cuda:1")
    assert choose_device("cpu", 1) == torch.device("cpu")
    gpus(1)
    assert choose_device("auto", local_rank=3) == torch.device("cuda:0")  # --gpus-per-task: each sees one


def test_missing_devices_are_errors_that_name_what_there_is(gpus):
    gpus(0)
    with pytest.raises(MachineError, match=r"cuda:0 is not available here; available: cpu"):
        choose_device("cuda")
    gpus(2)
    with pytest.raises(MachineError, match="cuda:2 is not available here; available: cuda:0, cuda:1, cpu"):
        choose_device("auto", local_rank=2)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:0", "auto:1", "cuda:-1"])
def test_names_that_are_no_device(name):
    with pytest.raises(UsageError, match="unknown device"):
        choose_device(name)
    with pytest.raises(UsageError, match="did you mean cuda"):
        choose_device("cuda0")


def test_dtypes():
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) == torch.float32
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    assert choose_dtype("float16", torch.device("cuda:0")) == torch.float16
    with pytest.raises(UsageError, match="did you mean bfloat16"):
        choose_dtype("bfloat", cpu)
    with pytest.raises(UsageError, match="float16 is not for the CPU"):
        choose_dtype("float16", cpu)


def test_products_are_in_what_the_machine_is_fast_at(monkeypatch):
    cpu = torch.device("cpu")
    for able, expected in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"avx2": True, "avx512_bf16": able})
        assert product_dtype("auto", cpu) == expected
        assert product_dtype("float32", cpu) == torch.float32
        assert product_dtype("bfloat16", cpu) == torch.bfloat16
        layer = torch.nn.Linear(2, 2)
        with mixed_precision("auto", cpu):
            assert layer(torch.ones(1, 2)).dtype == expected and layer.weight.dtype == torch.float32


def test_cores_are_the_smallest_of_what_is_granted(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)
    quota = tmp_path / "cpu.max"
    assert usable_cores({}, quota) == 16
    quota.write_text("250000 100000\n")
    assert usable_cores({}, quota) == 2
    quota.write_text("50000 100000\n")
    assert usable_cores({}, quota) == 1
    quota.write_text("max 100000\n")
    assert usable_cores({"SLURM_CPUS_PER_TASK": "4"}, quota) == 4


def test_threads():
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == torch.get_num_threads() == 1
        assert set_threads(0) == torch.get_num_threads() == usable_cores()
    finally:
        torch.set_num_threads(before)
