"""Listeners: their addresses, the users that they admit, and the files that they leave."""

import contextlib
import ctypes
import errno
import os
import resource
import select
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from greetings import HELLO, KEY, connect, exchange, listening, met, no_socket_left, sockets_open

from ringipc import AuthenticationError, ChannelNotFound, Consumer, Producer, SystemRefused, unix
from ringipc.transports.sockets import is_unanswered
from ringipc.transports.tcp import Tcp

__all__ = ["no_socket_left"]
pytestmark = pytest.mark.usefixtures("no_socket_left")

LOCAL = "tcp://127.0.0.1:0"
OTHER = 12346
SO_ATTACH_FILTER = 26
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


@pytest.fixture
def path(base: str) -> str:
    return f"{base}/socket"


def test_a_unix_socket_is_private_and_is_removed_with_its_listener(path: str, base: str) -> None:
    mask = os.umask(0)
    try:
        with listening(f"unix://{path}") as host:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert os.listdir(base) == ["socket"]
            exchange(host)
    finally:
        os.umask(mask)
    assert os.listdir(base) == []


def test_the_longest_path_works(base: str) -> None:
    path = f"{base}/".ljust(107, "x")
    with listening(f"unix://{path}") as host:
        exchange(host)
        with pytest.raises(SystemRefused) as caught, listening(f"unix://{path}"):
            pass
        assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("url", ["unix://{path}", "unix://@test-ringipc-{pid}", LOCAL])
def test_a_live_listener_keeps_its_address(url: str, path: str) -> None:
    with listening(url.format(path=path, pid=os.getpid())) as host:
        with pytest.raises(SystemRefused, match="in use by another listener") as caught, listening(host.url):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        exchange(host)
    with listening(host.url) as host:
        exchange(host)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_a_file_that_is_not_a_socket_stays_untouched(path: str, base: str, make: Callable[[Path], None]) -> None:
    make(Path(path))
    before = os.lstat(path)
    with pytest.raises(SystemRefused, match="not a socket") as caught, listening(f"unix://{path}"):
        pass
    assert caught.value.errno == errno.EEXIST
    assert os.lstat(path).st_ino == before.st_ino
    assert os.listdir(base) == ["socket"]
    os.rmdir(path) if stat.S_ISDIR(before.st_mode) else os.unlink(path)


def listen_until_killed(url: str, ready: Any) -> None:
    with listening(url):
        ready.set()
        signal.pause()


def test_the_path_of_a_killed_listener_is_taken_over(path: str, base: str, start: Start) -> None:
    ready = get_context("spawn").Event()
    killed = start(listen_until_killed, f"unix://{path}", ready)
    assert ready.wait(20)
    killed.kill()
    killed.join()
    assert os.path.exists(path)
    with listening(f"unix://{path}") as host:
        exchange(host)
    assert os.listdir(base) == []


def come(path: str, together: threading.Barrier, over: threading.Event, came: list[int]) -> None:
    together.wait()
    try:
        with listening(f"unix://{path}"):
            came.append(0)
            over.wait()
    except SystemRefused as error:
        came.append(error.errno or -1)


