-- What a day has cost is added up once, when its first judgement is paid for; calls are kept for months.
CREATE INDEX judge_call_day ON judge_call (day, service);
