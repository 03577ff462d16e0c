"""Traffic inside a namespace, measured at its ends: `python -m ...traffic WORD SOURCE TARGET N`.

lost    send N datagrams; how many did not arrive
ping    N round trips of one byte over TCP; the shortest, in milliseconds
bulk    N bytes over one TCP connection; seconds until the last one was there
talk    what comes at standard input goes over one TCP connection to standard output
"""

import socket
import sys
import threading
import time

from sim_harness.live.kernel.addresses import address_of

SILENCE_S = 1.0


def lost(source: str, target: str, count: int) -> float:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as there,
        socket.socket(type=socket.SOCK_DGRAM) as at,
    ):
        there.bind((target, 0))
        there.settimeout(SILENCE_S)
        at.bind((source, 0))
        came = 0
        for _ in range(count // 50):
            for _ in range(50):
                at.sendto(b"x", there.getsockname())
            # What is not dropped is there at once: on loopback, sending is delivering.
            there.setblocking(False)
            try:
                while there.recv(1):
                    came += 1
            except BlockingIOError:
                pass
    return count - came


def connect(source: str, target: str) -> tuple[socket.socket, socket.socket]:
    with socket.create_server((target, 0)) as listener:
        here = socket.create_connection(listener.getsockname(), source_address=(source, 0))
        there, _ = listener.accept()
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return here, there


def ping(source: str, target: str, count: int) -> float:
    here, there = connect(source, target)
    took_ms = []
    for _ in range(count):
        began_s = time.monotonic()
        here.sendall(b"x")
        there.sendall(there.recv(1))
        here.recv(1)
        took_ms.append(1000 * (time.monotonic() - began_s))
    return min(took_ms)


def bulk(source: str, target: str, size: int) -> float:
    here, there = connect(source, target)
    threading.Thread(target=here.sendall, args=(bytes(size),), daemon=True).start()
    began_s, came = time.monotonic(), 0
    while came < size:
        came += len(there.recv(65_536))
    return time.monotonic() - began_s


def talk(source: str, target: str, _: int) -> float:
    here, there = connect(source, target)

    def hear() -> None:
        while data := there.recv(4_096):
            sys.stdout.write(data.decode())
            sys.stdout.flush()

    threading.Thread(target=hear, daemon=True).start()
    for line in sys.stdin:
        here.sendall(line.encode())
    return 0.0


WORDS = {"lost": lost, "ping": ping, "bulk": bulk, "talk": talk}

if __name__ == "__main__":
    word, source, target, number = sys.argv[1:]
    print(WORDS[word](address_of(int(source)), address_of(int(target)), int(number)))
