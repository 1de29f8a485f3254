"""What comes when the broker's patience ends: TIMEOUT, SLOW_CONSUMER, and TOO_MANY_CONNECTIONS: SPEC section 9.

Wants a broker with a heartbeat of 1 s, other times well below that, and room for at most some tens of connections.
"""

import time

import wire
from harness import Wrong, asked_raw, equal, holds, polled, section
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
    mute, dribbling = (Mute(context.address, token=context.token) for _ in range(2))
    with mute, dribbling, context.client() as polite:
        began, beat = time.monotonic(), mute.info["heartbeat_ms"] / 1000
        credit, sent = wire.encode("CREDIT", {"subscription": 1, "bytes": 1}), 0
        while time.monotonic() < began + 3.2 * beat or not mute.over and time.monotonic() < began + 20:
            dribbling.raw(credit[sent % len(credit):][:1])
            sent += 1
            polite.pump(beat / 4)
            ended = heard_out(mute, began)
        holds(mute.over, "a client that shows no sign of life is ended")
        equal(("TIMEOUT", True, 1), (mute.over.code, mute.over.fatal, mute.pings),
              "TIMEOUT: silence, in spite of one PING")
        holds(1.9 * beat < ended, "and this two heartbeats after the last byte")
        polite.ping()
        holds(True, "a client that answers PINGs stays connected")
        dribbling.raw(credit[sent % len(credit):])
        dribbling.ping()
        holds(sent > 8, "so does one that sends anything, also a frame byte by byte")


def heard_out(mute, began):
    """How long after `began` its connection ended; None while it has not."""
    if not mute.over:
        try:
            mute.pump(0)
        except Refused:
            mute.lasted = time.monotonic() - began
    return mute.over and mute.lasted


@section
def too_many(context):
    def one_more():
        try:
            return context.client()
        except Refused as refusal:
            return refusal

    slow = Mute(context.address, token=context.token)
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
    append = wire.encode("APPEND", {"stream": stream, "records": [bytes(writer.limits.record_bytes)]}, 3)
    for _ in range(12):
        asked_raw(writer, append, "APPEND", 3)

    def alive():
        for client in crowd:
            client.pump(0)
        return one_more()
    crowd.append(polled("one that does not read what comes is ended", alive, lambda came: isinstance(came, Client)))
    try:
        slow.until(lambda: False)
    except (Refused, Ended) as end:
        equal(True, getattr(end, "code", "SLOW_CONSUMER") == "SLOW_CONSUMER", f"and finds: {end}")
    for client in crowd:
        client.close_connection()
