//! Facts that people ask runs for, whether a run carries each, and what a sender would add to carry it.
//!
//! A fact is carried as `missing` and the run itself say; which attribute would carry it follows from the convention
//! that the sender writes already.

use super::convention::{CONVENTIONS, Convention, FactNames, Names};
use super::mapping::AttributeMapping;
use super::{gen_ai, general, plain};
use crate::domain::trace::{ModelCall, Trace};

/// One fact of a run.
#[derive(Debug)]
pub struct Fact {
    /// Its name in reports.
    pub name: &'static str,
    /// Where it stands: `resource`, `run`, `model call`, `tool call`, `retrieval` or `context`.
    pub place: &'static str,
    source: Source,
    has: fn(&Trace) -> Option<bool>,
}

/// What carries a fact.
#[derive(Debug)]
enum Source {
    /// An attribute of the resource.
    Resource(&'static str),
    /// Attributes of spans; the name of OpenTelemetry where the convention has none.
    Span(fn(&FactNames) -> Names, &'static str),
    /// A name of the settings' `[attributes]`.
    Mapped(&'static str),
    /// The context that spans are started in.
    Context,
}

/// How context is passed on.
const PROPAGATORS: &str = "OTEL_PROPAGATORS=tracecontext,baggage  # and pass traceparent on in each request, also to \
                           queues, threads and tools";

/// `service.name`.
pub const SERVICE: Fact = Fact {
    name: "service",
    place: "resource",
    source: Source::Resource(general::SERVICE_NAME),
    has: |trace| unless(trace, general::SERVICE_NAME),
};

/// What tells releases apart.
pub const RELEASE: Fact = Fact {
    name: "release",
    place: "resource",
    source: Source::Resource(general::SERVICE_VERSION),
    has: |trace| unless(trace, general::SERVICE_VERSION),
};

/// The end user.
pub const USER: Fact = Fact {
    name: "user",
    place: "run",
    source: Source::Span(|names| names.user, general::USER),
    has: |trace| unless(trace, general::USER),
};

/// The conversation.
pub const CONVERSATION: Fact = Fact {
    name: "conversation",
    place: "run",
    source: Source::Span(|names| names.conversation, gen_ai::CONVERSATION),
    has: |trace| unless(trace, gen_ai::CONVERSATION),
};

/// What was asked.
pub const INPUT: Fact = Fact {
    name: "input",
    place: "run",
    source: Source::Span(|names| names.input_value, gen_ai::INPUT_MESSAGES),
    has: |trace| unless(trace, gen_ai::INPUT_MESSAGES),
};

/// What was answered; a run that failed has no answer to carry.
pub const OUTPUT: Fact = Fact {
    name: "output",
    place: "run",
    source: Source::Span(|names| names.output_value, gen_ai::OUTPUT_MESSAGES),
    has: |trace| trace.error.is_none().then(|| lacks_not(trace, gen_ai::OUTPUT_MESSAGES)),
};

/// Why the agent decided as it did.
pub const RATIONALE: Fact = Fact {
    name: "rationale",
    place: "run",
    source: Source::Span(|names| names.decision_rationale, plain::RATIONALE),
    has: |trace| Some(trace.decision.as_ref().is_some_and(|decision| decision.rationale.is_some())),
};

/// Which model; a run without any model call carries none.
pub const MODEL: Fact = Fact {
    name: "model",
    place: "model call",
    source: Source::Span(|names| names.model, gen_ai::REQUEST_MODEL),
    has: |trace| Some(trace.model_calls().next().is_some() && lacks_not(trace, gen_ai::REQUEST_MODEL)),
};

/// Prompt tokens.
pub const INPUT_TOKENS: Fact = Fact {
    name: "input_tokens",
    place: "model call",
    source: Source::Span(|names| names.input_tokens, gen_ai::INPUT_TOKENS),
    has: |trace| of_answers(trace, gen_ai::INPUT_TOKENS),
};

/// Completion tokens.
pub const OUTPUT_TOKENS: Fact = Fact {
    name: "output_tokens",
    place: "model call",
    source: Source::Span(|names| names.output_tokens, gen_ai::OUTPUT_TOKENS),
    has: |trace| of_answers(trace, gen_ai::OUTPUT_TOKENS),
};

/// The price, from a span or from tokens and `[prices]`.
pub const COST: Fact = Fact {
    name: "cost",
    place: "model call",
    source: Source::Span(|names| names.cost_usd, gen_ai::COST),
    has: |trace| of_answers(trace, gen_ai::COST),
};

/// Why models stopped.
pub const FINISH_REASONS: Fact = Fact {
    name: "finish_reasons",
    place: "model call",
    source: Source::Span(|names| names.finish_reasons, gen_ai::FINISH_REASONS),
    has: |trace| of_answers(trace, gen_ai::FINISH_REASONS),
};

/// What tools were given.
pub const TOOL_ARGUMENTS: Fact = Fact {
    name: "tool_arguments",
    place: "tool call",
    source: Source::Span(|names| names.tool_arguments, gen_ai::TOOL_ARGUMENTS),
    has: |trace| of_tools(trace, gen_ai::TOOL_ARGUMENTS),
};

/// What tools answered, or how they failed.
pub const TOOL_RESULT: Fact = Fact {
    name: "tool_result",
    place: "tool call",
    source: Source::Span(|names| names.tool_result, gen_ai::TOOL_RESULT),
    has: |trace| of_tools(trace, gen_ai::TOOL_RESULT),
};

/// What retrievals found.
pub const DOCUMENTS: Fact = Fact {
    name: "retrieved_documents",
    place: "retrieval",
    source: Source::Span(|_| &[], gen_ai::RETRIEVED_DOCUMENTS),
    has: |trace| trace.retrievals().next().map(|_| lacks_not(trace, gen_ai::RETRIEVED_DOCUMENTS)),
};

/// What the user wanted of the product.
pub const FEATURE: Fact = mapped("feature", |trace| Some(trace.attributes.contains_key("feature")));

/// What the user pays for.
pub const TIER: Fact = mapped("tier", |trace| Some(trace.attributes.contains_key("tier")));

/// Whose user it is.
pub const ORGANISATION: Fact = mapped("organisation", |trace| Some(trace.attributes.contains_key("organisation")));

/// One tree under one root.
pub const TREE: Fact = Fact {
    name: "one_tree",
    place: "context",
    source: Source::Context,
    has: |trace| Some(trace.structure.propagation.is_whole()),
};

const fn mapped(name: &'static str, has: fn(&Trace) -> Option<bool>) -> Fact {
    Fact { name, place: "run", source: Source::Mapped(name), has }
}

fn lacks_not(trace: &Trace, attribute: &str) -> bool {
    !trace.missing.contains(&attribute)
}

fn unless(trace: &Trace, attribute: &str) -> Option<bool> {
    Some(lacks_not(trace, attribute))
}

fn of_answers(trace: &Trace, attribute: &str) -> Option<bool> {
    let is_answered = |call: &ModelCall| call.error.is_none();
    trace.model_calls().any(is_answered).then(|| lacks_not(trace, attribute))
}

fn of_tools(trace: &Trace, attribute: &str) -> Option<bool> {
    trace.tool_calls().next().map(|_| lacks_not(trace, attribute))
}

impl Fact {
    /// Whether a run carries it; `None` where the run has nothing that should.
    #[must_use]
    pub fn is_carried(&self, trace: &Trace) -> Option<bool> {
        (self.has)(trace)
    }

    /// The attribute that carries it for a sender that writes a convention; `a#/b` is the member `b` of JSON in `a`.
    #[must_use]
    pub fn attribute(&self, convention: &str, mapping: &AttributeMapping) -> String {
        match &self.source {
            Source::Resource(name) => (*name).to_owned(),
            Source::Span(names, usual) => span_attribute(convention, *names).unwrap_or(usual).to_owned(),
            Source::Mapped(name) => {
                let known = mapping.iter().find(|(known, _)| known == name);
                known.and_then(|(_, keys)| keys.first()).map_or_else(|| (*name).to_owned(), Clone::clone)
            }
            Source::Context => "traceparent".to_owned(),
        }
    }

    /// What to add to the sender so that it carries the fact, as one line.
    #[must_use]
    pub fn instrumentation(&self, convention: &str, mapping: &AttributeMapping) -> String {
        let attribute = self.attribute(convention, mapping);
        let on = if self.place == "run" { "the root span" } else { "each such span" };
        match (&self.source, attribute.split_once('#')) {
            (Source::Context, _) => PROPAGATORS.to_owned(),
            (Source::Resource(general::SERVICE_NAME), _) => "OTEL_SERVICE_NAME=…".to_owned(),
            (Source::Resource(_), _) => format!("OTEL_RESOURCE_ATTRIBUTES={attribute}=…"),
            (_, Some((name, member))) if !member.is_empty() => {
                let place = self.place;
                format!("span.set_attribute(\"{name}\", …)  # {place}: {on}; JSON, in which {member} holds it")
            }
            (_, found) => {
                let name = found.map_or(attribute.as_str(), |(name, _)| name);
                format!("span.set_attribute(\"{name}\", …)  # {}: {on}", self.place)
            }
        }
    }
}

/// The convention's own name for a fact, else that of those that every span may be written in besides.
fn span_attribute(convention: &str, names: fn(&FactNames) -> Names) -> Option<&'static str> {
    let own = CONVENTIONS.into_iter().find(|known| known.name == convention);
    let common: [&'static Convention; 2] = [&gen_ai::CONVENTION, &general::CONVENTION];
    own.into_iter().chain(common).find_map(|convention| names(&convention.names).first().copied())
}
