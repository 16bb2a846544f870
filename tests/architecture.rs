//! Which folder of `src` may import what, and which may spell whose attributes. The tables are the architecture; the
//! rest reads the code and holds it to them. Code under `#[cfg(test)]` is free.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "architecture/scan.rs"]
mod scan;

use scan::Import;

/// Every folder of `src` with what it may import of ours: only what stands above it, so there is no way round.
const MODULES: &[(&str, &[&str])] = &[
    // What things are, and what numbers mean.
    ("domain", &[]),
    ("stats", &[]),
    // From bytes to an evaluated run, and from many runs to drift, alerts and gates: pure.
    ("otlp", &["domain"]),
    ("normalize", &["domain", "otlp"]),
    ("evaluate", &["domain", "stats"]),
    ("watch", &["domain", "stats"]),
    // What may be asked of a judge model, when, and for how much: pure.
    ("limits", &["domain"]),
    // Agents that do not exist.
    ("simulate", &["domain", "otlp"]),
    // The outside world.
    ("telemetry", &[]),
    ("backends", &["domain", "otlp", "limits", "telemetry"]),
    // The write half and the read half, which meet only in the store.
    ("pipeline", &["domain", "stats", "otlp", "normalize", "evaluate", "watch", "limits", "telemetry", "backends"]),
    ("queries", &["domain", "stats", "otlp", "normalize", "evaluate", "watch", "limits", "telemetry", "backends"]),
    (
        "web",
        &["domain", "stats", "otlp", "normalize", "evaluate", "watch", "limits", "telemetry", "backends", "queries"],
    ),
    // Wiring.
    ("app", &[ALL_ABOVE]),
    ("cli", &[ALL_ABOVE]),
];

const ALL_ABOVE: &str = "everything above";

/// What reaches the world outside the process, or is one folder's tool: who may name it, as paths below `src`.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("sqlx", &["backends/store"]),
    ("lapin", &["backends/rabbitmq.rs", "backends/rabbitmq"]),
    ("reqwest", &["backends", "cli"]),
    ("object_store", &["backends/archive"]),
    ("axum", &["simulate/judge", "pipeline", "web", "app"]),
    ("tokio", &["simulate/judge", "backends", "pipeline", "queries", "web", "app", "cli"]),
    ("tokio::net", &["simulate/judge", "pipeline", "app", "cli"]),
    ("std::net", &["simulate/judge", "backends", "pipeline", "web", "app", "cli"]),
    ("std::fs", &["otlp/lines.rs", "evaluate/definition.rs", "backends", "app", "cli"]),
    ("tokio::fs", &["backends", "app", "cli"]),
    ("std::env", &["backends/judge/settings.rs", "backends/crash_point.rs", "app", "cli"]),
    ("std::process", &["backends/crash_point.rs", "app", "cli"]),
    ("std::time::SystemTime", &["backends/clock.rs"]),
    ("prometheus_client", &["telemetry"]),
    ("statrs", &["stats"]),
    ("maud", &["web", "cli"]),
    ("clap", &["app/role.rs", "cli"]),
    ("indicatif", &["cli"]),
];

/// How names of attributes begin, the longer beginning first, and who may spell them, as paths below `src`: the file of
/// the convention, what emits them, and the evaluators, which say what a sender left out.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("gen_ai.usage.details.", &["normalize/pydantic_ai.rs"]),
    (
        "gen_ai.",
        &[
            "normalize/gen_ai.rs",
            "otlp/evaluation_events.rs",
            "simulate",
            "pipeline/judge_spans.rs",
            "pipeline/write_back.rs",
            "evaluate",
        ],
    ),
    ("mcp.", &["normalize/gen_ai.rs"]),
    ("openinference.", &["normalize/open_inference.rs", "pipeline/judge_spans.rs", "pipeline/write_back.rs"]),
    ("llm.", &["normalize/open_inference.rs", "normalize/openllmetry.rs", "normalize/plain.rs"]),
    ("decision.", &["normalize/plain.rs", "simulate"]),
    ("traceloop.", &["normalize/openllmetry.rs"]),
    ("ai.", &["normalize/vercel_ai.rs"]),
    ("langfuse.", &["normalize/langfuse.rs"]),
    ("langsmith.", &["normalize/langsmith.rs"]),
    ("mlflow.", &["normalize/mlflow.rs"]),
    ("pydantic_ai.", &["normalize/pydantic_ai.rs"]),
    ("logfire.", &["normalize/pydantic_ai.rs"]),
    ("gcp.vertex.", &["normalize/google_adk.rs"]),
];

