"""Runs a command without io_uring, as Docker's default seccomp profile does: its three system calls answer EPERM.

    python3 without_io_uring.py COMMAND [ARGUMENT]...
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

# The same on every architecture of Linux that came after 5.1.
IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER = 425, 426, 427

LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
ALLOW = 0x7FFF0000
EPERM = 0x00050001  # SECCOMP_RET_ERRNO | EPERM

FILTER = [
    # The number of the system call lies first in `struct seccomp_data`.
    (LOAD_WORD, 0, 0, 0),
    (JUMP_IF_EQUAL, 3, 0, IO_URING_SETUP),
    (JUMP_IF_EQUAL, 2, 0, IO_URING_ENTER),
    (JUMP_IF_EQUAL, 1, 0, IO_URING_REGISTER),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, EPERM),
]


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def prctl(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*arguments) != 0:
        raise OSError(ctypes.get_errno(), "prctl" + str(arguments[:2]))


def main():
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in FILTER)
    program = Program(len(FILTER), code)
    prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program))
    os.execvp(sys.argv[1], sys.argv[1:])


main()
