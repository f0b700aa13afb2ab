"""`prunebench` as a process forked off one that has imported torch already: it starts in a tenth of the time.

Snakemake starts the server where its jobs run (`start`). `prunebench`, called by a rule, hands its command over, passes
signals on, and ends as the command ends (`hand_over`); a command that the server does not take is done as without it.
So a job is logged, stopped and killed by its own process below Snakemake. Python's library alone; Linux only.

A caller sends its words, folder, environment and standard streams, and after that the number of each signal. It gets
TAKEN, and later the exit code, a byte each; or nothing. Either's end is the command's.
"""

import atexit
import contextlib
import ctypes
import gc
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

ADDRESS = "PRUNEBENCH_SERVER"
"""The environment variable that names the server's socket, which has no place among the files."""

PRELOADED = (
    *("torch", "pandas", "scipy.stats", "matplotlib.figure", "seaborn", "rich.console", "jinja2"),
    *("prunebench.cli", "prunebench.runs.run", "prunebench.runs.engine", "prunebench.suite.exhibits"),
)
"""What the server imports."""

READ_ON_IMPORT = (
    *("ATEN_", "CUDA_", "DNNL_", "GLIBC_", "GOMP_", "KMP_", "LD_", "MALLOC_", "MKL_", "NPY_", "OMP_", "ONEDNN_"),
    *("OPENBLAS_", "PYTHON", "PYTORCH_", "SLURM_JOB", "TORCH"),
)
"""How variables begin that Python and libraries read when they are loaded, or that say where a process may compute: a
caller must have the server's. But for numbers of threads, of which `prunebench do` has an option."""

TAKEN = b"+"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
KILLED = 128 + signal.SIGKILL
SIZE = struct.Struct("Q")
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def start() -> None:
    """Starts a server for the processes that this one starts from now on. It ends with this one, however that ends, but
    not before the commands that it does. Raises OSError where it cannot be started."""
    name = f"prunebench-{secrets.token_hex(16)}"
    until, _ = os.pipe()  # the other end closes with this process, and no process of its own has it
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen(1024)
        line = [sys.executable, "-P", "-m", "prunebench.server", str(listener.fileno())]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # as in a job; no thread may start before a fork
        # A terminal's Ctrl-C is for Snakemake and the jobs' own processes.
        how: dict[str, Any] = {"stdin": until, "pass_fds": [listener.fileno()], "start_new_session": True}
        subprocess.Popen(line, env=environment, **how)
    os.close(until)
    os.environ[ADDRESS] = name


