//! Broken context propagation: is this trace whole, or a piece of a run that should have been one trace?
//!
//! When an agent calls another one over HTTP or a queue and the W3C trace context is not passed on, or only half of it,
//! one run becomes several traces. Each looks fine: the caller's has a tool call with an answer, the callee's has a
//! question and an answer. Cost, loops and errors are then counted on pieces, and no one can follow a decision to
//! its source.
//!
//! **The question** that a rule can ask is asked of one trace alone. Three things there tell of a lost context:
//! - an agent span that begins the trace and names a parent which never arrived: the context came, and the caller's spans
//!   did not, so its exporter, sampler or tracing backend is another one;
//! - an agent span inside a trace that names a parent which never arrived: a hop in between (a gateway, a message
//!   queue) made a span of its own and lost it;
//! - an agent span without a parent in a trace that has a root already: the trace id was passed on and the parent
//!   was not.
//!
//! **What does not fire, and why.** An agent span without a parent that is the trace's only root: that is how every
//! whole trace begins. It is also how a sub-agent's trace begins when the context was not passed on at all, and no
//! look at that trace can tell the two apart. Two traces of one conversation, one of which ran within a tool call of
//! the other, are a hint of it, and nothing more: users write while agents run. Therefore it is not scored; `driftline
//! explain` lists such neighbours. Spans of other kinds that lost their parent are not looked at: a
//! database client whose parent was dropped changes nothing about the agent.
//!
//! **Where callers are never seen.** A service behind a gateway that exports elsewhere has a remote parent on every
//! trace. `remote_callers = true` accepts the first of the three; the other two are broken anywhere.
//!
//! **Known misses.** Spans that come late make a trace look broken until it is evaluated again with them. A context
//! that was lost on the way to a service without agent spans is not seen. Upstream sampling by span, which no standard
//! asks for, looks the same.
//!
//! Source: W3C Trace Context, section 3 (`traceparent`: the parent id names the caller's span), and the OpenTelemetry
//! specification of remote parents; the reading of a missing parent is ours.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::trace::{DetachedAgent, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "an agent span whose parent never arrived, or a second root: a run in pieces";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    remote_callers: bool,
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    Ok(Built::rule(BrokenContextRule(settings.clone()), &settings))
}

#[derive(Debug)]
struct BrokenContextRule(Settings);

impl Rule for BrokenContextRule {
    fn check(&self, trace: &Trace) -> Finding {
        let structure = &trace.structure;
        if structure.agents == 0 {
            return Finding::NotApplicable("no agent spans".to_owned());
        }
        let is_accepted = |agent: &DetachedAgent| self.0.remote_callers && agent.span_id == trace.root_span_id;
        let mut broken = structure.detached_agents.iter().filter(|agent| !is_accepted(agent));
        match broken.next() {
            Some(first) => Finding::fail(explanation(trace, first), Some(first.span_id)),
            None => Finding::pass("every agent span hangs on the run's root"),
        }
    }
}

fn explanation(trace: &Trace, agent: &DetachedAgent) -> String {
    let name = clip(&agent.agent);
    match agent.missing_parent {
        Some(parent) if agent.span_id == trace.root_span_id => {
            format!("{name} begins the trace and was called by span {parent}, which never arrived")
        }
        Some(parent) => format!("{name} was called by span {parent}, which never arrived"),
        None => format!("{name} has no parent in a trace that has a root"),
    }
}