/// Past this a file is not understood in one sitting.
const MOST_LINES: usize = 600;

#[test]
fn no_folder_imports_what_the_table_does_not_give_it() {
    let found: Vec<String> = sources().iter().flat_map(|(path, text)| violations(path, text)).collect();
    assert!(found.is_empty(), "the tables in tests/architecture.rs forbid:\n{}", found.join("\n"));
}

#[test]
fn attributes_are_spelled_where_their_convention_is_and_nowhere_else() {
    let found: Vec<String> = sources().iter().flat_map(|(path, text)| misplaced_attributes(path, text)).collect();
    assert!(found.is_empty(), "the table in tests/architecture.rs forbids:\n{}", found.join("\n"));
}

#[test]
fn every_folder_of_src_is_in_the_table_and_the_other_way_round() {
    let table: BTreeSet<&str> = MODULES.iter().map(|(module, _)| *module).collect();
    let sources = sources();
    let in_folders = sources.iter().filter_map(|(path, _)| path.split_once('/'));
    assert_eq!(in_folders.map(|(folder, _)| folder).collect::<BTreeSet<_>>(), table);
    let beside_them = sources.iter().map(|(path, _)| path.as_str()).filter(|path| !path.contains('/'));
    assert_eq!(beside_them.collect::<Vec<_>>(), ["lib.rs", "main.rs"]);
}

