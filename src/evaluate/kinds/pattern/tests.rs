use serde_json::{Value, json};

use super::super::testing::{failure, found, mistakes, passes, rule, run};
use super::*;

fn answered(table: &str, answer: &str) -> Finding {
    found("pattern", table, json!({ "output": answer }))
}

fn detects(detector: &str, text: &str) -> bool {
    !passes(&answered(&format!("detect = [\"{detector}\"]"), text))
}

/// Text that no scanner of this repository should take for a secret of ours: it is put together when the test runs.
fn filled(prefix: &str, letters: usize) -> String {
    format!("{prefix}{}", "aB3dE5gH7kM9nP2qR4tV6wY8zC1".chars().cycle().take(letters).collect::<String>())
}

#[test]
fn every_detector_finds_the_real_thing_in_a_sentence_and_not_what_only_looks_like_it() {
    for (detector, real, alike) in [
        ("payment_card", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("payment_card", "5555555555554444", "1555555555554444"),
        ("payment_card", "3782-822463-10005", "3782-822463-10006"),
        ("iban", "DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 01"),
        ("iban", "NO9386011117947", "NO9386011117948"),
        ("email", "ada.lovelace@analytical.org", "ada@example.com"),
        ("phone", "+44 (0)20 7946 0018", "020 7946 0018"),
        ("us_ssn", "078-05-1120", "666-05-1120"),
        ("es_dni", "12345678Z", "12345678A"),
        ("es_dni", "X1234567-L", "X1234567-M"),
        ("it_codice_fiscale", "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
        ("fr_nir", "2 55 08 14 168 025 38", "2 55 08 14 168 025 39"),
        ("no_fodselsnummer", "010190 12480", "010190 12481"),
        ("br_cpf", "529.982.247-25", "529.982.247-26"),
    ] {
        assert!(detects(detector, &format!("It is {real}, as you said.")), "{detector}: {real}");
        assert!(detects(detector, real), "{detector}: {real} alone");
        assert!(!detects(detector, &format!("It is {alike}, as you said.")), "{detector}: {alike}");
    }
}

#[test]
fn every_secret_is_found_in_json_too_and_the_documentation_s_examples_are_not() {
    for (detector, secret) in [
        ("private_key", "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned()),
        ("aws_access_key", format!("AKIA{}", "J3K5Q7ZB2C4D6F7H")),
        ("github_token", filled("ghp_", 36)),
        ("github_token", format!("{}_{}", filled("github_pat_", 22), filled("", 59))),
        ("gitlab_token", filled("glpat-", 20)),
        ("slack_token", filled("xoxb-", 40)),
        ("stripe_key", filled("sk_live_", 24)),
        ("openai_key", format!("{}{}", filled("sk-proj-", 40), filled("T3BlbkFJ", 40))),
        ("anthropic_key", filled("sk-ant-api03-", 90)),
        ("google_api_key", filled("AIza", 35)),
        ("json_web_token", format!("{}.{}.{}", filled("eyJ", 30), filled("eyJ", 60), filled("", 43))),
    ] {
        assert!(detects(detector, &json!({ "key": secret }).to_string()), "{detector}: {secret}");
        assert!(!detects(detector, &secret[..secret.len() / 2]), "{detector}: half of {secret}");
    }
    assert!(!detects("aws_access_key", "AKIAIOSFODNN7EXAMPLE"));
}

#[test]
fn all_detectors_are_tested_above() {
    let tests = include_str!("tests.rs");
    for detector in DETECTORS {
        assert!(tests.contains(&format!("(\"{}\", ", detector.name)), "{}", detector.name);
    }
}

#[test]
fn a_real_number_is_found_beside_one_that_only_looks_like_it() {
    assert!(detects("payment_card", "in 2024 4111 1111 1111 1111 was charged"));
    assert!(detects("iban", "ES91 2100 0418 4502 0005 1332 AND more"));
    assert!(detects("payment_card", "[1,4111111111111111]"));
}

#[test]
fn a_part_of_a_longer_number_is_none() {
    for text in
        ["0.4111111111111111", "4111111111111111.5", "a-4111111111111111", "41111111111111110000", "x4111111111111111"]
    {
        assert!(!detects("payment_card", text), "{text}");
    }
    assert!(detects("payment_card", "It was 4111111111111111."));
    assert!(!detects("phone", "1+2345678901"));
}

/// How often random digits in a form count as the real thing, as the essay says.
#[test]
fn chance_passes_for_the_real_thing_as_seldom_as_is_said() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut rate = |detector: &str, form: &str| {
        let rule = rule("pattern", &format!("detect = [\"{detector}\"]"), &[]);
        let mut random =
            || -> String { form.chars().map(|place| if place == '#' { rng.digit(10) } else { place }).collect() };
        let hits = (0..20_000).filter(|_| failure(&rule.check(&run(json!({"output": random()})))).is_some()).count();
        hits as f64 / 20_000.0
    };
    assert!((0.018..0.030).contains(&rate("payment_card", "################")));
    assert!((0.005..0.015).contains(&rate("br_cpf", "###.###.###-##")));
    assert!(rate("fr_nir", "###############") < 0.001);
    assert!(rate("no_fodselsnummer", "###########") < 0.0008);
    assert!(rate("iban", "DE####################") < 0.015);
}

#[test]
fn what_was_found_is_never_repeated() {
    let table = "detect = [\"payment_card\", \"email\"]\nforbid = { codename = \"Falcon [0-9]+\" }";
    let finding = answered(table, "4111 1111 1111 1111 of ada@analytical.org for Falcon 9");
    let expected = "payment_card #### #### #### #### in the answer; email xxx@xxxxxxxxxx.xxx in the answer; \
                    codename xxxxxx # in the answer";
    assert_eq!(failure(&finding), Some(expected));
}

#[test]
fn a_long_list_of_findings_is_cut() {
    let finding = answered("detect = [\"us_ssn\"]", &"078-05-1120 ".repeat(9));
    assert!(failure(&finding).is_some_and(|text| text.ends_with("; and 4 more")), "{finding:?}");
}

#[test]
fn a_text_of_nothing_but_findings_is_counted_up_to_a_bound() {
    let finding = answered("detect = [\"us_ssn\"]", &"078-05-1120 ".repeat(3_000));
    assert!(failure(&finding).is_some_and(|text| text.ends_with("; and 995 more")), "{finding:?}");
}

#[test]
fn each_subject_is_looked_through_and_points_to_its_step() {
    let card = "4111111111111111";
    let description = |place: &str| -> Value {
        let text = |here: &str| if here == place { card } else { "nothing" };
        json!({"input": text("question"), "output": text("answer"), "steps": [
            {"tool": "pay", "arguments": {"card": text("arguments")}, "result": text("results")},
            {"retrieval": "q", "documents": ["one", text("documents")]}
        ]})
    };
    let all = ["question", "answer", "arguments", "results", "documents"];
    for place in all {
        let trace = run(description(place));
        for subject in all {
            let table = format!("detect = [\"payment_card\"]\nsubjects = [\"{subject}\"]");
            let finding = rule("pattern", &table, &[]).check(&trace);
            assert_eq!(failure(&finding).is_some(), subject == place, "{subject} of {place}");
            if let (Finding::Scored { span, .. }, "arguments" | "results") = (&finding, place)
                && subject == place
            {
                assert_eq!(*span, trace.tool_calls().next().map(|call| call.span_id));
            }
        }
    }
}

#[test]
fn a_required_pattern_must_occur_in_one_of_the_texts() {
    let table = "require = { order_number = '\\bA-[0-9]{3}\\b' }";
    assert!(passes(&answered(table, "Your order A-123 is on its way.")));
    assert_eq!(failure(&answered(table, "Your order is on its way.")), Some("order_number is missing"));
}

#[test]
fn a_run_without_the_texts_says_whether_they_are_missing() {
    let finding = found("pattern", "detect = [\"iban\"]", json!({}));
    assert_eq!(finding, Finding::NotEvaluable("gen_ai.output.messages".to_owned()));
    let tools = "detect = [\"iban\"]\nsubjects = [\"arguments\"]";
    assert!(matches!(found("pattern", tools, json!({"output": "x"})), Finding::NotApplicable(_)));
    let finding = found("pattern", tools, json!({"steps": [{"tool": "t"}]}));
    assert_eq!(finding, Finding::NotEvaluable("gen_ai.tool.call.arguments".to_owned()));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    assert!(mistakes("pattern", "").contains("nothing is looked for"));
    assert!(
        mistakes("pattern", "detect = [\"cards\"]")
            .contains("there is no detector \"cards\"; name any of payment_card")
    );
    assert!(mistakes("pattern", "forbid = { a = \"(\" }").contains("forbid \"a\": error: unclosed group"));
    assert!(mistakes("pattern", "forbid = { a = \"(a)\\\\1\" }").contains("backreferences are not supported"));
    assert!(mistakes("pattern", "require = { a = \"x*\" }").contains("matches an empty text"));
    assert!(mistakes("pattern", "detect = [\"iban\"]\nsubjects = []").contains("subjects is empty"));
}

#[test]
fn a_megabyte_of_almost_matches_is_looked_through_once() {
    let names: Vec<String> = DETECTORS.iter().map(|detector| format!("{:?}", detector.name)).collect();
    let rule = rule("pattern", &format!("detect = [{}]", names.join(", ")), &[]);
    for part in ["4111-1111-1111-1112 ", "a@", "eyJaaaaaaaaaa.", "DE89 3704 ", "+1(2", "078-05-112"] {
        let finding = rule.check(&run(json!({"output": part.repeat(1_000_000 / part.len())})));
        assert!(passes(&finding), "{part}");
    }
}
