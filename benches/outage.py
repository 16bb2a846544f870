#!/usr/bin/env python3
"""The judge model, the database or the tracing backend away for minutes under load: what grows, and whether all is caught
up.

    benches/outage.py [--minutes M] [--rate N] [--away provider,database,write-back] [--binary PATH] [--profile dev]

A receiver and a worker on RabbitMQ and PostgreSQL get N traces a second: for half the minutes with everything there, for
all of them with one thing away, for half of them with it back. Printed is the most that waited in each queue before,
during and after, the most memory of each process, and how long after the load it took until nothing waited. Everything
that was accepted must then be in the store, judged and delivered. Needs Linux, cargo, Python 3.9, PostgreSQL, RabbitMQ.
"""

import sys
import time

from stand import Backend, Sampler, parser, queue, stand, store

ALL = "[complete]\nroot_grace = \"200ms\"\n[sampling]\nhealthy_rate = 1.0\n"
ROLES = ("receive,web", "evaluate,judge,deliver,watch,web")


def main():
    made = parser(__doc__)
    made.add_argument("--minutes", type=float, default=10)
    made.add_argument("--rate", type=float, default=20, help="traces a second")
    made.add_argument("--away", default="provider,database,write-back")
    arguments = made.parse_args()
    with stand(arguments) as at:
        neighbours = {"provider": at.model(50), "database": at.postgres(), "write-back": at.start(Backend())}
        broker = at.rabbitmq()
        for name in arguments.away.split(","):
            outage(at, broker, neighbours, name, arguments.rate, arguments.minutes * 60)


def outage(at, broker, neighbours, name, rate, seconds):
    postgres, database = neighbours["database"], name.replace("-", "_")
    url = postgres.database(database)
    settings = ALL + store(url) + queue(broker) + f'name = "{name}"\n' + neighbours["provider"].settings() \
        + neighbours["write-back"].settings()
    services = [at.service(settings, roles) for roles in ROLES]
    receiver, worker = [service.__enter__() for service in services]
    load = at.load(receiver, int(rate * seconds * 2), rate)
    with Sampler(lambda: look(broker, name, worker, services)) as seen:
        time.sleep(seconds / 2)
        neighbours[name].stop()
        time.sleep(seconds)
        neighbours[name].__enter__()
        said = load.result()
        started = time.monotonic()
        worker.wait(lambda: broker.waiting().get(name) == 0 and worker.has_caught_up(), "nothing waits", 4 * 3600)
        caught_up = time.monotonic() - started
    print(f"{name} away for {seconds:.0f} s at {rate:g} traces a second: {said['accepted']} accepted, "
          f"{said['turned_away']} turned away, {said['failed']} failed")
    report(seen.samples, seconds)
    stored = int(postgres.sql(database, "SELECT count(*) FROM trace"))
    unjudged = int(postgres.sql(database, "SELECT count(*) FROM judge_job"))
    dead = broker.waiting().get(f"{name}.dead", 0)
    print(f"  caught up {caught_up:.0f} s after the load; {said['accepted'] - stored} lost, {unjudged} not judged, "
          f"{dead} dead letters", flush=True)
    for service in services:
        service.__exit__()
    if said["accepted"] != stored or unjudged or dead:
        sys.exit("not everything was caught up")


def look(broker, name, worker, services):
    """How much waits where, and the memory of each process."""
    waiting = {f"broker {queue}": count for queue, count in broker.waiting().items() if queue.startswith(name)}
    memory = {f"MB {roles}": service.memory() // 1_000_000 for roles, service in zip(ROLES, services)}
    return {**waiting, **worker.depths(), **memory}


def report(samples, seconds):
    """The most of each in each part of the time."""
    parts = {"before": (0, seconds / 2), "away": (seconds / 2, seconds * 1.5), "after": (seconds * 1.5, float("inf"))}
    for part, (start, end) in parts.items():
        most = {}
        for second, sample in samples:
            if start <= second < end:
                most = {what: max(most.get(what, 0), sample.get(what, 0)) for what in most.keys() | sample.keys()}
        print(f"  {part:6} at most: " + ", ".join(f"{what} {count}" for what, count in sorted(most.items())))


if __name__ == "__main__":
    main()
