#!/usr/bin/env python3
"""A PostgreSQL store of ten million scores: what its hot queries read, and how long an audit takes.

    benches/ten_million.py [--scores N] [--binary PATH] [--profile dev]

The rows are made by the database itself. Then a service on that store takes in, evaluates, judges and delivers new
traces, and people search and audit, while PostgreSQL logs the plan of every statement; those that read a large table from
end to end are printed. Then every page is asked for, which shall take at most 300 ms. Needs Linux, cargo, Python 3.9, PostgreSQL.
"""

import json
import re
import sys
import time

from stand import get, parser, stand, store

#: Scores of each trace.
EVALUATORS = 10
#: Less is no reading of a large table from end to end: it was empty, or left at the first row.
SLOW_MILLISECONDS = 10
#: How far apart traces end, in nanoseconds: a million of them are about twelve days.
APART = 1_000_000_000
LARGE = "trace|trace_attribute|evaluation|evaluation_list|chunk|judge_call|judge_cache|external_score|review_draw|archived_trace"
#: Each within 300 ms.
PAGES = ["", "series", "traces", "traces?top=tools", "traces?top=conversations", "alerts", "releases", "readiness", "judges",
         "costs", "costs?by=service", "costs?by=tier&since=30d", "costs?by=day&since=30d", "costs?by=user", "costs?of=judges",
         "evaluators", "system", "review"]
SETTINGS = "[complete]\nroot_grace = \"200ms\"\n[sampling]\nhealthy_rate = 1.0\n"

PLANS = ["session_preload_libraries=auto_explain", "auto_explain.log_min_duration=0", "fsync=off",
         "max_wal_size=8GB", "maintenance_work_mem=512MB"]

