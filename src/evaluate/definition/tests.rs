use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::evaluate::shipped::shipped;

const LOOP: &str = "kind = \"loop\"\ndescription = \"no loops\"\n";

fn folder(name: &str, files: &[(&str, &str)]) -> EvaluatorFolder {
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    EvaluatorFolder { name: name.to_owned(), place: format!("mine/{name}"), files }
}

fn rule(toml: &str) -> EvaluatorFolder {
    folder("mine", &[("evaluator.toml", toml)])
}

fn mistakes(folder: &EvaluatorFolder) -> Vec<String> {
    EvaluatorDefinition::parse(folder, &JudgeModels::new()).unwrap_err().iter().map(ToString::to_string).collect()
}

fn parsed(folder: &EvaluatorFolder) -> EvaluatorDefinition {
    EvaluatorDefinition::parse(folder, &JudgeModels::new()).unwrap()
}

fn models(model: &str, temperature: u8) -> JudgeModels {
    let parameters = [("temperature".to_owned(), json!(temperature))].into();
    [("default".to_owned(), JudgeModelIdentity { model: model.to_owned(), parameters })].into()
}

#[test]
fn what_is_left_out_has_a_default() {
    let definition = parsed(&rule(LOOP));
    assert_eq!(definition.target, Target::Trace);
    assert_eq!(definition.severity, Severity::Fail);
    assert!(definition.flag);
    assert_eq!(definition.annotator_kind(), AnnotatorKind::Code);
}

#[test]
fn all_mistakes_of_a_folder_are_told_at_once_with_file_line_and_remedy() {
    let toml = "kind = \"loop\"\nseverity = \"awful\"\nflags = true\n[loop]\nsame_arguments = \"three\"\nsame = 3\n";
    let found = mistakes(&folder("Mine!", &[("evaluator.toml", toml), ("cases.jsonl", "{}\n")]));
    let starts = [
        "mine/Mine!/evaluator.toml: \"Mine!\" is no evaluator name; name the folder",
        "mine/Mine!/cases.jsonl:1: missing field `name`",
        "mine/Mine!/evaluator.toml:3: unknown key \"flags\"; remove it; keys are kind, description",
        "mine/Mine!/evaluator.toml:2: severity: unknown variant `awful`, expected one of `info`, `warn`, `fail`",
        "mine/Mine!/evaluator.toml:6: same of [loop]: unknown field `same`, expected one of `same_arguments`",
        "mine/Mine!/evaluator.toml:5: same_arguments of [loop]: invalid type: string \"three\"",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|mistake| mistake.starts_with(start)), "{start}\n{found:#?}");
    }
}

#[test]
fn a_value_that_makes_no_sense_is_refused() {
    for (toml, problem) in [
        ("kind = \"loop\"\ndescription = \"d\"\nloop = 3", ":3: loop is not a table; write it as [loop]"),
        ("kind = \"loop\"\ndescription = \"d\"\n[loop]\nsame_arguments = 1", ":4: same_arguments is 1"),
        ("kind = \"loop\"\ndescription = \"d\"\n[loop]\nlongest_cycle = 99", ":4: longest_cycle is 99"),
        ("kind = \"limits\"\ndescription = \"d\"", ": no limit is set"),
        ("kind = \"limits\"\ndescription = \"d\"\n[limits]\nsteps = nan\ncost_usd = -1.0", ":5: cost_usd is -1"),
        ("kind = \"finish_reason\"\ndescription = \"d\"\n[finish_reason]\nfail_on = []", ":4: fail_on is empty"),
        (
            "kind = \"tool_outcome\"\ndescription = \"d\"\n[tool_outcome]\nx = 1",
            ":4: x of [tool_outcome]: unknown field",
        ),
        ("kind = \"lop\"\ndescription = \"d\"", ":1: there is no kind \"lop\"; set kind to one of loop, recursion"),
        ("description = \"d\"", ": kind is missing"),
        ("kind = \"loop\"", ": description is missing"),
        ("kind = \"loop\"\ndescription = \"d\"\napplies_when = \"trac\"", ":3: applies_when: unexpected \"trac\" at 1"),
        ("kind = \"loop\"\ndescription = \"d\"\napplies_when = true", ":3: applies_when: invalid type"),
        ("kind = \"loop\"\nkind = \"loop\"", ":2: duplicate key"),
        ("kind = \"loop\"\ndescription = \"d\"\ntarget = \"span\"", ":3: target: unknown variant `span`"),
    ] {
        let found = mistakes(&rule(toml));
        assert!(found.iter().any(|mistake| mistake.contains(problem)), "{problem}\n{found:#?}");
    }
    assert_eq!(mistakes(&folder("mine", &[])).len(), 1);
    assert!(
        mistakes(&folder("steps", &[("evaluator.toml", LOOP)]))[0]
            .contains("\"steps\" is the name of a measured series")
    );
}

