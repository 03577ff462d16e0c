"""The network namespace of a run: made with the parent of all nodes, entered by short commands.

It has no name and is mounted nowhere: the kernel takes it away, with its rules, classes and queues,
when the last process in it has ended.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

COMMAND_S: Final = 60.0
"""What ends within milliseconds, on a machine that has fifty times too much to do."""


class KernelError(Exception):
    """The kernel or one of its tools refused; in a sentence."""


def tools_environment() -> dict[str, str]:
    """The environment for commands of administrators, which is not in everybody's path."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


def unshare_words() -> tuple[str, ...]:
    """What makes a namespace around a command: without privilege, in a user namespace, too."""
    return ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")


class Namespace:
    """The network namespace of a process that runs.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._enter = ["nsenter", "--target", str(pid), "--net"]
        if _user_namespace(pid) != _user_namespace(os.getpid()):
            self._enter += ["--user", "--preserve-credentials"]

    def inside(self, words: Sequence[str]) -> list[str]:
        """The command that runs these words there, in the same process."""
        return [*self._enter, *words]

    async def run(self, words: Sequence[str], text: str = "") -> str:
        """Run a short command there with a text to read; what it prints. Raises KernelError."""
        command = self.inside(words)
        with trio.move_on_after(COMMAND_S):
            try:
                done = await trio.run_process(
                    command,
                    stdin=text.encode(),
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env=tools_environment(),
                    # Ctrl-C is the harness's to hear: what it began in the kernel, it ends.
                    start_new_session=True,
                )
            except OSError as error:
                raise KernelError(f"cannot run {words[0]}: {error.strerror}") from None
            if done.returncode != 0:
                raise KernelError(f"{' '.join(words[:3])}: {last_words(done)}")
            return done.stdout.decode(errors="replace")
        raise KernelError(f"{words[0]} did not end within {COMMAND_S:.0f} s")


def last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why a command failed: the first line of its errors that says so, or else the last one."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    told = [line for line in lines if "rror" in line] or lines[-1:]
    return told[0].strip()[:200] if told else f"exit code {done.returncode}"


def _user_namespace(pid: int) -> str:
    return os.readlink(Path(f"/proc/{pid}/ns/user"))
