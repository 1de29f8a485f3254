"""The frames of SKP/1 as bytes and as values: everything both sides may send.

Written from protocol/SPEC.md and protocol/vectors/ alone; skp.py says why. Both directions are
here, since the golden vectors have both. Parts are checked in the order of the body, and the first
that breaks a rule is told. Knows no connection.

Values are int, str, bytes and lists; a `start` is "beginning", "now", ("offset", n) or ("time", t);
a `producer` is (epoch, seq, id); flags are lists of names.
"""

import struct
from collections import namedtuple

VERSION = 1
CODES = dict(enumerate("""MALFORMED_FRAME FRAME_TOO_LARGE UNKNOWN_KIND NOT_CONNECTED
    UNSUPPORTED_VERSION UNAUTHORIZED TIMEOUT TOO_MANY_CONNECTIONS ALREADY_CONNECTED
    SLOW_CONSUMER""".split(), 1))
CODES.update(enumerate("""NOT_FOUND ALREADY_EXISTS STREAM_CLOSED SEQ_CONFLICT PRODUCER_FENCED
    PRODUCER_GAP PRODUCER_EPOCH_START TAIL_MISMATCH OFFSET_TRIMMED OFFSET_PAST_TAIL INVALID_JSON
    EMPTY_BATCH INVALID_NAME INVALID_OPTIONS CHECKSUM_MISMATCH RECORD_TOO_LARGE BATCH_TOO_LARGE
    TOO_MANY_SUBSCRIPTIONS SUBSCRIPTION_IN_USE UNKNOWN_SUBSCRIPTION TOO_MANY_PRODUCERS
    TOO_MANY_REQUESTS""".split(), 100))
CODES.update(enumerate("UNAVAILABLE DRAINING STORE_FAULTED STORE_FULL CORRUPT INTERNAL".split(), 200))
REASONS = dict(enumerate("""CLOSED DELETED EXPIRED TRIMMED_PAST UNSUBSCRIBED CORRUPT
    UNAVAILABLE""".split(), 1))
STARTS = ["beginning", "now", "offset", "time"]
DURABLE, MEMORY = 0, 1

# What a size out of range is called: least bytes, most bytes, code.
SIZES = {
    "name": (1, 1024, "INVALID_NAME"), "affix": (0, 1024, "INVALID_NAME"),
    "text": (0, 255, "MALFORMED_FRAME"), "token": (0, 2048, "MALFORMED_FRAME"),
    "content_type": (1, 255, "INVALID_OPTIONS"), "seq": (1, 256, "INVALID_OPTIONS"),
    "id": (1, 256, "INVALID_OPTIONS"), "message": (0, 1024, "MALFORMED_FRAME"),
    "str": (0, 65535, "MALFORMED_FRAME"), "value": (0, 4096, "MALFORMED_FRAME"),
    "features": (0, 4096, "MALFORMED_FRAME"),
}

Kind = namedtuple("Kind", "code name sender parts flags fields")


def _kind(code, name, sender, parts="", flags="", fields=""):
    pairs = [tuple(part.split(":")) for part in parts.split()]
    tags = {tag: tuple(entry.split(":")) for tag, entry in enumerate(fields.split(), 1)}
    return Kind(code, name, sender, pairs, flags.split(), tags)


