//! Runaway recursion: does an agent call itself, and that one itself again?
//!
//! Agents delegate: to specialists, and to copies of themselves for a part of the work. Each level pays for its own
//! prompt, so a chain that does not end costs more with every step and answers no one. It is the loop of multi-agent
//! systems, invisible to a rule that looks for repeated calls, because the task is worded anew on each level.
//!
//! **What fires.** An agent of one name inside itself more than `self_nesting` times (itself counted), or agents of any
//! names more than `nesting` deep. Inside means below it in the tree of spans, whatever stands between: the tool that
//! delegates, an HTTP request, a queue.
//!
//! **What does not, and why.** Once inside itself is common and well: a planner that gives itself a sub-task. So the
//! default of `self_nesting` is 3, which allows an agent, its copy and that one's copy; and of `nesting` 8, which is
//! deeper than any organisation of agents seen so far. An agent that is called ten times one after another is wide, not
//! deep, and nothing for this rule. Frameworks that open a span for a run and one for each of its turns under one name
//! nest once by construction, and stay below the limit.
//!
//! **Known misses.** Agents are told apart by `gen_ai.agent.name`, else by the span's name: a framework that names every
//! agent `agent` looks like recursion, and one that numbers its copies (`worker-7`) does not look like it until
//! `nesting` is reached. Where the trace context was lost between two levels they are two traces (`broken_context`).
//! At most 256 spans above an agent are looked at; deeper counts as that deep, which is over any limit.
//!
//! Source: runaway recursion is among the agent failures that the requirements of this project name; the limits are
//! ours and are settings.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::trace::Trace;
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "an agent that runs inside itself again and again, or agents nested too deep";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    self_nesting: usize,
    nesting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { self_nesting: 3, nesting: 8 }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let limits = [("self_nesting", settings.self_nesting), ("nesting", settings.nesting)];
    let zeros = limits.iter().filter(|(_, limit)| *limit == 0);
    let mistakes: Vec<Mistake> =
        zeros.map(|(key, _)| source.mistake(key, &format!("{key} is 0"), "set it to 1 or more")).collect();
    if mistakes.is_empty() { Ok(Built::rule(RecursionRule(settings.clone()), &settings)) } else { Err(mistakes) }
}

#[derive(Debug)]
struct RecursionRule(Settings);

impl Rule for RecursionRule {
    fn check(&self, trace: &Trace) -> Finding {
        let structure = &trace.structure;
        if structure.agents == 0 {
            return Finding::NotApplicable("no agent spans".to_owned());
        }
        let runaway = structure.recursion.as_ref().filter(|deepest| deepest.depth > self.0.self_nesting);
        if let Some(deepest) = runaway {
            let explanation = format!("{} runs inside itself {} deep", clip(&deepest.agent), deepest.depth);
            return Finding::fail(explanation, Some(deepest.span_id));
        }
        if structure.nesting > self.0.nesting {
            let explanation = format!("agents call agents {} deep", structure.nesting);
            return Finding::fail(explanation, structure.recursion.as_ref().map(|deepest| deepest.span_id));
        }
        Finding::pass(format!("{} agents, at most {} deep", structure.agents, structure.nesting))
    }
}
