#!/usr/bin/env python3
"""What more workers bring where the judge model is what takes the time.

    benches/fleet.py [--traces N] [--workers 1,2,4] [--pause MS] [--slots N] [--binary PATH] [--profile dev]

N traces are evaluated once into PostgreSQL, and the database is copied for each run, so that every run makes the same
judgements. With a limit, `concurrency` is the same for the whole fleet, however many workers share it: the model counts
how many it was asked at once, which may never be more. Without one, it grows with the workers, so that each may ask
as many at once as one alone: the ratio of the rates is what a worker more is worth. CPU-seconds are those of the
workers once all are ready; what each took until then is printed beside. Needs Linux, cargo, Python 3.9, PostgreSQL.
"""

import sys

from stand import parser, stand, store

EVALUATE = "[complete]\nroot_grace = \"50ms\"\n[sampling]\nhealthy_rate = 1.0\n[judge]\ncontrol_share = 0.0\n"


def main():
    arguments = parse_arguments()
    with stand(arguments) as at:
        postgres, model = at.postgres(), at.model(arguments.pause)
        judgements = fill(at, arguments, postgres, model)
        for is_limited in (True, False):
            alone = None
            for workers in map(int, arguments.workers.split(",")):
                slots = arguments.slots * (1 if is_limited else workers)
                rate = measure(at, postgres, model, judgements, workers, slots, alone)
                alone = alone or rate


def parse_arguments():
    made = parser(__doc__)
    made.add_argument("--traces", type=int, default=2_000)
    made.add_argument("--workers", default="1,2,4")
    made.add_argument("--pause", type=int, default=500, help="milliseconds until the model answers")
    made.add_argument("--slots", type=int, default=16, help="requests to the model at once, alone or for the whole fleet")
    return made.parse_args()


def fill(at, arguments, postgres, model):
    """Evaluates the traces without judging them; gives how many judgements they ask for."""
    url = postgres.database("filled")
    with at.service(store(url) + EVALUATE + model.settings(), "receive,evaluate,web") as service:
        said = at.load(service, arguments.traces).result()
        if said["accepted"] != arguments.traces:
            sys.exit(f"not all were accepted: {said}")
        service.wait(lambda: service.depths().get("pending") == 0, "all is evaluated", 600)
        judgements = service.depths()["judge"]
    print(f"{arguments.traces} traces, {judgements} judgements, {arguments.pause} ms each", flush=True)
    return judgements


def measure(at, postgres, model, judgements, workers, slots, alone):
    """The rate of judgements of so many workers; `alone` is that of one."""
    database = f"fleet_{workers}_{slots}_{at.services}"
    settings = store(postgres.database(database, "filled")) + EVALUATE + model.settings(slots)
    services = [at.service(settings, "judge,web") for _ in range(workers)]
    model.reset()
    for service in services:
        service.__enter__()
    starting, before = sum(service.cpu_seconds() for service in services), model.stats()["requests"]
    # The workers are not asked how far they are: answering is not judging.
    services[0].wait(lambda: model.stats()["requests"] >= judgements
                     and postgres.sql(database, "SELECT count(*) FROM judge_job") == "0", "all is judged", 3600)
    seen, cpu = model.stats(), sum(service.cpu_seconds() for service in services) - starting
    for service in services:
        service.__exit__()
    rate = seen["requests"] / seen["seconds"]
    ratio = f"{rate / alone:4.2f} times one" if alone else "alone"
    verdict = "" if seen["most_in_flight"] <= slots else "   LIMIT BROKEN"
    since = seen["requests"] - before
    cost = f"{1000 * cpu / since:.2f} ms of CPU a judgement" if since else "all was judged before all were ready"
    print(f"{workers} workers, {slots:3} at once for all: {rate:6.1f}/s, {ratio}; most at once {seen['most_in_flight']}"
          f"{verdict}; {cost}, {1000 * starting / workers:.0f} ms to start", flush=True)
    return rate


if __name__ == "__main__":
    main()