RETENTION = "max_age_ms:u64 max_records:u64 max_bytes:u64"
KINDS = [
    _kind(0x01, "CONNECT", "client", "version:u16 name:text library:text library_version:text fields:",
          fields="token:token"),
    _kind(0x02, "PING", "both"),
    _kind(0x03, "PONG", "both"),
    _kind(0x10, "CREATE", "client", "stream:name fields:",
          fields=f"content_type:content_type ttl_seconds:u64 expires_at:u64 {RETENTION} storage:storage"),
    _kind(0x11, "DELETE", "client", "stream:name"),
    _kind(0x12, "CLOSE", "client", "stream:name"),
    _kind(0x13, "STAT", "client", "stream:name"),
    _kind(0x14, "LIST", "client", "prefix:affix after:affix limit:u32"),
    _kind(0x20, "APPEND", "client", "stream:name fields: records:records", "NO_CONFIRM CLOSE_AFTER",
          "seq:seq producer:producer expected_tail:u64"),
    _kind(0x21, "READ", "client", "stream:name start:start max_bytes:u32 max_records:u32 wait_ms:u32"),
    _kind(0x30, "SUBSCRIBE", "client", "subscription:u32 stream:name start:start credit:u64"),
    _kind(0x31, "CREDIT", "client", "subscription:u32 bytes:u64"),
    _kind(0x32, "UNSUBSCRIBE", "client", "subscription:u32"),
    _kind(0x80, "INFO", "server",
          "server_id:str server_version:str version_min:u16 version_max:u16 heartbeat_ms:u32 "
          "auth_required:bool frame_bytes_max:u32 record_bytes_max:u32 batch_records_max:u32 "
          "subscriptions_max:u32 unauthenticated_frame_bytes_max:u32 fields:", fields="features:features"),
    _kind(0x81, "CONNECTED", "server", "session:u64 version:u16"),
    _kind(0x8F, "ERR", "server", "code:u16 message:message fields:", "FATAL",
          "expected_seq:u64 current_epoch:u64 tail:u64 earliest:u64 last_seq:value retry_after_ms:u64"),
    _kind(0x90, "CREATED", "server", "tail:u64", "EXISTS"),
    _kind(0x91, "DELETED", "server"),
    _kind(0x92, "CLOSED", "server", "tail:u64"),
    _kind(0x93, "STATUS", "server",
          "content_type:str created_at:u64 flags:status_flags storage:storage earliest:u64 "
          "earliest_byte:u64 tail:u64 tail_byte:u64 fields:",
          fields=f"ttl_seconds:u64 expires_at:u64 {RETENTION} last_seq:value last_append_at:u64"),
    _kind(0x94, "LISTED", "server", "streams:streams", "MORE"),
    _kind(0xA0, "CONFIRM", "server", "entries:entries"),
    _kind(0xA1, "RECORDS", "server", "next:u64 next_byte:u64 tail:u64 runs:runs", "MORE CLOSED"),
    _kind(0xB0, "SUBSCRIBED", "server", "subscription:u32 next:u64 tail:u64"),
    _kind(0xB1, "DELIVER", "server", "subscription:u32 runs:runs"),
    _kind(0xB2, "END", "server", "subscription:u32 reason:reason next:u64 fields:", fields="earliest:u64"),
    _kind(0xC0, "DRAINING", "server", "grace_ms:u32"),
]
BY_CODE, BY_NAME = {kind.code: kind for kind in KINDS}, {kind.name: kind for kind in KINDS}
PARTS = {"streams": ("stream:str tail:u64 earliest:u64 closed:bool", 1000),
         "entries": ("correlation:u32 flags:entry_flags tail:u64", 4096)}
LISTS = {what: ([tuple(part.split(":")) for part in parts.split()], most)
         for what, (parts, most) in PARTS.items()}
INNER_FLAGS = {"status_flags": ["CLOSED"], "entry_flags": ["DUPLICATE", "CLOSED"]}
NUMBERS = {"u8": ">B", "u16": ">H", "u32": ">I", "u64": ">Q"}
BYTES = ("token", "seq", "value")
REST = BYTES + ("content_type", "features", "id")
HEADER, RUN = struct.Struct(">IBBI"), struct.Struct(">QQQII")

Frame = namedtuple("Frame", "kind correlation flags body")
Limits = namedtuple("Limits", "frame_bytes record_bytes batch_records", defaults=(4259840, 1048576, 65536))


class Run(namedtuple("Run", "first_offset first_byte committed_at records")):
    """Consecutive records, and what they cost of a subscription's credit."""

    @property
    def cost(self):
        return RUN.size + sum(8 + len(record) for record in self.records)


