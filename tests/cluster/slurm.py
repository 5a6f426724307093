"""A real Slurm on this machine: munge, a controller and a `slurmd` for each of several nodes, in a place of their own, without root's system."""

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.cluster.sealed_off import Place, sealed_off, wait_until

NODES = ("n1", "n2", "n3")
_REST_S = 5
"""How long a node may be silent, or a job that is put back has to wait, in place of minutes."""


def is_installed() -> bool:
    """Whether Debian's slurm-wlm and munge are."""
    return all(shutil.which(name, path=_PATH) for name in ("slurmctld", "slurmd", "munged", "sbatch"))


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass
class Slurm:
    """It, while it is there. The last of its nodes says that it has an accelerator."""

    place: Place
    folder: Path

    def node(self, name: str) -> list[psutil.Process]:
        """Every process of a node: its daemon, what watches over the steps, and the steps."""
        daemon, steps = self.place.of("slurmd", f"-N\n{name}"), self.place.of(f"SLURMD_NODENAME={name}")
        watchers = [parent for step in steps if (parent := step.parent()) and "slurmstepd" in " ".join(parent.cmdline())]
        return [*daemon, *watchers, *steps]

    def kill_node(self, name: str) -> None:
        """All of it at once, as when the power goes."""
        for process in self.node(name):
            process.send_signal(signal.SIGKILL)

    def states(self) -> list[str]:
        """Of every task of every array that is known and not over."""
        return self.place.run("squeue", "--noheader", "--array", "--format=%T").stdout.split()

    def node_states(self) -> list[str]:
        return self.place.run("sinfo", "--noheader", "--Node", "--format=%T").stdout.split()


@contextmanager
def slurm(folder: Path, *, max_array: int = 1001) -> Iterator[Slurm]:
    """Start it below a folder; nothing of it is left at the end.

    Args:
        folder: of its configuration, state and logs; short, as a socket lies in it.
        max_array: tasks of an array at most.
    """
    for name in ("state", "spool", "munge", "log"):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o755)
    key, socket, conf = folder / "munge" / "key", folder / "munge" / "socket", folder / "slurm.conf"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    conf.write_text(_conf(folder, socket, max_array), encoding="utf-8")
    (folder / "gres.conf").write_text(f"NodeName={NODES[-1]} Name=gpu File=/dev/zero\n", encoding="utf-8")  # any device will do
    with sealed_off() as place:
        place.env = {"SLURM_CONF": str(conf), "PATH": _PATH}
        munge = (f"--key-file={key}", f"--socket={socket}", f"--pid-file={folder}/munge/pid", f"--seed-file={folder}/munge/seed")
        place.start("munged", "--foreground", "--force", *munge, f"--log-file={folder}/log/munged", log=folder / "log" / "munged.out")
        wait_until(socket.exists, "munged listens")
        place.start("slurmctld", "-D", log=folder / "log" / "slurmctld")
        for name in NODES:
            place.start("slurmd", "-D", "-N", name, log=folder / "log" / name)
        found = Slurm(place, folder)
        wait_until(lambda: found.node_states() == ["idle"] * len(NODES), "all nodes are idle", 30)
        yield found


def _conf(folder: Path, socket: Path, max_array: int) -> str:
    gpu = {NODES[-1]: " Gres=gpu:1"}
    where = "NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=1"
    nodes = "\n".join(f"NodeName={name} {where} Port={17010 + i}{gpu.get(name, '')}" for i, name in enumerate(NODES))
    return f"""
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=17001
AuthType=auth/munge
AuthInfo=socket={socket},cred_expire={_REST_S}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
GresTypes=gpu
SlurmdTimeout=5
SlurmctldTimeout=5
MinJobAge=300
KillWait=5
ReturnToService=2
JobRequeue=1
MaxArraySize={max_array}
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=all Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP
"""
