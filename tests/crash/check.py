"""Checks from the records of a round's processes that every message was received as promised."""

from bisect import insort
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from . import slots
from .plan import Gets, Group, Plan, Puts, Role
from .slots import Slot

Key = tuple[int, int]  # producer, number
DEATH, REQUEUED = -1, -2


@dataclass
class Life:
    """A process, from its fork to its end."""

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
    """Totals over rounds."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    messages: int = 0  # received in order and intact
    dropped: int = 0  # dropped by lanes, and counted
    in_hand: int = 0  # released, or perhaps released, by a killed consumer before it recorded them
    marked: int = 0  # received again, marked as redelivered
    requeued: int = 0  # given back by consumers
    unknown: int = 0  # received again by a call that does not return the mark
    dead: int = 0  # delivered so often as their group allows, and then counted as dead
    letters: int = 0  # of these, in the dead letters
    longest: float = 0.0  # the longest call, in seconds

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
    """The messages that one consumer has received and released."""

    life: Life
    got: dict[Key, int] = field(default_factory=dict)  # whether redelivered
    # (kind of event or request, message, whether redelivered)
    order: list[tuple[int, Key, int]] = field(default_factory=list)
    released: set[Key] = field(default_factory=set)
    in_work: set[Key] = field(default_factory=set)  # of the received messages: done at the next get, or at close
    deaths: list[int] = field(default_factory=list)
    deliveries: list[tuple[Key, int]] = field(default_factory=list)  # of each time that it has received a message
    requeued: int = 0

    @property
    def role(self) -> Gets:
        assert isinstance(self.life.role, Gets)
        return self.life.role

    @property
    def dead(self) -> int:
        """How many messages it has counted as dead; if it was killed, perhaps more."""
        return self.life.slot[slots.DEAD]

    @property
    def done(self) -> set[Key]:
        """The messages that it has certainly acknowledged."""
        return self.released if self.life.killed else set(self.got)

    @property
    def acknowledged(self) -> set[Key]:
        """The messages that must not be redelivered."""
        if not self.life.killed:
            return set(self.got)
        event = self.life.slot[slots.RELEASING]  # they may have been released
        may_be = {slots.key_of(event)} if event else set()
        ending = self.under_way or self.life.phase >= slots.CLOSING  # a get or the close has started
        return self.released | may_be | (self.in_work if ending else set())

    @property
    def under_way(self) -> int:
        """The number of messages that it may have received without recording them."""
        return max(self.life.slot[slots.PENDING], 0) if self.life.killed else 0

    @property
    def may_lack(self) -> int:
        """The number of those that it may have released too: a call that copies releases, in a group without claims."""
        copies = self.role.copy is not False and set(self.role.calls) != {"message"}
        return self.under_way if copies and not (self.role.group.shared or self.role.group.durable) else 0

    @property
    def joined(self) -> bool:
        return self.life.phase > slots.ATTACHING

    @property
    def stayed(self) -> bool:
        """Whether it stayed to the end."""
        return not self.life.killed and (self.role.leave is None or len(self.deliveries) < self.role.leave)

    def numbers(self, producer: int) -> set[int]:
        return {number for key, number in self.got if key == producer}


def _read(life: Life) -> Got:
    record = Got(life)
    for event in life.slot.events():
        key = slots.key_of(event)
        match event >> 56:
            case slots.GOT:
                redelivered, how = event >> 48 & 0xF, event >> 52 & 0xF
                assert key not in record.got, f"{key} was received twice by consumer {life.number}"
                record.got[key] = redelivered
                record.order.append((how, key, redelivered))
                record.deliveries.append((key, event >> 40 & 0xFF))
            case slots.REQUEUED:
                del record.got[key]
                record.order.append((REQUEUED, key, 0))
                record.requeued += 1
            case slots.RELEASED:
                record.released.add(key)
            case slots.IN_WORK:
                record.in_work.add(key)
            case slots.DEATH:
                record.deaths.append(event & 0xFFFFFFFF)
                record.order.append((DEATH, (event & 0xFFFFFFFF, event >> 52 & 0xF), 0))
    return record


class Check:
    """The checks of one round. Each method checks one promise."""

    def __init__(self, plan: Plan, lives: list[Life], letters: dict[Group, list[Key]]) -> None:
        self.plan = plan
        self.letters = letters
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
                assert number < self.producers[producer].slot[slots.INTENT], "a message was received that was never put"
                self.published[producer] = max(self.published[producer], number + 1)
        self.figures = Figures(rounds=1, longest=max(life.slot[slots.LONGEST] for life in lives) / 1e9)

    def keeps_all(self, group: Group) -> bool:
        """Whether producers wait for the group, so that it loses nothing."""
        return self.plan.overflow == "block" and not group.lossy

    def all(self) -> Figures:
        if self.plan.lane == "shared":
            self.one_order()
        for group, readers in self.groups.items():
            if group.shared or group.durable:
                self.once_over_all(group, readers)
            else:
                self.each_begins_anew(readers)
            for first, reader in enumerate(readers):
                self.in_order(reader, strictly=not group.shared and (not group.durable or first == 0))
                self.deaths_are_reported(reader)
                self.figures.messages += len(reader.got)
            self.losses_are_counted(group, readers)
        return self.figures

    def once_over_all(self, group: Group, readers: list[Got]) -> None:
        """Each message is received once in the group; again only after a death or a requeue, and then it is marked."""
        times: dict[Key, list[int]] = defaultdict(list)
        acknowledged: Counter[Key] = Counter()
        for reader in readers:
            acknowledged.update(reader.acknowledged)
            for key, redelivered in reader.got.items():
                times[key].append(redelivered)
        for key, marks in times.items():
            released = sum(key in reader.done for reader in readers)
            assert released <= 1, f"{key} was received again in {group}, although it had been released"
            assert marks.count(0) <= 1, f"{key} was received again in {group} without the mark"
            again = len(marks) - 1
            self.figures.unknown += min(marks.count(slots.UNKNOWN), again)
            self.figures.marked += again - min(marks.count(slots.UNKNOWN), again)
        marked = sum(marks.count(1) for marks in times.values())
        held = sum(
            len(reader.got.keys() - reader.released) + reader.under_way for reader in readers if reader.life.killed
        )
        held += sum(reader.requeued for reader in readers)
        assert marked <= held, (
            f"{marked} are marked as redelivered in {group}, but dead members had and others requeued {held}"
        )
        self.figures.requeued += sum(reader.requeued for reader in readers)
        self.deliveries_are_counted(group, readers)
        self.all_from_its_beginning(set(acknowledged) | self.dead_ones(group, readers), readers)

    def deliveries_are_counted(self, group: Group, readers: list[Got]) -> None:
        """Each delivery of a message adds one to its count, and nothing else does."""
        counts: dict[Key, list[int]] = defaultdict(list)
        for reader in readers:
            for key, deliveries in reader.deliveries:
                counts[key].append(deliveries)
        unrecorded = sum(reader.under_way for reader in readers)
        for key, numbers in counts.items():
            known = [number for number in numbers if number]  # the others are of calls that do not return it
            assert len(set(known)) == len(known), f"two deliveries of {key} in {group} have the same number: {known}"
            assert len(numbers) <= (group.limit or len(numbers)), f"{key} was delivered {len(numbers)} times in {group}"
            times = len(numbers) + unrecorded
            assert max(known, default=0) <= times, f"{key} has {known} deliveries in {group}, and only {times} happened"

    def dead_ones(self, group: Group, readers: list[Got]) -> set[Key]:
        """Return the messages that have left the group because they were delivered as often as its limit allows.

        Each is a dead letter once, and again only if a member was killed while it moved it. If the group has no dead
        letters, or if they were perhaps more than fit into a lane, the others are those that nobody has done.
        """
        if group.limit is None:
            return set()
        letters = self.letters.get(group, [])
        killed = sum(reader.life.killed for reader in readers)
        counted = sum(reader.dead for reader in readers)  # that of a killed member may be too small
        unrecorded = sum(reader.under_way for reader in readers)
        times = Counter(key for reader in readers for key, _ in reader.deliveries)
        done = set().union(*(reader.done for reader in readers))
        for key in letters:
            assert key not in done, f"{key} of {group} was done, and was moved to the dead letters"
            assert times[key] + unrecorded >= group.limit, f"{key} of {group} is dead after {times[key]} deliveries"
        again = len(letters) - len(set(letters))
        assert again <= killed, f"{again} dead letters of {group} came again, and {killed} members were killed"
        self.figures.dead += counted
        self.figures.letters += len(letters)
        if group.letters and (len(letters) + 1) * (self.plan.longest + 300) <= self.plan.capacity:  # all found room
            assert counted == len(letters) or (killed and counted < len(letters)), (
                f"{counted} messages of {group} are counted as dead, and {len(letters)} are dead letters"
            )
            return set(letters)
        published = {(producer, n) for producer, count in self.published.items() for n in range(count)}
        # a producer that is killed may not have counted its last message
        dead = {key for key in (published | set(times)) - done if times[key] + unrecorded >= group.limit}
        if self.keeps_all(group) and not killed:
            assert len(dead) == counted, f"{counted} messages of {group} are counted as dead, and {dead} are not done"
        return dead

    def each_begins_anew(self, readers: list[Got]) -> None:
        """An exclusive group that ends with its member: the next one has no redelivered messages."""
        for reader in readers:
            assert 1 not in reader.got.values(), "a message is marked as redelivered in a group without a dead member"
            if reader.stayed:
                self.all_from_its_beginning(set(reader.got), [reader])
        for before, after in pairwise(readers):
            if len(self.groups) == 1 and self.keeps_all(after.role.group) and after.stayed:
                self.goes_on(before, after)

    def goes_on(self, before: Got, after: Got) -> None:
        """While there is no other group, the messages that the last group has not released wait for the next one."""
        # The last group was the first of the channel. So it began with message 0 of each producer, also where it has
        # selected later ones only.
        assert before.life.number < len(self.plan.first)
        for producer, published in self.published.items():
            numbers = range(published + 1)
            first = next(n for n in numbers if (producer, n) not in before.released)
            left = [n for n in numbers if (producer, n) not in before.acknowledged]
            last = left[min(before.may_lack, len(left) - 1)]
            begins = min(after.numbers(producer), default=published)
            assert first <= begins <= last, f"of producer {producer} {begins} is next, not {first} to {last}"

    def all_from_its_beginning(self, acknowledged: set[Key], readers: list[Got]) -> None:
        """After the first message, or after the group joined, only messages are missing that killed members had."""
        joined = [reader for reader in readers if reader.joined]
        if not self.keeps_all(readers[0].role.group) or not joined:
            return
        missing = []
        for producer, published in self.published.items():
            first = min(reader.life.slot[slots.SEEN + producer] for reader in joined)
            if readers[0].role.group.name in self.plan.declared and readers[0] is self.groups[readers[0].role.group][0]:
                first = 0
            first = min({first} | {n for reader in readers for n in reader.numbers(producer)})
            missing += [(producer, n) for n in range(first, published) if (producer, n) not in acknowledged]
        lack = sum(reader.may_lack for reader in readers)
        assert len(missing) <= lack, f"{readers[0].role.group} lacks {missing}, and killed members had at most {lack}"
        self.figures.in_hand += len(missing)

    def in_order(self, reader: Got, strictly: bool) -> None:
        """Strictly: each message is the oldest of its producer that is left, or the oldest of the requested type."""
        comes_again = any(other.life.killed or other.requeued for other in self.groups[reader.role.group])
        left = {p: sorted({key[1] for key, _ in reader.deliveries if key[0] == p}) for p in self.producers}
        last: dict[tuple[int, int], int] = {}
        for how, (producer, number), redelivered in reader.order:
            if how == DEATH:
                continue
            if how == REQUEUED:
                insort(left[producer], number)
                continue
            wanted = [n for n in left[producer] if how == slots.ANY_TYPE or self.types[producer][n] == how - 1]
            left[producer].remove(number)
            if how == slots.NO_ORDER:
                continue
            if strictly and self.keeps_all(reader.role.group):
                assert number == wanted[0], f"{number} of producer {producer} was received before {wanted[0]}"
            elif redelivered == 0 or not comes_again:
                assert number > last.get((producer, how), -1), f"{number} of producer {producer} was received too late"
                last[producer, how] = number

    def one_order(self) -> None:
        """In a shared lane, all consumers of groups that get each message once receive them in the same order."""
        orders = [
            [key for how, key, _ in reader.order if how >= 0]
            for reader in self.readers
            if not reader.role.group.shared and not reader.role.filters and not reader.role.group.durable
        ]
        for first, second in combinations(orders, 2):
            common = set(first) & set(second)
            assert [key for key in first if key in common] == [key for key in second if key in common]

    def deaths_are_reported(self, reader: Got) -> None:
        """Each death of a killed producer is reported once, after all of its messages."""
        assert len(set(reader.deaths)) == len(reader.deaths), "a death was reported twice"
        dead: dict[int, int] = {}
        for how, key, _ in reader.order:
            if how == DEATH:
                life = self.pids.get(key[0])
                assert life, "the death of a process was reported that is not a producer"
                assert life.killed, "the death of a producer was reported that was not killed"
                dead[life.number] = key[1]
            elif (
                not reader.role.group.shared
            ):  # a call for a type reports the death when no message of that type is left
                assert dead.get(key[0]) != slots.ANY_TYPE, (
                    f"a message of producer {key[0]} was received after its death"
                )
        for number, life in self.producers.items():
            known = life.killed and life.phase in (slots.WORKING, slots.PUT_ALL) and reader.numbers(number)
            assert not (known and reader.stayed) or number in dead, f"the death of producer {number} was not reported"

    def losses_are_counted(self, group: Group, readers: list[Got]) -> None:
        """Messages put are messages dropped plus messages received, if a member was there all the time."""
        first = [role for role in self.plan.first if isinstance(role, Gets) and role.group == group]
        if self.keeps_all(group) or len(readers) != len(first) or not all(r.stayed for r in readers):
            return
        if any(life.role.free for life in self.producers.values() if isinstance(life.role, Puts)):
            return  # other groups may have released messages before this one joined
        missed = max(reader.life.slot[slots.MISSED] for reader in readers)
        total = missed + sum(len(reader.got) + reader.dead for reader in readers)
        # a producer that is killed while it drops a message may not have counted it yet
        least = sum(life.slot[slots.DONE] - life.killed for life in self.producers.values())
        most = sum(life.slot[slots.INTENT] for life in self.producers.values())
        assert least <= total <= most, f"{missed} counted as missed make {total}, not {least} to {most}"
        self.figures.dropped += missed
