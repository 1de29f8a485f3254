"""A small blocking client of SKP/1, in Python 3 with its standard library only.

Written from protocol/SPEC.md and protocol/vectors/ alone, by somebody who had not seen the broker's
source, and to be kept that way: it is the proof that the SPEC is complete. check.py holds it
against the golden vectors and a running broker. What cannot be written here without looking into
the broker is a defect of the SPEC. The frames themselves are in wire.py.

A client is for one thread, and lives while it is called: frames are read, PINGs answered and silence
noticed in whatever call waits. It does not reconnect, and keeps nothing for sending it again.
"""

import itertools
import select
import socket
import time
from collections import deque

from wire import CODES, VERSION, Fault, Limits, decode, delimit, encode

REPLIES = {"CREATE": "CREATED", "DELETE": "DELETED", "CLOSE": "CLOSED", "STAT": "STATUS", "LIST": "LISTED",
           "READ": "RECORDS", "SUBSCRIBE": "SUBSCRIBED", "UNSUBSCRIBE": "END", "CONNECT": "CONNECTED",
           "PING": "PONG"}
LIMIT_BEFORE_INFO = 65536


class Ended(Exception):
    """The connection is over, without an ERR that says why."""


class Late(Exception):
    """What was waited for did not come in time; it may still."""


class Refused(Exception):
    """An ERR. `code` is its name, or its number if this version has none; `details` are its fields."""

    def __init__(self, frame):
        self.details = dict(frame.body)
        self.number, self.message = self.details.pop("code"), self.details.pop("message")
        self.code, self.fatal = CODES.get(self.number, self.number), "FATAL" in frame.flags
        super().__init__(f"{self.code}: {self.message} {self.details or ''}")


def dial(address, timeout):
    """A socket to HOST:PORT or unix:PATH."""
    if address.startswith("unix:"):
        dialled = socket.socket(socket.AF_UNIX)
        dialled.settimeout(timeout)
        dialled.connect(address[len("unix:"):])
    else:
        host, _, port = address.rpartition(":")
        dialled = socket.create_connection((host.strip("[]"), int(port)), timeout)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    dialled.setblocking(False)
    return dialled


