"""Takes the place of a process that answers SQL: when a client has come, it says that it does not come back from a
statement, as the watch of a process does, and aborts.

Usage: stuck.py --memory BYTES, with the socket that clients come from as its standard input
"""

import json
import os
import socket
import struct

STUCK = b"t"


def taken(stream):
    """What is handed over: a length, and JSON."""
    (length,) = struct.unpack(">I", stream.recv(4, socket.MSG_WAITALL))
    return json.loads(stream.recv(length, socket.MSG_WAITALL))


def main():
    listener = socket.socket(fileno=0)
    life, client = None, None
    while life is None or client is None:
        stream, _ = listener.accept()
        if taken(stream) == "Life":
            life = stream
        else:
            client = stream
    life.sendall(STUCK)
    os.abort()


if __name__ == "__main__":
    main()
