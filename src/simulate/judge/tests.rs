//! The judge over HTTP, on traffic whose truth it is not told.

use super::*;
use crate::simulate::tests::{answer, data, question, spans, text, traffic};
use crate::simulate::{Fault, Phase, SimulatedTrace};

const JUDGED: [Fault; 4] =
    [Fault::InventedAnswerAfterFailure, Fault::MisquotedPolicy, Fault::QuantityTenTimesOff, Fault::UngroundedClaim];

fn fenced(section: &str, body: &str) -> String {
    format!("<<<BEGIN {section} 7f3a\n{body}\n<<<END {section} 7f3a\n")
}

fn prompt(trace: &SimulatedTrace) -> String {
    let instructions: Value = serde_json::from_str(text(&spans(trace)[0], "gen_ai.system_instructions")).unwrap();
    [
        fenced("INSTRUCTIONS", instructions[0]["content"].as_str().unwrap()),
        fenced("QUESTION", &question(trace)),
        fenced("DATA", &data(trace)),
        fenced("ANSWER", &answer(trace)),
    ]
    .concat()
}

async fn verdict(client: &reqwest::Client, judge: &ScriptedJudge, trace: &SimulatedTrace) -> (bool, String) {
    let request = json!({
        "model": "scripted", "temperature": 0, "response_format": { "type": "json_schema" },
        "messages": [
            { "role": "system", "content": "You are a judge." },
            { "role": "user", "content": [{ "type": "text", "text": prompt(trace) }] },
        ],
    });
    let address = format!("{}/chat/completions", judge.base_url());
    let response: Value = client.post(address).json(&request).send().await.unwrap().json().await.unwrap();
    assert!(response["usage"]["prompt_tokens"].as_u64().unwrap() > 100);
    assert_eq!(response["choices"][0]["finish_reason"], "stop");
    let content: Value = serde_json::from_str(response["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    (content["verdict"] == "YES", content["reason"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn healthy_answers_pass_and_wrong_ones_are_caught() {
    // Fails only when another test has installed the provider before; either will do.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let judge = ScriptedJudge::start().await.unwrap();
    let (mut healthy, mut refused, mut wrong, mut caught) = (0, 0, 0, 0);
    for trace in traffic("model_upgrade", 2000, 21) {
        let is_wrong = trace.truth.faults.iter().any(|fault| JUDGED.contains(fault));
        if !is_wrong && trace.truth.phase == Phase::Changed && !trace.truth.faults.is_empty() {
            continue;
        }
        let (passes, reason) = verdict(&client, &judge, &trace).await;
        if is_wrong {
            wrong += 1;
            caught += u32::from(!passes);
        } else {
            healthy += 1;
            refused += u32::from(!passes);
            assert!(passes || refused < 5, "{reason}: {}", answer(&trace));
        }
    }
    assert!(healthy > 700 && wrong > 80, "{healthy} {wrong}");
    assert!(f64::from(refused) < 0.005 * f64::from(healthy), "{refused} of {healthy} healthy answers refused");
    assert!(f64::from(caught) >= 0.95 * f64::from(wrong), "{caught} of {wrong} wrong answers caught");
}

#[test]
fn of_the_other_faults_only_a_cut_off_answer_troubles_the_judge() {
    for trace in traffic("model_upgrade", 1200, 22) {
        let faults = &trace.truth.faults;
        if !faults.iter().any(|fault| JUDGED.contains(fault)) {
            let expected = if faults.contains(&Fault::CutOffAnswer) { "NO" } else { "YES" };
            assert_eq!(judge(&prompt(&trace)).verdict, expected, "{faults:?} {}", answer(&trace));
        }
    }
}

#[test]
fn a_prompt_without_an_answer_is_refused() {
    assert_eq!(judge("nothing is fenced here").verdict, "NO");
}
