"""What prompt expansion is worth: obedience of short prompts with and without it, at equal seeds.

python benchmarks/expansion.py --prompts 200
python benchmarks/expansion.py --model runs/nano/dit --endpoint http://localhost:8000/v1 --name qwen3
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from soracli.cli.console import TerminalReporter
from soracli.data.chat_endpoint import Chat
from soracli.data.chat_http import open_endpoint
from soracli.models.judge_store import load_judge
from soracli.pipelines.evaluate_dit import find_judge
from soracli.pipelines.evaluate_expansion import evaluate_expansion
from soracli.pipelines.expand_prompt import expand_prompts
from soracli.pipelines.find_model import find_model
from soracli.pipelines.video_maker import open_model
from soracli.training.device import choose_device


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--endpoint", help="expand by a language model there, instead of by rules")
    parser.add_argument("--name", default="", help="its name")
    given = parser.parse_args()
    device, reporter, model = choose_device(given.device), TerminalReporter(), find_model(given.model)
    chat = Chat(open_endpoint(given.endpoint, given.name), note=reporter.note) if given.endpoint else None
    found = evaluate_expansion(
        open_model(model, device),
        load_judge(find_judge(given.judge, model), device),
        partial(expand_prompts, chat=chat),
        count=given.prompts,
        seconds=given.seconds,
        seed=given.seed,
        reporter=reporter,
    )
    print(
        f"{found.expanded} of {found.prompts} expanded, {found.contradicted} contradict, distinct {found.distinct:.2f}"
    )
    print("| question | as typed, % | expanded, % | gained | lost |")
    print("|---|---|---|---|---|")
    for name, plain in found.plain.items():
        longer = found.with_expansion[name]
        cells = [f"{100 * one.share:.1f} [{100 * one.low:.0f}-{100 * one.high:.0f}]" for one in (plain, longer)]
        print(f"| {name} | {' | '.join(cells)} | {found.gained[name]} | {found.lost[name]} |")
    print(found.protocol)


if __name__ == "__main__":
    main()