#[test]
fn a_folder_imports_only_folders_above_it_in_the_table() {
    for (position, (module, allowed)) in MODULES.iter().enumerate() {
        let above: BTreeSet<&str> = MODULES[..position].iter().map(|(module, _)| *module).collect();
        let below: Vec<_> = allowed.iter().filter(|name| **name != ALL_ABOVE && !above.contains(*name)).collect();
        assert!(below.is_empty(), "{module} may not import {below:?}");
    }
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("src/{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "over {MOST_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn an_offending_import_is_named_with_its_file_line_and_rule() {
    let text = "use crate::domain::ids;\nuse crate::{\n    stats,\n    web::pages as p,\n};\n";
    let expected = ["src/watch/gate.rs:4: crate::web, but watch may import only domain, stats"];
    assert_eq!(violations("watch/gate.rs", text), expected);
}

#[test]
fn an_attribute_of_another_convention_is_named_with_its_file_line_and_rule() {
    let text = "f(\"llm.model\");\nf(\"langsmith.x\", \"the gen_ai. ones\", \"gen_ai.tool.name\");";
    let expected = [
        "src/normalize/langsmith.rs:1: \"llm.model\", but only normalize/open_inference.rs, normalize/openllmetry.rs, \
         normalize/plain.rs may spell llm.",
        "src/normalize/langsmith.rs:2: \"gen_ai.tool.name\", but only normalize/gen_ai.rs, \
         otlp/evaluation_events.rs, simulate, pipeline/judge_spans.rs, pipeline/write_back.rs, evaluate may spell gen_ai.",
    ];
    assert_eq!(misplaced_attributes("normalize/langsmith.rs", text), expected);
    assert_eq!(misplaced_attributes("normalize/pydantic_ai.rs", "f(\"gen_ai.usage.details.x\")"), [""; 0]);
}

#[test]
fn a_path_in_the_middle_of_code_counts_like_an_import() {
    let text = "fn f() {\n    std::fs::read(p);\n    let x = tokio::net::lookup_host(h);\n}";
    let found = violations("web/mod.rs", text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("src/web/mod.rs:2: std::fs, but only otlp/lines.rs, "), "{found:?}");
    assert!(found[1].starts_with("src/web/mod.rs:3: tokio::net, but only "), "{found:?}");
}

#[test]
fn super_that_leaves_its_folder_counts_like_crate() {
    assert_eq!(violations("stats/mix.rs", "use super::moments;"), [""; 0]);
    assert_eq!(violations("stats/mix.rs", "use super::super::domain;").len(), 1);
    assert_eq!(violations("stats/mod.rs", "use super::domain;").len(), 1);
}

#[test]
fn the_same_folder_and_what_the_table_gives_are_free() {
    assert_eq!(violations("cli/output.rs", "use crate::{app, cli::failure, web};"), [""; 0]);
    assert_eq!(violations("app/mod.rs", "use crate::cli;").len(), 1);
    assert_eq!(violations("backends/store/read.rs", "use sqlx::{self, Row};"), [""; 0]);
    assert_eq!(violations("backends/judge/openai.rs", "use sqlx;").len(), 1);
}

/// Every file of `src` that is not under `#[cfg(test)]`: its path below `src`, and its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new("src");
    let mut all: Vec<(String, String)> = files(root)
        .into_iter()
        .map(|path| (below(&path, root), fs::read_to_string(&path).unwrap()))
        .filter(|(path, _)| path.ends_with(".rs"))
        .collect();
    let for_tests: Vec<String> = all.iter().flat_map(|(path, text)| scan::test_modules(path, text)).collect();
    let is_test = |path: &str| for_tests.iter().any(|module| is_within(path, module));
    all.retain(|(path, _)| !is_test(path));
    all.sort();
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn below(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap().to_string_lossy().into_owned()
}

/// Whether a file is at that place or below it: `a/b.rs` and `a/b/c.rs` are within `a/b`, and `a/bc.rs` is not.
fn is_within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
}

/// What the tables forbid in one file, given by its path below `src`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let Some((folder, _)) = path.split_once('/') else { return Vec::new() };
    let imports = scan::imports(path, text);
    let problem = |import: &Import| forbidden_module(folder, import).or_else(|| forbidden_outside(path, import));
    imports
        .iter()
        .filter_map(|import| problem(import).map(|problem| format!("src/{path}:{}: {problem}", import.line)))
        .collect()
}

/// The attributes that one file may not spell.
fn misplaced_attributes(path: &str, text: &str) -> Vec<String> {
    let problem = |(name, line): (String, usize)| {
        let (start, places) = ATTRIBUTES.iter().find(|(start, _)| name.starts_with(start))?;
        let is_here = places.iter().any(|place| is_within(path, place));
        let rule = || format!("src/{path}:{line}: {name:?}, but only {} may spell {start}", places.join(", "));
        (!is_here).then(rule)
    };
    scan::texts(text).into_iter().filter_map(problem).collect()
}

fn forbidden_module(folder: &str, import: &Import) -> Option<String> {
    let [root, module, ..] = import.path.as_slice() else { return None };
    if root != "crate" || module == folder {
        return None;
    }
    let position = MODULES.iter().position(|(name, _)| *name == folder)?;
    let (_, allowed) = MODULES[position];
    let is_above = MODULES[..position].iter().any(|(name, _)| name == module);
    let is_allowed = allowed.contains(&module.as_str()) || (allowed == [ALL_ABOVE] && is_above);
    let rule = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
    (!is_allowed).then(|| format!("crate::{module}, but {folder} may import only {rule}"))
}

fn forbidden_outside(path: &str, import: &Import) -> Option<String> {
    let is_this = |name: &str| name.split("::").eq(import.path.iter().take(name.split("::").count()));
    let is_here = |places: &[&str]| places.iter().any(|place| is_within(path, place));
    let (name, places) = OUTSIDE.iter().find(|(name, places)| is_this(name) && !is_here(places))?;
    Some(format!("{name}, but only {} may use it", places.join(", ")))
}
