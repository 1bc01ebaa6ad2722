"""Rounds in which processes are killed at random. As a program, it repeats one round.

PYTHONPATH=tests python -m crash.machine SEED [TIMES]
"""

import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import ringipc

from . import slots
from .check import Check, Figures, Key, Life
from .plan import Gets, Group, Kill, Plan, Puts, Role, draw
from .slots import LIMIT, PHASES, Memory
from .workers import CHANNEL, collect, get_all, put_all, visit

# the group of the consumer that reads where no other group would
EXTRA = Gets(0, "adaptive", False, Group("", shared=False, durable=False), None, ("get",), filters=False, hold=0)


def fork(work: Callable[[], None]) -> int:
    """Fork a child that does the work; it exits with status 0, or with 1 and a traceback."""
    pid = os.fork()
    if pid != 0:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - any error ends the child here
        traceback.print_exc()
    finally:
        os._exit(status)


class Round:
    """Starts the processes of a round, kills some of them, and waits until the others have ended."""

    def __init__(self, plan: Plan, memory: Memory, base: Path) -> None:
        memory.clear()
        self.plan = plan
        self.memory = memory
        self.base = base
        self.lives: list[Life] = []
        self.running: list[Life] = []
        self.kills: list[str] = []
        self.killed_late = False

    def run(self) -> Figures:
        try:
            self.begin()
            for kill in self.plan.kills:
                if not self.is_late(kill):
                    self.kill(kill)
            self.expect(self.all_have_put, "the producers have not put all messages")
            self.memory.finish = True
            for kill in self.plan.kills:
                if self.is_late(kill):
                    self.kill(kill)
            self.expect(lambda: not self.running, "not all processes have ended")
            letters = self.collect_letters()
            self.remove_durable_groups()
            self.expect_nothing_left()
            figures = Check(self.plan, self.lives, letters).all()
        finally:
            for life in self.running:
                os.kill(life.pid, signal.SIGKILL)
                os.waitpid(life.pid, 0)
        figures.kills.update(self.kills)
        return figures

    # ---- processes ----

    def start(self, role: Role) -> Life:
        number = len(self.lives)
        if isinstance(role, Puts):
            pid = fork(lambda: put_all(self.plan, role, number, self.memory))
        else:
            pid = fork(lambda: get_all(self.plan, role, number, self.memory))
        life = Life(role, number, self.memory.slots[number], pid)
        self.lives.append(life)
        self.running.append(life)
        return life

    def poll(self) -> None:
        """Record the processes that have ended."""
        for life in list(self.running):
            pid, status = os.waitpid(life.pid, os.WNOHANG)
            if pid:
                self.ended(life, status)

    def ended(self, life: Life, status: int) -> None:
        self.running.remove(life)
        life.killed = status == signal.SIGKILL or (life.role.alarm is not None and status == signal.SIGALRM)
        assert life.killed or status == 0, f"{life.role} ended with {os.waitstatus_to_exitcode(status)}"
        if life.killed:
            kind = "producer" if isinstance(life.role, Puts) else kind_of(life.role.group)
            self.kills.append(f"{kind}, {PHASES[life.phase]}")
            self.killed_late |= self.memory.finish

    def expect(self, condition: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + 2 * LIMIT
        while not condition():
            self.poll()
            assert time.monotonic() < end, f"{otherwise}: {[(life.role, PHASES[life.phase]) for life in self.running]}"
            time.sleep(0.0002)

    # ---- the course of a round ----

    def begin(self) -> None:
        for role in self.plan.first:
            life = self.start(role)
            if life.number == 0:  # this one makes the channel
                self.expect(lambda: self.lives[0].phase > slots.ATTACHING, "no channel")
        self.expect(lambda: all(life.phase > slots.ATTACHING for life in self.lives), "not all processes have attached")
        self.memory.go = True

    def is_late(self, kill: Kill) -> bool:
        """Whether it closes only when all processes do."""
        if kill.phase != slots.CLOSING:
            return False
        return not kill.victim.early if isinstance(kill.victim, Puts) else kill.victim.leave is None

    def all_have_put(self) -> bool:
        return all(
            life.phase >= slots.PUT_ALL if isinstance(life.role, Puts) else life.phase > slots.ATTACHING
            for life in self.running
        )

    def kill(self, kill: Kill) -> None:
        """Kill a process at work; if it has set an alarm to kill itself, wait for that."""
        life = self.lives[self.plan.first.index(kill.victim)] if kill.first else self.start(kill.victim)
        end = time.monotonic() + 0.02  # the victim may never reach that phase
        while time.monotonic() < end and life in self.running:
            if kill.phase == slots.WORKING and (life.slot[slots.COUNT] >= kill.after or life.phase > slots.WORKING):
                break
            self.poll()
            os.sched_yield()
        if life in self.running:
            life.slot[slots.KILLED] = 1
            os.kill(life.pid, signal.SIGKILL)
            self.ended(life, os.waitpid(life.pid, 0)[1])
        successor = self.successor(kill)
        if successor:
            self.start(successor)

    def successor(self, kill: Kill) -> Role | None:
        durable = isinstance(kill.victim, Gets) and kill.victim.group.durable
        if kill.successor and (durable or not self.memory.finish):
            return kill.successor
        readers = [life for life in self.running if isinstance(life.role, Gets) and life.role.leave is None]
        if readers or self.memory.finish:
            return None
        return replace(EXTRA, group=replace(EXTRA.group, name=f"extra {len(self.lives)}"))  # else nobody reads

    # ---- afterwards ----

    def collect_letters(self) -> dict[Group, list[Key]]:
        """Return the dead letters of each group that has any; afterwards nothing is left of their channels."""
        groups = {life.role.group for life in self.lives if isinstance(life.role, Gets)}
        return {group: collect(group.letters, self.plan.longest) for group in groups if group.letters}

    def remove_durable_groups(self) -> None:
        groups = {life.role.group for life in self.lives if isinstance(life.role, Gets) and life.role.group.durable}
        for group in groups:
            # a declared one has ended by itself, unless a killed member has left something
            with suppress(*((ringipc.ChannelNotFound, ringipc.GroupNotFound) if group.declared else ())):
                ringipc.Channel.open(CHANNEL).remove_group(group.name)

    def files(self) -> list[Path]:
        return list(self.base.glob("ringipc-*/*"))

    def expect_nothing_left(self) -> None:
        """The last member to close removes the channel; if that one was killed, the next member to attach does."""
        if self.killed_late and self.files():
            _, status = os.waitpid(fork(visit), 0)
            assert status == 0, "the visitor has not ended"
        assert not self.files(), f"left: {self.files()}"


def kind_of(group: Group) -> str:
    return f"{'durable ' if group.durable else ''}{'shared' if group.shared else 'exclusive'} consumer"


def run(base: str, seconds: float, seed: int, times: int | None = None) -> Figures:
    """Run rounds for a number of seconds, each with a seed of its own, or one round a number of times."""
    os.environ["RINGIPC_DIR"] = base
    logging.getLogger("ringipc").setLevel(logging.ERROR)  # the first dead letter of each consumer is logged
    memory = Memory()
    figures = Figures()
    end = time.monotonic() + seconds
    while time.monotonic() < end if times is None else figures.rounds < times:
        try:
            figures.add(Round(draw(seed), memory, Path(base)).run())
        except Exception as error:
            raise AssertionError(
                f"{error}\nin round {seed}: PYTHONPATH=tests python -m crash.machine {seed} 1000\n{draw(seed)}"
            ) from error
        seed += times is None
    return figures


def main() -> None:
    shm = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="test-ringipc-", dir=shm if os.access(shm, os.W_OK) else None) as base:
        print(run(base, 0, int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))


if __name__ == "__main__":
    main()
