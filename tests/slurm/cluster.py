"""A real SLURM cluster on this machine's loopback address, from Debian's packages.

`python tests/slurm/cluster.py` prints the Debian packages that are missing, with any Python.
"""

from __future__ import annotations

import getpass
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PACKAGES = {  # program: Debian package
    "munged": "munge",
    "mariadbd": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",  # for mariadb-install-db
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # where the daemons are, for users other than root too
DEVICES = ("null", "zero", "full", "random")  # stand for GPUs: SLURM asks for character devices
READY = frozenset({"idle", "mixed", "allocated", "completing"})
LOG_LINES = 15
PATIENCE = 3  # times what a quiet machine needs: others, and other tests, may take the cores


class Cluster:
    """Virtual nodes n1, n2, ... with fake GPUs, accounting, and the partitions test, low and high; a context manager.

    Jobs in low are preempted by those in high: they get USR2, and after the grace time they are requeued.
    Several clusters can be up side by side. All files are in a temporary folder that `stop` removes.

    Args:
        nodes: Number of nodes.
        gpus: GPUs of a node, 4 at most.
        cpus: CPUs of a node; more than the machine has is fine.
        memory: MB that a node claims to have.
        grace: Seconds from a preempted job's USR2 to its end.
        settings: Lines of slurm.conf in place of the ones here, such as `MaxArraySize=11`.
    """

    def __init__(
        self, nodes: int = 2, gpus: int = 2, cpus: int = 4, memory: int = 16_000, grace: int = 20, **settings: Any
    ) -> None:
        self.nodes = tuple(f"n{number + 1}" for number in range(nodes))
        self.gpus = gpus
        self.cpus = cpus
        self.memory = memory
        self.grace = grace
        self.settings = settings
        self.base = Path()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def missing_packages(cls) -> list[str]:
        """Returns the Debian packages to be installed before a cluster can start here."""
        return [package for program, package in PACKAGES.items() if shutil.which(program, path=PATH) is None]

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        """What SLURM's commands need in their environment."""
        return {"SLURM_CONF": str(self.base / "slurm.conf")}

    def start(self) -> None:
        """Starts all daemons and waits until every node is idle.

        Raises:
            RuntimeError: If packages are missing, or a daemon ends or does not answer; with the ends of all logs.
        """
        if missing := self.missing_packages():
            raise RuntimeError(f"SLURM is not installed: apt-get install {' '.join(missing)}")
        self.base = Path(tempfile.mkdtemp(prefix="slurm-"))
        try:
            self._configure()
            self._start_accounting()
            self.start_controller()
            for node in self.nodes:
                self._spawn_node(node)
            self.wait_until(self._all_ready, 30)
        except BaseException as error:
            logs = self.logs()
            self.stop()
            if isinstance(error, Exception):
                raise RuntimeError(f"the cluster does not start: {error}\n{logs}") from error
            raise

    def stop(self) -> None:
        """Ends jobs and daemons, each by its process id, and removes the folder."""
        for node in self.nodes:
            self.kill_node(node)
        for daemon in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(daemon)
        if self.base != Path():
            shutil.rmtree(self.base)
            self.base = Path()

    def run(self, *command: str | Path) -> str:
        """Runs a command on the cluster and returns what it printed.

        Raises:
            RuntimeError: If it fails; with what it wrote to stderr.
        """
        done = self._call(*command)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _call(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **self.env, "PATH": PATH}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def jobs(self) -> dict[str, str]:
        """Returns the state of each job that waits or runs: {job id, with `_task` in an array: state}."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def sacct(self, *arguments: str) -> list[dict[str, str]]:
        """Returns what accounting knows of jobs, some seconds late: JobID, State, NodeList, ExitCode of each.

        Args:
            arguments: For sacct, such as `-j 12`; `--duplicates` shows each run of a requeued job.
        """
        fields = ("JobID", "State", "NodeList", "ExitCode")
        lines = self.run(
            "sacct", "--noheader", "--allocations", "--parsable2", f"--format={','.join(fields)}", *arguments
        ).splitlines()
        return [dict(zip(fields, line.split("|"), strict=True)) for line in lines]

    def node_states(self) -> dict[str, str]:
        """Returns the state of each node, such as idle, mixed, down; with a `*` if it does not answer."""
        return dict(line.split() for line in self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines())

    def stop_controller(self, kill: bool = False) -> None:
        """Ends slurmctld; with `kill` by SIGKILL, so that it loses what it has not saved."""
        self._end("slurmctld", signal.SIGKILL if kill else signal.SIGTERM)

    def start_controller(self) -> None:
        """Starts slurmctld, from the state that it saved, and waits until it answers."""
        self._spawn("slurmctld", "slurmctld", "-D")
        self._wait_for_port("slurmctld")
        self.wait_until(self._controller_answers, 30)

    def kill_node(self, name: str) -> None:
        """Ends a node as a power cut does: slurmd, and then all of its jobs' processes, by SIGKILL."""
        self._end(name, signal.SIGKILL)
        while processes := self._processes_of(name):
            for process in processes:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)

    def start_node(self, name: str) -> None:
        """Starts a node's slurmd and waits until the controller has it back."""
        self._spawn_node(name)
        self.wait_until(lambda: self.node_states()[name] in READY, 30)

    def clean(self) -> None:
        """Cancels all jobs, and brings back the controller and the nodes that a test ended."""
        if not self._lives("slurmctld"):
            self.start_controller()
        for node in self.nodes:
            if not self._lives(node):
                self._spawn_node(node)
        self.wait_until(self._cancelled, 60)
        drained = [name for name, state in self.node_states().items() if state.startswith("dra")]
        for name in drained:
            self.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
        self.wait_until(self._all_ready, 60)

    def wait_until(self, condition: Callable[[], T], seconds: float, every: float = 0.1) -> T:
        """Asks a condition again and again, and returns its first true value.

        Args:
            condition: Condition that is to become true.
            seconds: Longest time that it takes on a quiet machine, seconds.
            every: Time between two questions, seconds.

        Raises:
            TimeoutError: If there is none in that time.
        """
        end = time.monotonic() + PATIENCE * seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise TimeoutError(f"not so after {PATIENCE * seconds} s")
            time.sleep(every)
        return value

    def logs(self) -> str:
        """Returns the ends of all logs."""
        found = []
        for path in sorted((self.base / "log").glob("*")):
            found += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-LOG_LINES:]]
        return "\n".join(found)

    def _cancelled(self) -> bool:
        jobs = self.jobs()
        if jobs:
            self.run("scancel", "--quiet", *jobs)
            time.sleep(0.4)
        return not jobs

    def _all_ready(self) -> bool:
        return set(self.node_states().values()) <= READY

    def _controller_answers(self) -> bool:
        self._check("slurmctld")
        return self._call("scontrol", "ping").returncode == 0

    def _lives(self, daemon: str) -> bool:
        return daemon in self._daemons and self._daemons[daemon].poll() is None

    def _check(self, daemon: str) -> None:
        if not self._lives(daemon):
            raise RuntimeError(f"{daemon} ended")

    def _spawn(self, daemon: str, *command: str | Path, **env: str) -> None:
        with (self.base / "log" / daemon).open("ab") as log:
            self._daemons[daemon] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.base, start_new_session=True,
                env={**os.environ, **self.env, "PATH": PATH, **env},
            )  # fmt: skip

    def _spawn_node(self, name: str) -> None:
        self._spawn(name, "slurmd", "-D", "-N", name, SLURMD_NODENAME=name)

    def _end(self, daemon: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self._daemons.pop(daemon, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(15 * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _processes_of(self, node: str) -> list[int]:
        """Returns the ids of a node's processes, which all have its name and this cluster in their environment."""
        wanted = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.env['SLURM_CONF']}".encode()}
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted <= set(path.read_bytes().split(b"\0")):
                    found.append(int(path.parent.name))
            except OSError:  # it ended, or it is another user's
                continue
        return found

    def _wait_for_port(self, daemon: str) -> None:
        def answers() -> bool:
            self._check(daemon)
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", self.ports[daemon])) == 0

        self.wait_until(answers, 30)

    def _start_accounting(self) -> None:
        munge_socket = self.base / "munge.socket"
        # forced, since otherwise it refuses a temporary folder that is closed to others
        self._spawn(
            "munged", "munged", "--foreground", "--force", f"--socket={munge_socket}",
            f"--key-file={self.base / 'munge.key'}", f"--pid-file={self.base / 'munged.pid'}",
            f"--seed-file={self.base / 'munge.seed'}", f"--log-file={self.base / 'log' / 'munged'}",
        )  # fmt: skip
        defaults = f"--defaults-file={self.base / 'my.cnf'}"
        self.run(
            "mariadb-install-db", defaults, f"--user={getpass.getuser()}", "--skip-test-db",
            "--auth-root-authentication-method=socket",
        )  # fmt: skip
        self._spawn("mariadbd", "mariadbd", defaults, f"--init-file={self.base / 'accounts.sql'}")
        self._wait_for_port("mariadbd")
        self._check("munged")
        self.wait_until(munge_socket.exists, 10)
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._wait_for_port("slurmdbd")

    def _configure(self) -> None:
        """Writes all configuration files."""
        self.ports = free_ports("mariadbd", "slurmdbd", "slurmctld", *self.nodes)
        for folder in ("log", "state", "mysql", "tmp", *(f"spool/{node}" for node in self.nodes)):
            (self.base / folder).mkdir(parents=True)
        password = secrets.token_hex()
        self._write("munge.key", secrets.token_hex(512))
        self._write("plugstack.conf", "")
        self._write("my.cnf", self._database_settings())
        self._write(
            "accounts.sql",
            "CREATE DATABASE slurm;\n"
            f"CREATE USER slurm@127.0.0.1 IDENTIFIED BY '{password}';\n"
            "GRANT ALL ON slurm.* TO slurm@127.0.0.1;\n",
        )
        self._write("slurmdbd.conf", self._accounting_settings(password))
        devices = "".join(f"Name=gpu File=/dev/{device}\n" for device in DEVICES[: self.gpus])
        self._write("gres.conf", f"AutoDetect=off\n{devices}")
        self._write("slurm.conf", self._slurm_settings())

    def _write(self, name: str, text: str) -> None:
        path = self.base / name
        path.touch(mode=0o600)
        path.write_text(text)

    def _database_settings(self) -> str:
        return "[mariadbd]\n" + lines(
            {
                "user": getpass.getuser(),
                "datadir": self.base / "mysql",
                "tmpdir": self.base / "tmp",  # the names of two servers' temporary tables may be the same
                "socket": self.base / "mysql.socket",
                "pid-file": self.base / "mariadbd.pid",
                "bind-address": "127.0.0.1",
                "port": self.ports["mariadbd"],
                "skip-name-resolve": 1,
                "skip-log-bin": 1,
                "performance-schema": 0,
                "innodb-buffer-pool-size": "32M",
                "innodb-log-file-size": "8M",
                "innodb-flush-log-at-trx-commit": 0,
                "innodb-lock-wait-timeout": 900,
            }
        )

    def _accounting_settings(self, password: str) -> str:
        return lines(
            {
                "AuthType": "auth/munge",
                "AuthInfo": f"socket={self.base / 'munge.socket'}",
                "DbdHost": "localhost",
                "DbdAddr": "127.0.0.1",
                "DbdPort": self.ports["slurmdbd"],
                "SlurmUser": getpass.getuser(),
                "PidFile": self.base / "slurmdbd.pid",
                **loopback_only("NoInAddrAny"),
                "StorageType": "accounting_storage/mysql",
                "StorageHost": "127.0.0.1",
                "StoragePort": self.ports["mariadbd"],
                "StorageUser": "slurm",
                "StoragePass": password,
                "StorageLoc": "slurm",
            }
        )

    def _slurm_settings(self) -> str:
        user, host = getpass.getuser(), host_name()
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": self.ports["slurmctld"],
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            # a requeued job waits until its old credential is void: 2 minutes by default
            "AuthInfo": f"socket={self.base / 'munge.socket'},cred_expire=5",
            "CredType": "cred/munge",
            "StateSaveLocation": self.base / "state",
            "SlurmdSpoolDir": self.base / "spool" / "%n",
            "SlurmctldPidFile": self.base / "slurmctld.pid",
            "SlurmdPidFile": self.base / "%n.pid",
            "SlurmdLogFile": self.base / "log" / "%n-steps",  # what the steps log goes nowhere else
            "PlugStackConfig": self.base / "plugstack.conf",
            "DebugFlags": "NO_CONF_HASH",
            "MailProg": "/bin/true",
            **loopback_only("NoCtldInAddrAny,NoInAddrAny"),
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "MpiDefault": "none",
            "SwitchType": "switch/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "bf_interval=2,sched_interval=2",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "SlurmctldParameters": "preempt_send_user_signal",
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": self.ports["slurmdbd"],
            "AccountingStoragePass": self.base / "munge.socket",  # slurmdbd's clients do not read AuthInfo
            "MaxArraySize": 1001,
            "JobRequeue": 1,
            "KillWait": 5,
            "MinJobAge": 300,
            "SlurmctldTimeout": 60,
            "SlurmdTimeout": 15,
            "ReturnToService": 2,
            "SlurmdParameters": "config_overrides",
            "GresTypes": "gpu",
        }
        hardware = (
            f"CPUs={self.cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={self.cpus} ThreadsPerCore=1 "
            f"RealMemory={self.memory} Gres=gpu:{self.gpus}"
        )
        return (
            lines(settings | self.settings)
            + "".join(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={self.ports[node]} {hardware}\n"
                for node in self.nodes
            )
            + "PartitionName=test Nodes=ALL Default=YES MaxTime=60 PriorityTier=5 PreemptMode=OFF\n"
            + f"PartitionName=low Nodes=ALL MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime={self.grace}\n"
            + "PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=9 PreemptMode=OFF\n"
        )


def lines(settings: dict[str, Any]) -> str:
    """Returns settings as a configuration file has them."""
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def host_name() -> str:
    """Returns this machine's name without the domain, by which SLURM's daemons find themselves."""
    return socket.gethostname().partition(".")[0]


def loopback_only(parameters: str) -> dict[str, str]:
    """Returns the setting that keeps other addresses shut; SLURM has it only where the own name is a loopback one."""
    try:
        is_loopback = socket.gethostbyname(host_name()).startswith("127.")
    except OSError:
        is_loopback = False
    return {"CommunicationParameters": parameters} if is_loopback else {}


def free_ports(*names: str) -> dict[str, int]:
    """Returns a free port for each name, below the ports that systems give to outgoing connections."""
    ports: dict[str, int] = {}
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as server:
            if server.connect_ex(("127.0.0.1", port)) == 0:
                continue
        ports[names[len(ports)]] = port
        if len(ports) == len(names):
            return ports
    raise RuntimeError("no free ports from 20000 to 32000")


if __name__ == "__main__":
    print(*Cluster.missing_packages())
