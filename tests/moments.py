"""Kill a process after any change that other processes can see: to shared memory, to files, or to locks.

A child is forked and traced (ptrace). Its shared mappings are made read-only, so each instruction that writes into them
stops it; the tracer lets this one instruction write. System calls stop it too. A *moment* is after such an instruction,
or after a system call that changes files or locks. So the number of a moment names the same point in each run, as far
as the child does the same. This is what tests/c/moments.h does, for programs in Python, whose runs differ in all
other instructions.
"""

import ctypes
import os
import platform
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

_TRACEME, _PEEKTEXT, _SINGLESTEP, _GETREGS, _SETREGS, _SYSCALL = 0, 1, 9, 12, 13, 24
_SETOPTIONS, _OPTIONS = 0x4200, 1 | 1 << 20  # PTRACE_O_TRACESYSGOOD, PTRACE_O_EXITKILL
_CALL_STOP = signal.SIGTRAP | 0x80
_INSTRUCTION = 0x050F  # syscall, as the lower half of a word
_NONE = (1 << 64) - 1

# system calls of x86-64
_MMAP, _MPROTECT, _MUNMAP, _MADVISE, _FCNTL, _OPENAT = 9, 10, 11, 28, 72, 257
_CHANGES = {
    3: "close", 18: "pwrite64", 77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink",
    91: "fchmod", 258: "mkdirat", 263: "unlinkat", 265: "linkat", 285: "fallocate", 316: "renameat2",
    319: "memfd_create",
}  # fmt: skip
_LOCKS = {6: "F_SETLK", 37: "F_OFD_SETLK", 38: "F_OFD_SETLKW"}  # commands of fcntl
_POPULATE_WRITE = 23  # of madvise


class _Registers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
            *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
        )
    ]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request: int, pid: int, address: int = 0, data: Any = 0) -> int:
    ctypes.set_errno(0)
    result: int = _libc.ptrace(request, pid, address, data)
    if result == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace request {request}: {os.strerror(ctypes.get_errno())}")
    return result


def mark() -> None:
    """Let the tracer note where the process is."""
    os.kill(os.getpid(), signal.SIGSTOP)


class Goal(NamedTuple):
    """Where a child is killed: so many moments after a mark. Mark 0 is the start of the child."""

    mark: int
    moments: int


class Run(NamedTuple):
    """A run of a child.

    Attributes
    ----------
    moments
        How many moments there were.
    marks
        How many moments there were before each mark.
    finished
        Whether the child came to its end; else it was killed.
    """

    moments: int
    marks: list[int]
    finished: bool