FILL = """
CREATE TEMPORARY TABLE fresh AS SELECT number, decode(lpad(to_hex(number), 32, '0'), 'hex') AS trace_id,
    {now} - number * {apart} AS ended_at FROM generate_series(1::bigint, {traces}) AS number;
INSERT INTO trace (trace_id, version, root_span_id, service, release, model, conversation_id, user_id, started_at, ended_at,
    recorded_at, failing, error, sampled, keep_body_until, body_purged, decision, record, stratum)
  SELECT trace_id, 1, substring(trace_id from 9), 'service-' || number % 20, 'r' || number / 100000, 'm-' || number % 3,
    'conversation-' || number / 3, 'user-' || number % 50000, ended_at - 1000000000, ended_at, ended_at + 3000000000,
    (number % 50 = 0)::int, (number % 100 = 0)::int, (number % 10 = 0)::int, ended_at + 604800000000000, 1, '{{}}',
    format('{record}', encode(trace_id, 'hex'), ended_at, 'service-' || number % 20, 'conversation-' || number / 3), 'healthy'
    FROM fresh;
INSERT INTO trace_attribute (trace_id, name, value) SELECT trace_id, 'invoice.id', 'INV-' || number FROM fresh;
INSERT INTO trace_attribute (trace_id, name, value) SELECT trace_id, 'tier', 'tier-' || number % 4 FROM fresh;
INSERT INTO evaluation (trace_id, evaluator, revision, trace_version, span_id, annotator_kind, outcome, value, label,
    probability, evaluated_at, truncated, after_record)
  SELECT trace_id, 'evaluator-' || evaluator, 'r1', 1, substring(trace_id from 9),
    CASE WHEN evaluator = 0 AND number % 10 = 0 THEN 'llm' ELSE 'code' END, 'scored', (number % 7 > 0)::int,
    CASE WHEN number % 7 > 0 THEN 'pass' ELSE 'fail' END, 1, ended_at + 3000000000, 0,
    (evaluator = 0 AND number % 10 = 0)::int FROM fresh, generate_series(0, {evaluators} - 1) AS evaluator
    WHERE number % 7 = 0 OR evaluator = 0 AND number % 10 = 0;
INSERT INTO evaluation_list (trace_id, trace_version, span_id, evaluated_at, listed, labels, evaluations, explanations)
  SELECT trace_id, 1, substring(trace_id from 9), ended_at + 3000000000, count(*), E'\\npass\\n',
    jsonb_agg(jsonb_build_array('evaluator-' || evaluator, 'r1', 'code', 'scored', 0.5 + number % 997 / 2000.0, 'pass')
      ORDER BY evaluator),
    jsonb_agg('nothing amiss in ' || evaluator || ' texts' ORDER BY evaluator)
    FROM fresh, generate_series(0, {evaluators} - 1) AS evaluator
    WHERE number % 7 > 0 AND NOT (evaluator = 0 AND number % 10 = 0) GROUP BY trace_id, number, ended_at;
INSERT INTO review_draw (trace_id, evaluator, revision, probability, is_drawn, drawn_at)
  SELECT trace_id, evaluator, revision, 0.02, (trace_version + value::int) % 2, evaluated_at FROM evaluation
  WHERE evaluator = 'evaluator-0' AND annotator_kind = 'llm';
INSERT INTO label (id, trace_id, evaluator, label, reviewer, labelled_at, origin)
  SELECT trace_id, trace_id, 'evaluator-3', 'pass', 'anna', ended_at, 'review' FROM fresh WHERE number % 1000 = 0;
INSERT INTO chunk (trace_id, content_hash, arrived_at, span_count, body) SELECT trace_id, trace_id, ended_at, 12, trace_id
  FROM fresh WHERE number % 10 = 0;
INSERT INTO judge_call (id, day, reserved_at, lane, evaluator, revision, service, trace_id, reserved, charged, outcome,
    input_tokens, output_tokens, settled_at)
  SELECT trace_id, ended_at / 86400000000000, ended_at, 'default', 'evaluator-0', 'r1', 'service-' || number % 20, trace_id, 1,
    1, 'ok', 1, 1, ended_at FROM fresh WHERE number % 10 = 0;
INSERT INTO judge_cache (key, verdict, cached_at) SELECT trace_id, '{{}}', ended_at FROM fresh WHERE number % 10 = 0;
INSERT INTO external_score (trace_id, key, span_id, name, annotator_kind, source, value, scored_at)
  SELECT trace_id, trace_id, substring(trace_id from 9), 'thumb', 'human', 'app', 1, ended_at FROM fresh WHERE number % 10 = 0;
INSERT INTO external_name (annotator_kind, name, has_values, is_unbounded) VALUES ('human', 'thumb', 1, 0)
  ON CONFLICT DO NOTHING;
INSERT INTO trace_model (trace_id, model, operation, calls, unpriced, input_tokens, output_tokens, cached_tokens, cost)
  SELECT trace_id, 'm-' || number % 3, 'support', 2, 0, 1000, 100, 0, 1000000 FROM fresh;
INSERT INTO trace_tool (trace_id, tool, calls, failed, empty) SELECT trace_id, 'tool-' || number % 5, 2, (number % 50 = 0)::int, 0
  FROM fresh;
INSERT INTO service_hour (service, hour, watched_at) SELECT DISTINCT service, ended_at - ended_at % 3600000000000, {now}
  FROM trace ON CONFLICT DO NOTHING;
INSERT INTO version_count (id, counted_until) VALUES (1, {now}) ON CONFLICT (id) DO UPDATE SET counted_until = {now};
"""


def main():
    made = parser(__doc__)
    made.add_argument("--scores", type=int, default=10_000_000)
    arguments = made.parse_args()
    with stand(arguments) as at:
        postgres, model = at.postgres(*PLANS), at.model(5)
        url, traces = postgres.database("many"), arguments.scores // EVALUATORS
        settings = SETTINGS + store(url) + model.settings()
        with at.service(settings) as service:
            take_in(at, service)
        fill(postgres, traces)
        logged = postgres.log.stat().st_size
        with at.service(settings) as service:
            work(at, service)
            await_sums(postgres, service)
            ask(service, traces)
        sys.exit(1 if whole_reads(postgres.log.read_text(errors="replace")[logged:]) else 0)


def fill(postgres, traces):
    started = time.monotonic()
    record = template(json.loads(postgres.sql("many", "SELECT record FROM trace LIMIT 1"))).replace("'", "''")
    postgres.sql("many", "SET auto_explain.log_min_duration = -1;" + FILL.format(
        now=time.time_ns(), apart=APART, traces=traces, evaluators=EVALUATORS, record=record))
    postgres.sql("many", "VACUUM ANALYZE")
    scores = postgres.sql("many", "SELECT (SELECT count(*) FROM evaluation) + (SELECT sum(listed) FROM evaluation_list)")
    size = postgres.sql("many", "SELECT pg_size_pretty(pg_database_size('many'))")
    print(f"{scores} scores of {traces} traces, {size}, made in {time.monotonic() - started:.0f} s", flush=True)


