"""``sora doctor``: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import typer

from soracli.cli.console import print_json, print_result, print_table
from soracli.cli.options import JsonOption
from soracli.core.errors import MachineError


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor(json: JsonOption = False) -> None:
    """What this machine has, what is missing, and what to do about it."""
    from dataclasses import asdict

    from soracli.pipelines.doctor import examine

    findings = examine()
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(("part", "found"), [(finding.name, finding.value) for finding in findings])
        for finding in findings:
            if finding.advice:
                print_result(f"{'note' if finding.ok else 'missing'}: {finding.name}: {finding.advice}")
    if missing := [finding.name for finding in findings if not finding.ok]:
        raise MachineError(f"missing here: {', '.join(missing)}; the lines above say what to do")
