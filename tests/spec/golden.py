"""The golden vectors against wire.py: bytes to meaning, meaning to bytes, and what must be refused.

Reads protocol/vectors/*.json as their README says. Needs no broker.
"""

import json
import pathlib

import wire
from harness import equal, section

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "protocol" / "vectors"


def load(name):
    loaded = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    equal(1, loaded["version"], f"{name} has version 1", quiet=True)
    return loaded


def from_json(what, value):
    """A value of a vector, in the form that wire.py has for its type."""
    if what in ("u64", "producer", "start", "records", "runs") or what in wire.LISTS:
        return {
            "u64": int,
            "producer": lambda v: (int(v["epoch"]), int(v["seq"]), v["id"]),
            "start": lambda v: (v["at"], int(v["value"])) if "value" in v else v["at"],
            "records": lambda v: [bytes.fromhex(record) for record in v],
            "runs": lambda v: [wire.Run(int(run["first_offset"]), int(run["first_byte"]),
                                        int(run["committed_at"]), from_json("records", run["records"]))
                               for run in v],
        }.get(what, lambda v: [{name: from_json(part, entry[name]) for name, part in wire.LISTS[what][0]}
                               for entry in v])(value)
    return bytes.fromhex(value) if what in wire.BYTES else value


def meaning(frame):
    kind = wire.BY_NAME[frame["kind"]]
    types = dict(part for part in kind.parts if part[0] != "fields") | dict(kind.fields.values())
    names = {"code": (wire.CODES, "code_name"), "reason": (wire.REASONS, "reason_name")}
    body = {}
    for name, value in frame["fields"].items():
        if name in types:
            body[name] = from_json(types[name], value)
    for name, (table, repeated) in names.items():
        if repeated in frame["fields"]:
            equal(frame["fields"][repeated], table.get(body[name]), f"{frame['name']}: {repeated}", quiet=True)
    unknown = set(frame["fields"]) - set(types) - {"code_name", "reason_name"}
    equal(set(), unknown, f"{frame['name']}: fields that the SPEC does not have", quiet=True)
    return wire.Frame(frame["kind"], frame["correlation"], frame["flags"], body)


def decoded(raw, sender, limit=wire.Limits().frame_bytes):
    length = wire.delimit(raw, limit)
    if length != len(raw):
        raise wire.Fault("MALFORMED_FRAME", "not one whole frame")
    return wire.decode(raw, sender)


def both_ways(name):
    vectors = load(name)
    kinds = set()
    for frame in vectors["frames"]:
        expected, raw = meaning(frame), bytes.fromhex(frame["hex"])
        kinds.add(expected.kind)
        equal(expected, decoded(raw, vectors["sender"]), f"{name}: {frame['name']}: decoded", quiet=True)
        again = wire.encode(expected.kind, expected.body, expected.correlation, expected.flags)
        equal(frame["hex"], again.hex(), f"{name}: {frame['name']}: encoded", quiet=True)
    sent = {kind.name for kind in wire.KINDS if kind.sender in ("both", vectors["sender"])}
    equal(sent, kinds, f"{name}: {len(vectors['frames'])} frames of all {len(sent)} kinds, decoded and encoded")


def refusal(frame):
    try:
        decoded(bytes.fromhex(frame["hex"]), frame["sender"], frame.get("frame_bytes_max", 4259840))
    except wire.Fault as fault:
        return fault.code
    return None


@section
def golden():
    values = load("crc32c.json")["values"]
    for value in values:
        equal(value["crc32c"], f"{wire.crc32c(bytes.fromhex(value['hex'])):08x}", value["name"], quiet=True)
    equal(True, len(values) > 5, f"crc32c.json: {len(values)} checksums")
    both_ways("commands.json")
    both_ways("events.json")
    tolerated = load("tolerated.json")["frames"]
    for frame in tolerated:
        equal(meaning(frame), decoded(bytes.fromhex(frame["hex"]), frame["sender"]), frame["name"], quiet=True)
    equal(True, len(tolerated) > 5, f"tolerated.json: {len(tolerated)} frames decoded")
    invalid = load("invalid.json")["frames"]
    for frame in invalid:
        equal(frame["error"], refusal(frame), f"invalid.json: {frame['name']}", quiet=True)
    equal(True, len(invalid) > 50, f"invalid.json: {len(invalid)} frames refused with the code they name")
