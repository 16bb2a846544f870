//! Can the decision be traced back: are the sources that the answer cites among what the agent saw, and does the run
//! carry the fields that an audit needs?
//!
//! - **Links.** A link in the answer must stand in a tool result, a retrieved document, the user's words or the
//!   instructions. One that stands nowhere was made up, or comes from the model's memory. Links are compared without
//!   scheme, `www.`, fragment and closing slash, since those are often tidied.
//! - **Markers.** `[3]` needs at least three retrieved documents. Only runs with a retrieval are held to it: elsewhere
//!   the number may count anything.
//! - **`required_attributes`**: names of `[attributes]` in `driftline.toml`, such as a decision and its rationale, that
//!   the run must carry. For agents whose decisions are high-risk; without it nothing is required.
//! - **`must_cite`**: an answer that rests on retrieved data names a source.
//!
//! The rule claims that a source was seen, not that it says what the answer says: that is `groundedness`. The ids of
//! retrieved documents are not part of a trace as it is understood here, only their texts; so a link that was found
//! nowhere in a run that retrieved documents may be the id of one of them, and the run is `not_evaluable`.

use std::collections::HashSet;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::trace::Trace;
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "cited sources that the agent never saw, and runs without the fields that an audit needs";

/// Most problems that an explanation lists.
const MOST_LISTED: usize = 5;
/// A link as far as it can be told from the text around it; what closes a sentence is cut off later.
const LINK: &str = r#"https?://[^\s<>"'`\\|{}^\[\]]{3,2000}"#;
const MARKER: &str = r"\[(\d{1,3})\]";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    required_attributes: Vec<String>,
    must_cite: bool,
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let compile = |expression: &str| {
        Regex::new(expression).map_err(|error| vec![source.mistake("provenance", &error.to_string(), "report it")])
    };
    let rule = ProvenanceRule { link: compile(LINK)?, marker: compile(MARKER)?, settings: settings.clone() };
    Ok(Built::rule(rule, &settings))
}

#[derive(Debug)]
struct ProvenanceRule {
    settings: Settings,
    link: Regex,
    marker: Regex,
}

/// What an answer cites.
struct Citations<'a> {
    links: Vec<&'a str>,
    markers: Vec<usize>,
}

impl Rule for ProvenanceRule {
    fn check(&self, trace: &Trace) -> Finding {
        let mut problems = self.missing_attributes(trace);
        let Some(answer) = &trace.output else { return without_answer(&problems) };
        let cited = self.citations(answer);
        let documents: usize = trace.retrievals().map(|retrieval| retrieval.documents.len()).sum();
        let is_recorded = trace.retrievals().all(|retrieval| retrieval.documents_recorded);
        if documents > 0 && is_recorded {
            let beyond = cited.markers.iter().filter(|marker| **marker > documents);
            problems.extend(beyond.map(|marker| format!("[{marker}] of {documents} retrieved documents")));
        }
        let unseen = self.unseen_links(trace, &cited.links);
        let may_be_an_id = trace.retrievals().next().is_some();
        if !may_be_an_id {
            problems.extend(unseen.iter().map(|link| format!("{} was not seen", clip(link))));
        }
        let is_silent = cited.links.is_empty() && cited.markers.is_empty();
        if self.settings.must_cite && is_silent && !trace.retrieved_data().is_empty() {
            problems.push("the answer cites no source".to_owned());
        }
        if !problems.is_empty() {
            return Finding::fail(listed(&problems), None);
        }
        if !unseen.is_empty() {
            return Finding::NotEvaluable("ids of the retrieved documents".to_owned());
        }
        if is_silent && self.settings.required_attributes.is_empty() && !self.settings.must_cite {
            return Finding::NotApplicable("the answer cites nothing".to_owned());
        }
        Finding::pass(format!("{} links and {} markers were seen", cited.links.len(), cited.markers.len()))
    }
}

impl ProvenanceRule {
    fn citations<'a>(&self, answer: &'a str) -> Citations<'a> {
        let mut seen = HashSet::new();
        let links = self.link.find_iter(answer).map(|found| without_closing(found.as_str()));
        let markers = self.marker.captures_iter(answer).filter_map(|found| found.get(1)?.as_str().parse().ok());
        Citations {
            links: links.filter(|link| seen.insert(compared(link))).collect(),
            markers: markers.filter(|marker| *marker > 0).collect(),
        }
    }

    fn missing_attributes(&self, trace: &Trace) -> Vec<String> {
        let is_missing = |name: &&String| trace.attributes.get(*name).is_none_or(|value| value.trim().is_empty());
        self.settings.required_attributes.iter().filter(is_missing).map(|name| format!("{name} is missing")).collect()
    }

    /// The links that stand in nothing the agent was shown.
    fn unseen_links<'a>(&self, trace: &Trace, links: &[&'a str]) -> Vec<&'a str> {
        let mut unseen: Vec<(String, &'a str)> = links.iter().map(|link| (compared(link), *link)).collect();
        let said = trace.model_calls().filter_map(|call| call.user_text.as_deref());
        let told = trace.input.as_deref().into_iter().chain(trace.system_instructions.as_deref());
        for text in trace.retrieved_data().into_iter().chain(said).chain(told) {
            if unseen.is_empty() {
                break;
            }
            // JSON may write a slash as `\/`.
            let text = if text.contains("\\/") { text.replace("\\/", "/") } else { text.to_owned() };
            let shown: HashSet<String> =
                self.link.find_iter(&text).map(|found| compared(without_closing(found.as_str()))).collect();
            unseen.retain(|(link, _)| !shown.contains(link));
        }
        unseen.into_iter().map(|(_, link)| link).collect()
    }
}

