"""A real SLURM of one node on this machine. Needs root, and of Debian slurm-wlm, munge, slurmdbd, mariadb-server.

    cluster.py FOLDER [--accounting]    starts it, and stops it when Ctrl-C is pressed

All its files lie in the folder, but /etc/slurm/slurm.conf is a link to its configuration: Snakemake's jobs do not hand
SLURM_CONF on.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CONFIG = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd", "mariadb-install-db")

# `urgent` preempts what runs in `normal`. A job that is told to stop has KillWait seconds to save; one that is queued
# again waits until its credential is void.
SLURM = """\
ClusterName=tests
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
KillWait=20
MinJobAge={age}
SchedulerParameters=sched_interval=2,sched_min_interval=1000000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobCompType=jobcomp/none
{accounting}
NodeName={host} CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=normal Nodes={host} Default=YES PriorityTier=1
PartitionName=urgent Nodes={host} PriorityTier=2 PreemptMode=OFF
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={host}
AccountingStoragePort={ports[2]}
AccountingStoragePass={folder}/munge.socket
JobAcctGatherType=jobacct_gather/none"""
SLURMDBD = """\
DbdHost={host}
DbdPort={ports[2]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[3]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
DATABASE = """\
CREATE DATABASE slurm;
CREATE USER slurm@localhost IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO slurm@localhost;
"""


def missing():
    """What keeps a SLURM from being started here; empty where nothing does."""
    if os.geteuid():
        return "only root starts a SLURM"
    if CONFIG.exists():
        return f"{CONFIG} is there: a SLURM of somebody else's"
    absent = [name for name in PROGRAMS if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def free_ports(count):
    """TCP ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """A SLURM from `with` to its end."""

    def __init__(self, folder, accounting=False, age=300):
        """age: seconds for which SLURM remembers a job after its end; 300 is its default."""
        self.folder, self.accounting, self.age = Path(folder).resolve(), accounting, age
        self.node = socket.gethostname().split(".")[0]
        self.daemons = {}

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # munged refuses a socket in a folder that others may not enter
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        facts = {"folder": self.folder, "host": self.node, "ports": free_ports(4), "age": self.age}
        accounting = ACCOUNTING if self.accounting else "AccountingStorageType=accounting_storage/none"
        facts |= {"accounting": accounting.format(**facts), "cores": os.cpu_count(), "memory": memory}
        (self.folder / "slurm.conf").write_text(SLURM.format(**facts))
        CONFIG.parent.mkdir(parents=True, exist_ok=True)
        CONFIG.symlink_to(self.folder / "slurm.conf")
        try:
            self._start(facts)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, facts):
        folder = self.folder
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge = ("--socket", f"{folder}/munge.socket", "--key-file", key, "--pid-file", f"{folder}/munge.pid")
        munge += ("--seed-file", f"{folder}/munge.seed", "--log-file", f"{folder}/munge.log")
        self.start("munged", "--foreground", *munge)
        self.until(lambda: (folder / "munge.socket").exists(), "munged opens its socket")
        if self.accounting:
            self._start_accounting(facts)
        self.start("slurmctld", "-D")
        if self.accounting:
            self.until(
                lambda: "tests" in self.call("sacctmgr", "-n", "list", "cluster"), "the database knows the cluster"
            )
        self.start_node()

    def _start_accounting(self, facts):
        folder, config, database = self.folder, self.folder / "slurmdbd.conf", self.folder / "database"
        where = f"--datadir={database}"
        line = ["mariadb-install-db", "--no-defaults", "--user=root", where, "--auth-root-authentication-method=normal"]
        subprocess.run(line, check=True, capture_output=True)
        (folder / "database.sql").write_text(DATABASE)
        net = ("--bind-address=127.0.0.1", f"--port={facts['ports'][3]}", f"--socket={folder}/database.socket")
        files = (f"--init-file={folder}/database.sql", f"--pid-file={folder}/database.pid")
        self.start("mariadbd", "--no-defaults", "--user=root", where, *net, *files)
        self.until(lambda: reached(facts["ports"][3]), "the database listens")
        config.write_text(SLURMDBD.format(**facts))
        config.chmod(0o600)
        self.start("slurmdbd", "-D", environment={"SLURM_CONF": f"{folder}/slurm.conf"})
        self.until(lambda: reached(facts["ports"][2]), "slurmdbd listens")

    def start(self, program, *words, environment=None):
        """Starts a daemon, which writes its log into the folder."""
        with open(self.folder / f"{program}.out", "ab") as log:
            path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
            line = [str(word) for word in (path, *words)]
            how = {"env": os.environ | (environment or {}), "start_new_session": True}
            self.daemons[program] = subprocess.Popen(line, stdout=log, stderr=log, **how)

    def until(self, condition, what):
        """Waits for a condition; RuntimeError where a daemon ends before."""
        until(lambda: condition() or any(each.poll() is not None for each in self.daemons.values()), what)
        for name, daemon in self.daemons.items():
            if daemon.poll() is not None:
                raise RuntimeError(f"{name} has ended: {(self.folder / f'{name}.out').read_text()[-500:]}")

    def start_node(self):
        """Starts the node and waits until it takes jobs."""
        self.start("slurmd", "-D", "-N", self.node)
        self.call("scontrol", "update", f"nodename={self.node}", "state=resume")
        self.until(lambda: self.call("sinfo", "-h", "-p", "normal", "-o", "%t").strip() == "idle", "the node idles")

    def lose_node(self):
        """A power cut of the node: it is gone, with all that runs on it, and the controller has noticed."""
        self.daemons.pop("slurmd").kill()
        self._kill_steps()
        self.call("scontrol", "update", f"nodename={self.node}", "state=down", "reason=test")

    def _kill_steps(self):
        for number in self._steps():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _steps(self):
        """Processes of running jobs: every slurmstepd, and all that lies below one."""
        below = {}
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                number = int(entry.name)
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                below.setdefault(int(fields[1]), []).append(number)
                if (entry / "comm").read_text().strip() == "slurmstepd":
                    found.append(number)
        for number in found:
            found += below.get(number, [])
        return found

    def call(self, *words):
        """The output of a command of SLURM; empty where it fails."""
        return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout

    def __exit__(self, *_):
        self.call("scancel", "--user=root")
        for program in reversed(self.daemons):
            daemon = self.daemons[program]
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._kill_steps()
        CONFIG.unlink(missing_ok=True)


def reached(port):
    """Whether something listens on a port of this machine."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def until(condition, what, seconds=180):
    """Waits for a condition; TimeoutError that says what it waited for."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s still not: {what}")
        time.sleep(0.2)


def main():
    """Runs one until Ctrl-C."""
    if lacks := missing():
        sys.exit(f"no SLURM: {lacks}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Cluster(sys.argv[1], "--accounting" in sys.argv):
        print("SLURM is up", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
