#!/usr/bin/env python3
"""What more workers bring where the judge model is what takes the time.

    benches/fleet.py [--traces N] [--workers 1,2,4] [--pause MS] [--slots N] [--binary PATH] [--profile dev]

N traces are evaluated once into PostgreSQL, and the database is copied for each run, so that every run makes the same
judgements. With a limit, `concurrency` is the same for the whole fleet, however many workers share it: the model counts
how many it was asked at once, which may never be more. Without one, it grows with the workers, so that each may ask
as many at once as one alone: the ratio of the rates is what a worker more is worth. CPU-seconds are those of the
workers. Needs Linux, cargo, Python 3.9, PostgreSQL.
"""

import sys

from stand import parser, stand, store

EVALUATE = "[complete]\nroot_grace = \"50ms\"\n[sampling]\nhealthy_rate = 1.0\n[judge]\ncontrol_share = 0.0\n"


def main():
    arguments = parse_arguments()
    with stand(arguments) as at:
        postgres, model = at.postgres(), at.model(arguments.pause)
        fill(at, arguments, postgres, model)
        for is_limited in (True, False):
            alone = None
            for workers in map(int, arguments.workers.split(",")):
                slots = arguments.slots * (1 if is_limited else workers)
                rate = measure(at, postgres, model, workers, slots, alone)
                alone = alone or rate


def parse_arguments():
    made = parser(__doc__)
    made.add_argument("--traces", type=int, default=2_000)
    made.add_argument("--workers", default="1,2,4")
    made.add_argument("--pause", type=int, default=500, help="milliseconds until the model answers")
    made.add_argument("--slots", type=int, default=16, help="requests to the model at once, alone or for the whole fleet")
    return made.parse_args()


def fill(at, arguments, postgres, model):
    """Evaluates the traces without judging them."""
    url = postgres.database("filled")
    with at.service(store(url) + EVALUATE + model.settings(), "receive,evaluate,web") as service:
        said = at.load(service, arguments.traces).result()
        if said["accepted"] != arguments.traces:
            sys.exit(f"not all were accepted: {said}")
        service.wait(lambda: service.depths().get("pending") == 0, "all is evaluated", 600)
        print(f"{arguments.traces} traces, {service.depths()['judge']} judgements, {arguments.pause} ms each", flush=True)


def measure(at, postgres, model, workers, slots, alone):
    """The rate of judgements of so many workers; `alone` is that of one."""
    url = postgres.database(f"fleet_{workers}_{slots}_{at.services}", "filled")
    settings = store(url) + EVALUATE + model.settings(slots)
    services = [at.service(settings, "judge,web") for _ in range(workers)]
    model.reset()
    for service in services:
        service.__enter__()
    first = services[0]
    first.wait(lambda: first.depths().get("judge") == 0, "all is judged", 3600)
    seen = model.stats()
    cpu = sum(service.cpu_seconds() for service in services)
    for service in services:
        service.__exit__()
    rate = seen["requests"] / seen["seconds"]
    ratio = f"{rate / alone:4.2f} times one" if alone else "alone"
    verdict = "" if seen["most_in_flight"] <= slots else "   LIMIT BROKEN"
    print(f"{workers} workers, {slots:3} at once for all: {rate:6.1f}/s, {ratio}; most at once {seen['most_in_flight']}"
          f"{verdict}; {1000 * cpu / seen['requests']:.2f} ms of CPU a judgement", flush=True)
    return rate


if __name__ == "__main__":
    main()
