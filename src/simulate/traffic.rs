//! The stream of runs: who arrives when, on which release, with what trouble; handed out in order of their end.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::agent::Agent;
use super::chance::{hex_word, id, log_normal, pick};
use super::recorder::{Recorder, Recording, Session};
use super::scenario::{Phase, Scenario};
use super::{Plan, SimulatedTrace, Truth, invoice, research, support};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

/// Equally likely lengths of a support conversation, in runs.
const RUNS_PER_SUPPORT_CONVERSATION: [usize; 6] = [1, 1, 1, 2, 2, 3];

/// Runs that have been told, waiting for their turn; see [`super::simulate`].
pub(crate) struct Traffic {
    plan: Plan,
    rng: Rng,
    told: usize,
    /// By end and, for equal ends, by order of telling.
    waiting: BTreeMap<(Timestamp, usize), SimulatedTrace>,
}

impl Iterator for Traffic {
    type Item = SimulatedTrace;

    fn next(&mut self) -> Option<SimulatedTrace> {
        // A run may leave once nothing that has yet to start can end before it.
        while self.told < self.plan.traces && !self.next_is_settled() {
            self.tell_conversation();
        }
        self.waiting.pop_first().map(|(_, trace)| trace)
    }
}

impl Traffic {
    pub(crate) fn new(plan: &Plan) -> Self {
        let rng = Rng::with_seed(plan.seed);
        Self { plan: plan.clone(), rng, told: 0, waiting: BTreeMap::new() }
    }

    /// Share of the plan that lies behind the next conversation.
    fn elapsed_share(&self) -> f64 {
        self.told as f64 / self.plan.traces as f64
    }

    /// When the next conversation begins: arrivals are even over the plan's duration.
    fn arrival(&self) -> Timestamp {
        self.plan.start.plus(self.plan.duration.mul_f64(self.elapsed_share()))
    }

    fn next_is_settled(&self) -> bool {
        self.waiting.first_key_value().is_some_and(|((ended_at, _), _)| *ended_at <= self.arrival())
    }

    /// One conversation is one run, but for support, whose customers come back with another question.
    fn tell_conversation(&mut self) {
        let mut rng = self.rng.fork();
        let agent = choose_agent(&mut rng);
        let phase = self.plan.scenario.phase(self.elapsed_share());
        let story = Story { scenario: self.plan.scenario, agent, phase, session: session(agent, &mut rng) };
        let wanted = if agent == Agent::Support { RUNS_PER_SUPPORT_CONVERSATION[rng.usize(..6)] } else { 1 };
        let runs = wanted.min(self.plan.traces - self.told);
        let booking = support::Booking::draw(&mut rng);
        let mut start = self.arrival();
        for _ in 0..runs {
            let recording = story.record(&booking, start, &mut rng);
            start = recording.ended_at.plus(Duration::from_secs_f64(log_normal(&mut rng, 40.0, 0.6)));
            self.enqueue(&story, recording);
        }
    }

    fn enqueue(&mut self, story: &Story, recording: Recording) {
        self.told += 1;
        let truth = Truth {
            trace_id: recording.trace_id,
            scenario: story.scenario.name.to_owned(),
            agent: story.agent,
            release: story.scenario.release(story.agent, story.phase).version.to_owned(),
            phase: story.phase,
            faults: recording.faults,
        };
        let trace = SimulatedTrace { request: recording.request, truth };
        self.waiting.insert((recording.ended_at, self.told), trace);
    }
}

/// What the runs of one conversation share.
struct Story {
    scenario: &'static Scenario,
    agent: Agent,
    phase: Phase,
    session: Session,
}

impl Story {
    fn record(&self, booking: &support::Booking, start: Timestamp, rng: &mut Rng) -> Recording {
        let release = self.scenario.release(self.agent, self.phase);
        let trouble = self.scenario.draw(self.agent, self.phase, rng);
        let trace_id = trace_id(rng);
        let setting = match self.agent {
            Agent::Support => support::setting(release),
            Agent::Invoice => invoice::setting(release),
            Agent::Research => research::setting(release),
        };
        let mut recorder = Recorder::new(setting, &self.session, trace_id, start, rng);
        match self.agent {
            Agent::Support => support::tell(&mut recorder, booking, trouble),
            Agent::Invoice => invoice::tell(&mut recorder, trouble),
            Agent::Research => research::tell(&mut recorder, trouble),
        }
        recorder.finish()
    }
}

fn trace_id(rng: &mut Rng) -> TraceId {
    loop {
        if let Ok(trace_id) = TraceId::from_bytes(&id::<16>(rng)) {
            return trace_id;
        }
    }
}

/// Draws an agent so that each answers its share of the traces, a support conversation counting for several.
fn choose_agent(rng: &mut Rng) -> Agent {
    let runs = RUNS_PER_SUPPORT_CONVERSATION.iter().sum::<usize>() as f64;
    let support = Agent::Support.share() * RUNS_PER_SUPPORT_CONVERSATION.len() as f64 / runs;
    let invoice = Agent::Invoice.share();
    let ticket = rng.f64() * (support + invoice + Agent::Research.share());
    match ticket {
        ticket if ticket < support => Agent::Support,
        ticket if ticket < support + invoice => Agent::Invoice,
        _ => Agent::Research,
    }
}

fn session(agent: Agent, rng: &mut Rng) -> Session {
    let (tiers, organisations): (&[&'static str], &[&'static str]) = match agent {
        Agent::Support => (&["standard", "standard", "silver", "gold"], &["larkwing-web", "larkwing-app"]),
        Agent::Invoice => (&["business"], &["brightwater-foods", "tollgate-tools", "hearth-hotels"]),
        Agent::Research => (&["standard", "professional"], &["estuary-institute", "north-desk", "public-library"]),
    };
    let known_users = 400;
    Session {
        conversation_id: hex_word::<16>(rng),
        user_id: format!("{}-user-{:03}", agent.name(), rng.u32(..known_users)),
        user_tier: pick(rng, tiers),
        organisation: pick(rng, organisations),
    }
}
