//! The evaluators that are compiled in.

use std::collections::BTreeMap;

use super::definition::EvaluatorFolder;

/// Names and texts of one file of a shipped evaluator.
type File = (&'static str, &'static str);

macro_rules! folder {
    ($name:literal: $($file:literal),+) => {
        ($name, &[$(($file, include_str!(concat!("../../evaluators/", $name, "/", $file)))),+] as &[File])
    };
}

/// Every folder under `evaluators/`, with all its files.
const SHIPPED: &[(&str, &[File])] = &[
    folder!("argument_outlier": "cases.jsonl", "evaluator.toml"),
    folder!("broken_context": "cases.jsonl", "evaluator.toml"),
    folder!("dead_end": "cases.jsonl", "evaluator.toml"),
    folder!("empty_result": "cases.jsonl", "evaluator.toml"),
    folder!("finish_reason": "cases.jsonl", "evaluator.toml"),
    folder!("groundedness": "cases.jsonl", "evaluator.toml", "prompt.md"),
    folder!("instruction_following": "cases.jsonl", "evaluator.toml", "prompt.md"),
    folder!("lexical_support": "cases.jsonl", "evaluator.toml"),
    folder!("limits": "cases.jsonl", "evaluator.toml"),
    folder!("loop": "cases.jsonl", "evaluator.toml"),
    folder!("model_outcome": "cases.jsonl", "evaluator.toml"),
    folder!("personal_data": "cases.jsonl", "evaluator.toml"),
    folder!("policy_compliance": "cases.jsonl", "evaluator.toml", "prompt.md"),
    folder!("provenance": "cases.jsonl", "evaluator.toml"),
    folder!("recursion": "cases.jsonl", "evaluator.toml"),
    folder!("safety": "cases.jsonl", "evaluator.toml", "prompt.md"),
    folder!("secrets": "cases.jsonl", "evaluator.toml"),
    folder!("swallowed_error": "cases.jsonl", "evaluator.toml"),
    folder!("task_completion": "cases.jsonl", "evaluator.toml", "prompt.md"),
    folder!("tool_outcome": "cases.jsonl", "evaluator.toml"),
    folder!("unsupported_after_empty": "cases.jsonl", "evaluator.toml"),
    folder!("unsupported_after_failure": "cases.jsonl", "evaluator.toml", "prompt.md"),
    folder!("usage_outlier": "cases.jsonl", "evaluator.toml"),
];

/// The shipped evaluators' folders, sorted by name.
#[must_use]
pub fn shipped() -> Vec<EvaluatorFolder> {
    SHIPPED.iter().map(|(name, files)| folder(name, files)).collect()
}

fn folder(name: &str, files: &[File]) -> EvaluatorFolder {
    let files: BTreeMap<String, String> =
        files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    EvaluatorFolder { name: name.to_owned(), place: format!("evaluators/{name}"), files }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::definition::load_directory;
    use super::*;

    #[test]
    fn the_list_is_the_folder() {
        let on_disk = load_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("evaluators")).unwrap();
        let as_lists = |folders: Vec<EvaluatorFolder>| -> Vec<_> {
            folders.into_iter().map(|folder| (folder.name, folder.files)).collect()
        };
        assert_eq!(as_lists(shipped()), as_lists(on_disk));
    }
}