class Fault(Exception):
    """Bytes that break a rule; `code` names it."""

    def __init__(self, code, why):
        super().__init__(f"{code}: {why}")
        self.code = code


def _table():
    for c in range(256):
        for _ in range(8):
            c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
        yield c


TABLE = tuple(_table())


def crc32c(data):
    c = 0xFFFFFFFF
    for byte in data:
        c = TABLE[(c ^ byte) & 0xFF] ^ (c >> 8)
    return c ^ 0xFFFFFFFF


class Reader:
    """The parts of a body, in order."""

    def __init__(self, data, limits, flags=()):
        self.data, self.at, self.limits, self.flags = data, 0, limits, flags

    def take(self, length):
        if length > len(self.data) - self.at:
            raise Fault("MALFORMED_FRAME", "something goes past its end")
        self.at += length
        return self.data[self.at - length:self.at]

    def left(self):
        return self.take(len(self.data) - self.at)

    def done(self):
        if self.at != len(self.data):
            raise Fault("MALFORMED_FRAME", "bytes after the last part")

    def number(self, size, most=None, least=0):
        value = struct.unpack(NUMBERS[size], self.take(struct.calcsize(NUMBERS[size])))[0]
        if value < least or most is not None and value > most:
            raise Fault("MALFORMED_FRAME", f"{value} is no such number")
        return value

    def sized(self, what):
        raw = self.left() if what in REST else self.take(self.number("u16"))
        text = raw
        if what not in BYTES:
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                raise Fault("MALFORMED_FRAME", "text that is not UTF-8") from None
        least, most, code = SIZES[what]
        if not least <= len(raw) <= most:
            raise Fault(code, f"{what} of {len(raw)} bytes")
        if what == "name" and any(c < " " or "\x7f" <= c <= "\x9f" for c in text):
            raise Fault(code, "control character in a name")
        return text

    def value(self, what):
        if what in NUMBERS:
            return self.number(what)
        if what in SIZES:
            return self.sized(what)
        if what in ("bool", "storage"):
            return self.number("u8", 1)
        if what == "reason":
            return self.number("u8", 7, 1)
        if what in INNER_FLAGS:
            return names(INNER_FLAGS[what], self.number("u8"))
        return getattr(self, what)()

    def parts(self, parts):
        return {name: self.value(what) for name, what in parts}

    def start(self):
        at, value = STARTS[self.number("u8", 3)], self.number("u64")
        if at in ("beginning", "now"):
            if value:
                raise Fault("MALFORMED_FRAME", f"{at} has no value")
            return at
        return at, value

    def producer(self):
        return self.number("u64"), self.number("u64"), self.sized("id")

    def fields(self, tags):
        section, found = Reader(self.take(self.number("u16")), self.limits), {}
        while section.at < len(section.data):
            tag = section.number("u8")
            entry = Reader(section.take(section.number("u16")), self.limits)
            if tag not in tags:
                continue
            name, what = tags[tag]
            if name in found:
                raise Fault("MALFORMED_FRAME", f"{name} twice")
            found[name] = entry.value(what)
            entry.done()
        return found

    def record(self):
        length, crc = self.number("u32"), self.number("u32")
        payload = self.take(length)
        if length > self.limits.record_bytes:
            raise Fault("RECORD_TOO_LARGE", f"{length} bytes")
        if crc32c(payload) != crc:
            raise Fault("CHECKSUM_MISMATCH", f"{crc32c(payload):08x} is not {crc:08x}")
        return payload

    def records(self):
        count = self.number("u32")
        if count == 0 and "CLOSE_AFTER" not in self.flags:
            raise Fault("EMPTY_BATCH", "no records")
        if count > self.limits.batch_records:
            raise Fault("BATCH_TOO_LARGE", f"{count} records")
        return [self.record() for _ in range(count)]

    def runs(self):
        runs = []
        while self.at < len(self.data):
            first, byte, at, count, length = RUN.unpack(self.take(RUN.size))
            body = Reader(self.take(length), self.limits)
            ends = (first + count, byte + length - 8 * count)
            if count < 1 or length < 8 * count or max(ends) >= 1 << 64:
                raise Fault("MALFORMED_FRAME", "a run that cannot be")
            if runs and (first, byte) != follows:
                raise Fault("MALFORMED_FRAME", "a run that does not follow the one before")
            follows = ends
            runs.append(Run(first, byte, at, [body.record() for _ in range(count)]))
            body.done()
        return runs

    def list(self, what):
        parts, most = LISTS[what]
        return [self.parts(parts) for _ in range(self.number("u32", most))]

    def streams(self):
        return self.list("streams")

    def entries(self):
        return self.list("entries")


