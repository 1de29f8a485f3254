"""What comes when the broker's patience ends: TIMEOUT, SLOW_CONSUMER, and TOO_MANY_CONNECTIONS: SPEC section 9.

Wants a broker with a heartbeat and other times well below a second, and at most some tens of connections.
"""

import time

import wire
from harness import Wrong, equal, holds, polled, section
from skp import Client, Ended, Refused


class Mute(Client):
    """A client that answers no PING, and so seems dead."""

    def on(self, frame):
        if frame.kind == "PING":
            self.pings = getattr(self, "pings", 0) + 1
        else:
            super().on(frame)

    def silence(self):
        pass


def fatal(client, code, what):
    try:
        client.until(lambda: False)
    except Refused as refusal:
        equal((code, True), (refusal.code, refusal.fatal), f"{code}: {what}")


def patient(context):
    """A mute client that holds its peace until it is told."""
    client = Mute(context.address, token=context.token)
    return client, client.info["heartbeat_ms"] / 1000


@section
def silence(context):
    with Client(context.address, connect=False) as client:
        client.until(lambda: client.info)
        deadline = time.monotonic() + 10
        try:
            while time.monotonic() < deadline:
                client.ping()
                client.pump(0.02)
            raise Wrong("PINGs alone keep a connection without CONNECT open")
        except Refused as refusal:
            equal(("TIMEOUT", True), (refusal.code, refusal.fatal), "TIMEOUT: no CONNECT in time, for all the PINGs")
    client, beat = patient(context)
    with client:
        began = time.monotonic()
        fatal(client, "TIMEOUT", "silence in spite of a PING")
        equal(1, client.pings, "one PING came before")
        holds(2 * beat * 0.9 < time.monotonic() - began, "TIMEOUT comes two heartbeats after the last byte")
    client, beat = patient(context)
    with client:
        began, sent = time.monotonic(), 0
        credit = wire.encode("CREDIT", {"subscription": 1, "bytes": 1})
        while time.monotonic() < began + 3 * beat:
            client.raw(credit[sent % len(credit):][:1])
            sent += 1
            client.pump(beat / 4)
        client.raw(credit[sent % len(credit):])
        client.ping()
        holds(sent > 8, "any bytes are a sign of life, also those of half a frame")
    with context.client() as client:
        began = time.monotonic()
        while time.monotonic() < began + 4 * beat:
            client.pump(beat)
        client.ping()
        holds(True, "a client that only answers PINGs stays connected")


@section
def too_many(context):
    def one_more():
        try:
            return context.client()
        except Refused as refusal:
            return refusal

    slow, beat = patient(context)
    stream = context.stream(slow)
    slow.subscribe(stream, credit=1 << 40)
    crowd = []
    while not isinstance(crowd[-1:] and crowd[-1], Refused):
        crowd.append(one_more())
        if len(crowd) > 100:
            raise Wrong("a hundred connections, and none was refused; use --connections-max")
    refusal = crowd.pop()
    equal(("TOO_MANY_CONNECTIONS", True), (refusal.code, refusal.fatal),
          f"TOO_MANY_CONNECTIONS: in place of INFO, with {len(crowd) + 1} open")
    crowd.pop().close_connection()
    crowd.append(polled("one that leaves makes room", one_more, lambda came: isinstance(came, Client)))
    writer = crowd[0]
    record = bytes(writer.limits.record_bytes)
    for asked in [writer.send_append(stream, [record]) for _ in range(12)]:
        writer.result(asked)

    def alive():
        for client in crowd:
            client.pump(0)
        return one_more()
    crowd.append(polled("one that does not read what comes is ended", alive, lambda came: isinstance(came, Client)))
    try:
        slow.until(lambda: False)
    except (Refused, Ended) as end:
        equal(True, getattr(end, "code", "SLOW_CONSUMER") in ("SLOW_CONSUMER", "TIMEOUT"), f"and finds: {end}")
    for client in crowd:
        client.close_connection()