/// What is found in a run whose answer is not recorded.
fn without_answer(problems: &[String]) -> Finding {
    match problems {
        [] => Finding::NotEvaluable("gen_ai.output.messages".to_owned()),
        problems => Finding::fail(listed(problems), None),
    }
}

/// A link without the punctuation of the sentence that it stands in.
fn without_closing(link: &str) -> &str {
    link.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '*', '_'])
}

fn compared(link: &str) -> String {
    let link = link.split_once("://").map_or(link, |(_, rest)| rest);
    let link = link.split('#').next().unwrap_or_default().trim_end_matches('/');
    let (host, path) = link.split_at(link.find('/').unwrap_or(link.len()));
    let host = host.to_ascii_lowercase();
    format!("{}{path}", host.strip_prefix("www.").unwrap_or(&host))
}

fn listed(problems: &[String]) -> String {
    let more = if problems.len() > MOST_LISTED { "; and more" } else { "" };
    format!("{}{more}", problems.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{failure, found, passes, rule, run};
    use super::*;

    fn answered(table: &str, answer: &str, result: &str) -> Finding {
        let steps = json!([{"tool": "search", "arguments": {"q": "https://asked.example/x"}, "result": result}]);
        found("provenance", table, json!({"output": answer, "steps": steps}))
    }

    #[test]
    fn a_link_is_seen_however_it_is_tidied() {
        for shown in [
            "https://www.Lamps.example/a?b=1",
            "http:\\/\\/lamps.example\\/a?b=1",
            "(see https://lamps.example/a?b=1/).",
        ] {
            assert!(passes(&answered("", "It is in https://lamps.example/a?b=1#top.", shown)), "{shown}");
        }
        let finding = answered("", "See [here](https://lamps.example/b).", "https://lamps.example/a");
        assert_eq!(failure(&finding), Some("https://lamps.example/b was not seen"));
    }

    #[test]
    fn what_the_agent_asked_for_was_not_seen_yet() {
        assert!(failure(&answered("", "https://asked.example/x", "nothing found")).is_some());
    }

    #[test]
    fn the_user_and_the_instructions_may_name_links_too() {
        let run = |key: &str| json!({key: "Send it to https://a.example/b", "output": "Sent to https://a.example/b."});
        for key in ["input", "system"] {
            assert!(passes(&found("provenance", "", run(key))), "{key}");
        }
        let said =
            json!({"output": "https://a.example/b", "steps": [{"model": "m", "user_text": "https://a.example/b"}]});
        assert!(passes(&found("provenance", "", said)));
    }

    #[test]
    fn a_marker_needs_as_many_documents() {
        let run = |marker: &str| json!({"output": format!("So it is {marker}."), "steps": [{"retrieval": "q", "documents": ["one", "two"]}]});
        assert!(passes(&found("provenance", "", run("[1][2]"))));
        assert_eq!(failure(&found("provenance", "", run("[3]"))), Some("[3] of 2 retrieved documents"));
        let without = found("provenance", "", json!({"output": "So it is [3].", "steps": [{"model": "m"}]}));
        assert!(passes(&without), "without a retrieval the number may count anything");
    }

    #[test]
    fn a_link_may_be_the_id_of_a_document_of_which_only_the_text_is_known() {
        let run = json!({"output": "https://a.example/b", "steps": [{"retrieval": "q", "documents": ["text"]}]});
        assert_eq!(found("provenance", "", run), Finding::NotEvaluable("ids of the retrieved documents".to_owned()));
    }

    #[test]
    fn an_answer_that_rests_on_data_must_cite_where_that_is_asked() {
        assert_eq!(failure(&answered("must_cite = true", "It is so.", "data")), Some("the answer cites no source"));
        assert!(matches!(answered("", "It is so.", "data"), Finding::NotApplicable(_)));
        assert!(passes(&found("provenance", "must_cite = true", json!({"output": "Hello!"}))));
    }

    #[test]
    fn a_run_must_carry_the_fields_of_a_decision_where_they_are_asked_for() {
        let table = "required_attributes = [\"decision\", \"rationale\"]";
        let mut trace = run(json!({"output": "Approved."}));
        trace.attributes =
            [("decision".to_owned(), "approve".to_owned()), ("rationale".to_owned(), " ".to_owned())].into();
        assert_eq!(failure(&rule("provenance", table, &[]).check(&trace)), Some("rationale is missing"));
        trace.attributes.insert("rationale".to_owned(), "it matches the order".to_owned());
        assert!(passes(&rule("provenance", table, &[]).check(&trace)));
    }

    #[test]
    fn fields_that_are_asked_for_are_missed_without_an_answer_too() {
        let table = "required_attributes = [\"decision\"]";
        assert_eq!(failure(&found("provenance", table, json!({}))), Some("decision is missing"));
    }

    #[test]
    fn a_run_without_an_answer_cannot_be_judged() {
        let nothing: Value = json!({});
        assert_eq!(found("provenance", "", nothing), Finding::NotEvaluable("gen_ai.output.messages".to_owned()));
    }
}