def template(record):
    """What statistics read of a real trace, with places for `format` to fill."""
    places = {"trace_id": "%1$s", "service": "%3$s", "conversation": "%4$s"}
    text = json.dumps(record | {"trace_id": "A", "service": "B", "conversation": "C", "ended_at": 0}).replace("%", "%%")
    for mark, (key, place) in zip("ABC", places.items()):
        text = text.replace(f'"{key}": "{mark}"', f'"{key}": "{place}"')
    return text.replace('"ended_at": 0', '"ended_at": %2$s')


def take_in(at, service):
    """New traces come in and all is done for them."""
    said = at.load(service, 100).result()
    service.wait(lambda: service.metric("evaluated_traces_total") >= said["accepted"] and service.has_caught_up(),
                 "new traces are evaluated and judged", 600)


def work(at, service):
    """The same on the full store, until what is done by the clock has come round."""
    take_in(at, service)
    # Retention, the watch and the draw.
    time.sleep(15)


def await_sums(postgres, service):
    """The hours of the past are summed up once, the oldest first; until then they are read run by run."""
    over = "SELECT (extract(epoch FROM now()) * 1e9 - 9000e9)::bigint"
    unsummed = f"SELECT (coalesce(max(hour), 0) < ({over}))::int + count(*) FILTER (WHERE state <> 1) FROM used_hour"
    started = time.monotonic()
    service.wait(lambda: postgres.sql("many", unsummed).strip() == "0", "all hours are summed up", 3600)
    print(f"hours that were over were summed up in {time.monotonic() - started:.0f} s more", flush=True)


def ask(service, traces):
    for what, path in {
        "audit by conversation": f"audit?id=conversation-{traces // 6}",
        "audit by user": "audit?id=user-77",
        "audit by business id": f"audit?id=INV-{traces // 2}",
        "audit by name and value": f"audit?id=invoice.id%3DINV-{traces // 3}",
        "audit of what is not there": "audit?id=nobody",
        "newest traces of a service": "traces?service=service-3&limit=50",
        "newest failing traces": "traces?failing=true&limit=50",
        "newest traces of a business id": "traces?tier=tier-2&limit=50",
        "newest traces that a rule passed": "traces?verdict=evaluator-3:pass&limit=50",
        "newest traces that a rule failed": "traces?verdict=evaluator-3:fail&limit=50",
        "a label that no trace of a day has": "traces?verdict=warm&since=1d&limit=50",
    }.items():
        report(what, f"http://{service.web}/api/v1/{path}", 1)
    series = json.loads(get(f"http://{service.web}/api/v1/series"))["series"]
    key = next(one["key"] for one in series if one["series"] == "latency_seconds")
    trace = json.loads(get(f"http://{service.web}/api/v1/traces?limit=1"))["traces"][0]["trace_id"]
    for path in [*PAGES, f"series/{key}", f"traces/{trace}", "audit?id=user-77"]:
        report(f"page /{path}", f"http://{service.web}/{path}", 0.3)


def report(what, url, limit):
    """The middle one of three times."""
    times = sorted(timed(url) for _ in range(3))
    told = f"   MORE THAN {1000 * limit:.0f}" if times[1] > limit else ""
    print(f"{what:40} {1000 * times[1]:7.0f} ms{told}", flush=True)


def timed(url):
    started = time.monotonic()
    # What the database made has no spans, so an audit over the API is refused, after all has been looked up.
    if get(url) is None and "/api/" not in url:
        print(f"{url} was refused", flush=True)
    return time.monotonic() - started


def whole_reads(log):
    """Prints each slow statement that reads a large table from end to end; gives how many those are."""
    found = {}
    for plan in re.split(r"\n(?=\d{4}-\d\d-\d\d )", log):
        text = re.search(r"duration: ([0-9.]+) ms  plan:\n\s*Query Text: (.*)", plan, re.S)
        if text and float(text[1]) > SLOW_MILLISECONDS and re.search(rf"Seq Scan on ({LARGE})\b", plan):
            statement = re.split(r"\n\s*\S.*\(cost=", text[2])[0].strip()
            found[re.sub(r"\d+", "N", statement)] = (float(text[1]), statement)
    for milliseconds, statement in found.values():
        print(f"reads a table from end to end, {milliseconds:.0f} ms: {statement[:600]}")
    print(f"{len(found)} statements read a large table from end to end")
    return len(found)


if __name__ == "__main__":
    main()
