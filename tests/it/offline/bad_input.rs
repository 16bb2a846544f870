//! Input and arguments that cannot be right: each is named, and harms nothing but itself.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

use super::program::{Folder, line, rows_by_trace, span, trace, trace_id};

#[test]
fn arguments_and_settings_that_cannot_be_right_end_with_2() {
    let folder = Folder::new();
    folder.write("good.jsonl", trace(1, "hello"));
    folder.write("settings.toml", "[stor]\nurl = \"x\"\n");
    folder.write("gate.toml", "alpha = 2.0\n");
    folder.write("syntax.toml", "[[series]\n");
    let compare = ["--baseline", "good.jsonl", "--candidate", "good.jsonl", "--policy"];
    let gate = |policy| [&["gate"], &compare[..], &[policy]].concat();
    for (arguments, names) in [
        (vec!["evaluate", "good.jsonl", "--unknown"], "--unknown"),
        (vec!["evaluate"], "<FILE>"),
        (vec!["nonsense"], "nonsense"),
        (vec!["evaluate", "good.jsonl", "--only", "lop"], "lop"),
        (vec!["evaluate", "good.jsonl", "--config", "settings.toml"], "unknown section [stor]"),
        (vec!["evaluate", "good.jsonl", "--config", "nowhere.toml"], "nowhere.toml"),
        (vec!["evaluate", "good.jsonl", "--evaluators", "nowhere"], "nowhere"),
        (vec!["drift", "--baseline", "good.jsonl", "--current", "where:failing=maybe"], "failing=\"maybe\""),
        (vec!["drift", "--baseline", "good.jsonl?trial=1", "--current", "good.jsonl"], "no column \"trial\""),
        (vec!["drift", "--baseline", "good.jsonl", "--current", "good.jsonl", "--alpha", "1.5"], "between 0 and 1"),
        (vec!["drift", "--baseline", "name:x", "--current", "good.jsonl", "--pair-by", "task"], "no traces"),
        (
            vec!["drift", "--baseline", "good.jsonl", "--current", "a", "--url", "http://127.0.0.1:1"],
            "cannot read the file",
        ),
        (gate("gate.toml"), "alpha is 2"),
        (gate("syntax.toml"), "line 1"),
        (gate("nowhere.toml"), "nowhere.toml"),
        (vec!["simulate", "--scenario", "nonsense"], "model_upgrade"),
        (vec!["simulate", "--start", "soon"], "--start"),
        (vec!["simulate", "--traces", "99999999999"], "--hours"),
        (vec!["simulate", "--start", "9999-01-01"], "before 2262"),
        (vec!["simulate", "--hours", "99999999999999"], "before 2262"),
        (vec!["drift", "--baseline", "good.jsonl", "--current", "good.jsonl", "--by", "nope"], "no dimension \"nope\""),
        (vec!["baseline", "create", "a/b", "--from", "good.jsonl"], "A-Z a-z 0-9"),
        (vec!["simulate", "--to", "ftp://host"], "--to"),
    ] {
        let run = folder.ends(2, &arguments);
        run.says(names);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
}

#[test]
fn what_is_wrong_with_a_judges_files_is_named_with_file_line_and_remedy() {
    let judge = "kind = \"llm_judge\"\ndescription = \"d\"\n[llm_judge]\ninputs = [\"policy\", \"answer\"]\n\
                 policy_file = \"policy.md\"\n";
    let prompt = "# System\nDoes it comply?\n\n# User\n{{policy}}\n\n{{answer}}\n";
    let misspelt = prompt.replace("{{answer}}", "{{anwser}}");
    let too_long = "A rule of ten words which no one will read. ".repeat(1_500);
    let huge = "x".repeat(2_000_000);
    let mistakes: [(&str, &[u8], &[u8], &str); 8] = [
        (
            "empty",
            b" \n\n",
            b"Be kind.",
            "own/tone/prompt.md:1: the prompt is empty; write a `# System` and a `# User` part",
        ),
        (
            "misspelt",
            misspelt.as_bytes(),
            b"Be kind.",
            "own/tone/prompt.md:7: unknown placeholder {{anwser}}; correct the prompt or the declared inputs; placeholders",
        ),
        (
            "in the system part",
            b"# System\nSee {{answer}}\n# User\n{{policy}}",
            b"Be kind.",
            "own/tone/prompt.md:2: a placeholder is not alone",
        ),
        (
            "undeclared",
            b"# System\nx\n# User\n{{question}}",
            b"Be kind.",
            "own/tone/prompt.md:4: the prompt uses question",
        ),
        (
            "no UTF-8",
            prompt.as_bytes(),
            b"Be kind.\nAlways \xff\xfe.",
            "own/tone/policy.md:2: not UTF-8 (byte 17); save it as UTF-8",
        ),
        ("no policy", prompt.as_bytes(), b"\n", "own/tone/policy.md:1: the policy is empty; write the policy into it"),
        (
            "long",
            prompt.as_bytes(),
            too_long.as_bytes(),
            "own/tone/policy.md:1: the policy takes about 22000 tokens, and max",
        ),
        (
            "huge",
            prompt.as_bytes(),
            huge.as_bytes(),
            "own/tone/policy.md: 2000000 bytes are more than an evaluator's file",
        ),
    ];
    for (what, prompt, policy, says) in mistakes {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path("own/tone")).unwrap();
        folder.write("own/tone/evaluator.toml", judge).write("own/tone/prompt.md", prompt);
        folder.write("own/tone/policy.md", policy);
        let run = folder.ends(2, &["evaluators", "check", "own"]);
        assert!(run.stderr.contains(says), "{what}: {}", run.stderr);
    }
}

