//! Did the agent take the steps it must, in the order it must? Constraints on the tool calls of one run.
//!
//! | constraint | holds when | counted calls |
//! | --- | --- | --- |
//! | `before = [["a", "b"]]` | every call of `b` begins after a call of `a` has succeeded | every `b`, successful `a` |
//! | `followed_by = [["a", "b"]]` | a call of `b` begins and succeeds after the last call of `a` | successful calls |
//! | `never = ["a"]` | `a` is not called | every call: the attempt is the violation |
//! | `at_most = { a = 1 }` | `a` takes effect at most once | calls that succeeded or timed out |
//! | `at_least = { a = 1 }` | `a` is done at least once | successful calls |
//!
//! A name that ends in `*` stands for every tool whose name begins so, all of them counted together.
//!
//! Where there is judgement in it:
//! - **A check that failed checks nothing**, so the first of a `before` pair must have succeeded. The second is held to
//!   the order even when it fails: the agent tried.
//! - **A check that runs at the same time checks nothing**: `a` must have ended before `b` begins. Where the emitter
//!   invents its timestamps only the order of the calls is used.
//! - **A call that timed out may have taken effect**: two refunds of which one timed out can be two refunds. A call
//!   that was refused (error, rate limit, wrong arguments) may be tried again.
//!
//! The rule judges what was called, not whether that was wise. A run that calls none of the tools of a pair has nothing
//! to say about it; a run in which no constraint has anything to judge is `not_applicable`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip, is_tool_named};
use crate::domain::ids::SpanId;
use crate::domain::time::Timestamp;
use crate::domain::trace::{ToolCall, ToolStatus, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "tool calls out of order, too often, missing or forbidden";

/// Most violations that an explanation lists.
const MOST_LISTED: usize = 5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    before: Vec<(String, String)>,
    followed_by: Vec<(String, String)>,
    never: Vec<String>,
    at_most: BTreeMap<String, usize>,
    at_least: BTreeMap<String, usize>,
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes = blank_names(source, &settings);
    if settings.names().next().is_none() {
        mistakes.push(source.mistake("trajectory", "no constraint is set", "set at least one key of [trajectory]"));
    }
    if let Some((tool, _)) = settings.at_least.iter().find(|(_, times)| **times == 0) {
        let problem = format!("at_least of {tool:?} is 0, which every run meets");
        mistakes.push(source.mistake("at_least", &problem, "set it to 1 or more"));
    }
    if let Some((tool, _)) = settings.at_most.iter().find(|(_, times)| **times == 0) {
        let problem = format!("at_most of {tool:?} is 0");
        mistakes.push(source.mistake("at_most", &problem, "name the tool under never"));
    }
    if mistakes.is_empty() { Ok(Built::rule(TrajectoryRule(settings.clone()), &settings)) } else { Err(mistakes) }
}

fn blank_names(source: &Source<'_>, settings: &Settings) -> Vec<Mistake> {
    let is_blank = |name: &str| name.trim_end_matches('*').trim().is_empty();
    let blank = settings.names().filter(|(_, name)| is_blank(name));
    blank
        .map(|(key, name)| source.mistake(key, &format!("{key} holds {name:?}, which is no tool"), "name a tool"))
        .collect()
}

impl Settings {
    /// Every key with every name under it.
    fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let of_pairs =
            [("before", &self.before), ("followed_by", &self.followed_by)].into_iter().flat_map(|(key, pairs)| {
                pairs.iter().flat_map(move |(left, right)| [(key, left.as_str()), (key, right.as_str())])
            });
        let of_counts = [("at_most", &self.at_most), ("at_least", &self.at_least)]
            .into_iter()
            .flat_map(|(key, counts)| counts.keys().map(move |name| (key, name.as_str())));
        of_pairs.chain(of_counts).chain(self.never.iter().map(|name| ("never", name.as_str())))
    }
}

#[derive(Debug)]
struct TrajectoryRule(Settings);

/// What became of one constraint in one run.
enum Held {
    /// The run has nothing that the constraint is about.
    NotConcerned,
    Yes,
    No(Violation),
}

struct Violation {
    text: String,
    /// The call that broke the constraint; `None` for a call that is missing.
    span: Option<SpanId>,
}

impl Rule for TrajectoryRule {
    fn check(&self, trace: &Trace) -> Finding {
        if trace.steps.is_empty() {
            return Finding::NotApplicable("no steps".to_owned());
        }
        let (mut judged, mut violations) = (0, Vec::new());
        for held in self.constraints(&Calls::of(trace)) {
            match held {
                Held::NotConcerned => {}
                Held::Yes => judged += 1,
                Held::No(violation) => violations.push(violation),
            }
        }
        match violations.iter().find_map(|violation| violation.span) {
            _ if judged == 0 && violations.is_empty() => {
                Finding::NotApplicable("none of the tools that the constraints are about was called".to_owned())
            }
            span if !violations.is_empty() => Finding::fail(listed(&violations), span),
            _ => Finding::pass(format!("{judged} constraints hold")),
        }
    }
}

