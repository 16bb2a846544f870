//! Can the telemetry of a service answer what people will ask of it, and what would its sender have to add?
//!
//! A question needs facts. Of each fact counts in how many runs it is carried among those that have something which
//! should carry it; of a question, in how many all of its facts are. Counts are of the runs that were read, each as one:
//! what a sender records does not depend on how its traces are sampled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{QueryError, compute, is_service};
use crate::backends::store::{Selection, Store, StoredTrace};
use crate::domain::ids::TraceId;
use crate::domain::trace::{Propagation, Trace};
use crate::normalize::facts::{
    CONVERSATION, COST, DOCUMENTS, FEATURE, FINISH_REASONS, Fact, INPUT, INPUT_TOKENS, MODEL, ORGANISATION, OUTPUT,
    OUTPUT_TOKENS, RATIONALE, RELEASE, SERVICE, TIER, TOOL_ARGUMENTS, TOOL_RESULT, TREE, USER,
};
use crate::normalize::{AttributeMapping, PriceTable, normalize_priced};

/// Newest runs of a service that are read.
const RUNS: usize = 100;
/// Runs of all services together that are read, and fewest of one.
const ALL_RUNS: usize = 400;
const LEAST_RUNS: usize = 10;
/// Share of runs from which on a question is answered, and below which it is not.
const ANSWERED: f64 = 0.95;
const UNANSWERED: f64 = 0.5;
/// Runs that are named where trace context is lost.
const EXAMPLES: usize = 5;

/// What is asked of telemetry, and the facts that it takes.
struct Need {
    name: &'static str,
    about: &'static str,
    facts: &'static [&'static Fact],
}

// Numbers of their own: an array type as long as `FACTS.len()` sends the optimising compiler in a circle (E0391).
const QUESTION_COUNT: usize = 5;
const CAPABILITY_COUNT: usize = 5;
const FACT_COUNT: usize = 19;

/// The five questions.
const QUESTIONS: [Need; QUESTION_COUNT] = [
    Need {
        name: "decision",
        about: "what did it decide, and why",
        facts: &[&INPUT, &OUTPUT, &RATIONALE, &TOOL_RESULT, &DOCUMENTS],
    },
    Need { name: "tools", about: "which tools failed", facts: &[&TOOL_ARGUMENTS, &TOOL_RESULT] },
    Need { name: "cost", about: "what did it cost", facts: &[&MODEL, &INPUT_TOKENS, &OUTPUT_TOKENS, &COST] },
    Need { name: "quality", about: "did quality regress", facts: &[&SERVICE, &RELEASE, &INPUT, &OUTPUT] },
    Need { name: "budget", about: "who burns the budget", facts: &[&COST, &USER, &FEATURE] },
];

/// The five capabilities.
const CAPABILITIES: [Need; CAPABILITY_COUNT] = [
    Need {
        name: "provenance",
        about: "each decision with its input, data, reason and model",
        facts: &[&INPUT, &OUTPUT, &RATIONALE, &TOOL_RESULT, &DOCUMENTS, &MODEL, &TREE],
    },
    Need {
        name: "integration_health",
        about: "each tool with what it was given and gave, below who called it",
        facts: &[&SERVICE, &TOOL_ARGUMENTS, &TOOL_RESULT, &TREE],
    },
    Need {
        name: "cost_attribution",
        about: "money by user, organisation, tier and feature",
        facts: &[&MODEL, &INPUT_TOKENS, &OUTPUT_TOKENS, &COST, &USER, &ORGANISATION, &TIER, &FEATURE],
    },
    Need {
        name: "audit",
        about: "a whole conversation rebuilt, by conversation or user",
        facts: &[&CONVERSATION, &USER, &INPUT, &OUTPUT, &TOOL_ARGUMENTS, &TOOL_RESULT, &DOCUMENTS, &TREE],
    },
    Need {
        name: "behavioural_drift",
        about: "behaviour by release: models, tools, finish reasons, answers",
        facts: &[&SERVICE, &RELEASE, &MODEL, &FINISH_REASONS, &OUTPUT, &CONVERSATION],
    },
];

/// Every fact, in the order in which reports list them.
const FACTS: [&Fact; FACT_COUNT] = [
    &SERVICE,
    &RELEASE,
    &TREE,
    &CONVERSATION,
    &USER,
    &ORGANISATION,
    &TIER,
    &FEATURE,
    &INPUT,
    &OUTPUT,
    &RATIONALE,
    &MODEL,
    &INPUT_TOKENS,
    &OUTPUT_TOKENS,
    &COST,
    &FINISH_REASONS,
    &TOOL_ARGUMENTS,
    &TOOL_RESULT,
    &DOCUMENTS,
];

/// What the telemetry can answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TelemetryReadiness {
    /// By name; services of whose runs no spans are kept are left out.
    pub services: Vec<ServiceReadiness>,
}

