"""The plan of a round: the processes, and which are killed when; all drawn from a seed."""

import random
from dataclasses import dataclass, replace
from typing import Literal

from ringipc._arguments import Wait
from ringipc._opening import Overflow

from . import slots

WAITS: tuple[Wait, ...] = ("adaptive", "adaptive", "adaptive", "block", "block", "block", "spin")


@dataclass(frozen=True)
class Group:
    name: str
    shared: bool
    durable: bool  # or declared
    lossy: bool = False
    declared: bool = False
    limit: int | None = None  # max_deliveries
    letters: str | None = None  # the channel of its dead letters


@dataclass(frozen=True)
class Puts:
    """A producer."""

    seed: int
    wait: Wait
    fileno: bool
    count: int
    free: int  # the number of messages put before all processes have attached
    early: bool  # closes when it has put all, without waiting for the others
    pauses: float
    alarm: tuple[int, float] | None = None  # it kills itself: in this phase, after this number of seconds


@dataclass(frozen=True)
class Gets:
    """A consumer."""

    seed: int
    wait: Wait
    fileno: bool
    group: Group
    copy: bool | None
    calls: tuple[Literal["get", "many", "message"], ...]
    filters: bool
    hold: int  # number of messages that it keeps between two calls; it releases them in any order
    pauses: float = 0.0  # probability of a pause after a call
    requeues: float = 0.0  # probability that a `Message` is requeued instead of released; in a shared group
    leave: int | None = None  # closes after this number of messages
    alarm: tuple[int, float] | None = None


Role = Puts | Gets


@dataclass(frozen=True)
class Kill:
    victim: Role
    first: bool  # a process that attaches at the start; else a new one, which is killed while it attaches
    phase: int
    after: int  # the number of its events before the kill, if it is killed at work
    successor: Role | None


@dataclass(frozen=True)
class Plan:
    seed: int
    overflow: Overflow
    lane: Literal["own", "shared"]  # of all producers
    slots: int
    capacity: int
    longest: int
    arrays: int  # number of arrays among eight messages
    declared: tuple[str, ...]
    first: tuple[Role, ...]
    kills: tuple[Kill, ...]


def _puts(rng: random.Random, overflow: Overflow) -> Puts:
    count = rng.randrange(10, 100)
    return Puts(
        seed=rng.getrandbits(32),
        wait=rng.choice(WAITS),
        fileno=rng.random() < 0.25,
        count=count,
        free=rng.randrange(count) if overflow == "block" and rng.random() < 0.3 else 0,
        early=rng.random() < 0.2,
        pauses=rng.choice([0, 0.1, 0.4]),
    )


def _gets(rng: random.Random, group: Group) -> Gets:
    return Gets(
        seed=rng.getrandbits(32),
        wait=rng.choice(WAITS),
        fileno=rng.random() < 0.25,
        group=group,
        copy=rng.choice([None, None, False, True]),
        calls=rng.choice([("get",), ("many",), ("message",), ("message",), ("get", "many", "message")]),
        filters=rng.random() < 0.3,
        hold=rng.choice([0, 2, 6]),
        pauses=rng.choice([0.2, 0.6]),
        requeues=rng.choice([0.1, 0.4, 0.8] if group.limit else [0, 0, 0.1, 0.4]) if group.shared else 0,
    )


def _group(rng: random.Random, name: str, kind: str, declared: bool = False) -> Group:
    shared, durable = "shared" in kind, "durable" in kind or declared
    limit = rng.choice([1, 2, 2, 3]) if (shared or durable) and rng.random() < 0.35 else None
    letters = f"dead of {name}" if limit and rng.random() < 0.75 else None
    return Group(name, shared, durable, "lossy" in kind, declared, limit, letters)


def _kind(rng: random.Random, *kinds: str) -> str:
    return ("lossy " if rng.random() < 0.2 else "") + rng.choice(kinds)