#[test]
fn what_is_not_there_ends_with_4_and_says_what_to_do() {
    let folder = Folder::new();
    folder.write("empty.jsonl", "").write("blank.jsonl", "\n\n").write("text.jsonl", "this is no trace\n");
    folder.write("list.jsonl", "[]\n").write("object.jsonl", "{\"resourceSpans\": {}}\n");
    folder.write("good.jsonl", trace(1, "hello")).write("labels.jsonl", "{\"id\": 1}\n");
    std::fs::create_dir(folder.path("folder")).unwrap();
    let labels = ["drift", "--baseline", "good.jsonl", "--current", "good.jsonl", "--labels-file"];
    for (arguments, names) in [
        (vec!["evaluate", "missing.jsonl"], "there is no file missing.jsonl"),
        (vec!["evaluate", "missing*.jsonl"], "no file matches missing*.jsonl"),
        (vec!["evaluate", "folder"], "folder is a directory"),
        (vec!["evaluate", "empty.jsonl"], "empty.jsonl is empty"),
        (vec!["evaluate", "blank.jsonl"], "no trace to read; expected OTLP/JSON"),
        (vec!["evaluate", "text.jsonl"], "text.jsonl line 1: not JSON"),
        (vec!["evaluate", "list.jsonl"], "list.jsonl line 1: JSON without \"resourceSpans\""),
        (vec!["evaluate", "object.jsonl"], "expected a list at line 1"),
        (vec!["inspect", "missing.jsonl"], "there is no file missing.jsonl"),
        (vec!["drift", "--baseline", "missing.jsonl", "--current", "good.jsonl"], "there is no file missing.jsonl"),
        (vec!["drift", "--baseline", "service=a", "--current", "good.jsonl"], "start driftline serve"),
        (vec!["baseline", "list"], "there is no store"),
        (
            vec!["drift", "--baseline", "a", "--current", "b", "--url", "http://127.0.0.1:1"],
            "check that driftline serve runs",
        ),
        ([&labels[..], &["missing.jsonl"]].concat(), "missing.jsonl"),
        ([&labels[..], &["labels.jsonl"]].concat(), "labels.jsonl line 1"),
        (vec!["evaluate", "good.jsonl", "-o", "nowhere/rows.jsonl"], "nowhere/rows.jsonl"),
    ] {
        folder.ends(4, &arguments).says(names);
    }
}

#[test]
fn a_line_cut_in_half_is_named_and_its_neighbours_are_evaluated() {
    let folder = Folder::new();
    let whole = trace(2, "cut");
    let cut = &whole[..whole.len() / 2];
    folder.write("traces.jsonl", format!("{}{cut}\n{}", trace(1, "before"), trace(3, "after")));
    let run = folder.ends(4, &["evaluate", "traces.jsonl"]);
    run.says("traces.jsonl line 2: line ends in the middle of a JSON value").says("1 problem");
    let rows = rows_by_trace(&run.lines());
    assert_eq!(rows.keys().collect::<Vec<_>>(), [&trace_id(1), &trace_id(3)]);
}

#[test]
fn a_truncated_gzip_file_gives_what_was_read_before() {
    let folder = Folder::new();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for number in 1..=400 {
        encoder.write_all(trace(number, &format!("answer {number}")).as_bytes()).unwrap();
    }
    let packed = encoder.finish().unwrap();
    folder.write("traces.jsonl.gz", &packed[..packed.len() / 2]);
    let run = folder.ends(4, &["evaluate", "traces.jsonl.gz", "--only", "loop"]);
    run.says("cut off here");
    let rows = run.lines().len();
    assert!((50..400).contains(&rows), "{rows}");
}

#[test]
fn a_span_with_a_wrong_id_is_named_and_the_rest_of_its_trace_is_evaluated() {
    let folder = Folder::new();
    let mut bad = span(1, 2, &[]);
    bad["spanId"] = "abcd".into();
    let mut zero = span(1, 3, &[]);
    zero["traceId"] = "0".repeat(32).into();
    folder.write("traces.jsonl", line(&[span(1, 1, &[]), bad, zero]));
    let run = folder.ends(4, &["evaluate", "traces.jsonl"]);
    run.says("line 1: a span is left out: span id has 2 bytes, expected 8")
        .says("trace id is all zero")
        .says("2 problems");
    assert_eq!(rows_by_trace(&run.lines()).len(), 1);
}