/// What the telemetry of one service can answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReadiness {
    /// `service.name`.
    pub service: String,
    /// Runs that were read.
    pub traces: u64,
    /// Runs besides whose spans are kept and damaged.
    #[serde(default)]
    pub damaged: u64,
    /// How many of those that were read speak which span convention.
    pub conventions: BTreeMap<String, u64>,
    /// The five questions.
    pub questions: Vec<Ability>,
    /// The five capabilities.
    pub capabilities: Vec<Ability>,
    /// Every fact that the runs could carry.
    pub facts: Vec<FactShare>,
    /// Runs in which trace context was lost.
    pub propagation: BrokenRuns,
}

/// Whether a question can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// For nearly all runs.
    Yes,
    /// For half of them or more.
    Partly,
    /// For fewer.
    No,
    /// No run has anything of what is asked about.
    NotApplicable,
}

impl Answer {
    /// The answer as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
            Self::NotApplicable => "not_applicable",
        }
    }

    fn of(share: Option<f64>) -> Self {
        match share {
            None => Self::NotApplicable,
            Some(share) if share >= ANSWERED => Self::Yes,
            Some(share) if share >= UNANSWERED => Self::Partly,
            Some(_) => Self::No,
        }
    }
}

/// One question or capability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ability {
    /// Its name.
    pub name: String,
    /// The question.
    pub about: String,
    /// Whether it can be answered.
    pub answer: Answer,
    /// Runs that it can be asked of.
    pub traces: u64,
    /// Share of them that carry all that it takes.
    pub share: Option<f64>,
    /// The attributes that some of them lack.
    pub missing: Vec<String>,
}

/// How often a fact is carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactShare {
    /// The fact.
    pub fact: String,
    /// Where it stands.
    pub place: String,
    /// The attribute that carries it, in the convention that most runs speak.
    pub attribute: String,
    /// Runs that have something which should carry it.
    pub traces: u64,
    /// Those that do.
    pub carried: u64,
    /// The share of those that do.
    pub share: f64,
    /// What to add, where some do not.
    pub add: Option<String>,
}

/// Runs in which trace context was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenRuns {
    /// No root arrived.
    pub without_root: u64,
    /// Several roots.
    pub several_roots: u64,
    /// Spans besides whose parent never arrived.
    pub orphans: u64,
    /// Tool calls without a parent.
    pub detached_tools: u64,
    /// Some of these runs.
    pub trace_ids: Vec<TraceId>,
}

impl TelemetryReadiness {
    /// Whether each question can be answered for half of the runs or more, in each service; not where no run of one
    /// could be read.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let is_answered = |question: &Ability| question.answer != Answer::No;
        self.services.iter().all(|service| service.traces > 0 && service.questions.iter().all(is_answered))
    }
}

/// Counts runs, service by service.
#[derive(Debug, Default)]
pub struct Survey(BTreeMap<String, ServiceSurvey>);

#[derive(Debug, Default)]
struct ServiceSurvey {
    traces: u64,
    damaged: u64,
    conventions: BTreeMap<&'static str, u64>,
    /// Runs that should carry each fact, and that do, in the order of [`FACTS`].
    facts: [Tally; FACT_COUNT],
    /// The same of all that each question and capability takes.
    needs: [Tally; QUESTION_COUNT + CAPABILITY_COUNT],
    propagation: BrokenRuns,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    of: u64,
    carried: u64,
}

impl Tally {
    fn add(&mut self, is_carried: Option<bool>) {
        self.of += u64::from(is_carried.is_some());
        self.carried += u64::from(is_carried == Some(true));
    }

    fn share(self) -> Option<f64> {
        (self.of > 0).then(|| self.carried as f64 / self.of as f64)
    }
}

impl Survey {
    /// Takes in one run.
    pub fn add(&mut self, trace: &Trace) {
        self.0.entry(trace.service.clone()).or_default().add(trace);
    }

    /// Counts a run of a service whose spans are damaged.
    fn add_damaged(&mut self, service: String) {
        self.0.entry(service).or_default().damaged += 1;
    }

    /// What was found; attributes that are searched by have the names of `mapping`.
    #[must_use]
    pub fn finish(self, mapping: &AttributeMapping) -> TelemetryReadiness {
        let services = self.0.into_iter().map(|(service, survey)| survey.finish(service, mapping));
        TelemetryReadiness { services: services.collect() }
    }
}

impl ServiceSurvey {
    fn add(&mut self, trace: &Trace) {
        self.traces += 1;
        *self.conventions.entry(trace.convention).or_default() += 1;
        for (tally, fact) in self.facts.iter_mut().zip(FACTS) {
            tally.add(fact.is_carried(trace));
        }
        for (tally, need) in self.needs.iter_mut().zip(needs()) {
            tally.add(need.is_met(trace));
        }
        self.propagation.add(trace);
    }

