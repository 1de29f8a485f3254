"""Handshake, heartbeat, what a broken frame does: SPEC sections 2, 5, 9, 15, 16.

Every frame of invalid.json that a client may send goes to the broker too: what our own codec must
tell, the broker must tell.
"""

import struct

import wire
from golden import load
from harness import asked_raw, equal, holds, refused, section
from skp import Client

TEXTS = {"version": 1, "name": "", "library": "", "library_version": ""}


@section
def handshake(context):
    with context.client(connect=False) as client:
        client.ping()
        holds(client.info, "PING is answered before CONNECT, with its correlation id")
        info = client.info
        client.connect(token=context.token)
    holds(info["version_min"] <= 1 <= info["version_max"], "INFO: the server speaks version 1")
    holds(65536 <= info["frame_bytes_max"] <= 67108864, "INFO: frame_bytes_max within its bounds")
    holds(info["record_bytes_max"] + 4096 <= info["frame_bytes_max"], "INFO: a frame carries any record")
    holds(info["heartbeat_ms"] >= 1 and info["server_id"], "INFO: a heartbeat and a server id")
    equal(int(context.token is not None), info["auth_required"], "INFO: auth_required")
    with context.client(connect=False) as client:
        client.until(lambda: client.info)
        reply = client.ask("CONNECT", **TEXTS, token=context.token)
        equal(1, reply.body["version"], "CONNECTED: the version that was asked for")
    stream = context.name()
    with context.client(connect=False) as client:
        sent = [client.send("CONNECT", **TEXTS, token=context.token), client.send("CREATE", stream=stream),
                client.send_append(stream, [b"early"]), client.send("CLOSE", stream=stream),
                client.send("DELETE", stream=stream)]
        replies = [client.result(correlation) for correlation in sent]
        equal(["CONNECTED", "CREATED", 1, "CLOSED", "DELETED"],
              [getattr(reply, "kind", None) or reply["tail"] for reply in replies],
              "CONNECT and requests right behind it, without waiting for INFO")
    with context.client() as client:
        client.raw(wire.encode("PONG", correlation=77))
        client.ping()
        holds(True, "a PONG that nobody asked for is ignored")
        pong = asked_raw(client, wire.encode("PING", correlation=0xFFFFFFFF), "PING", 0xFFFFFFFF)
        equal(0xFFFFFFFF, pong.correlation, "PONG carries the largest correlation id back")
        pong = asked_raw(client, struct.pack(">IBBI", 6, 2, 0xFF, 5), "PING", 5)
        equal(5, pong.correlation, "flag bits without a meaning are ignored")


@section
def other_addresses(context):
    with context.client() as client:
        stream = context.stream(client)
        for tail, address in enumerate(context.others, 1):
            with Client(address, token=context.token) as other:
                equal(tail, other.append(stream, [address.encode()])["tail"], f"APPEND over {address}")
        equal([address.encode() for address in context.others],
              [record for run in client.read(stream).body["runs"] for record in run.records],
              "what was appended over other addresses is read over this one")


@section
def refused_connects(context):
    for version in (0, 2, 65535):
        context.fatal(wire.encode("CONNECT", TEXTS | {"version": version, "token": context.token}, 1),
                      "UNSUPPORTED_VERSION", f"CONNECT with version {version}", connected=False)
    if context.token is not None:
        for token in (None, b"", context.token + b"x", context.token[:-1]):
            context.fatal(wire.encode("CONNECT", TEXTS | {"token": token}, 1), "UNAUTHORIZED",
                          f"CONNECT with the token {token!r}", connected=False)
    for kind, body in (("STAT", {"stream": "s"}), ("CREDIT", {"subscription": 1, "bytes": 1})):
        context.fatal(wire.encode(kind, body, 1), "NOT_CONNECTED", f"{kind} before CONNECT", connected=False)
    context.fatal(bytes.fromhex("000000067f0000000001"), "UNKNOWN_KIND", "no kind, before CONNECT",
                  connected=False)
    context.fatal(wire.encode("CONNECT", TEXTS | {"token": context.token}, 1), "ALREADY_CONNECTED",
                  "a second CONNECT")


@section
def largest_frames(context):
    with context.client() as client:
        info, limits = client.info, client.limits
    least = info["unauthenticated_frame_bytes_max"]
    plain = wire.encode("CONNECT", TEXTS | {"token": context.token}, 1)
    # Behind header, version and three empty texts: the fields. One of an unknown tag fills the frame up.
    head, section_bytes, entries = plain[4:18], plain[18:20], plain[20:]
    room = least - (len(plain) - 4) - 3
    total = struct.unpack(">H", section_bytes)[0] + 3 + room
    longest = (struct.pack(">I", least) + head + struct.pack(">H", total) + entries
               + struct.pack(">BH", 200, room) + bytes(room))
    with Client(context.address, connect=False) as client:
        equal("CONNECTED", asked_raw(client, longest, "CONNECT", 1).kind,
              f"a CONNECT of {least} bytes, most of them an unknown field")
    context.fatal(struct.pack(">IBBI", least + 1, 1, 0, 1), "FRAME_TOO_LARGE",
                  f"{least + 1} bytes before CONNECT", connected=False)
    most = limits.frame_bytes
    context.fatal(struct.pack(">IBBI", most + 1, 0x20, 0, 1), "FRAME_TOO_LARGE", f"{most + 1} bytes")
    with context.client() as client:
        stream = context.stream(client)
        empty = len(wire.encode("APPEND", {"stream": stream, "records": []}))
        record = bytes(limits.record_bytes)
        crc = wire.crc32c(record)
        count, rest = divmod(most + 4 - empty, 8 + len(record))
        records = (struct.pack(">II", len(record), crc) + record) * count
        last = bytes(max(0, rest - 8))
        if rest >= 8:
            records += struct.pack(">II", len(last), wire.crc32c(last)) + last
            count += 1
        head = wire.encode("APPEND", {"stream": stream, "records": []}, 9)
        length = len(head) - 4 + len(records)
        raw = struct.pack(">I", length) + head[4:-4] + struct.pack(">I", count) + records
        equal(count, asked_raw(client, raw, "APPEND", 9)["tail"], f"an APPEND of {length} bytes")
        got, start = 0, ("offset", 0)
        while got < count:
            reply = client.read(stream, start, max_bytes=0xFFFFFFFF)
            got += sum(len(run.records) for run in reply.body["runs"])
            start = ("offset", reply.body["next"])
        equal(count, got, "and all its records are read back with their checksums")
        client.delete(stream)


@section
def broken_frames(context):
    told = 0
    for frame in load("invalid.json")["frames"]:
        raw, code = bytes.fromhex(frame["hex"]), frame["error"]
        if frame["sender"] != "client":
            continue
        number = next(number for number, name in wire.CODES.items() if name == code)
        connected = raw[4] != 0x01 and "frame_bytes_max" not in frame
        if number < 100:
            context.fatal(raw, code, frame["name"], connected)
        else:
            with context.client() as client:
                if code == "BATCH_TOO_LARGE" and client.limits.batch_records > 65536:
                    continue
                with refused(code, frame["name"]):
                    asked_raw(client, raw, wire.BY_CODE[raw[4]].name, struct.unpack(">I", raw[6:10])[0])
                client.ping()
        told += 1
    holds(told > 40, f"the broker refuses {told} broken frames, and stays in step where it goes on")