def hand_over(name: str) -> None:
    """Lets the server do this process's command and ends as it ends; returns where the server does not take it."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(f"\0{name}")
            request = json.dumps([sys.prefix, sys.argv, os.getcwd(), dict(os.environ)]).encode()
            socket.send_fds(connection, [SIZE.pack(len(request))], [0, 1, 2])
            connection.sendall(request)
            if connection.recv(1) != TAKEN:
                return
        except OSError:
            return

        def tell(number: int, frame: object) -> None:
            with contextlib.suppress(OSError):  # the command has ended
                connection.send(bytes([number]))

        for number in SIGNALS:
            signal.signal(number, tell)
        status = connection.recv(1)
    if not status:
        print("prunebench: killed with the server of its Snakemake; the same command goes on", file=sys.stderr)
    raise SystemExit(status[0] if status else KILLED)


# --- The server's side


@dataclass(frozen=True)
class Request:
    """A caller's installation, its command's words, folder and environment, and descriptors of its streams."""

    prefix: str
    words: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    streams: Sequence[int]

    @classmethod
    def read(cls, connection: socket.socket) -> "Request | None":
        """What `hand_over` sends; None where it was killed meanwhile."""
        head, streams, _, _ = socket.recv_fds(connection, SIZE.size, 3)
        size = SIZE.unpack(head)[0] if len(head) == SIZE.size else 0
        content = connection.recv(size, socket.MSG_WAITALL)
        if not size or len(content) < size:
            return None
        prefix, words, folder, environment = json.loads(content)
        return cls(prefix, words, folder, environment, streams)

    def do(self) -> NoReturn:
        """Makes this process, which has just been forked, the command's."""
        for number, descriptor in enumerate(self.streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        del os.environ[ADDRESS]  # what the command starts is its own
        sys.argv = [*self.words]
        atexit.unregister(shutil.rmtree)  # of a folder that matplotlib made, for want of a home that it can write into
        # Not by the interpreter's own end, which would touch, and so copy, all that was imported.
        os._exit(_exit_code())


def _exit_code() -> int:
    """Does the command; its exit code."""
    try:
        from prunebench.__main__ import main

        main()
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


class Server:
    """Forks a process for each command that it takes, and waits for callers, for the commands, and for its end."""

    def __init__(self, listener: socket.socket, accepts: Callable[[Request], bool]) -> None:
        self._listener, self._accepts = listener, accepts
        self._events = selectors.DefaultSelector()
        self._events.register(listener, selectors.EVENT_READ, self._answer)
        self._events.register(sys.stdin, selectors.EVENT_READ, self._close)
        self._open, self._commands = True, 0

    def serve(self) -> None:
        """Until its Snakemake has ended, and the last command."""
        while self._open or self._commands:
            for key, _ in self._events.select():
                if self._events.get_map().get(key.fd) is key:  # an event before this one may have ended it
                    key.data()

    def _close(self) -> None:
        self._events.unregister(sys.stdin)
        self._events.unregister(self._listener)
        self._listener.close()
        self._open = False

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        request = Request.read(connection) if user == os.getuid() else None
        if request and self._accepts(request):
            self._begin(connection, request)
        else:
            connection.close()
        for descriptor in request.streams if request else ():
            os.close(descriptor)

    def _begin(self, connection: socket.socket, request: Request) -> None:
        connection.sendall(TAKEN)
        server = os.getpid()
        number = os.fork()
        if number == 0:
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
            if os.getppid() != server:
                os._exit(KILLED)
            # Else a caller would not see its own command end with the server.
            for shared in [connection, *(key.fileobj for key in self._events.get_map().values())]:
                if isinstance(shared, socket.socket):
                    shared.close()
            request.do()
        self._commands += 1
        ended = os.pidfd_open(number)
        self._events.register(connection, selectors.EVENT_READ, partial(self._tell, connection, number))
        self._events.register(ended, selectors.EVENT_READ, partial(self._end, connection, number, ended))

    def _tell(self, connection: socket.socket, number: int) -> None:
        """Passes a caller's signals on; the caller's death is the command's."""
        signals = connection.recv(64)
        if not signals:
            self._events.unregister(connection)
        for each in signals or [signal.SIGKILL]:
            os.kill(number, each)

    def _end(self, connection: socket.socket, number: int, ended: int) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        with contextlib.suppress(OSError):  # the caller is gone
            connection.send(bytes([code if code >= 0 else 128 - code]))
        for event in (connection, ended):
            with contextlib.suppress(KeyError):
                self._events.unregister(event)
        connection.close()
        os.close(ended)
        self._commands -= 1


def _read_on_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k.startswith(READ_ON_IMPORT) and not k.endswith("_THREADS")}


def main(descriptor: str) -> None:
    """A server that listens at an inherited socket until its stdin ends."""
    environment = _read_on_import(os.environ)
    from prunebench.runs import numerics

    numerics.pin()
    sys.modules["pyarrow"] = None  # type: ignore[assignment]  # as in prunebench.__main__
    for name in PRELOADED:
        import_module(name)
    from prunebench.runs.provenance import source_digest
    from prunebench.suite.preset import preset_model

    preset_model()
    sources = source_digest()

    def accepts(request: Request) -> bool:
        """Whether the command would import what has been imported here."""
        same = request.prefix == sys.prefix and _read_on_import(request.environment) == environment
        return same and source_digest.__wrapped__() == sources

    if len(os.listdir("/proc/self/task")) > 1:
        raise SystemExit("prunebench: a library has started threads: jobs start without a server")
    gc.freeze()  # collecting would touch, and so copy, what commands share
    Server(socket.socket(fileno=int(descriptor)), accepts).serve()


if __name__ == "__main__":
    main(sys.argv[1])
