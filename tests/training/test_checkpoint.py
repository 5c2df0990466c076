"""Checkpoints against what went in; damage of every kind is found and named; the newest whole one is used."""

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from soracli.core.errors import ArtifactError, MachineError
from soracli.training.checkpoint import list_checkpoints, load_checkpoint, load_latest, load_module, save_checkpoint


def parts_of(step: int) -> dict[str, dict[str, torch.Tensor]]:
    shared = torch.full((4, 3), float(step))
    return {
        "model": {"a.weight": shared, "tied": shared, "view": shared[1:].T, "half": shared.bfloat16()},
        "optimiser": {"step": torch.tensor(step), "flags": torch.tensor([True, False])},
        "empty": {},
    }


def save(folder, step, keep=2):
    return save_checkpoint(folder, step, parts_of(step), {"step": step, "note": "ü"}, keep)


def rewrite_manifest(path, old, new):
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace(old, new))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_comes_back_as_it_went_in(tmp_path):
    path = save(tmp_path / "checkpoints", 7)
    found = load_latest(tmp_path / "checkpoints")
    assert found is not None and (found.step, found.path, found.state) == (7, path, {"step": 7, "note": "ü"})
    assert found.parts.keys() == parts_of(7).keys()
    for part, tensors in parts_of(7).items():
        for name, tensor in tensors.items():
            assert torch.equal(found.parts[part][name], tensor) and found.parts[part][name].dtype == tensor.dtype
    assert torch.equal(load_file(path / "model.safetensors")["a.weight"], parts_of(7)["model"]["a.weight"])


def test_newest_few_are_kept_in_order_of_number(tmp_path):
    for step in (1, 9, 10, 99_999_999, 100_000_000):
        save(tmp_path, step, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_99999999", "step_100000000"]
    assert load_latest(tmp_path).step == 100_000_000


def test_nothing_there_is_none_and_litter_goes(tmp_path):
    assert load_latest(tmp_path / "absent") is None
    (tmp_path / "step_00000003.part").mkdir()
    (tmp_path / "step_x").mkdir()
    assert load_latest(tmp_path) is None
    save(tmp_path, 1)
    assert names(tmp_path) == ["step_00000001", "step_x"]


def test_a_whole_one_of_the_same_step_stays(tmp_path):
    before = (save(tmp_path, 4) / "manifest.json").stat().st_ino
    assert (save(tmp_path, 4) / "manifest.json").stat().st_ino == before


@pytest.mark.row(8)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_any_file_is_found_by_name(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flips")
    save(folder, 1)
    newest = save(folder, 2)
    file = data.draw(st.sampled_from(sorted(newest.iterdir())))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    notes: list[str] = []
    found = load_latest(folder, notes.append)
    assert found is not None
    if file.name == "manifest.json" and found.step == 2:
        return  # a letter of "kind": what it vouches for is unharmed
    assert found.step == 1
    assert len(notes) == 1 and "step_00000002" in notes[0]
    assert file.name == "manifest.json" or file.name in notes[0]
    shutil.rmtree(folder)


@pytest.mark.row(7)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda path: (path / "model.safetensors").write_bytes(b""), "model.safetensors has 0 bytes instead of"),
        (lambda path: (path / "manifest.json").unlink(), "no manifest.json"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda path: (path / "manifest.json").write_text('{"format": 1}'), "damaged or belongs to another"),
        (lambda path: rewrite_manifest(path, "sha256", "sha255"), "damaged or belongs to another"),
        (lambda path: rewrite_manifest(path, "model.safetensors", "../model.safetensors"), "belongs to another"),
        (
            lambda path: shutil.copy(path.with_name("step_00000001") / "state.json", path / "state.json"),
            "state.json",
        ),
    ],
)
def test_damage_is_skipped_with_a_note_or_an_error_if_nothing_is_left(tmp_path, damage, says):
    save(tmp_path, 1)
    damage(save(tmp_path, 2))
    notes: list[str] = []
    assert load_latest(tmp_path, notes.append).step == 1
    assert len(notes) == 1 and says in notes[0]
    shutil.rmtree(tmp_path / "step_00000001")
    with pytest.raises(ArtifactError, match=says):
        load_latest(tmp_path)


@pytest.mark.row(9)
def test_files_of_two_steps_mixed_are_found(tmp_path):
    one, two = save(tmp_path, 1), save(tmp_path, 2)
    shutil.copy(one / "model.safetensors", two / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model.safetensors has changed"):
        load_checkpoint(two)


@pytest.mark.row(7)
def test_a_damaged_newest_is_replaced_when_the_run_gets_there_again(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "state.json").unlink()
    (save(tmp_path, 3) / "state.json").unlink()
    save(tmp_path, 2)  # resumed from 1; step 3 was skipped as damaged
    assert names(tmp_path) == ["step_00000001", "step_00000002"]
    assert load_latest(tmp_path).step == 2


@pytest.mark.row(13)
def test_a_newer_format_is_not_taken_for_damage(tmp_path):
    save(tmp_path, 1)
    manifest = save(tmp_path, 2) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 3}))
    with pytest.raises(ArtifactError, match=r"made by a newer sora.*update"):
        load_latest(tmp_path)


@pytest.mark.row(10)
def test_pickles_are_never_loaded(tmp_path):
    path = save(tmp_path, 1)
    bomb = b"cos\nsystem\n(S'touch " + str(tmp_path / "boom").encode() + b"'\ntR."
    for name in ("model.safetensors", "state.json", "manifest.json", "extra.pt"):
        (path / name).write_bytes(bomb)
    with pytest.raises(ArtifactError):
        load_latest(tmp_path)
    assert not (tmp_path / "boom").exists()


def test_state_must_be_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, 1, {}, {"loss": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.row(15)
def test_a_run_folder_that_vanished_is_not_made_anew(tmp_path):
    with pytest.raises(MachineError, match="No such file"):
        save(tmp_path / "gone" / "checkpoints", 1)
    assert names(tmp_path) == []


@pytest.mark.row(12)
def test_load_module_is_whole_or_not_at_all():
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    good = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    for changed, says in [
        ({"weight": torch.ones(2, 2)}, "bias is missing"),
        ({**good, "gain": torch.ones(1)}, "gain is unknown"),
        ({**good, "weight": torch.ones(3, 2)}, r"weight is \(3, 2\) instead of \(2, 2\)"),
    ]:
        with pytest.raises(ArtifactError, match=f"the decoder does not fit this model: {says}"):
            load_module(module, changed, "the decoder")
        assert torch.equal(module.weight, before)
    load_module(module, good, "the decoder")
    assert torch.equal(module.weight, torch.ones(2, 2))