def _newcomer(rng: random.Random, groups: list[Group], overflow: Overflow) -> Role:
    """A process that attaches later than the others, and is killed while it does."""
    shared = [group for group in groups if group.shared]
    match rng.randrange(3):
        case 0:
            return _puts(rng, overflow)
        case 1 if shared:
            return _gets(rng, rng.choice(shared))
        case _:
            kind = _kind(rng, "exclusive", "durable", "shared durable")
            return _gets(rng, _group(rng, f"late {rng.getrandbits(32)}", kind))


def _moment(rng: random.Random, phase: int) -> float:
    return 1e-6 + rng.random() * (0.0006 if phase == slots.ATTACHING else 0.0003)


def _kill(rng: random.Random, first: list[Role], spared: set[int], groups: list[Group], overflow: Overflow) -> Kill:
    phase = rng.choice([slots.ATTACHING, slots.WORKING, slots.WORKING, slots.CLOSING])
    choices = [i for i in range(len(first)) if i not in spared]
    if phase == slots.ATTACHING or not choices:
        phase = slots.ATTACHING
        victim = replace(_newcomer(rng, groups, overflow), alarm=(phase, _moment(rng, phase)))
    else:
        index = rng.choice(choices)
        spared.add(index)  # each process dies once
        victim = first[index]
        alarm, early = (phase, _moment(rng, phase)), rng.random() < 0.5
        if phase == slots.CLOSING and isinstance(victim, Gets):
            victim = replace(victim, alarm=alarm, leave=rng.randrange(25) if early else None)
        elif phase == slots.CLOSING and isinstance(victim, Puts):
            victim = replace(victim, alarm=alarm, early=early and index > 0)
        first[index] = victim
    keeps = victim == first[0]  # for late processes the channel must exist: a successor takes over and stays to the end
    wanted = keeps or (isinstance(victim, Gets) and victim.group.durable)
    successor: Role | None = None
    if wanted or rng.random() < 0.85:
        successor = _puts(rng, overflow) if isinstance(victim, Puts) else _gets(rng, victim.group)
        successor = replace(successor, early=False) if isinstance(successor, Puts) and keeps else successor
    return Kill(
        victim=victim,
        first=phase != slots.ATTACHING,
        phase=phase,
        after=rng.randrange(60),
        successor=successor,
    )


def draw(seed: int) -> Plan:
    rng = random.Random(seed)
    overflow: Overflow = rng.choice(["block", "block", "drop-new", "drop-old"])
    longest = rng.choice([60, 60, 2000, 6000])
    groups = []
    declared = rng.random() < 0.3
    first: list[Role] = [_puts(rng, overflow) for _ in range(rng.choice([1, 1, 2, 3]))]
    spared: set[int] = set()  # one member of a shared group that is not durable stays
    for i in range(rng.choice([1, 1, 2, 3])):
        group = _group(rng, f"group {i}", _kind(rng, "exclusive", "shared", "durable", "shared durable"), declared)
        groups.append(group)
        if group.shared and not group.durable:
            spared.add(len(first))
        first += [_gets(rng, group) for _ in range(rng.choice([2, 3]) if group.shared else 1)]
    assert isinstance(first[0], Puts)
    first[0] = replace(first[0], early=False)
    kills = [_kill(rng, first, spared, groups, overflow) for _ in range(rng.choice([1, 1, 2, 3]))]
    kills.sort(key=lambda kill: isinstance(kill.victim, Gets))  # consumers that close at the end wait for the producers
    return Plan(
        seed=seed,
        overflow=overflow,
        lane="shared" if random.Random(seed + 1).random() < 0.4 else "own",  # the rest of the plan is as without it
        slots=rng.choice([2, 8, 32]),
        capacity=rng.choice([1, 2, 8]) * max(longest + 300, 4096),
        longest=longest,
        arrays=rng.choice([0, 4, 8]),
        declared=tuple(group.name for group in groups if group.declared),
        first=tuple(first),
        kills=tuple(kills),
    )