class Client:
    """One connection. Its calls raise Refused, Ended, Fault (the server broke a rule) or Late."""

    def __init__(self, address, *, name="", token=None, timeout=10.0, connect=True):
        self.timeout, self.socket = timeout, dial(address, timeout)
        self.input, self.output = bytearray(), bytearray()
        self.limits = Limits(frame_bytes=LIMIT_BEFORE_INFO)
        self.replies, self.waiting = {}, {}
        self.subscriptions = {}
        self.info = self.draining = self.over = None
        self.pinged = None
        self.heard = time.monotonic()
        self.numbers = itertools.cycle(range(1, 1 << 32))
        if connect:
            self.connect(name, token)

    def connect(self, name="", token=None, version=VERSION):
        """INFO, CONNECT, CONNECTED; gives the session's number."""
        self.until(lambda: self.info)
        session = self.ask("CONNECT", version=version, name=name, library="skp.py", library_version="1",
                           token=token)
        return session.body["session"]

    def close_connection(self):
        self.socket.close()
        self.over = self.over or Ended("closed by this side")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close_connection()

    # Requests. `send` and `result` are for those who pipeline; the rest wait for their reply.

    def send(self, kind, flags=(), **body):
        """Queues a request and sends what the socket takes; gives the correlation id to ask `result` for."""
        correlation = 0 if kind == "CREDIT" else next(self.numbers)
        if correlation and "NO_CONFIRM" not in flags:
            self.waiting[correlation] = kind
        self.raw(encode(kind, body, correlation, flags))
        return correlation

    def result(self, correlation, timeout=None):
        """The reply to one request, as a Frame; for an APPEND its entry of CONFIRM."""
        self.until(lambda: correlation in self.replies, timeout)
        reply = self.replies.pop(correlation)
        if isinstance(reply, Refused):
            raise reply
        return reply

    def ask(self, kind, flags=(), **body):
        return self.result(self.send(kind, flags, **body))

    def ping(self):
        self.ask("PING")

    def create(self, stream, **options):
        """Gives the tail, and whether the stream was there before."""
        reply = self.ask("CREATE", stream=stream, **options)
        return reply.body["tail"], "EXISTS" in reply.flags

    def delete(self, stream):
        self.ask("DELETE", stream=stream)

    def close(self, stream):
        return self.ask("CLOSE", stream=stream).body["tail"]

    def stat(self, stream):
        return self.ask("STAT", stream=stream).body

    def list(self, prefix="", after="", limit=0):
        """One page, and whether more follow."""
        reply = self.ask("LIST", prefix=prefix, after=after, limit=limit)
        return reply.body["streams"], "MORE" in reply.flags

    def send_append(self, stream, records, *, confirm=True, close=False, **options):
        flags = [] if confirm else ["NO_CONFIRM"]
        return self.send("APPEND", flags + (["CLOSE_AFTER"] if close else []), stream=stream, records=records,
                         **options)

    def append(self, stream, records, **options):
        """Options: seq, producer, expected_tail, close. Gives the entry of CONFIRM."""
        return self.result(self.send_append(stream, records, **options))

    def send_read(self, stream, start="beginning", max_bytes=0, max_records=0, wait_ms=0):
        return self.send("READ", stream=stream, start=start, max_bytes=max_bytes, max_records=max_records,
                         wait_ms=wait_ms)

    def read(self, stream, start="beginning", **options):
        """Options: max_bytes, max_records, wait_ms. Gives the RECORDS."""
        return self.result(self.send_read(stream, start, **options))

    def subscribe(self, stream, start="beginning", credit=1 << 20, number=None):
        number = next(self.numbers) if number is None else number
        subscription = Subscription(self, number)
        # Registered by what answers, so that a refusal leaves an open one of this number alone.
        self.opening = subscription
        self.ask("SUBSCRIBE", subscription=number, stream=stream, start=start, credit=credit)
        return subscription

    # The connection.

    def raw(self, data):
        self.output += data
        self.pump(0)

    def until(self, come, timeout=None):
        """Reads and writes until `come()`."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not come():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Late("no answer in time")
            self.pump(left)

    def pump(self, wait):
        """One turn: waits for up to `wait` seconds until the socket can be read or written, and does it."""
        if self.over:
            raise self.over
        beat = self.info["heartbeat_ms"] / 1000 if self.info else wait
        since = self.pinged or self.heard
        wait = max(0, min(wait, since + beat - time.monotonic()))
        readable, writable, _ = select.select([self.socket], [self.socket] if self.output else [], [], wait)
        try:
            if writable:
                del self.output[:self.socket.send(self.output)]
            if readable:
                self.hear(self.socket.recv(1 << 18))
            elif self.info and time.monotonic() - since > beat:
                self.silence()
        except OSError as error:
            self.over = self.over or Ended(str(error))
        except (Fault, Refused, Ended) as error:
            self.over = error
        if self.over:
            self.socket.close()
            raise self.over

    def silence(self):
        """A heartbeat without a byte: ask; a second one: give up."""
        if self.pinged:
            raise Ended("the server is silent in spite of a PING")
        self.pinged = time.monotonic()
        self.output += encode("PING")

    def hear(self, data):
        if not data:
            raise Ended("closed by the server")
        self.heard, self.pinged = time.monotonic(), None
        self.input += data
        at = 0
        while (length := delimit(self.input[at:at + 4], self.limits.frame_bytes)) is not None:
            if len(self.input) - at < length:
                break
            self.on(decode(self.input[at:at + length], "server", self.limits))
            at += length
        del self.input[:at]

    def on(self, frame):
        kind, body = frame.kind, frame.body
        if kind == "ERR":
            refused = Refused(frame)
            if refused.fatal:
                raise refused
            self.waiting.pop(frame.correlation, None)
            self.replies[frame.correlation] = refused
        elif kind == "PING":
            self.output += encode("PONG", correlation=frame.correlation)
        elif kind == "CONFIRM":
            for entry in body["entries"]:
                self.answer(entry["correlation"], "APPEND", entry)
        elif kind == "INFO":
            self.info = body
            self.limits = Limits(body["frame_bytes_max"], body["record_bytes_max"], body["batch_records_max"])
        elif kind == "DRAINING":
            self.draining = body
        elif kind == "PONG" and frame.correlation not in self.waiting:
            pass
        elif kind != "DELIVER" and frame.correlation:
            asked = self.waiting.get(frame.correlation)
            if REPLIES.get(asked) != kind:
                raise Fault("MALFORMED_FRAME", f"{kind} answers {asked}")
            self.answer(frame.correlation, asked, frame)
        if kind == "SUBSCRIBED":
            self.opening.next = self.opening.first = body["next"]
            self.opening.tail = body["tail"]
            self.subscriptions[body["subscription"]] = self.opening
        elif kind in ("DELIVER", "END"):
            if body["subscription"] not in self.subscriptions:
                raise Fault("MALFORMED_FRAME", f"{kind} of a subscription that is not open")
            self.subscriptions[body["subscription"]].on(kind, body)

    def answer(self, correlation, asked, reply):
        if self.waiting.pop(correlation, None) != asked:
            raise Fault("MALFORMED_FRAME", f"an answer to {correlation}, which does not wait for it")
        self.replies[correlation] = reply


class Subscription:
    """Deliveries as they came, each a list of Runs, and how it ended."""

    def __init__(self, client, number):
        self.client, self.number = client, number
        self.first = self.next = self.tail = self.end = None
        self.delivered = deque()

    def on(self, kind, body):
        if kind == "DELIVER":
            if body["runs"][0].first_offset != self.next:
                raise Fault("MALFORMED_FRAME", f"a DELIVER that does not begin at {self.next}")
            last = body["runs"][-1]
            self.next = last.first_offset + len(last.records)
            self.delivered.append(body["runs"])
        else:
            if body["next"] != self.next:
                raise Fault("MALFORMED_FRAME", f"an END at {body['next']} after {self.next}")
            self.end = body
            del self.client.subscriptions[self.number]

    def deliver(self, timeout=None):
        """The runs of the next DELIVER; None after END."""
        self.client.until(lambda: self.delivered or self.end, timeout)
        return self.delivered.popleft() if self.delivered else None

    def grant(self, size):
        self.client.send("CREDIT", subscription=self.number, bytes=size)

    def unsubscribe(self):
        return self.client.ask("UNSUBSCRIBE", subscription=self.number).body

    def __iter__(self):
        """All records up to END, as (offset, payload); what was consumed is granted again."""
        used = 0
        while runs := self.deliver():
            for run in runs:
                yield from enumerate(run.records, run.first_offset)
                used += run.cost
            if used >= 1 << 18:
                self.grant(used)
                used = 0
