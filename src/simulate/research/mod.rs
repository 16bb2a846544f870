//! The research agent: searches, reads, retrieves, verifies, and answers with citations.

mod library;

use serde_json::{Value, json};

use self::library::{Fact, long_page};
use super::agent::{Agent, Release};
use super::attributes::{text, texts};
use super::chance::{happens, pick};
use super::fault::Fault;
use super::recorder::{Recorder, Reply, Setting};
use super::scenario::Trouble;
use super::wire::Document;

const INSTRUCTIONS: &str = "You answer questions from the collection of open reports. Search first, read what you find, \
     and verify every citation before you use it. State only what a document states, and name its source. Answer in at \
     most 6 sentences.";

const TOOLS: &[(&str, &str)] = &[
    ("search_web", "Lists pages that match a query"),
    ("open_page", "Returns the text of a page"),
    ("retrieve_documents", "Returns passages of the report collection"),
    ("verify_citation", "Says whether a source supports a claim"),
];

const OPENINGS: [&str; 5] = [
    "A question for a briefing:",
    "Please look this up with a source.",
    "For an article I am writing:",
    "Quick check, with citation please.",
    "I could not find this myself.",
];
const CAVEATS: [&str; 4] = [
    "The source does not say how the figure was counted.",
    "I found no document that contradicts it.",
    "Older editions use another method, so comparisons need care.",
    "The passage gives no breakdown.",
];

/// What the research agent runs on.
pub(crate) fn setting(release: Release) -> Setting {
    Setting { agent: Agent::Research, release, instructions: INSTRUCTIONS, tools: TOOLS, reasoning_tokens: 190.0 }
}

/// Tells one run about one question, in some runs with a second one.
pub(crate) fn tell(recorder: &mut Recorder, trouble: Trouble) {
    recorder.note(text("feature_name", "cited_answers"));
    let stops_reasoning = trouble.habit == Some(Fault::StopsReasoning);
    if stops_reasoning {
        recorder.mark(Fault::StopsReasoning);
        recorder.reason_less(0.06);
    }
    let fact = Fact::draw(recorder.rng);
    let opening = pick(recorder.rng, &OPENINGS);
    recorder.user(&format!("{opening} {}", fact.question()));
    if trouble.accident == Some(Fault::InventedAnswerAfterFailure) {
        return invent(recorder, &fact);
    }
    if trouble.accident == Some(Fault::RunawayRecursion) {
        recorder.mark(Fault::RunawayRecursion);
        let levels = recorder.rng.u32(4..9);
        recorder.recurse(levels);
    }
    let page = fact.document(recorder.rng);
    search(recorder, &fact, &page);
    read(recorder, &page, trouble);
    let source = retrieve(recorder, &fact);
    if !stops_reasoning {
        verify(recorder, &fact, &source);
    }
    recorder.note(texts("context.sources", &[source.url.as_str(), page.url.as_str()]));
    answer(recorder, &fact, trouble);
    if trouble.accident.is_none() && happens(recorder.rng, 0.25) {
        follow_up(recorder, &fact, stops_reasoning);
    }
}

fn search(recorder: &mut Recorder, fact: &Fact, page: &Document) {
    let other = fact.sibling(recorder.rng).document(recorder.rng);
    let results = [page, &other].map(|found| json!({ "url": found.url, "title": found.title }));
    recorder.call("search_web", &json!({ "query": fact.query() }), Reply::ok(json!(results)).after(0.8));
}

/// Opens the page that the search found; in some runs others before it.
fn read(recorder: &mut Recorder, page: &Document, trouble: Trouble) {
    if happens(recorder.rng, 0.02) {
        let gone = json!({ "url": format!("{}/archive", page.url) });
        recorder.call("open_page", &gone, Reply::failed("404", "the page has been removed"));
    }
    let detours = match trouble.accident {
        Some(Fault::CostRunaway) => {
            recorder.mark(Fault::CostRunaway);
            recorder.rng.u32(32..48)
        }
        _ => recorder.rng.u32(..3),
    };
    for detour in 1..=detours {
        let body = json!({ "text": long_page(recorder.rng) });
        recorder.call(
            "open_page",
            &json!({ "url": format!("{}/part-{detour}", page.url) }),
            Reply::ok(body).after(0.7),
        );
    }
    let reply = Reply::ok(json!({ "title": page.title, "text": page.content }));
    let seconds = if trouble.accident == Some(Fault::SlowTool) {
        recorder.mark(Fault::SlowTool);
        // So far out that no draw around this median comes under two minutes.
        420.0
    } else {
        0.7
    };
    recorder.call("open_page", &json!({ "url": page.url }), reply.after(seconds));
}

/// Retrieves passages and gives the best, which states the fact; now and then the first query finds nothing.
fn retrieve(recorder: &mut Recorder, fact: &Fact) -> Document {
    if happens(recorder.rng, 0.015) {
        recorder.retrieve(&fact.question(), &[]);
    }
    let best = fact.document(recorder.rng);
    let mut documents = vec![best.clone()];
    documents.extend((0..recorder.rng.u32(1..4)).map(|_| fact.sibling(recorder.rng).document(recorder.rng)));
    recorder.retrieve(&fact.query(), &documents);
    best
}

fn verify(recorder: &mut Recorder, fact: &Fact, document: &Document) {
    let arguments = json!({ "claim": fact.claim(), "source": document.url });
    recorder.call("verify_citation", &arguments, Reply::ok(json!({ "supported": true })).after(0.5));
}

fn answer(recorder: &mut Recorder, fact: &Fact, trouble: Trouble) {
    match trouble.accident {
        Some(Fault::UngroundedClaim) => {
            recorder.mark(Fault::UngroundedClaim);
            let distorted = fact.distorted(recorder.rng);
            say_cited(recorder, &distorted);
        }
        Some(Fault::CutOffAnswer) => {
            recorder.mark(Fault::CutOffAnswer);
            recorder.say_cut_off(&format!("You asked about {}. According to the collection of open", fact.subject()));
        }
        _ => say_cited(recorder, fact),
    }
}

fn say_cited(recorder: &mut Recorder, fact: &Fact) {
    let caveat = pick(recorder.rng, &CAVEATS);
    let cited = fact.cited(1);
    let words = match recorder.rng.u32(..3) {
        0 => format!("{cited} {caveat}"),
        1 => format!("You asked about {}. {cited} {caveat}", fact.subject()),
        _ => format!("Here is what the reports say about {}. {cited}", fact.subject()),
    };
    recorder.say(&words);
}

fn follow_up(recorder: &mut Recorder, fact: &Fact, stops_reasoning: bool) {
    let next = fact.sibling(recorder.rng);
    recorder.user(&format!("Thank you. One more: {}", next.question()));
    let source = retrieve(recorder, &next);
    if !stops_reasoning {
        verify(recorder, &next, &source);
    }
    say_cited(recorder, &next);
}

/// Nothing is found anywhere, and the answer is confident all the same.
fn invent(recorder: &mut Recorder, fact: &Fact) {
    recorder.mark(Fault::InventedAnswerAfterFailure);
    let query = json!({ "query": fact.query() });
    let search = if recorder.rng.bool() {
        Reply::failed("503", "search is unavailable")
    } else {
        Reply::ok(Value::Array(Vec::new()))
    };
    recorder.call("search_web", &query, search);
    recorder.retrieve(&fact.query(), &[]);
    if recorder.rng.bool() {
        let unreachable = Reply::failed("timeout", "the page did not answer in time");
        recorder.call("open_page", &json!({ "url": "https://reports.example/index" }), unreachable);
    }
    say_cited(recorder, fact);
}