def test_one_of_many_takes_over_the_path_of_a_dead_listener(path: str, base: str) -> None:
    for _ in range(30):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        together, over = threading.Barrier(4), threading.Event()
        came: list[int] = []
        threads = [threading.Thread(target=come, args=(path, together, over, came)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(came) < 4:
            time.sleep(0.001)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        over.set()
        for thread in threads:
            thread.join()
        assert sorted(came) == [0] + 3 * [errno.EADDRINUSE]
        assert os.listdir(base) == []


def test_a_file_that_has_replaced_the_socket_stays(path: str) -> None:
    with listening(f"unix://{path}"):
        os.unlink(path)
        Path(path).touch()
    assert os.path.exists(path)
    os.unlink(path)


def test_a_path_in_a_missing_directory_is_refused(base: str) -> None:
    with pytest.raises(SystemRefused) as caught, listening(f"unix://{base}/nowhere/socket"):
        pass
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("url", ["unix://{path}", LOCAL])
def test_connecting_waits_for_a_listener(url: str, path: str) -> None:
    with listening(url.format(path=path)) as host:
        pass
    began = time.monotonic()
    with pytest.raises(ChannelNotFound, match="nobody listens"):
        connect(host.url, HELLO, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 1
    arrived: list[socket.socket] = []
    waiting = threading.Thread(target=lambda: arrived.append(connect(host.url, HELLO)[0]))
    waiting.start()
    time.sleep(0.1)
    with listening(host.url) as host:
        host.taken.get(timeout=5).close()
    waiting.join()
    arrived.pop().close()


def test_waiting_can_be_interrupted(path: str) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell may ignore SIGINT
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            connect(f"unix://{path}", HELLO)
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("url", ["tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://192.0.2.1:9"])
def test_without_a_key_only_this_machine_is_reachable(url: str) -> None:
    with pytest.raises(ValueError, match="needs a key"), listening(url):
        pass
    with pytest.raises(ValueError, match="needs a key"):
        connect(url, HELLO, timeout=0)


def test_with_a_key_a_listener_can_accept_from_any_machine() -> None:
    with listening("tcp://0.0.0.0:0", key=KEY) as host:
        assert host.url.startswith("tcp://0.0.0.0:")
        exchange(host, key=KEY)


def test_a_host_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SystemRefused, match="not found"):
        connect("tcp://no-such-host.invalid:9", HELLO, key=KEY, timeout=1)


def test_the_kernel_sizes_the_buffers_of_tcp_connections() -> None:
    listening = Tcp("127.0.0.1", 0).listen(1)
    with listening.socket, socket.create_connection(listening.socket.getsockname()) as plain:
        accepted = listening.socket.accept()[0]
        with accepted, socket.create_server(("127.0.0.1", 0)) as server:
            connected = Tcp(*server.getsockname()).connect(1)
            assert connected is not None
            with connected, server.accept()[0] as other:
                for option in socket.SO_SNDBUF, socket.SO_RCVBUF:
                    assert connected.getsockopt(socket.SOL_SOCKET, option) == plain.getsockopt(
                        socket.SOL_SOCKET, option
                    )
                    assert accepted.getsockopt(socket.SOL_SOCKET, option) == other.getsockopt(socket.SOL_SOCKET, option)


def congestion_control(connection: socket.socket) -> bytes:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def test_only_connections_over_the_loopback_have_a_congestion_control_of_their_own() -> None:
    listening = Tcp("127.0.0.1", 0).listen(1)
    with listening.socket:
        connected = Tcp(*listening.socket.getsockname()).connect(1)
        assert connected is not None
        with connected, listening.socket.accept()[0] as accepted:
            assert congestion_control(connected) == congestion_control(accepted) == b"reno"
    with Tcp("0.0.0.0", 0, key=KEY).listen(1).socket as anywhere, socket.socket() as plain:
        assert congestion_control(anywhere) == congestion_control(plain)


def become_and(what: Callable[..., None], *args: Any) -> None:
    os.setgroups([])
    os.setgid(OTHER)
    os.setuid(OTHER)
    what(*args)


def come_in(url: str, **options: Any) -> None:
    connect(url, HELLO, timeout=5, **options)[0].close()


def come_in_vain(url: str) -> None:
    with pytest.raises(AuthenticationError, match=r"does not admit the user|may not connect"):
        connect(url, HELLO, timeout=5, users=frozenset([0]))


@as_root
@pytest.mark.parametrize("url", ["unix://{path}", "unix://@test-ringipc-{pid}"])
def test_another_user_is_refused_unless_named(url: str, path: str, base: str, start: Start) -> None:
    os.chmod(base, 0o755)
    url = url.format(path=path, pid=os.getpid())
    with listening(url) as host:
        start(become_and, come_in_vain, url).join(20)
        if "@" in url:
            assert f"user {OTHER}" in str(host.refusals.get(timeout=5))
        exchange(host)
    with listening(url, users=frozenset([OTHER])) as host:
        start(become_and, come_in_alone, url).join(20)
        assert isinstance(host.refusals.get(timeout=5), AuthenticationError)
        start(become_and, come_in_named, url).join(20)
        host.taken.get(timeout=5).close()


def come_in_alone(url: str) -> None:
    with pytest.raises(AuthenticationError, match="belongs to user 0"):
        connect(url, HELLO, timeout=5)


def come_in_named(url: str) -> None:
    come_in(url, users=frozenset([0]))


@as_root
def test_root_does_not_trust_another_users_listener(start: Start) -> None:
    url = f"unix://@test-ringipc-{os.getpid()}"
    ready = get_context("spawn").Event()
    listener = start(become_and, listen_until_killed, url, ready)
    assert ready.wait(20)
    with pytest.raises(AuthenticationError, match=f"user {OTHER}"):
        connect(url, HELLO, timeout=5)
    listener.kill()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # the child has no other threads
@pytest.mark.parametrize("url", ["unix://{path}", LOCAL])
def test_a_forked_child_keeps_no_connection_open(url: str, path: str, start: Start) -> None:
    before = sockets_open()
    with listening(url.format(path=path)) as host, met(host) as (near, far):
        release, hold = socket.socketpair()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                release.close()
                host.listener.close()
                left = sockets_open() - before
                hold.sendall(b"%d" % len(left))
                hold.recv(1)
            os._exit(0)
        with release, hold:
            hold.close()
            assert release.recv(8) == b"1"  # the socket pair of this test still works
            near.close()
            assert far.recv(1) == b""
            exchange(host)
            host.listener.close()
            with pytest.raises(ChannelNotFound):
                connect(host.url, HELLO, timeout=0)
            release.sendall(b"!")
            os.waitpid(child, 0)


def test_a_listener_survives_a_lack_of_file_descriptors() -> None:
    with listening(LOCAL) as host:
        kept = []
        client = socket.socket()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(os.dup(0))
            where = host.url.rpartition(":")[2]
            client.connect(("127.0.0.1", int(where)))
            used = time.process_time()
            time.sleep(1)
            assert time.process_time() - used < 0.1  # it does not spin
            assert host.listener._thread.is_alive()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in kept:
                os.close(fd)
            client.close()
        exchange(host)


def cut_off(connection: socket.socket) -> None:
    """Discard all data that arrives from now on, like a broken cable."""
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))  # BPF: keep 0 bytes
    program = struct.pack("@HP", 1, ctypes.addressof(instruction))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@pytest.mark.long
