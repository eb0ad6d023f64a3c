"""Ports to listen on."""
import random
import socket

# Below those that the system gives to outgoing connections (ip_local_port_range): one of these would take a port
# between our look and the listener's start.
_RANGE = range(12_000, 32_000)
_chance = random.SystemRandom()
_given = set()


def free_port():
    """A port of 127.0.0.1 that is free now and was not given out before by this process."""
    while True:
        port = _chance.choice(_RANGE)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