class _Tracer:
    def __init__(self, child: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            self._run(child, arguments)
        self._registers = _Registers()
        self._regions: dict[int, int] = {}  # the shared mappings: their sizes by their addresses
        self._wait()
        _ptrace(_SETOPTIONS, self._pid, data=_OPTIONS)
        self._call_at = self._read().rip - 2  # the first stop comes out of a system call
        if _ptrace(_PEEKTEXT, self._pid, self._call_at) & 0xFFFF != _INSTRUCTION:
            raise RuntimeError("the child did not stop in a system call")

    def _run(self, child: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        status = 1
        try:
            _ptrace(_TRACEME, 0)
            mark()
            child(*arguments)
            status = 0
        except BaseException:  # noqa: BLE001  it may not come back into the program of the parent
            traceback.print_exc()
        finally:
            os._exit(status)

    # ---- ptrace ----

    def _wait(self) -> int:
        """Return the signal with which the child has stopped; 0: it has ended, which must be without an error."""
        _, status = os.waitpid(self._pid, 0)
        if os.WIFSTOPPED(status):
            return os.WSTOPSIG(status)
        if os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(f"the child has ended with status {os.waitstatus_to_exitcode(status)}")
        return 0

    def _read(self) -> _Registers:
        _ptrace(_GETREGS, self._pid, data=ctypes.addressof(self._registers))
        return self._registers

    def _write(self, registers: _Registers) -> None:
        _ptrace(_SETREGS, self._pid, data=ctypes.addressof(registers))

    def _call(self, number: int, *arguments: int) -> int:
        """Let the child make a system call where it is."""
        before = _Registers.from_buffer_copy(self._read())
        before.orig_rax = _NONE  # its own system call is over
        now = _Registers.from_buffer_copy(before)
        now.rip, now.rax = self._call_at, number
        for register, value in zip(("rdi", "rsi", "rdx"), arguments, strict=False):
            setattr(now, register, value)
        self._write(now)
        _ptrace(_SINGLESTEP, self._pid)
        if self._wait() != signal.SIGTRAP:
            raise RuntimeError("the child did not make a step")
        result: int = self._read().rax
        self._write(before)
        return result

    def _protect(self, address: int, writable: bool) -> None:
        if self._call(_MPROTECT, address, self._regions[address], 3 if writable else 1) != 0:
            raise RuntimeError("mprotect has failed")

    # ---- moments ----

    def _let_store(self) -> bool:
        """Let an instruction write that has stopped the child. Return False if that was not for a shared mapping."""
        region = self._region_at(self._fault_address())
        if region is None:
            return False
        self._protect(region, True)
        _ptrace(_SINGLESTEP, self._pid)
        if self._wait() != signal.SIGTRAP:
            raise RuntimeError("the child did not make a step")
        self._protect(region, False)
        return True

    def _region_at(self, address: int) -> int | None:
        return next((start for start, size in self._regions.items() if start <= address < start + size), None)

    def _fault_address(self) -> int:
        info = (ctypes.c_uint64 * 16)()  # siginfo_t
        _ptrace(0x4202, self._pid, data=ctypes.addressof(info))  # PTRACE_GETSIGINFO
        return info[2]

    def _populate(self, registers: _Registers) -> None:
        """Do what the child has asked of madvise, which it may not do in a read-only mapping."""
        own = _Registers.from_buffer_copy(registers)
        registers.orig_rax = _NONE
        self._write(registers)
        _ptrace(_SYSCALL, self._pid)
        self._wait()
        region = self._region_at(own.rdi)
        if region is not None:
            self._protect(region, True)
        result = self._call(_MADVISE, own.rdi, own.rsi, own.rdx)
        if region is not None:
            self._protect(region, False)
        own.rax, own.orig_rax = result, _NONE
        self._write(own)

    def _is_change(self, call: _Registers) -> bool:
        """Note what a system call has done, and return whether others can see it."""
        number, result = call.orig_rax, call.rax
        if result >= 1 << 63:  # it has failed
            return False
        if number == _MMAP and call.r10 & 3 == 1 and call.rdx & 2 and call.r8 < 1 << 31:  # shared, writable, of a file
            self._regions[result] = call.rsi
            self._protect(result, False)
        elif number == _MUNMAP:
            for start in [start for start in self._regions if call.rdi <= start < call.rdi + call.rsi]:
                del self._regions[start]
        elif number == _OPENAT:
            return bool(call.rdx & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY))
        elif number == _FCNTL:
            return call.rsi in _LOCKS
        return number in _CHANGES

    def run_to(self, goal: Goal | None) -> Run:
        """Run the child to its goal and kill it there; None: run it to its end."""
        count, marks, calls, passed_on = 0, [0], False, 0
        try:
            while goal is None or len(marks) <= goal.mark or count - marks[goal.mark] < goal.moments:
                _ptrace(_SYSCALL, self._pid, data=passed_on)
                stop, passed_on, changes = self._wait(), 0, False
                if stop == 0:
                    return Run(count, marks, True)
                if stop == _CALL_STOP:
                    calls = not calls
                    registers = self._read()
                    if not calls:
                        changes = self._is_change(registers)
                    elif registers.orig_rax == _MADVISE and registers.rdx == _POPULATE_WRITE:
                        self._populate(registers)
                        calls = False
                elif stop == signal.SIGSTOP:
                    marks.append(count)
                elif stop == signal.SIGSEGV and self._let_store():
                    changes = True
                else:
                    passed_on = stop
                count += changes
            return Run(count, marks, False)
        finally:
            self._kill()

    def _kill(self) -> None:
        try:
            os.kill(self._pid, signal.SIGKILL)
            while os.WIFSTOPPED(os.waitpid(self._pid, 0)[1]):
                pass
        except (ProcessLookupError, ChildProcessError):  # it has ended
            pass


def _can_trace() -> bool:
    """Return whether a process may trace its child here, and this module knows its registers."""
    if platform.machine() != "x86_64":
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(_libc.ptrace(_TRACEME, 0, 0, 0) != 0)
    return os.waitpid(pid, 0)[1] == 0


def serve(requests: Connection, child: Callable[..., object], *arguments: Any) -> None:
    """Run a child to each `Goal` that is received (None: to its end), and send the `Run` back. EOF ends this.

    First, send whether a process can be traced here.
    """
    can_trace = _can_trace()
    requests.send(can_trace)
    with suppress(EOFError):
        while can_trace:
            goal = requests.recv()
            requests.send(_Tracer(child, arguments).run_to(goal))
