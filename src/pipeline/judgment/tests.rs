//! Judgments by an asker that answers from a list.

use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::domain::judge::REPAIR;
use crate::evaluate::cases::trace_of;
use crate::evaluate::definition::{EvaluatorFolder, JudgeModels};
use crate::evaluate::kinds::Behaviour;

/// Answers in order, and keeps what it was asked.
struct Listed {
    answers: Mutex<Vec<Result<JudgeAnswer, JudgmentError>>>,
    asked: Mutex<Vec<JudgeRequest>>,
}

impl Asker for Listed {
    fn model(&self) -> &str {
        "m"
    }

    async fn ask(&self, request: &JudgeRequest) -> Result<JudgeAnswer, JudgmentError> {
        self.asked.lock().unwrap().push(request.clone());
        self.answers.lock().unwrap().remove(0)
    }
}

fn text(answer: &str) -> Result<JudgeAnswer, JudgmentError> {
    Ok(JudgeAnswer { text: answer.to_owned(), model: None, usage: None })
}

fn verdict_of(word: &str) -> Result<JudgeAnswer, JudgmentError> {
    text(&json!({ "reason": format!("because {word}"), "verdict": word }).to_string())
}

/// What a judge of so many samples decides, and what it asked.
async fn decide(
    samples: u32,
    answers: Vec<Result<JudgeAnswer, JudgmentError>>,
) -> (Result<Decided, JudgmentError>, Vec<JudgeRequest>) {
    let files = [
        (
            "evaluator.toml",
            format!(
                "kind = \"llm_judge\"\ndescription = \"d\"\n[llm_judge]\ninputs = [\"answer\"]\nsamples = {samples}\n"
            ),
        ),
        ("prompt.md", "# System\nIs it so?\n\n# User\n{{answer}}\n".to_owned()),
    ];
    let files = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    let folder = EvaluatorFolder { name: "tone".to_owned(), place: "tone".to_owned(), files };
    let definition = EvaluatorDefinition::parse(&folder, &JudgeModels::new()).unwrap();
    let Behaviour::Judge(judge) = &definition.behaviour else { panic!("it is a judge") };
    let trace = trace_of(&serde_json::from_value(json!({ "output": "fine" })).unwrap());
    let asker = Listed { answers: Mutex::new(answers), asked: Mutex::default() };
    let decided = judgment(&asker, &judge.prepare(&trace).unwrap()).await;
    (decided, asker.asked.into_inner().unwrap())
}

#[tokio::test]
async fn samples_end_when_most_agree_and_each_is_fenced_anew() {
    let (decided, asked) = decide(3, vec![verdict_of("NO"), verdict_of("NO")]).await;
    let expected = Decided { is_yes: false, reason: "because NO".to_owned(), votes: 2, samples: 2, model: None };
    assert_eq!(decided.unwrap(), expected);
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].user, asked[1].user, "a nonce is used once");
    let (decided, asked) = decide(3, vec![verdict_of("NO"), verdict_of("YES"), verdict_of("pass")]).await;
    let decided = decided.unwrap();
    assert_eq!((decided.is_yes, decided.votes, decided.samples, asked.len()), (true, 2, 3, 3));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_never_again() {
    let (decided, asked) = decide(1, vec![text("well, yes"), verdict_of("YES")]).await;
    assert!(decided.unwrap().is_yes);
    assert!(asked[1].user.ends_with(REPAIR) && !asked[1].user.contains("well, yes"));
    let (decided, asked) = decide(1, vec![text("well, yes"), verdict_of("perhaps")]).await;
    let error = decided.unwrap_err();
    assert_eq!(error, JudgmentError::Verdict(VerdictError::UnknownVerdict("perhaps".to_owned())));
    assert!(!error.is_transient(), "it is counted as unknown, and not paid for again");
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_parameter_that_was_refused_is_no_failure() {
    let adapted = || Err(JudgmentError::Judge(JudgeError::Adapted));
    let (decided, asked) = decide(1, vec![adapted(), adapted(), adapted(), verdict_of("YES")]).await;
    assert!(decided.unwrap().is_yes);
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn a_judgement_belongs_to_every_model_that_took_part_in_it() {
    let by = |model: &str| verdict_of("YES").map(|answer| JudgeAnswer { model: Some(model.to_owned()), ..answer });
    for (answers, expected) in [
        (vec![by("m"), by("m")], None),
        (vec![by("m-2"), by("m-2")], Some("m-2")),
        (vec![by("m-2"), verdict_of("YES")], Some("m+m-2")),
        (vec![text("well, yes"), by("m-2"), by("m-1")], Some("m-1+m-2")),
    ] {
        let (decided, _) = decide(3, answers).await;
        assert_eq!(decided.unwrap().model(), expected);
    }
}
