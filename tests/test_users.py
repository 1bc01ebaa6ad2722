"""Channels that are shared between users: who may open them, and who may not."""

import errno
import os
import select
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from conftest import Start

from ringipc import Barrier, ChannelNotFound, Consumer, Empty, Event, Lock, Producer, Semaphore, SystemRefused

OWNER, MEMBER, STRANGER, GROUP = 12345, 12346, 12347, 777

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


@pytest.fixture
def open_base(base: str) -> str:
    os.chmod(base, 0o1777)
    return base


def become(user: int, *groups: int) -> None:
    os.setgroups(groups)
    os.setgid(user)
    os.setuid(user)


def take_part(function: Callable[..., None], user: int, groups: tuple[int, ...], *args: Any) -> None:
    become(user, *groups)
    function(*args)


def echo(owner: str) -> None:
    with Consumer(f"~{owner}/there", shared=True) as consumer, Producer(f"~{owner}/back", capacity=4096) as producer:
        consumer.fileno()
        for message in consumer:
            producer.put(message * 2)


def ask(base: str) -> None:
    """As the owner: make the channels, and exchange messages with a user of the group."""
    with Producer("back", capacity=4096, overflow="drop-old", share_with=GROUP), Consumer("back") as answers:
        with Producer("there", capacity=4096, mode=0o660, share_with=GROUP) as producer:
            for number in range(100):
                producer.put(b"%d" % number)
                assert select.select([answers.fileno()], [], [], 20)[0]
                assert answers.get(20) == b"%d" % number * 2
            assert_shared(Path(base, f"ringipc-{OWNER}"))
        with pytest.raises(Empty):
            answers.get(0)


def assert_shared(where: Path) -> None:
    assert where.stat().st_mode & 0o777 == 0o711
    for name in "there", "back":
        assert where.joinpath(name).stat().st_mode & 0o7777 == 0o2770
        files = list(where.joinpath(name).iterdir())
        assert len(files) > 2
        for file in files:
            assert (file.stat().st_mode & 0o777, file.stat().st_gid) == (0o660, GROUP), file
    assert where.joinpath("there", "claims-1-0").stat().st_uid == MEMBER


def wait_for(path: Path) -> None:
    for _ in range(2000):
        if path.exists():
            return
        select.select([], [], [], 0.01)
    pytest.fail(f"{path} was not made")


@as_root
def test_a_group_of_users_shares_channels(open_base: str, start: Start) -> None:
    owner = start(take_part, ask, OWNER, (GROUP,), open_base)
    wait_for(Path(open_base, f"ringipc-{OWNER}", "there", "lane-0"))
    member = start(take_part, echo, MEMBER, (GROUP,), str(OWNER))
    for process in (owner, member):
        process.join(30)
        assert process.exitcode == 0


def own(made: Any, done: Any, options: dict[str, Any]) -> None:
    with Producer("c", capacity=4096, **options) as producer, Consumer("c"):
        producer.put(b"not for everybody")
        made.set()
        done.wait(20)


def refused(name: str, code: int) -> None:
    for attempt in (lambda: Producer(name), lambda: Consumer(name, timeout=1), lambda: Lock(name)):
        with pytest.raises(SystemRefused) as caught:
            attempt()
        assert caught.value.errno == code


def admitted(name: str) -> None:
    with Consumer(name, group="other", timeout=10) as consumer:
        assert consumer.get(10) == b"not for everybody"


@as_root
@pytest.mark.parametrize(
    ("options", "user", "groups", "what"),
    [
        ({}, MEMBER, (GROUP,), refused),
        ({"share_with": GROUP}, STRANGER, (), refused),
        ({"share_with": GROUP}, MEMBER, (GROUP,), admitted),
        ({"mode": 0o666}, STRANGER, (), admitted),
    ],
)
def test_users_without_permission_are_refused(
    open_base: str, start: Start, options: dict[str, Any], user: int, groups: tuple[int, ...], what: Callable[..., None]
) -> None:
    context = get_context("spawn")
    made, done = context.Event(), context.Event()
    owner = start(take_part, own, OWNER, (GROUP,), made, done, options)
    assert made.wait(20)
    arguments = (f"~{OWNER}/c", errno.EACCES) if what is refused else (f"~{OWNER}/c",)
    other = start(take_part, what, user, groups, *arguments)
    other.join(30)
    done.set()
    owner.join(30)
    assert (owner.exitcode, other.exitcode) == (0, 0)


@as_root
def test_files_planted_by_another_user_are_refused(base: str) -> None:
    where = Path(base, f"ringipc-{os.geteuid()}", "c")
    with Producer("c", capacity=4096) as producer, Consumer("c", timeout=1) as consumer:
        producer.put(b"")
        consumer.get()
        for planted in (where / "lane-0", where / "control", where):
            os.chown(planted, STRANGER, STRANGER)
            with pytest.raises(SystemRefused, match=f"{planted} belongs to user {STRANGER}") as caught:
                Consumer("c", group="other", timeout=1)
            assert caught.value.errno == errno.EPERM
            os.chown(planted, os.geteuid(), os.getegid())


@as_root
def test_a_channel_that_was_shared_can_be_private_again(base: str) -> None:
    where = Path(base, f"ringipc-{os.geteuid()}", "c")
    where.mkdir(parents=True)
    os.chown(where, -1, GROUP)
    os.chmod(where, 0o2770)  # the state after another user was the last to leave
    with Producer("c", capacity=4096):
        assert where.stat().st_mode & 0o777 == 0o700
        assert where.joinpath("lane-0").stat().st_mode & 0o777 == 0o600


def test_only_the_owner_can_make_a_channel(base: str) -> None:
    with pytest.raises(ChannelNotFound):
        Producer("~4242/c")
    with pytest.raises(ChannelNotFound):
        Consumer("~4242/c", timeout=0)
    for make in (Lock, Semaphore, Event, Barrier):
        with pytest.raises(SystemRefused, match="only its owner can create it") as caught:
            make("~4242/c")
        assert caught.value.errno == errno.ENOENT
    with Producer("c", capacity=4096), Consumer(f"~{os.geteuid()}/c", timeout=0):
        pass


def share_with_strangers(base: str) -> None:
    with pytest.raises(SystemRefused, match="share_with= names") as caught:
        Producer("c", capacity=4096, share_with=GROUP)
    assert caught.value.errno == errno.EPERM
    assert os.listdir(base) == []


@as_root
def test_a_group_that_the_maker_is_not_in_is_refused_and_leaves_nothing(open_base: str, start: Start) -> None:
    process = start(take_part, share_with_strangers, STRANGER, (), open_base)
    process.join(30)
    assert process.exitcode == 0


@pytest.mark.parametrize("name", ["~", "~root", "~/c", "~no-such-user/c", "~0/", "~0/.c", "~0/~0/c", "~0/a/b", "~-1/c"])
def test_invalid_owner_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name.split("/")[0]):
        Producer(name)


def test_invalid_modes_are_refused() -> None:
    for options in ({"mode": 0o644}, {"mode": 0o700}, {"share_with": "no-such-group"}):
        with pytest.raises(ValueError, match=r"mode must be|no group"):
            Producer("c", **options)
