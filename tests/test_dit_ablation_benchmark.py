"""The ablation of the DiT: what arms change, tables of made-up figures by hand, a tiny run that goes on and refuses."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from soracli.core.errors import UsageError
from soracli.models.judge_store import save_judge
from tests.pipelines.runs import make_cache
from tests.pipelines.tiny_eval import JUDGE


@pytest.fixture
def ablation(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_dit_ablation", repository / "benchmarks/dit_ablation.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks_dit_ablation", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def caches(workspace: Path) -> list[str]:
    """Options for two caches and a model with a judge, as small as can be."""
    from soracli.models.judge import Judge

    vae, latents = make_cache(workspace)
    save_judge(vae / "judge", Judge(JUDGE), {})
    return ["--latents", str(latents), "--held-out", str(latents), "--vae", str(vae), "--out", "arms"]


def figures(loss: float, right: int, whole: float | None = None) -> dict[str, Any]:
    share = {"right": right, "total": 50, "share": right / 50, "low": 0.0, "high": 1.0}
    made: dict[str, Any] = {
        "steps": 10,
        "tokens": 2e6,
        "teraflop": 5.0,
        "seconds": 60.0,
        "losses": {
            name: {"mean": loss, "by_noise": [None, loss, loss, loss]} for name in ("videos", "pictures", "squares")
        },
        "obedience": {"objects": share, "prompts": share, "numbers": share},
    }
    if whole is not None:
        shown = {"found": share, "whole": whole, "whole_if_found": None, "placed": None, "off_centre": 0.5}
        made["framing"] = {size: {"generated": shown, "truth": shown} for size in ("128x128", "224x128")}
    return made


def row(text: str, *names: str) -> list[str]:
    """Cells of the first row that begins with these."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {' | '.join(names)} |"))
    return [part.strip() for part in line.strip("|").split("|")][len(names) :]


def test_every_arm_changes_what_it_says_and_nothing_else(ablation: ModuleType, caches: list[str]) -> None:
    given = ablation.parse(caches)
    base = ablation.load_arm(given, "base", 0, 7).recipe.model_dump()
    assert base["optimiser"]["name"] == "muon" and base["optimiser"]["learning_rate"] == 2e-3
    for name, changes in ablation.ARMS.items():
        arm = ablation.load_arm(given, name, 0, 7).recipe.model_dump()
        differing = {
            f"{section}.{key}"
            for section, values in arm.items()
            if isinstance(values, dict)
            for key, value in values.items()
            if base[section][key] != value
        }
        # One rate of AdamW is Muon's.
        assert differing == {key for key in changes if name != "adamw 2e-3" or key != "optimiser.learning_rate"}, name
    assert set(ablation.FRAMED) | {name for names in ablation.RATES.values() for name in names} <= set(ablation.ARMS)


def test_the_table_says_what_differs_and_what_does_not(ablation: ModuleType) -> None:
    found = {
        "base": [figures(1.0, 20), figures(1.2, 22)],
        "cross": [figures(1.5, 20), figures(1.6, 22)],
        "diffit": [figures(1.1, 40), figures(1.1, 42)],
    }
    text = ablation.arms_table(found)
    assert row(text, "base")[5:] == ["1.1000 ± 0.1414", "", "0.420 ± 0.028", ""]
    # Differences 0.5 and 0.4; of 100 questions each, the standard error of equal shares of 0.42 is 0.0698.
    assert row(text, "cross")[6:] == ["+0.4500 ± 0.0707", "0.420 ± 0.028", "no difference (+0.000 ± 0.070)"]
    assert row(text, "diffit")[6] == "no difference (+0.0000 ± 0.1414)"
    assert row(text, "diffit")[8].startswith("+0.400 ± 0.06")
    assert row(ablation.arms_table({name: runs[:1] for name, runs in found.items()}), "cross")[6].endswith("(one seed)")
    assert row(ablation.losses_table(found), "cross")[:2] == ["", "1.5500 ± 0.0707"]


def test_optimisers_are_compared_at_their_best_rates(ablation: ModuleType) -> None:
    losses = {"base": 1.0, "muon 1e-3": 0.9, "muon 4e-3": 1.3, "adamw 5e-4": 2.0, "adamw 1e-3": 1.4, "adamw 2e-3": 9.0}
    found = {name: [figures(loss, 9), figures(loss + 0.1, 9)] for name, loss in losses.items()}
    text = ablation.rates_text(found)
    assert "(adamw 1e-3)" in text and "(muon 1e-3)" in text and "held-out loss +0.5000" in text
    del found["adamw 2e-3"]
    assert ablation.rates_text(found) == ""


def test_framing_stands_beside_what_was_drawn(ablation: ModuleType) -> None:
    found = {
        "base": [figures(1.0, 20, 0.9), figures(1.0, 20, 0.8)],
        "square": [figures(1.0, 20, 0.5), figures(1.0, 20, 0.5)],
    }
    text = ablation.framing_table(found)
    assert row(text, "224x128", "square against the base")[1:4] == ["-0.350 ± 0.071", "", ""]
    assert row(text, "128x128", "drawn")[1] == "0.900" and row(text, "128x128", "square")[0] == "0.400 ± 0.000"


def test_a_tiny_ablation_goes_on_and_refuses(
    ablation: ModuleType, caches: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablation, "SIZES", ((32, 32), (32, 48)))
    small = [
        *("dit.hidden_size=24", "dit.depth=1", "dit.num_heads=2", "text.hidden_size=16", "text.vocabulary_size=300"),
        *("samples.batch_size=2", "samples.latent_frames=[3]", "sampling.num_steps=1", "order.first_block=3"),
    ]
    asked = [*caches, "--arms", "square", "--seeds", "1", "--threads", "1", "--device", "cpu", "--teraflop", "1e-4"]
    asked += ["--prompts", "1", "--samples", "3", "--seconds", "0.75", *(f"--set={change}" for change in small)]
    assert ablation.main(asked) == 0
    printed = capsys.readouterr().out
    assert row(printed, "base") and row(printed, "square") and row(printed, "48x32", "square against the base")
    assert printed == f"{Path('arms/ablation.md').read_text()}\n"
    done = json.loads(Path("arms/base/seed_0/ablation.json").read_text())
    assert done["steps"] >= 1 and done["teraflop"] == pytest.approx(1e-4, rel=0.7)
    assert set(done["framing"]["32x32"]) == {"generated", "renders", "renders through the VAE", "truth"}
    assert done["losses"]["videos"]["mean"] > 0 and done["seconds"] > 0

    monkeypatch.setattr(ablation, "run_arm", lambda *given: pytest.fail("run again"))
    assert ablation.main(asked) == 0
    assert ablation.main([*asked, "--prompts", "2"]) == UsageError.exit_code
    assert "made with another prompts" in capsys.readouterr().err


def test_what_arms_cost_is_said_without_training(
    ablation: ModuleType, caches: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablation.main([*caches, "--arms", "--count-only", "--threads", "1", "--set", "dit.depth=1"]) == 0
    assert float(row(capsys.readouterr().out, "base")[0]) > 0 and not Path("arms").exists()
    with pytest.raises(SystemExit):
        ablation.parse([*caches, "--seeds", "0"])
