"""What comes when the broker's patience with a silent client ends: SPEC section 9, Heartbeats.

Wants a broker with a heartbeat and a handshake timeout of about a second.
"""

import time

import wire
from harness import Wrong, equal, holds, section
from skp import Client, Refused


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
