//! Has the answer, or what a tool was given or gave, the form that its reader needs? JSON checked against a schema.
//!
//! The schema is a file of the evaluator's folder, in any draft from 4 to 2020-12 (crate `boon`, which passes the
//! official test suite; its patterns run in time linear in the text). `format` is asserted, because whoever writes
//! `"format": "date"` means it. A schema stands alone: references within it work, references to other files or hosts
//! are refused, so that the folder is all there is to review and to hash.
//!
//! The rule claims the form and nothing of the content. `subject` is
//! - `answer`: the final answer as a whole is JSON. With `allow_fence` a Markdown code fence around it is taken off
//!   first; prose before or after it is not, because a program that reads the answer would stumble over it too.
//! - `arguments`: of every call of `tool`, also of calls that failed.
//! - `result`: of every successful call of `tool`; what a failed call says is no result.
//!
//! One text of the run that has another form fails the run. Calls whose text was not recorded are left out; when that
//! is so for all of them, or a text is longer than a mebibyte, the run is `not_evaluable`.

use boon::{CompileError, Compiler, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Behaviour, Built, Finding, Rule, Source, changed_from_default, clip, is_tool_named};
use crate::domain::ids::SpanId;
use crate::domain::trace::{ToolStatus, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "an answer, tool arguments or tool results of another form than a JSON schema says";

/// Longest text that is checked, in bytes: every place where it has another form takes a hundred times its size.
const LONGEST_TEXT: usize = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Subject {
    #[default]
    Answer,
    Arguments,
    Result,
}

impl Subject {
    const fn attribute(self) -> &'static str {
        match self {
            Self::Answer => "gen_ai.output.messages",
            Self::Arguments => "gen_ai.tool.call.arguments",
            Self::Result => "gen_ai.tool.call.result",
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    schema_file: String,
    subject: Subject,
    tool: Option<String>,
    allow_fence: bool,
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes = Vec::new();
    match (settings.subject, &settings.tool) {
        (Subject::Answer, Some(_)) => {
            mistakes.push(source.mistake("tool", "tool is set, but the subject is the answer", "remove it"));
        }
        (Subject::Arguments | Subject::Result, None) => {
            mistakes.push(source.mistake("subject", "the subject is a tool's, but tool is not set", "name the tool"));
        }
        _ => {}
    }
    let schema = schema_of(source, &settings).map_err(|mistake| mistakes.push(mistake)).ok();
    match schema.filter(|_| mistakes.is_empty()) {
        Some((schema, text)) => Ok(Built {
            canonical: json!({ "settings": changed_from_default(&settings), "schema": text }),
            behaviour: Behaviour::Rule(Box::new(JsonSchemaRule { schema, settings })),
        }),
        None => Err(mistakes),
    }
}

/// The compiled schema, and what it was compiled from.
fn schema_of(source: &Source<'_>, settings: &Settings) -> Result<(CompiledSchema, Value), Mistake> {
    let file = &settings.schema_file;
    let Some(text) = source.folder.file(file) else {
        let problem = format!("schema_file {file:?} is not a file of this folder");
        return Err(source.mistake("schema_file", &problem, "put the schema beside evaluator.toml and name it here"));
    };
    let wrong = |problem: String| source.folder.mistake(file, problem.trim(), "correct the schema");
    let schema: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    Ok((CompiledSchema::compile(schema.clone()).map_err(wrong)?, schema))
}

struct CompiledSchema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl std::fmt::Debug for CompiledSchema {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("CompiledSchema").field(&self.index).finish()
    }
}

/// Where the schema seems to stand. Relative references lead beside it, and there is nothing beside it.
const PLACE: &str = "evaluator:///schema.json";

struct NothingElse;

impl UrlLoader for NothingElse {
    fn load(&self, url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err(format!("{url} is outside the schema file").into())
    }
}

impl CompiledSchema {
    fn compile(schema: Value) -> Result<Self, String> {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.enable_format_assertions();
        compiler.use_loader(Box::new(NothingElse));
        let problem = |error: CompileError| format!("{error:#}").replace(PLACE, "").replace('\n', " ");
        compiler.add_resource(PLACE, schema).map_err(problem)?;
        let index = compiler.compile(PLACE, &mut schemas).map_err(problem)?;
        Ok(Self { schemas, index })
    }

    /// The first thing that is wrong with a text, as the end of a sentence that begins with what the text is.
    fn problem(&self, text: &str) -> Option<String> {
        match serde_json::from_str::<Value>(text) {
            Err(error) => Some(format!(": no JSON, {error}")),
            Ok(value) => self.schemas.validate(&value, self.index).err().map(|error| first_problem(&error)),
        }
    }
}

/// The innermost first cause, which names the place; the ones around it only say that something inside is wrong.
fn first_problem(error: &ValidationError<'_, '_>) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.causes.first() {
        innermost = cause;
    }
    let place = clip(&innermost.instance_location.to_string());
    let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
    format!("{at}: {}", clip(&innermost.kind.to_string()))
}