const JUDGE: &str = "kind = \"llm_judge\"\ndescription = \"d\"\n[llm_judge]\ninputs = [\"policy\", \"answer\"]\n";
const PROMPT: &str = "# System\nJudge.\n# User\n{{policy}}\n{{answer}}\n";

fn judge(toml: &str, more: &[(&str, &str)]) -> EvaluatorFolder {
    let mut folder = folder("mine", &[("evaluator.toml", toml), ("prompt.md", PROMPT)]);
    folder.files.extend(more.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())));
    folder
}

#[test]
fn a_judge_needs_inputs_a_prompt_and_the_policy_it_names() {
    let with_policy = format!("{JUDGE}policy_file = \"policy.md\"\n");
    let found = mistakes(&judge(&with_policy, &[]));
    assert!(found[0].contains(":5: policy_file \"policy.md\" is not a file of this folder"), "{found:#?}");
    let outside = judge(&format!("{JUDGE}policy_file = \"../secret\"\n"), &[]);
    assert!(mistakes(&outside)[0].contains("is not a file of this folder"));
    let twice = judge(&format!("{JUDGE}optional_inputs = [\"answer\"]\n"), &[]);
    assert!(mistakes(&twice)[0].contains("the input answer is declared twice"));
    let found = mistakes(&folder("mine", &[("evaluator.toml", "kind = \"llm_judge\"\ndescription = \"d\"\n")]));
    assert!(found[0].contains("no inputs are declared") && found[1].contains("a judge needs a prompt"), "{found:#?}");

    let definition = parsed(&judge(&with_policy, &[("policy.md", "Be kind.")]));
    let Behaviour::Judge(judge) = definition.behaviour else { panic!("it is a judge") };
    assert_eq!(judge.policy.as_deref(), Some("Be kind."));
}

#[test]
fn revisions_of_shipped_evaluators_change_only_on_purpose() {
    let models = models("judge-1", 0);
    let revisions: BTreeMap<String, String> = shipped()
        .iter()
        .map(|folder| EvaluatorDefinition::parse(folder, &models).unwrap())
        .map(|definition| (definition.name, definition.revision))
        .collect();
    // A changed revision starts a new series at every user: change these lines only together with a release note.
    let expected = [
        ("argument_outlier", "06e776ee1f2f"),
        ("broken_context", "372239a2f833"),
        ("dead_end", "1488fa5a1fc1"),
        ("empty_result", "5b0b62efc78f"),
        ("finish_reason", "1715c4307c38"),
        ("groundedness", "ba45ee8e8c1f"),
        ("instruction_following", "4a5b24f3b6e3"),
        ("lexical_support", "fd9221cef45e"),
        ("limits", "216ef59210e8"),
        ("loop", "e637c63982ce"),
        ("model_outcome", "b34c996b635b"),
        ("personal_data", "9108dbc2ffea"),
        ("policy_compliance", "bf2d6ec5ab50"),
        ("provenance", "522afa0fcb2e"),
        ("recursion", "fe5806d74a0f"),
        ("safety", "1e2cf00bba59"),
        ("secrets", "d44ae7347188"),
        ("swallowed_error", "35018d02e8e3"),
        ("task_completion", "7d0a2a3a8f8c"),
        ("tool_outcome", "e3dbc864b446"),
        ("unsupported_after_empty", "7ea2fc3a3ba3"),
        ("unsupported_after_failure", "37a00d1e182d"),
        ("usage_outlier", "36ba7054a0b7"),
    ];
    assert_eq!(revisions, expected.map(|(name, revision)| (name.to_owned(), revision.to_owned())).into());
}