#[test]
fn pieces_of_a_trace_on_several_lines_make_one_trace() {
    let folder = Folder::new();
    let tool = |number| span(1, number, &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "look_up")]);
    folder.write("one.jsonl", line(&[tool(2)]) + &trace(2, "between") + &line(&[tool(3), span(1, 1, &[])]));
    folder.write("two.jsonl", line(&[tool(4)]));
    let run = folder.ends(0, &["inspect", "--json", "one.jsonl", "two.jsonl"]);
    let tools = |trace: &serde_json::Value| trace["tools"].as_array().unwrap().len();
    let traces: Vec<(String, usize)> =
        run.lines().iter().map(|trace| (trace["trace_id"].as_str().unwrap().to_owned(), tools(trace))).collect();
    assert_eq!(traces, [(trace_id(1), 3), (trace_id(2), 0)]);
}

#[test]
fn a_piece_that_comes_long_after_its_trace_is_named_and_makes_no_second_trace() {
    let folder = Folder::new();
    let between: String = (2..=80).map(|number| trace(number, "between")).collect();
    folder.write("traces.jsonl", trace(1, "first") + &between + &line(&[span(1, 3, &[])]));
    let run = folder.ends(0, &["evaluate", "traces.jsonl", "--only", "loop"]);
    run.says("traces.jsonl: 1 piece of traces that were read already")
        .says(&format!("is left out; the first is on line 81, of trace {}", trace_id(1)));
    assert_eq!(run.lines().len(), 80);
}

#[test]
fn files_with_the_same_traces_get_one_note_each() {
    let folder = Folder::new();
    let traces: String = (1..=150).map(|number| trace(number, "same")).collect();
    folder.write("one.jsonl", &traces).write("two.jsonl", &traces);
    let run = folder.ends(0, &["evaluate", "one.jsonl", "two.jsonl", "--only", "loop"]);
    assert_eq!(run.stderr.matches("note:").count(), 1, "{}", run.stderr);
    run.says("note: two.jsonl:").says(&format!("line 1, of trace {}", trace_id(1)));
    assert_eq!(run.lines().len(), 150);
}

#[test]
fn escape_sequences_in_an_answer_never_reach_the_terminal_raw() {
    let folder = Folder::new();
    let hostile = "fine\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{202e}\rdone";
    folder.write("traces.jsonl", trace(1, hostile));
    folder.write("\u{1b}[31m.jsonl", "no trace\n");
    for arguments in [
        vec!["inspect", "traces.jsonl"],
        vec!["inspect", "--json", "traces.jsonl"],
        vec!["evaluate", "traces.jsonl"],
        vec!["evaluate", "\u{1b}[31m.jsonl"],
        vec!["evaluate", "\u{1b}[32m.jsonl"],
        vec!["drift", "--baseline", "traces.jsonl", "--current", "traces.jsonl"],
    ] {
        let run = folder.run(&arguments);
        let is_raw = |character: &char| *character != '\n' && character.is_control() || *character == '\u{202e}';
        let both = run.stdout.clone() + &run.stderr;
        assert_eq!(both.chars().find(is_raw), None, "{arguments:?}");
    }
    let shown = folder.ends(0, &["inspect", "--json", "traces.jsonl"]).json();
    assert_eq!(shown["output"], hostile, "as JSON nothing is lost");
}

#[test]
fn standard_input_is_read_and_a_failed_run_leaves_no_half_file() {
    let folder = Folder::new();
    let run = folder.run_with_input(&["evaluate", "-", "-o", "rows.jsonl"], trace(1, "hello").as_bytes());
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    assert!(folder.read("rows.jsonl").lines().count() > 4);
    let run = folder.run_with_input(&["evaluate", "-", "-o", "other.jsonl"], b"");
    assert_eq!(run.code, 4);
    assert!(!folder.path("other.jsonl").exists() && !folder.path("other.jsonl.partial").exists());
}

#[test]
fn no_output_is_written_over_an_input() {
    let folder = Folder::new();
    let made = trace(1, "hello");
    let policy = "[[series]]\nseries = \"loop\"\nmargin = 0.1\ndirection = \"higher_is_better\"\n";
    folder.write("traces.jsonl", &made).write("rows.jsonl.partial", &made).write("gate.toml", policy);
    std::os::unix::fs::symlink(folder.path("traces.jsonl"), folder.path("link.jsonl")).unwrap();
    let drift = ["drift", "--baseline", "traces.jsonl", "--current", "link.jsonl", "--html"];
    let gate = ["gate", "--baseline", "*.jsonl", "--candidate", "traces.jsonl", "--policy", "gate.toml"];
    for arguments in [
        vec!["evaluate", "traces.jsonl", "-o", "./traces.jsonl"],
        vec!["evaluate", "*.jsonl", "-o", "link.jsonl"],
        vec!["evaluate", "rows.jsonl.partial", "-o", "rows.jsonl"],
        [&drift[..], &["./traces.jsonl"]].concat(),
        [&gate[..], &["--junit", "traces.jsonl"]].concat(),
        [&gate[..], &["--markdown", "gate.toml"]].concat(),
    ] {
        folder.ends(2, &arguments).says("would be written over");
    }
    assert_eq!((folder.read("traces.jsonl"), folder.read("gate.toml")), (made.clone(), policy.to_owned()));
    assert_eq!(folder.read("rows.jsonl.partial"), made);
}