fn listed(violations: &[Violation]) -> String {
    let mut texts: Vec<&str> = violations.iter().map(|violation| violation.text.as_str()).take(MOST_LISTED).collect();
    if violations.len() > MOST_LISTED {
        texts.push("and more");
    }
    texts.join("; ")
}

impl TrajectoryRule {
    fn constraints<'a>(&'a self, calls: &'a Calls<'a>) -> impl Iterator<Item = Held> + 'a {
        let Settings { before, followed_by, never, at_most, at_least } = &self.0;
        let before = before.iter().map(|(first, then)| calls.before(first, then));
        let followed_by = followed_by.iter().map(|(first, then)| calls.followed_by(first, then));
        let never = never.iter().map(|tool| calls.never(tool));
        let at_most = at_most.iter().map(|(tool, times)| calls.at_most(tool, *times));
        let at_least = at_least.iter().map(|(tool, times)| calls.at_least(tool, *times));
        before.chain(followed_by).chain(never).chain(at_most).chain(at_least)
    }
}

/// The tool calls of one run.
struct Calls<'a> {
    calls: Vec<&'a ToolCall>,
    clock_is_real: bool,
}

impl<'a> Calls<'a> {
    fn of(trace: &'a Trace) -> Self {
        Self { calls: trace.tool_calls().collect(), clock_is_real: trace.clock_is_real }
    }

    fn named(&self, tool: &str) -> impl Iterator<Item = &'a ToolCall> {
        self.calls.iter().copied().filter(move |call| is_tool_named(&call.name, tool))
    }

    /// Whether something that ended then was over when a later call began.
    fn is_over(&self, ended_at: Timestamp, later: &ToolCall) -> bool {
        !self.clock_is_real || ended_at <= later.started_at
    }

    /// One pass, whatever the number of calls: of all successes so far the one that ended first decides.
    fn before(&self, first: &str, then: &str) -> Held {
        let (mut earliest_end, mut is_concerned): (Option<Timestamp>, bool) = (None, false);
        for call in &self.calls {
            if is_tool_named(&call.name, then) {
                is_concerned = true;
                if !earliest_end.is_some_and(|ended_at| self.is_over(ended_at, call)) {
                    let text = format!("{} was called without a successful {first} before it", clip(&call.name));
                    return Held::No(Violation { text, span: Some(call.span_id) });
                }
            }
            if is_tool_named(&call.name, first) && is_done(call) {
                earliest_end = Some(earliest_end.map_or(call.ended_at, |earliest| earliest.min(call.ended_at)));
            }
        }
        if is_concerned { Held::Yes } else { Held::NotConcerned }
    }

    fn followed_by(&self, first: &str, then: &str) -> Held {
        let is_first = |call: &&ToolCall| is_tool_named(&call.name, first) && is_done(call);
        let Some(index) = self.calls.iter().rposition(is_first) else { return Held::NotConcerned };
        let last = self.calls[index];
        let mut later = self.calls[index + 1..].iter().filter(|call| is_tool_named(&call.name, then) && is_done(call));
        let is_followed = later.any(|later| self.is_over(last.ended_at, later));
        held((!is_followed).then(|| {
            let text = format!("{} was not followed by a successful {then}", clip(&last.name));
            Violation { text, span: Some(last.span_id) }
        }))
    }

    fn never(&self, tool: &str) -> Held {
        if self.calls.is_empty() {
            return Held::NotConcerned;
        }
        held(self.named(tool).next().map(|call| {
            let text = format!("{} was called, which must never be", clip(&call.name));
            Violation { text, span: Some(call.span_id) }
        }))
    }

    fn at_most(&self, tool: &str, times: usize) -> Held {
        if self.calls.is_empty() {
            return Held::NotConcerned;
        }
        let took_effect = |call: &ToolCall| matches!(call.status, ToolStatus::Success | ToolStatus::Timeout);
        let calls: Vec<&ToolCall> = self.named(tool).filter(|call| took_effect(call)).collect();
        held(calls.get(times).map(|call| {
            let text = format!("{tool} was called {} times, at most {times} are allowed", calls.len());
            Violation { text, span: Some(call.span_id) }
        }))
    }

    fn at_least(&self, tool: &str, times: usize) -> Held {
        let done = self.named(tool).filter(|call| is_done(call)).count();
        held((done < times).then(|| {
            let text = format!("{tool} succeeded {done} times, at least {times} are needed");
            Violation { text, span: None }
        }))
    }
}

fn held(violation: Option<Violation>) -> Held {
    violation.map_or(Held::Yes, Held::No)
}

