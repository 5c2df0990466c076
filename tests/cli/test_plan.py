"""sora plan: what it prints, and its JSON."""

import json

from soracli.cli.app import main
from tests.pipelines.runs import VAE

SETS = [word for text in VAE for word in ("--set", text)]


def test_a_table_and_json(workspace, capsys):
    (workspace / "tiny.toml").write_text('kind = "vae.train"\n')
    given = ["plan", "tiny.toml", *SETS, "--nodes", "2", "--gpu", "a100-80gb", "--price", "2"]
    assert main(given) == 0
    shown = capsys.readouterr()
    assert "parameters  vae 0.0" in shown.out and "2 of a100-80gb, 312 TFLOP/s each" in shown.out
    assert "fits" in shown.out and "at 2 an hour" in shown.out and "float32" in shown.err
    assert main([*given, "--json", "--set", "loop.precision=auto"]) == 0
    shown = capsys.readouterr()
    plan = json.loads(shown.out)
    assert plan["cluster"]["ranks"] == 2 and plan["fits"] is True and plan["memory"]["weights"] > 0
    assert shown.err == ""
    assert main(["plan", "tiny.toml", *SETS, "--gpus", "3"]) == 2
