"""Was everything that was put got as promised? Said from what the processes of a round have written down."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from . import slots
from .plan import Gets, Group, Plan, Puts, Role
from .slots import Slot

Key = tuple[int, int]  # producer, number
DEATH = -1


@dataclass
class Life:
    """A process from its fork to its end."""

    role: Role
    number: int
    slot: Slot
    pid: int
    killed: bool = False

    @property
    def phase(self) -> int:
        return self.slot[slots.PHASE]


@dataclass
class Figures:
    """Summed up over rounds."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    messages: int = 0  # got, in order and whole
    dropped: int = 0  # by lanes that drop, and counted
    in_hand: int = 0  # that a killed consumer had let go, or might have, before it wrote down that it had got them
    marked: int = 0  # got again, marked as redelivered
    unknown: int = 0  # got again by a call that does not say
    longest: float = 0.0  # seconds that a call has taken

    def add(self, other: "Figures") -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if name == "longest":
                self.longest = max(mine, value)
            elif isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)


@dataclass
class Got:
    """What one consumer has got, and let go."""

    life: Life
    got: dict[Key, int] = field(default_factory=dict)  # whether redelivered
    order: list[tuple[int, Key, int]] = field(default_factory=list)  # kind or how it was asked for, which, redelivered
    let_go: set[Key] = field(default_factory=set)
    views: set[Key] = field(default_factory=set)  # of what it got: done when it gets again
    told: list[int] = field(default_factory=list)

    @property
    def role(self) -> Gets:
        assert isinstance(self.life.role, Gets)
        return self.life.role

    @property
    def settled(self) -> set[Key]:
        """What does not come again."""
        if not self.life.killed:
            return set(self.got)
        event = self.life.slot[slots.RELEASING]  # it may have been let go
        may_be = {(event >> 32 & 0xFFFF, event & 0xFFFFFFFF)} if event else set()
        return self.let_go | may_be | (self.views if self.under_way else set())  # or it was just getting again

    @property
    def under_way(self) -> int:
        """How many it may have got without writing it down."""
        return max(self.life.slot[slots.PENDING], 0) if self.life.killed else 0

    @property
    def may_lack(self) -> int:
        """How many of those it may have let go as well: where a call copies, it lets go."""
        return self.under_way if self.role.copy is not False and set(self.role.calls) != {"message"} else 0

    @property
    def joined(self) -> bool:
        return self.life.phase > slots.ATTACHING

    @property
    def stayed(self) -> bool:
        """To the end."""
        return not self.life.killed and (self.role.leave is None or len(self.got) < self.role.leave)

    def numbers(self, producer: int) -> set[int]:
        return {number for key, number in self.got if key == producer}


def _read(life: Life) -> Got:
    record = Got(life)
    for event in life.slot.events():
        key = event >> 32 & 0xFFFF, event & 0xFFFFFFFF
        match event >> 56:
            case slots.GOT:
                redelivered, how = event >> 48 & 0xF, event >> 52 & 0xF
                assert key not in record.got, f"{key} came twice to consumer {life.number}"
                record.got[key] = redelivered
                record.order.append((how, key, redelivered))
            case slots.RELEASED:
                record.let_go.add(key)
            case slots.VIEWED:
                record.views.add(key)
            case slots.TOLD:
                record.told.append(event & 0xFFFFFFFF)
                record.order.append((DEATH, (event & 0xFFFFFFFF, event >> 52 & 0xF), 0))
    return record


