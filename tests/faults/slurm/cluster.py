"""A real Slurm on this machine: slurmctld and a slurmd for each of two virtual nodes, without systemd or cgroups.

Needs root and Debian's packages ``slurm-wlm`` and ``munge`` (their slurmd is built with MULTIPLE_SLURMD). Everything
lies in one folder, key, configuration and state; nothing of an installed Slurm is touched. Only ``/etc/hosts`` gets the
names of the nodes while it runs, for ranks look up the first of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

NODES = ("sora-node1", "sora-node2")
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")
_HOSTS = Path("/etc/hosts")
_MARK = "# virtual nodes of sora's tests"
# Two nodes claim sixteen processors and four GPUs each, whatever the machine has: config_overrides.
_CONFIGURATION = """\
ClusterName=sora
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=8
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout=300
MaxArraySize=1001
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=30 State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefaultTime=30 State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str:
    """Why a cluster cannot be started here; "" if it can."""
    missing = [program for program in PROGRAMS if _program(program) is None]
    if missing:
        return f"no {missing[0]} here: apt-get install --no-install-recommends slurm-wlm munge"
    return "" if os.geteuid() == 0 else "virtual nodes of Slurm need root"


def start_cluster(folder: Path) -> None:
    """Start one and wait until its nodes are idle; SLURM_CONF of this process then names it.

    Args:
        folder: A short path that is only root's, for sockets have short names.

    Raises:
        RuntimeError: If it does not come up; with the last lines of its logs.
    """
    folder.chmod(0o755)  # munged refuses a socket that others cannot reach
    (folder / "munge").mkdir(mode=0o711)
    (folder / "state").mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    files = {"key-file": key, "socket": folder / "munge" / "socket", "pid-file": folder / "munged.pid"}
    files |= {"seed-file": folder / "munge" / "seed", "log-file": folder / "munge" / "log"}
    _run("munged", *(f"--{name}={path}" for name, path in files.items()))
    host, ports = socket.gethostname().partition(".")[0], _free_ports(1 + len(NODES))
    nodes = [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=64000 Gres=gpu:4"
        for node, port in zip(NODES, ports[1:], strict=True)
    ]
    text = _CONFIGURATION.format(host=host, ports=ports, folder=folder, nodes="\n".join(nodes))
    (folder / "slurm.conf").write_text(text)
    for number in range(4):  # any device will do: Slurm counts it, and tells each task its own
        os.mknod(folder / f"gpu{number}", 0o600 | 0o020000, os.makedev(1, 3))
    gres = [f"NodeName={node} Name=gpu File={folder}/gpu[0-3]" for node in NODES]
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    with _HOSTS.open("a") as hosts:
        hosts.writelines(f"127.0.0.1 {name} {_MARK}\n" for name in (*NODES, host))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    _run("slurmctld", "-c")
    for node in NODES:
        (folder / f"spool.{node}").mkdir()
        _run("slurmd", "-N", node)
    for _ in range(120):
        with suppress(RuntimeError, subprocess.TimeoutExpired):
            if ask("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split() == ["idle"] * len(NODES):
                return
        time.sleep(0.5)
    logs = [line for path in folder.glob("*.log") for line in path.read_text().splitlines()[-8:]]
    raise RuntimeError("Slurm does not come up:\n" + "\n".join(logs))


def stop_cluster(folder: Path) -> None:
    """Stop what ``start_cluster`` started, by its process ids, and forget the names of the nodes."""
    with suppress(RuntimeError, subprocess.TimeoutExpired):
        ask("scancel", "--full", "--signal=KILL", "--user=root")
        ask("scancel", "--user=root")
        for _ in range(40):
            if not ask("squeue", "-h").strip():
                break
            time.sleep(0.5)
    for path in (*sorted(folder.glob("slurmd.*.pid")), folder / "slurmctld.pid", folder / "munged.pid"):
        if path.is_file() and (text := path.read_text().strip()):
            _end(int(text))
    kept = [line for line in _HOSTS.read_text().splitlines(keepends=True) if _MARK not in line]
    _HOSTS.write_text("".join(kept))  # in place: in a container it may be mounted, and cannot be replaced
    os.environ.pop("SLURM_CONF", None)
    shutil.rmtree(folder, ignore_errors=True)


def ask(program: str, *arguments: str) -> str:
    """What one of Slurm's programs says.

    Raises:
        RuntimeError: If it fails; with its complaint.
    """
    return _run(program, *arguments)


def _end(process: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(process, number)
        for _ in range(40):
            if not _lives(process):
                return
            time.sleep(0.25)


def _lives(process: int) -> bool:
    """Whether it is there, and not only waiting to be reaped, which takes long in some containers."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [_program(program) or program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]
