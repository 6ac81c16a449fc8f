"""A partition as the network makes it: packets to a socket vanish, nothing is acknowledged, nobody is told.

A proxy that only stops reading is no partition, because its kernel goes on acknowledging. A socket filter that
drops every packet is one, and needs no rights.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import sys
import termios
import time

AVAILABLE = sys.platform.startswith("linux")
_SO_ATTACH_FILTER = 26
_RETURN_CONSTANT = 0x06


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def swallow_packets(end: socket.socket) -> None:
    """From now on no packet reaches this end of a connection, not even acknowledgements and probes; none leaves it.

    What is under way arrives first: unacknowledged, it would be sent again and again, a sign of life.
    """
    while _unacknowledged(end):
        time.sleep(0.001)
    accept_no_byte = (_Instruction * 1)(_Instruction(_RETURN_CONSTANT, 0, 0, 0))
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(_Program(1, accept_no_byte)))


def _unacknowledged(end: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)))[0])
