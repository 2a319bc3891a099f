"""Holds idle connections: idle.py HOST:PORT COUNT. Says how many they are, and lets go of them when its input ends."""

import resource
import socket
import sys

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
host, port = sys.argv[1].rsplit(":", 1)
held = [socket.create_connection((host, int(port)), 30) for _ in range(int(sys.argv[2]))]
print(len(held), flush=True)
sys.stdin.read()