#[test]
fn a_revision_does_not_depend_on_words_about_the_evaluator() {
    let revision = parsed(&rule(LOOP)).revision;
    for same in [
        "description = \"other words\"\nkind = \"loop\"",
        "kind = \"loop\"\ndescription = \"d\"\nseverity = \"info\"\nflag = false",
        "kind = \"loop\"\ndescription = \"d\"\n[loop]\nsame_arguments = 3  # the default, written out",
        "kind = \"loop\"\ndescription = \"d\"\n[loop]\nlongest_cycle = 4\nsame_arguments = 3",
    ] {
        assert_eq!(parsed(&rule(same)).revision, revision, "{same}");
    }
    let case = "{\"name\": \"n\", \"trace\": {}, \"expect\": {\"outcome\": \"not_applicable\"}}";
    assert_eq!(parsed(&folder("renamed", &[("evaluator.toml", LOOP), ("cases.jsonl", case)])).revision, revision);
}

#[test]
fn a_revision_changes_with_everything_that_changes_a_score() {
    let with_policy = format!("{JUDGE}policy_file = \"policy.md\"\n");
    let revision_of =
        |folder: &EvaluatorFolder, models: &JudgeModels| EvaluatorDefinition::parse(folder, models).unwrap().revision;
    let mut other_prompt = judge(JUDGE, &[]);
    other_prompt.files.insert("prompt.md".to_owned(), PROMPT.replace("Judge.", "Judge well."));
    let revisions = [
        parsed(&rule(LOOP)).revision,
        parsed(&rule(&format!("{LOOP}[loop]\nsame_arguments = 4"))).revision,
        parsed(&rule("kind = \"tool_outcome\"\ndescription = \"d\"")).revision,
        parsed(&rule("kind = \"loop\"\ndescription = \"d\"\napplies_when = \"true\"")).revision,
        revision_of(&judge(JUDGE, &[]), &JudgeModels::new()),
        revision_of(&judge(JUDGE, &[]), &models("judge-1", 0)),
        revision_of(&judge(JUDGE, &[]), &models("judge-2", 0)),
        revision_of(&judge(JUDGE, &[]), &models("judge-1", 1)),
        revision_of(&judge(&format!("{JUDGE}max_prompt_tokens = 9000\n"), &[]), &models("judge-1", 0)),
        revision_of(&other_prompt, &models("judge-1", 0)),
        revision_of(&judge(&with_policy, &[("policy.md", "Be kind.")]), &models("judge-1", 0)),
        revision_of(&judge(&with_policy, &[("policy.md", "Be strict.")]), &models("judge-1", 0)),
    ];
    let distinct: std::collections::BTreeSet<&String> = revisions.iter().collect();
    assert_eq!(distinct.len(), revisions.len(), "{revisions:?}");
    assert!(revisions.iter().all(|revision| revision.len() == 12));
}

#[test]
fn a_directory_is_read_folder_by_folder() {
    let directory = tempfile::tempdir().unwrap();
    let mine = directory.path().join("mine");
    std::fs::create_dir_all(mine.join("nested")).unwrap();
    std::fs::write(mine.join("evaluator.toml"), LOOP).unwrap();
    std::fs::write(directory.path().join("README.md"), "not an evaluator").unwrap();
    let folders = load_directory(directory.path()).unwrap();
    assert_eq!(folders.len(), 1);
    assert_eq!((folders[0].name.as_str(), folders[0].file("evaluator.toml")), ("mine", Some(LOOP)));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let mine = directory.path().join("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("evaluator.toml"), [0xff, 0xfe]).unwrap();
    std::fs::write(mine.join("big.txt"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let text = load_directory(directory.path()).unwrap_err().to_string();
    assert!(text.contains("big.txt: 1048577 bytes are more than an evaluator's file may have; shorten it"), "{text}");
    assert!(text.contains("evaluator.toml:1: not UTF-8 (byte 1)") && text.lines().count() == 2, "{text}");
    let missing = load_directory(&directory.path().join("nowhere")).unwrap_err().to_string();
    assert!(missing.contains("nowhere: cannot be read"), "{missing}");
}
