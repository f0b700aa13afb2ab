"""`prunebench` as a process forked off one that has imported torch, pandas and matplotlib: 0.1 s to start it, not 2.

    warm.py serve DESCRIPTOR        a server that listens on an inherited socket, until its stdin ends
    warm.py call ADDRESS WORD...    `prunebench WORD...` by that server

Nothing of prunebench is imported before the fork: each command imports what it needs, as in a process of its own.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback

PRELOADED = ("torch", "pandas", "scipy.stats", "matplotlib.figure", "seaborn", "pydantic", "rich", "typer", "jinja2")


def call(address, *words):
    """In the rule's process: hands the command over, with stdin, stdout and stderr, and ends as it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(address)
        content = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(connection, [len(content).to_bytes(8)], [0, 1, 2])
        connection.sendall(content)
        status = connection.recv(1)
    sys.exit(status[0] if status else "the server of prunebench is gone")


def serve(descriptor):
    """Forks a process for each call, and beside it one that watches it."""
    for name in PRELOADED:
        __import__(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(fileno=int(descriptor))
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(connection)
        connection.close()


def command():
    """The command, and its exit code."""
    from prunebench.__main__ import main

    try:
        main()
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def answer(connection):
    """Does the command in a child; the caller's death is the child's."""
    size, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    words, folder, environment = json.loads(connection.recv(int.from_bytes(size), socket.MSG_WAITALL))
    child = os.fork()
    if child == 0:
        connection.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["prunebench", *words]
        # Without the interpreter's own end, which would touch, and so copy, all that was imported.
        os._exit(command())
    ended = os.pidfd_open(child)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):  # the caller is gone
        connection.send(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


if __name__ == "__main__":
    {"call": call, "serve": serve}[sys.argv[1]](*sys.argv[2:])
