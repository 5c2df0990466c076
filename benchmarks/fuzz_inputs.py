"""Spoilt files of every kind, read as the product reads them: no bug, no hang, no memory, nothing written elsewhere.

    python benchmarks/fuzz_inputs.py                            # 10,000 inputs of all kinds from seed 0
    python benchmarks/fuzz_inputs.py --count 2000 --seed 7 --workers 2
    python benchmarks/fuzz_inputs.py --kinds picture,video --only 1234   # one input again, with its traceback
    python benchmarks/fuzz_inputs.py --keep findings            # where inputs that found something are put

An input is a whole one (videos of many codecs, pictures, animations, captions, manifests, recipes, storyboards, lists
of prompts, models, files and caches of latents, checkpoints), with bytes, JSON or TOML changed; hashes are often made
right again, as an attacker would. Input N of a seed is always the same. Found to be wrong is:

    bug      anything raised that is not one line for a person with exit code 2, 3, 4 or 6
    hang     more than 10 seconds (a decoder that says nothing is stopped after 3 here, 60 in the product)
    memory   this process, or an ffmpeg, at its peak more than 300 MB above a process that has imported torch and rests
    crash    the reading process died
    writes   a file opened for writing, made, renamed or removed outside of the output folder, a connection, a pickle,
             or any other program than ffmpeg

Inputs are read one after the other in a process that reports on each; one that dies or hangs is replaced. The exit code
is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LIMIT_SECONDS, LIMIT_MB = 10.0, 300.0
_READS = 400
"""Inputs that one process reads before it is replaced, so that what stays in memory is not taken for a peak."""


@dataclass
class Report:
    """What came of one input.

    Attributes:
        code: Exit code of the refusal, 0 if it was read, 1 for a bug.
        said: The line, or the traceback.
        seconds: How long it took.
        megabytes: Peak of the reading process above a process that imported torch and rests.
        ffmpeg_megabytes: Peak of the programs that it started, the same way.
        writes: What it did outside of the output folder.
        died: ``hang`` or ``crash``, if the process had to be replaced.
    """

    code: int = 0
    said: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    ffmpeg_megabytes: float = 0.0
    writes: list[str] = field(default_factory=list)
    died: str = ""

    def findings(self) -> list[str]:
        """What is wrong, by the names of the table."""
        too_much = max(self.megabytes, self.ffmpeg_megabytes) > LIMIT_MB
        found = {
            "bug": self.code == 1 and not self.died,
            "hang": self.died == "hang" or self.seconds > LIMIT_SECONDS,
            "memory": too_much,
            "crash": self.died == "crash",
            "writes": bool(self.writes),
        }
        return [name for name, is_so in found.items() if is_so]


def choose(seed: int, number: int, kinds: Sequence[str], weights: Sequence[float]) -> tuple[str, random.Random]:
    """The kind of an input and what decides how it is spoilt."""
    generator = random.Random(f"{seed}:{number}")
    return generator.choices(list(kinds), list(weights))[0], generator


def make_input(kind: str, generator: random.Random, root: Path, folder: Path) -> None:
    """Copy a whole input of a kind and spoil the copy."""
    from fuzz_readers import KINDS

    whole = generator.choice(sorted((root / "whole" / kind).iterdir()))
    shutil.copytree(whole, folder)
    KINDS[kind].spoil(folder, generator)


class Watch:
    """What a process does that it should not: an audit hook that is told of every file, program and connection."""

    def __init__(self) -> None:
        self.out: Path | None = None
        self.seen: list[str] = []
        self._ffmpeg = ""

    def begin(self, out: Path, ffmpeg: str) -> None:
        """Watch from now on; only files below ``out`` may be written."""
        self.out, self.seen, self._ffmpeg = out, [], ffmpeg

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """For ``sys.addaudithook``."""
        if self.out is None:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            writing = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            if writing:
                self._path(event, arguments[0])
        elif event in (
            "os.remove",
            "os.rename",
            "os.mkdir",
            "os.rmdir",
            "os.link",
            "os.symlink",
            "os.truncate",
            "os.chmod",
        ):
            for path in arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._path(event, path)
        elif event == "subprocess.Popen":
            if os.fsdecode(arguments[0]) != self._ffmpeg:
                self.seen.append(f"program {arguments[0]}")
        elif event in ("socket.connect", "socket.bind", "os.system", "os.exec", "pickle.find_class"):
            self.seen.append(f"{event} {arguments!r:.200}")

    def _path(self, event: str, path: str | bytes | os.PathLike[str]) -> None:
        assert self.out is not None
        absolute = os.path.abspath(os.fsdecode(path))
        if absolute not in (os.devnull, str(self.out)) and not absolute.startswith(f"{self.out}{os.sep}"):
            self.seen.append(f"{event} {absolute!r:.300}")


def serve() -> None:
    """Read inputs named on standard input, a JSON line each, and report on standard output."""
    watch = Watch()
    sys.addaudithook(watch.hook)
    import torch

    idle = _status("VmRSS")
    import fuzz_readers

    from soracli.data.ffmpeg import ffmpeg_path

    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, io.StringIO()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        kind, folder, out = json.loads(line)
        with contextlib.suppress(OSError):  # makes the peak begin anew
            Path("/proc/self/clear_refs").write_text("5")
        watch.begin(Path(out), ffmpeg_path())
        report = read_input(fuzz_readers, kind, Path(folder), Path(out))
        watch.out, report.writes = None, watch.seen
        report.megabytes = _status("VmHWM") - idle
        # The largest of all so far; the parent looks at what it rises to.
        report.ffmpeg_megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 - idle
        print(json.dumps(asdict(report)), file=answers, flush=True)


def read_input(readers: Any, kind: str, folder: Path, out: Path) -> Report:
    """Read one input and say what came of it."""
    from soracli.core.errors import SoraError

    began, report = time.monotonic(), Report()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            readers.KINDS[kind].read(folder, out)
    except SoraError as error:
        report.code, report.said = error.exit_code, str(error)[:2000]
        try:
            readers.check_refusal(error)
        except AssertionError:
            report.code, report.said = 1, traceback.format_exc()[-4000:]
    except BaseException:
        report.code, report.said = 1, traceback.format_exc()[-4000:]
    report.seconds = time.monotonic() - began
    return report


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Reader:
    """A process that reads inputs; replaced when it dies, hangs or is old."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._reads = 0

    def read(self, kind: str, folder: Path, out: Path) -> Report:
        """What came of one input."""
        if self._process is None or self._reads >= _READS:
            self.close()
            self._start()
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._reads += 1
        try:
            self._process.stdin.write(json.dumps([kind, str(folder), str(out)]).encode() + b"\n")
            self._process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                # Twice the limit: whoever answers late is a finding of its own, with a traceback.
                answer = self._process.stdout.readline() if selector.select(2 * LIMIT_SECONDS) else None
        except OSError:
            answer = b""
        if answer:
            return Report(**json.loads(answer))
        if answer is None:
            self._process.kill()
        status = self._process.wait()
        self._process = None
        return Report(1, f"ended with status {status}", died="hang" if answer is None else "crash")

    def _start(self) -> None:
        here = Path(__file__).resolve()
        paths = os.pathsep.join([str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        environment |= {name: str(self._root / "home") for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
        command = [sys.executable, "-W", "ignore", str(here), "--serve"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._root / "home", env=environment, bufsize=0
        )
        self._reads = 0
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":  # how long imports take is nobody's fault
            raise RuntimeError("the reading process does not start")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def listing(root: Path) -> set[tuple[str, int, int]]:
    """What is below a folder: names, sizes and times, but for what may change."""
    found = set()
    for path in root.rglob("*"):
        if path.is_file() and path.relative_to(root).parts[0] not in ("inputs", "outs"):
            found.add((str(path), path.stat().st_size, path.stat().st_mtime_ns))
    return found


def run(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Make and read all inputs; gives figures by kind, and the findings."""
    from fuzz_readers import KINDS

    kinds = args.kinds.split(",") if args.kinds else list(KINDS)
    for kind in kinds:
        KINDS[kind].write(root / "whole" / kind)
    for name in ("home", "inputs", "outs"):
        (root / name).mkdir()
    before = listing(root)
    numbers = [args.only] if args.only is not None else list(range(args.count))
    deadline = time.monotonic() + args.minutes * 60 if args.minutes else None

    def part(share: Sequence[int]) -> list[tuple[int, str, Report]]:
        reader, reports, ffmpeg_peak = Reader(root), [], 0.0
        for number in share:
            if deadline is not None and time.monotonic() > deadline:
                break
            kind, generator = choose(args.seed, number, kinds, [KINDS[kind].weight for kind in kinds])
            folder, out = root / "inputs" / str(number), root / "outs" / str(number)
            out.mkdir()
            make_input(kind, generator, root, folder)
            report = reader.read(kind, folder, out)
            peak = report.ffmpeg_megabytes
            if peak <= ffmpeg_peak:  # of an earlier input
                report.ffmpeg_megabytes = min(peak, LIMIT_MB)
            ffmpeg_peak = peak
            reports.append((number, kind, report))
            if report.findings() and args.keep is not None:
                shutil.copytree(folder, args.keep / f"{kind}-{number}", dirs_exist_ok=True)
                (args.keep / f"{kind}-{number}.txt").write_text(report.said)
            if report.findings():
                print(f"{kind} {number}: {', '.join(report.findings())}: {_last_line(report)}", file=sys.stderr)
            shutil.rmtree(folder)
            shutil.rmtree(out)
        reader.close()
        return reports

    with ThreadPoolExecutor(args.workers) as pool:
        shares = [numbers[index :: args.workers] for index in range(args.workers)]
        reports = [report for found in pool.map(part, shares) for report in found]
    changed = sorted(path for path, *_ in before ^ listing(root))
    if args.only is not None and reports:
        print(json.dumps(asdict(reports[0][2]), indent=1).replace("\\n", "\n"), file=sys.stderr)
    return {"kinds": table(reports), "changed": changed}


def _last_line(report: Report) -> str:
    if report.writes and report.code != 1:
        return report.writes[0]
    lines = report.said.strip().splitlines() or [""]
    sizes = f"{report.seconds:.1f} s, {report.megabytes:.0f} MB, ffmpeg {report.ffmpeg_megabytes:.0f} MB"
    return f"{lines[-1][:300]} ({sizes})"


def table(reports: Sequence[tuple[int, str, Report]]) -> dict[str, dict[str, Any]]:
    """Figures by kind."""
    rows: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(kind for _, kind, _ in sorted(reports, key=lambda item: item[1])):
        own = [report for _, name, report in reports if name == kind]
        found = Counter(finding for report in own for finding in report.findings())
        rows[kind] = {
            "inputs": len(own),
            "read": sum(report.code == 0 for report in own),
            "refused": sum(report.code in (2, 3, 4, 6) for report in own),
            **{name: found[name] for name in ("bug", "hang", "memory", "crash", "writes")},
            "longest_seconds": round(max(report.seconds for report in own), 2),
            "most_megabytes": round(max(max(report.megabytes, report.ffmpeg_megabytes) for report in own)),
        }
    return rows


def print_table(result: dict[str, Any]) -> int:
    """The figures and a verdict; gives the exit code."""
    rows = result["kinds"]
    columns = list(next(iter(rows.values()))) if rows else []
    print(f"{'kind':<12}" + "".join(f"{name.replace('_', ' '):>17}" for name in columns))
    for kind, row in rows.items():
        print(f"{kind:<12}" + "".join(f"{row[name]:>17}" for name in columns))
    found = sum(row[name] for row in rows.values() for name in ("bug", "hang", "memory", "crash", "writes"))
    for path in result["changed"]:
        print(f"changed outside of the output folder: {path}")
    count = sum(row["inputs"] for row in rows.values())
    bad = bool(found or result["changed"] or not count)
    verdict = f"{found} findings, {len(result['changed'])} changed files" if bad else "nothing found"
    print(f"{count} inputs: {verdict}")
    return int(bad)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="of fuzz_readers.KINDS, with commas; all by default")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many")
    parser.add_argument("--only", type=int, default=None, help="one input by number, with all that is known of it")
    parser.add_argument("--keep", type=Path, default=None, help="folder for inputs that found something")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return 0
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-inputs-") as folder:
        result = run(args, Path(folder).resolve())
    if args.json is not None:
        args.json.write_text(json.dumps({"seed": args.seed, **result}, indent=1) + "\n")
    return print_table(result)


if __name__ == "__main__":
    sys.exit(main())
