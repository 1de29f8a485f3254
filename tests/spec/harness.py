"""What the checks are made of: one line for each that holds, the end for the first that does not.

`section` collects the functions check.py runs; `Context` gives them connections and stream names of
their own. Nothing here knows a frame.
"""

import contextlib
import itertools
import time

from skp import Client, Ended, Refused

SECTIONS = []


class Wrong(Exception):
    """A check that does not hold."""


def section(function):
    SECTIONS.append(function)
    return function


def equal(expected, found, what, quiet=False):
    if expected != found:
        raise Wrong(f"{what}\n  expected {expected!r}\n  found    {found!r}")
    if not quiet:
        print(f"ok  {what}", flush=True)


def holds(true, what):
    equal(True, bool(true), what)


@contextlib.contextmanager
def refused(code, what=None, **details):
    """The block is refused with this code and exactly these details."""
    try:
        yield
    except Refused as refusal:
        expected = (code, False, details)
        equal(expected, (refusal.code, refusal.fatal, refusal.details), f"{code}: {what or 'refused'}")
    else:
        raise Wrong(f"{what or code}: not refused; {code} was expected")


def asked_raw(client, raw, kind, correlation):
    """The reply to bytes that are such a request, or are meant to be."""
    client.waiting[correlation] = kind
    client.raw(raw)
    return client.result(correlation)


def polled(what, ask, true, timeout=10.0):
    """What `ask()` gives as soon as `true` of it; for what the SPEC says happens soon."""
    deadline = time.monotonic() + timeout
    while not true(found := ask()):
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not in {timeout} s; last seen {found!r}")
        time.sleep(0.005)
    holds(True, what)
    return found


class Context:
    """A broker under check."""

    def __init__(self, addresses, token=None, process=None):
        self.address, self.others = addresses[0], addresses[1:]
        self.token, self.process = token, process
        self.names = (f"check-{time.time_ns()}/{n}" for n in itertools.count())

    def client(self, **options):
        return Client(self.address, name="check.py", token=self.token, **options)

    def name(self):
        """A stream name that nobody had."""
        return next(self.names)

    def stream(self, client, records=(), **options):
        """A new stream, with these records."""
        name = self.name()
        client.create(name, **options)
        if records:
            client.append(name, list(records))
        return name

    def fatal(self, raw, code, what, connected=True):
        """Sends bytes; the connection must end with this code and without another byte."""
        with self.client(connect=connected) as client:
            try:
                client.raw(raw)
                client.until(lambda: False)
            except Refused as refusal:
                equal((code, True), (refusal.code, refusal.fatal), f"{code}: {what}")
            except Ended as ended:
                raise Wrong(f"{what}: the connection ended ({ended}) before an ERR {code}") from ended