#[derive(Debug)]
struct JsonSchemaRule {
    schema: CompiledSchema,
    settings: Settings,
}

/// One text to check, and where it stands.
struct Checked<'a> {
    what: String,
    /// `None` when the telemetry does not carry it.
    text: Option<&'a str>,
    span: Option<SpanId>,
}

impl Rule for JsonSchemaRule {
    fn check(&self, trace: &Trace) -> Finding {
        let (mut concerned, mut recorded) = (false, 0);
        for checked in self.subjects(trace) {
            concerned = true;
            let Some(text) = checked.text else { continue };
            recorded += 1;
            if text.len() > LONGEST_TEXT {
                return Finding::NotEvaluable(format!("{} within {LONGEST_TEXT} bytes", checked.what));
            }
            if let Some(problem) = self.schema.problem(text) {
                return Finding::fail(format!("{}{problem}", checked.what), checked.span);
            }
        }
        match (concerned, recorded) {
            (false, _) => Finding::NotApplicable("the tool was not called".to_owned()),
            (true, 0) => Finding::NotEvaluable(self.settings.subject.attribute().to_owned()),
            (true, recorded) => Finding::pass(format!("{recorded} texts have the form that the schema says")),
        }
    }
}

impl JsonSchemaRule {
    fn subjects<'a>(&'a self, trace: &'a Trace) -> Vec<Checked<'a>> {
        let Some(tool) = &self.settings.tool else {
            let text = trace.output.as_deref().map(|answer| self.unfenced(answer));
            return vec![Checked { what: "the answer".to_owned(), text, span: None }];
        };
        let is_result = self.settings.subject == Subject::Result;
        let calls = trace
            .tool_calls()
            .filter(|call| is_tool_named(&call.name, tool) && (!is_result || call.status == ToolStatus::Success));
        calls
            .map(|call| {
                let (part, text) =
                    if is_result { ("the result", &call.result) } else { ("the arguments", &call.arguments) };
                let what = format!("{part} of {}", clip(&call.name));
                Checked { what, text: text.as_deref(), span: Some(call.span_id) }
            })
            .collect()
    }