def names(bits, value):
    """The names of the bits that are set; those without a name are ignored."""
    return [name for bit, name in enumerate(bits) if value >> bit & 1]


def bits(known, flags):
    return sum(1 << known.index(flag) for flag in flags)


def delimit(data, limit):
    """How long the frame at the front is, its length included; None while that is not known."""
    if len(data) < 4:
        return None
    length = int.from_bytes(data[:4], "big")
    if length < 6:
        raise Fault("MALFORMED_FRAME", f"a frame of length {length}")
    if length > limit:
        raise Fault("FRAME_TOO_LARGE", f"{length} is more than {limit}")
    return 4 + length


def decode(data, sender, limits=Limits()):
    """One whole frame as sent by a `"client"` or a `"server"`; a Fault if it breaks a rule."""
    _, code, flags, correlation = HEADER.unpack_from(data)
    kind = BY_CODE.get(code)
    if kind is None or kind.sender not in ("both", sender):
        raise Fault("UNKNOWN_KIND", f"{code:#x} from a {sender}")
    flags, body = names(kind.flags, flags), {}
    reader = Reader(bytes(data[HEADER.size:]), limits, flags)
    for name, what in kind.parts:
        body.update(reader.fields(kind.fields) if name == "fields" else {name: reader.value(what)})
    reader.done()
    if kind.name == "DELIVER" and not body["runs"]:
        raise Fault("MALFORMED_FRAME", "a DELIVER of nothing")
    return Frame(kind.name, correlation, flags, body)


def write(what, value):
    if what in NUMBERS:
        return struct.pack(NUMBERS[what], value)
    if what in ("bool", "storage", "reason"):
        return bytes([value])
    if what in INNER_FLAGS:
        return bytes([bits(INNER_FLAGS[what], value)])
    if what in SIZES:
        raw = value if what in BYTES else value.encode()
        return raw if what in REST else struct.pack(">H", len(raw)) + raw
    if what == "start":
        at, value = (value, 0) if isinstance(value, str) else value
        return struct.pack(">BQ", STARTS.index(at), value)
    if what == "producer":
        return struct.pack(">QQ", *value[:2]) + value[2].encode()
    if what == "records":
        return struct.pack(">I", len(value)) + batch(value)
    if what == "runs":
        return b"".join(RUN.pack(*run[:3], len(run.records), run.cost - RUN.size) + batch(run.records)
                        for run in value)
    parts = LISTS[what][0]
    return struct.pack(">I", len(value)) + b"".join(write(part, entry[name]) for entry in value
                                                    for name, part in parts)


def batch(records):
    return b"".join(struct.pack(">II", len(record), crc32c(record)) + record for record in records)


def write_fields(tags, body):
    entries = b""
    for tag, (name, what) in tags.items():
        if body.get(name) is not None:
            raw = write(what, body[name])
            entries += struct.pack(">BH", tag, len(raw)) + raw
    return struct.pack(">H", len(entries)) + entries


def encode(kind, body=None, correlation=0, flags=()):
    """The frame of these parts, by their names in the SPEC; an optional field that is None is left out."""
    kind, body = BY_NAME[kind], body or {}
    raw = b"".join(write_fields(kind.fields, body) if name == "fields" else write(what, body[name])
                   for name, what in kind.parts)
    return HEADER.pack(6 + len(raw), kind.code, bits(kind.flags, flags), correlation) + raw
