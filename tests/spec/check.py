"""Holds wire.py and skp.py against the golden vectors and a running broker.

    python3 check.py ADDRESS [OTHER_ADDRESS ...] [--token TOKEN] [--timeouts | --crowd | --drain PID]

ADDRESS is HOST:PORT or unix:PATH. Prints a line for each check and ends with 1 at the first that does
not hold. Streams named `check-...` are left behind. `--token`: the broker wants this token, and wrong
ones are tried. The last three do only what needs a broker of its own: `--timeouts` wants one started with
`--heartbeat 1s --handshake-timeout 1s`, `--crowd` one with `--write-timeout 500ms --connections-max 16`,
and `--drain` sends SIGTERM to it.
"""

import argparse
import inspect
import sys
import time

import harness

MODULES = ("golden", "connection", "streams", "appends", "reads", "subscriptions")


def arguments():
    parser = argparse.ArgumentParser(description="Checks a Streamkeeper broker against SPEC.md.")
    parser.add_argument("address", nargs="+", help="HOST:PORT or unix:PATH; more of the same broker")
    parser.add_argument("--token", type=str.encode, help="the token that the broker wants")
    parser.add_argument("--timeouts", action="store_true", help="only what comes when patience ends")
    parser.add_argument("--crowd", action="store_true", help="only what comes when connections run out")
    parser.add_argument("--drain", type=int, metavar="PID", help="only a shutdown of this process")
    return parser.parse_args()


def main():
    given = arguments()
    context = harness.Context(given.address, given.token, given.drain)
    alone = [name for name in ("timeouts", "crowd", "drain") if getattr(given, name)]
    for module in alone or MODULES:
        __import__(module)
    began = time.monotonic()
    for section in harness.SECTIONS:
        began_section = time.monotonic()
        try:
            section(*[context][:len(inspect.signature(section).parameters)])
        except Exception as wrong:  # noqa: BLE001 - whatever it was, it is not all right
            sys.exit(f"WRONG in {section.__module__}.{section.__name__}: {type(wrong).__name__}: {wrong}")
        print(f"--  {section.__name__}: {time.monotonic() - began_section:.2f} s", flush=True)
    print(f"all hold, after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