    fn unfenced<'a>(&self, answer: &'a str) -> &'a str {
        let inside = || {
            let (_language, body) = answer.trim().strip_prefix("```")?.split_once('\n')?;
            body.strip_suffix("```")
        };
        if self.settings.allow_fence { inside().unwrap_or(answer) } else { answer }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{failure, mistakes_with, passes, rule, run};
    use super::*;

    const SCHEMA: &str = r##"{
        "type": "object",
        "required": ["id", "lines"],
        "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"},
            "due": {"type": "string", "format": "date"},
            "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}}
        },
        "$defs": {"line": {"type": "object", "properties": {"quantity": {"type": "integer", "minimum": 1}}}}
    }"##;

    fn found(table: &str, description: Value) -> Finding {
        let table = format!("schema_file = \"schema.json\"\n{table}");
        rule("json_schema", &table, &[("schema.json", SCHEMA)]).check(&run(description))
    }

    fn answered(table: &str, answer: &str) -> Finding {
        found(table, json!({ "output": answer }))
    }

    #[test]
    fn a_text_with_a_million_wrong_places_is_not_read() {
        let answer = format!("[0{}]", ",0".repeat(LONGEST_TEXT / 2));
        assert_eq!(answered("", &answer), Finding::NotEvaluable("the answer within 1048576 bytes".to_owned()));
        assert!(failure(&answered("", &answer[..LONGEST_TEXT])).is_some());
    }

    #[test]
    fn an_answer_of_the_schema_s_form_passes_and_the_first_wrong_place_is_named() {
        assert!(passes(&answered("", r#"{"id": "AB-1", "lines": [{"quantity": 2}]}"#)));
        for (answer, expected) in [
            ("It is AB-1.", "the answer: no JSON, expected value"),
            (r#"{"id": "AB-1"}"#, "the answer: missing properties 'lines'"),
            (r#"{"id": "AB-1", "lines": [{"quantity": 0}]}"#, "the answer at /lines/0/quantity"),
            (r#"{"id": "x", "lines": [{}]}"#, "the answer at /id"),
            (r#"{"id": "AB-1", "lines": [{}], "due": "soon"}"#, "the answer at /due"),
            (r#"{"id": "AB-1", "lines": [{}], "note": 1}"#, "additionalProperties 'note' not allowed"),
            (r#"{"id": "AB-1", "lines": [{}]} Done."#, "the answer: no JSON, trailing characters"),
        ] {
            let finding = answered("", answer);
            assert!(failure(&finding).is_some_and(|text| text.contains(expected)), "{answer}: {finding:?}");
        }
    }

    #[test]
    fn a_fence_is_taken_off_only_where_that_is_allowed() {
        let fenced = "```json\n{\"id\": \"AB-1\", \"lines\": [{}]}\n```";
        assert!(failure(&answered("", fenced)).is_some());
        assert!(passes(&answered("allow_fence = true", fenced)));
        assert!(passes(&answered("allow_fence = true", r#"{"id": "AB-1", "lines": [{}]}"#)));
        assert!(failure(&answered("allow_fence = true", &format!("Here it is: {fenced}"))).is_some());
    }

    #[test]
    fn every_call_of_the_tool_is_checked_and_the_wrong_one_is_pointed_to() {
        let (good, bad) = (json!({"id": "AB-1", "lines": [{}]}), json!({"id": 1, "lines": [{}]}));
        let trace = run(json!({"steps": [
            {"tool": "other", "arguments": bad}, {"tool": "bill", "arguments": good}, {"tool": "bill", "arguments": bad}
        ]}));
        let table = "schema_file = \"schema.json\"\nsubject = \"arguments\"\ntool = \"bill\"";
        let finding = rule("json_schema", table, &[("schema.json", SCHEMA)]).check(&trace);
        let Finding::Scored { explanation, span, .. } = finding else { panic!("it is scored") };
        assert_eq!(explanation, "the arguments of bill at /id: want string, but got number");
        assert_eq!(span, trace.tool_calls().nth(2).map(|call| call.span_id));
    }

    #[test]
    fn what_a_failed_call_says_is_no_result_but_its_arguments_count() {
        let steps = json!({"steps": [{"tool": "bill", "arguments": {}, "result": "boom", "status": "error"}]});
        let result = found("subject = \"result\"\ntool = \"bill\"", steps.clone());
        assert_eq!(result, Finding::NotApplicable("the tool was not called".to_owned()));
        assert!(failure(&found("subject = \"arguments\"\ntool = \"bill\"", steps)).is_some());
    }

    #[test]
    fn what_was_not_recorded_cannot_be_judged() {
        let finding = found("", json!({}));
        assert_eq!(finding, Finding::NotEvaluable("gen_ai.output.messages".to_owned()));
        let finding = found("subject = \"result\"\ntool = \"bill\"", json!({"steps": [{"tool": "bill"}]}));
        assert_eq!(finding, Finding::NotEvaluable("gen_ai.tool.call.result".to_owned()));
    }

    #[test]
    fn a_text_nested_without_end_is_no_json() {
        let finding = answered("", &"[".repeat(100_000));
        assert!(failure(&finding).is_some_and(|text| text.contains("recursion limit")), "{finding:?}");
    }

    #[test]
    fn a_schema_that_is_wrong_or_reaches_outside_is_refused_with_what_is_wrong() {
        let table = "schema_file = \"schema.json\"";
        for (schema, expected) in [
            ("{", "mine/schema.json: EOF while parsing"),
            (r#"{"type": 3}"#, "mine/schema.json: "),
            (r#"{"$ref": "other.json"}"#, "is outside the schema file"),
            (r#"{"$ref": "https://example.com/s.json"}"#, "is outside the schema file"),
            (r#"{"$ref": "file:///etc/hostname"}"#, "is outside the schema file"),
            (r#"{"pattern": "("}"#, "mine/schema.json: "),
        ] {
            let found = mistakes_with("json_schema", table, &[("schema.json", schema)]);
            assert!(found.contains(expected), "{schema}: {found}");
        }
        assert!(mistakes_with("json_schema", "", &[]).contains("schema_file \"\" is not a file of this folder"));
        let both = mistakes_with("json_schema", "subject = \"result\"", &[]);
        assert!(both.contains("tool is not set") && both.contains("schema_file"), "{both}");
        let answer = mistakes_with("json_schema", &format!("{table}\ntool = \"t\""), &[("schema.json", "{}")]);
        assert!(answer.contains("the subject is the answer"), "{answer}");
    }
}