class Check:
    """Of one round. Each method is a promise."""

    def __init__(self, plan: Plan, lives: list[Life]) -> None:
        self.plan = plan
        self.producers = {life.number: life for life in lives if isinstance(life.role, Puts)}
        self.pids = {life.pid: life for life in self.producers.values()}
        self.types = {number: list(life.slot.events()) for number, life in self.producers.items()}
        self.readers = [_read(life) for life in lives if isinstance(life.role, Gets)]
        self.groups: dict[Group, list[Got]] = defaultdict(list)
        for reader in self.readers:
            self.groups[reader.role.group].append(reader)
        self.published = {n: life.slot[slots.DONE] for n, life in self.producers.items()}
        for reader in self.readers:
            for producer, number in reader.got:
                assert number < self.producers[producer].slot[slots.INTENT], "a message that was never put"
                self.published[producer] = max(self.published[producer], number + 1)
        self.figures = Figures(rounds=1, longest=max(life.slot[slots.LONGEST] for life in lives) / 1e9)

    def all(self) -> Figures:
        for group, readers in self.groups.items():
            if group.shared or group.durable:
                self.once_over_all(group, readers)
            else:
                self.each_begins_anew(readers)
            for first, reader in enumerate(readers):
                self.in_order(reader, strictly=not group.shared and (not group.durable or first == 0))
                self.deaths_are_told(reader)
                self.figures.messages += len(reader.got)
            self.losses_are_counted(group, readers)
        return self.figures

    def once_over_all(self, group: Group, readers: list[Got]) -> None:
        """Once over all members, or lives; again only what a killed one held, and then it is marked."""
        times: dict[Key, list[int]] = defaultdict(list)
        settled: Counter[Key] = Counter()
        for reader in readers:
            settled.update(reader.settled)
            for key, redelivered in reader.got.items():
                times[key].append(redelivered)
        for key, marks in times.items():
            let_go = sum(key in (reader.let_go if reader.life.killed else reader.got) for reader in readers)
            assert let_go <= 1, f"{key} came again to {group}, although it had been let go"
            assert marks.count(0) <= 1, f"{key} came again to {group}, not marked"
            again = len(marks) - 1
            self.figures.unknown += min(marks.count(slots.UNKNOWN), again)
            self.figures.marked += again - min(marks.count(slots.UNKNOWN), again)
        marked = sum(marks.count(1) for marks in times.values())
        held = sum(
            len(reader.got.keys() - reader.let_go) + reader.under_way for reader in readers if reader.life.killed
        )
        assert marked <= held, f"{marked} are marked as redelivered in {group}, but the dead held {held}"
        self.all_from_its_beginning(set(settled), readers)

    def each_begins_anew(self, readers: list[Got]) -> None:
        """An exclusive group that ends with its member."""
        for reader in readers:
            assert 1 not in reader.got.values(), "redelivered in a group that nobody had died in"
            if reader.stayed:
                self.all_from_its_beginning(set(reader.got), [reader])
        for before, after in pairwise(readers):
            if len(self.groups) == 1 and self.plan.overflow == "block" and after.stayed:
                self.goes_on(before, after)

    def goes_on(self, before: Got, after: Got) -> None:
        """While no other group is there, what the last one has not let go waits for the next."""
        for producer, published in self.published.items():
            numbers = before.numbers(producer)
            if numbers:
                rest = set(range(min(numbers), published + 1))
                first = min(rest - {n for p, n in before.let_go if p == producer})
                last = min(rest - {n for p, n in before.settled if p == producer}) + before.may_lack
                begins = min(after.numbers(producer), default=published)
                assert first <= begins <= last, f"of producer {producer} {begins} is next, not {first} to {last}"

    def all_from_its_beginning(self, settled: set[Key], readers: list[Got]) -> None:
        """Nothing is missing after the first message, or after the group came, but what the killed had in hand."""
        joined = [reader for reader in readers if reader.joined]
        if self.plan.overflow != "block" or not joined:
            return
        missing = []
        for producer, published in self.published.items():
            first = min(reader.life.slot[slots.SEEN + producer] for reader in joined)
            if readers[0].role.group.name in self.plan.declared and readers[0] is self.groups[readers[0].role.group][0]:
                first = 0
            first = min({first} | {n for reader in readers for n in reader.numbers(producer)})
            missing += [(producer, n) for n in range(first, published) if (producer, n) not in settled]
        lack = sum(reader.may_lack for reader in readers)
        assert len(missing) <= lack, f"{readers[0].role.group} lacks {missing}, and at most {lack} were in hand"
        self.figures.in_hand += len(missing)

    def in_order(self, reader: Got, strictly: bool) -> None:
        """Strictly: each is the oldest of its producer that had not been got, or the oldest of the type asked for."""
        died_in = any(other.life.killed for other in self.groups[reader.role.group])
        left = {p: sorted(reader.numbers(p)) for p in self.producers}
        last: dict[tuple[int, int], int] = {}
        for how, (producer, number), redelivered in reader.order:
            if how == DEATH:
                continue
            wanted = [n for n in left[producer] if how == slots.ANY_TYPE or self.types[producer][n] == how - 1]
            left[producer].remove(number)
            if how == slots.NO_ORDER:
                continue
            if strictly and self.plan.overflow == "block":
                assert number == wanted[0], f"{number} of producer {producer} came before {wanted[0]}"
            elif redelivered == 0 or not died_in:
                assert number > last.get((producer, how), -1), f"{number} of producer {producer} came too late"
                last[producer, how] = number

    def deaths_are_told(self, reader: Got) -> None:
        """Once, of the killed alone, and after all of their messages."""
        assert len(set(reader.told)) == len(reader.told), "a death was told twice"
        dead: dict[int, int] = {}
        for how, key, _ in reader.order:
            if how == DEATH:
                life = self.pids.get(key[0])
                assert life, "a death was told of somebody else"
                assert life.killed, "a death was told of one that was not killed"
                dead[life.number] = key[1]
            elif not reader.role.group.shared:  # to whom asks for a type it is told when none of that type is left
                assert dead.get(key[0]) != slots.ANY_TYPE, f"a message of producer {key[0]} came after its death"
        for number, life in self.producers.items():
            known = life.killed and life.phase in (slots.WORKING, slots.PUT_ALL) and reader.numbers(number)
            assert not (known and reader.stayed) or number in dead, f"the death of producer {number} was not told"

    def losses_are_counted(self, group: Group, readers: list[Got]) -> None:
        """What a lane drops and what is got make up all that was put, if one has been there all the time."""
        first = [role for role in self.plan.first if isinstance(role, Gets) and role.group == group]
        if self.plan.overflow == "block" or len(readers) != len(first) or not all(r.stayed for r in readers):
            return
        missed = max(reader.life.slot[slots.MISSED] for reader in readers)
        total = missed + sum(len(reader.got) for reader in readers)
        # one that is killed while it drops a message may not have counted it yet
        least = sum(life.slot[slots.DONE] - life.killed for life in self.producers.values())
        most = sum(life.slot[slots.INTENT] for life in self.producers.values())
        assert least <= total <= most, f"{missed} counted as missed make {total}, not {least} to {most}"
        self.figures.dropped += missed
