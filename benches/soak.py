#!/usr/bin/env python3
"""Twice as many traces as the service can keep up with, for a long time.

    benches/soak.py [--minutes M] [--warm-up SECONDS] [--max-waiting N] [--fleet] [--binary PATH] [--profile dev]

First the rate that the service sustains: senders that wait for their answers, for the warm-up, until all of that is
evaluated. Then twice that rate, whatever is answered. Memory is read every second: after a quarter of the time it
shall be flat. What waits beyond `[queue] max_waiting` is turned away; it is less here than by default, so that this is
seen. What is turned away is counted and not sent again; when the load has ended, everything that was accepted
must be in the store. `--fleet` puts RabbitMQ between a receiver and a worker on PostgreSQL; without it one process does
everything on SQLite. Needs Linux, cargo, Python 3.9; for the fleet, PostgreSQL and RabbitMQ.
"""

import statistics
import sys
import time

from stand import Sampler, parser, queue, stand, store

GRACE = "[complete]\nroot_grace = \"200ms\"\n"
#: More than are ever sent to find the rate.
MANY = 1_000_000


def main():
    made = parser(__doc__)
    made.add_argument("--minutes", type=float, default=20)
    made.add_argument("--warm-up", type=float, default=60, help="seconds")
    made.add_argument("--max-waiting", type=int, default=100_000, help="traces or messages")
    made.add_argument("--fleet", action="store_true")
    arguments = made.parse_args()
    with stand(arguments) as at:
        services = start(at, arguments.fleet, f"max_waiting = {arguments.max_waiting}\n")
        rate, sent = sustainable(at, services, arguments.warm_up)
        print(f"sustains {rate:.0f} traces a second; now {2 * rate:.0f} for {arguments.minutes:g} minutes", flush=True)
        soak(at, services, 2 * rate, arguments.minutes * 60, sent)


def start(at, is_fleet, limit):
    """The process that receives, and the one that evaluates: the same where there is no fleet."""
    if not is_fleet:
        return [at.start(at.service(GRACE + store("sqlite://driftline.db") + "[queue]\n" + limit))]
    settings = GRACE + store(at.postgres().database("soak")) + queue(at.rabbitmq()) + limit
    return [at.start(at.service(settings, roles)) for roles in ("receive,web", "evaluate,deliver,watch,web")]


def evaluated(services):
    return services[-1].metric("evaluated_traces_total") or 0


def sustainable(at, services, seconds):
    """Traces a second that are accepted and evaluated, and how many that took."""
    count, batch, started = 0, 50, time.monotonic()
    while time.monotonic() - started < seconds:
        said = at.load(services[0], batch, first=count).result()
        if said["accepted"] != batch:
            sys.exit(f"turned away before there was any load: {said}")
        count, batch = count + batch, 200
    services[-1].wait(lambda: evaluated(services) >= count, "all is evaluated", 3600)
    return count / (time.monotonic() - started), count


def soak(at, services, rate, seconds, first):
    load = at.load(services[0], int(rate * seconds), rate, first, in_flight=512)
    with Sampler(lambda: sum(service.memory() for service in services)) as memory:
        said = load.result()
    flat = [size for at_second, size in memory.samples if at_second > seconds / 4]
    half = len(flat) // 2
    early, late = statistics.median(flat[:half]), statistics.median(flat[half:])
    print(f"{said['accepted']} accepted, {said['turned_away']} turned away, {said['failed']} failed in {said['seconds']:.0f} s")
    print(f"memory after warm-up: {early / 1e6:.0f} MB, then {late / 1e6:.0f} MB; at most {max(flat) / 1e6:.0f} MB")
    turned_away = services[0].metric("turned_away_total")
    print(f"the service counted {turned_away:.0f} as turned away", flush=True)
    started, expected = time.monotonic(), first + said["accepted"]
    services[-1].wait(lambda: evaluated(services) >= expected and services[-1].depths().get("pending") == 0,
                      "everything accepted is evaluated", 4 * 3600)
    lost = expected - evaluated(services)
    print(f"caught up in {time.monotonic() - started:.0f} s; lost {max(lost, 0):.0f}")


if __name__ == "__main__":
    main()