def test_a_silent_peer_is_distinguished_from_a_slow_one() -> None:
    with listening(LOCAL) as host, met(host) as (near, far):
        near.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                near.send(bytes(1 << 20))
        time.sleep(1.5)
        assert not is_unanswered(near, 0.5)
        near.setblocking(True)
        far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while far.recv(1 << 20):
                select.select([far], [], [], 0.3)
        cut_off(far)
        assert not is_unanswered(near, 0.5)
        near.sendall(b"anybody there?")
        time.sleep(1.5)
        assert is_unanswered(near, 0.5)


def test_a_consumer_that_listens_gets_messages_of_its_passed_ring_at_once(path: str) -> None:
    delays = []

    def put() -> None:
        with Producer(unix(path, bind=False), capacity="1 MiB") as producer:
            for _ in range(9):
                time.sleep(0.03)  # the consumer waits
                producer.put(time.monotonic())

    thread = threading.Thread(target=put)
    with Consumer(unix(path, bind=True)) as consumer:
        thread.start()
        for put_at in consumer:
            delays.append(time.monotonic() - put_at)
        assert consumer.stats.transport == "unix"
    thread.join()
    assert len(delays) == 9
    assert sorted(delays)[4] < 0.015  # a wait for the sockets alone would find a message after up to 0.05 s