    fn finish(self, service: String, mapping: &AttributeMapping) -> ServiceReadiness {
        let commonest = self.conventions.iter().max_by_key(|(_, traces)| **traces).map_or("", |(name, _)| *name);
        let counted = FACTS.into_iter().zip(self.facts).filter(|(_, tally)| tally.of > 0);
        let facts: Vec<FactShare> = counted.map(|(fact, tally)| share(fact, tally, commonest, mapping)).collect();
        let mut abilities: Vec<Ability> =
            needs().zip(self.needs).map(|(need, tally)| need.ability(tally, &facts)).collect();
        let capabilities = abilities.split_off(QUESTIONS.len());
        ServiceReadiness {
            service,
            traces: self.traces,
            damaged: self.damaged,
            conventions: self.conventions.into_iter().map(|(name, traces)| (name.to_owned(), traces)).collect(),
            questions: abilities,
            capabilities,
            facts,
            propagation: self.propagation,
        }
    }
}

fn needs() -> impl Iterator<Item = &'static Need> {
    QUESTIONS.iter().chain(&CAPABILITIES)
}

impl Need {
    /// Whether a run carries all that it takes; `None` where it has nothing of that.
    fn is_met(&self, trace: &Trace) -> Option<bool> {
        self.facts.iter().filter_map(|fact| fact.is_carried(trace)).reduce(|all, one| all && one)
    }

    fn ability(&self, tally: Tally, facts: &[FactShare]) -> Ability {
        let is_lacking = |it: &&FactShare| it.carried < it.traces && self.facts.iter().any(|fact| fact.name == it.fact);
        Ability {
            name: self.name.to_owned(),
            about: self.about.to_owned(),
            answer: Answer::of(tally.share()),
            traces: tally.of,
            share: tally.share(),
            missing: facts.iter().filter(is_lacking).map(|it| it.attribute.clone()).collect(),
        }
    }
}

fn share(fact: &Fact, tally: Tally, convention: &str, mapping: &AttributeMapping) -> FactShare {
    FactShare {
        fact: fact.name.to_owned(),
        place: fact.place.to_owned(),
        attribute: fact.attribute(convention, mapping),
        traces: tally.of,
        carried: tally.carried,
        share: tally.share().unwrap_or_default(),
        add: (tally.carried < tally.of).then(|| fact.instrumentation(convention, mapping)),
    }
}

impl BrokenRuns {
    /// How context was lost, each with its runs, where there are some.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let counts = [
            (self.without_root, "without a root"),
            (self.several_roots, "with several roots"),
            (self.orphans, "with spans whose parent never arrived"),
            (self.detached_tools, "with tool calls that hang on nothing"),
        ];
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    fn add(&mut self, trace: &Trace) {
        let Propagation { roots, orphans, detached_tools } = trace.structure.propagation;
        self.without_root += u64::from(roots == 0);
        self.several_roots += u64::from(roots > 1);
        // Without a root one span stands in for it.
        self.orphans += u64::from(orphans > usize::from(roots == 0));
        self.detached_tools += u64::from(detached_tools > 0);
        let is_broken = !trace.structure.propagation.is_whole() || detached_tools > 0;
        if is_broken && self.trace_ids.len() < EXAMPLES {
            self.trace_ids.push(trace.trace_id);
        }
    }
}

/// Reads the newest runs of each service of a selection whose spans are kept. Those that are damaged are counted.
///
/// # Errors
/// No trace of the service that is asked for is known, or the store failed.
pub async fn readiness(
    store: &Store,
    selection: &Selection,
    names: &AttributeMapping,
    prices: &PriceTable,
) -> Result<TelemetryReadiness, QueryError> {
    if let Some(name) = &selection.service
        && !is_service(store, name).await?
    {
        return Err(QueryError::UnknownService { name: name.clone(), known: super::services(store).await? });
    }
    let mut services = Vec::new();
    for service in store.services_by_hour(selection).await? {
        let of_service = Selection { service: Some(service), ..selection.clone() };
        // Hours are kept for good and know nothing of the selection's other conditions.
        if store.since_last(&of_service, 1).await?.is_some() {
            services.push(of_service);
        }
        if services.len() == ALL_RUNS / LEAST_RUNS {
            break;
        }
    }
    let runs = (ALL_RUNS / services.len().max(1)).clamp(LEAST_RUNS, RUNS);
    let mut survey = Survey::default();
    for of_service in services {
        let traces = store.search(&of_service, runs).await?;
        survey = read(store, traces, survey, names, prices).await?;
    }
    Ok(survey.finish(names))
}

async fn read(
    store: &Store,
    traces: Vec<StoredTrace>,
    mut survey: Survey,
    names: &AttributeMapping,
    prices: &PriceTable,
) -> Result<Survey, QueryError> {
    let mut raw = Vec::with_capacity(traces.len());
    for trace in traces {
        let body = store.chunks_of(trace.trace_id).await?;
        match body.unpack(trace.trace_id) {
            _ if body.chunks.is_empty() => {}
            Ok(spans) => raw.push(spans),
            Err(_) => survey.add_damaged(trace.service),
        }
    }
    let (names, prices) = (names.clone(), prices.clone());
    compute(move || {
        raw.iter().filter_map(|raw| normalize_priced(raw, &names, &prices)).for_each(|trace| survey.add(&trace));
        survey
    })
    .await
}

#[cfg(test)]
mod tests;