fn is_done(call: &ToolCall) -> bool {
    call.status == ToolStatus::Success
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{failure, found, mistakes, passes, rule, run};
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::domain::trace::Step;

    /// Calls in order; a name with a colon carries its status, such as `verify:error`.
    fn calls(names: &str) -> Value {
        let step = |name: &str| match name.split_once(':') {
            Some((tool, status)) => json!({"tool": tool, "status": status}),
            None => json!({"tool": name}),
        };
        json!({"steps": names.split_whitespace().map(step).collect::<Vec<_>>()})
    }

    fn verdict(table: &str, names: &str) -> Option<bool> {
        let finding = found("trajectory", table, calls(names));
        matches!(finding, Finding::Scored { .. }).then(|| passes(&finding))
    }

    #[test]
    fn a_call_needs_a_success_of_another_before_it() {
        let table = "before = [[\"verify\", \"refund\"]]";
        for (names, expected) in [
            ("verify refund", Some(true)),
            ("verify search refund refund", Some(true)),
            ("refund", Some(false)),
            ("refund verify", Some(false)),
            ("verify:error refund", Some(false)),
            ("verify:error verify refund", Some(true)),
            ("refund:error verify", Some(false)),
            ("verify search", None),
            ("search", None),
        ] {
            assert_eq!(verdict(table, names), expected, "{names}");
        }
    }

    #[test]
    fn a_check_that_runs_at_the_same_time_is_not_before_unless_the_clock_is_invented() {
        let mut trace = run(calls("verify refund"));
        let Some(Step::Tool(verify)) = trace.steps.first_mut() else { panic!("a tool call") };
        verify.ended_at = Timestamp(50);
        let rule = rule("trajectory", "before = [[\"verify\", \"refund\"]]", &[]);
        assert!(failure(&rule.check(&trace)).is_some());
        trace.clock_is_real = false;
        assert!(passes(&rule.check(&trace)));
    }

    #[test]
    fn the_last_call_of_a_tool_needs_a_success_of_another_after_it() {
        let table = "followed_by = [[\"reserve\", \"confirm\"]]";
        for (names, expected) in [
            ("reserve confirm", Some(true)),
            ("reserve reserve search confirm", Some(true)),
            ("reserve", Some(false)),
            ("confirm reserve", Some(false)),
            ("reserve confirm reserve", Some(false)),
            ("reserve confirm:timeout", Some(false)),
            ("reserve:error", None),
            ("confirm", None),
        ] {
            assert_eq!(verdict(table, names), expected, "{names}");
        }
    }

    #[test]
    fn a_forbidden_tool_may_not_even_be_tried() {
        let table = "never = [\"delete_*\", \"drop\"]";
        for (names, expected) in [
            ("search", Some(true)),
            ("search delete_user", Some(false)),
            ("delete_user:error", Some(false)),
            ("drop", Some(false)),
            ("dropped", Some(true)),
            ("", None),
        ] {
            assert_eq!(verdict(table, names), expected, "{names}");
        }
    }

    #[test]
    fn a_call_that_was_refused_may_be_tried_again_and_one_that_timed_out_may_have_taken_effect() {
        let table = "at_most = { refund = 1 }";
        for (names, expected) in [
            ("refund", Some(true)),
            ("refund:error refund:rate_limited refund:invalid_args refund", Some(true)),
            ("refund refund", Some(false)),
            ("refund:timeout refund", Some(false)),
            ("search", Some(true)),
            ("", None),
        ] {
            assert_eq!(verdict(table, names), expected, "{names}");
        }
    }

    #[test]
    fn a_step_that_must_be_done_is_missed_in_a_run_without_tool_calls_too() {
        let table = "at_least = { search = 2 }";
        assert_eq!(verdict(table, "search search"), Some(true));
        assert_eq!(verdict(table, "search search:error"), Some(false));
        let finding = found("trajectory", table, json!({"steps": [{"model": "m"}]}));
        assert_eq!(failure(&finding), Some("search succeeded 0 times, at least 2 are needed"));
        assert_eq!(verdict(table, ""), None, "a trace without steps says nothing");
    }

    #[test]
    fn every_violation_is_named_and_the_first_call_among_them_is_pointed_to() {
        let table = "never = [\"drop\"]\nat_most = { refund = 1 }\nat_least = { search = 1 }";
        let trace = run(calls("refund refund drop"));
        let Finding::Scored { explanation, span, .. } = rule("trajectory", table, &[]).check(&trace) else {
            panic!("it is scored")
        };
        let expected = "drop was called, which must never be; refund was called 2 times, at most 1 are allowed; \
                        search succeeded 0 times, at least 1 are needed";
        assert_eq!(explanation, expected);
        assert_eq!(span, trace.tool_calls().nth(2).map(|call| call.span_id));
    }

    #[test]
    fn constraints_that_cannot_mean_anything_are_refused() {
        assert!(mistakes("trajectory", "").contains("no constraint is set"));
        assert!(mistakes("trajectory", "never = [\"*\"]").contains("never holds \"*\", which is no tool"));
        assert!(mistakes("trajectory", "at_least = { a = 0 }").contains("which every run meets"));
        assert!(mistakes("trajectory", "at_most = { a = 0 }").contains("name the tool under never"));
        assert!(mistakes("trajectory", "before = [[\"a\"]]").contains("before of [trajectory]"));
    }
}
