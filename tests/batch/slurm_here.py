"""A Slurm cluster of two nodes on this machine, for as long as a test runs."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch", "scancel")
CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Why there can be no cluster here; "" where there can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    gone = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if gone:
        return f"{', '.join(gone)} not installed (make debian)"
    return "" if os.geteuid() == 0 else "daemons need root"


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def cluster(folder):
    """Environment variables for its commands. Every daemon that was started is ended."""
    conf = Path(folder) / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    conf.write_text(CONF.format(host=host, folder=folder, ports=free_ports(3)))
    environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    (Path(folder) / "state").mkdir()
    daemons = []
    with contextlib.suppress(FileExistsError):
        Path("/run/munge").mkdir()
    shutil.chown("/run/munge", "munge", "munge")
    if subprocess.run(["munge", "-n"], capture_output=True, env=environment, check=False).returncode:
        words = ["su", "-s", "/bin/sh", "munge", "-c", "exec munged --foreground"]
        daemons.append(subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL))
        time.sleep(1.0)
    try:
        daemons.append(subprocess.Popen(["slurmctld", "-D"], env=environment, stderr=subprocess.DEVNULL))
        for node in ("n1", "n2"):
            daemons.append(subprocess.Popen(["slurmd", "-D", "-N", node], env=environment, stderr=subprocess.DEVNULL))
        until = time.monotonic() + 60
        while asked(environment, "sinfo", "--noheader", "--format=%D %t") != "2 idle":
            assert time.monotonic() < until, asked(environment, "sinfo")
            time.sleep(0.5)
        yield environment
    finally:
        subprocess.run(["scancel", "--me"], env=environment, capture_output=True, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


def asked(environment, *words):
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout.strip()
