//! Tool calls: counted once, judged by what they say, recovered where no span tells of them.

use super::builder::{failed, span, trace};
use crate::domain::trace::{ToolCall, ToolStatus, Trace};
use crate::otlp::Span;

fn tool(id: u32, name: &str, more: &[(&str, &str)]) -> Span {
    let named = [("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", name)];
    span(id, 1, &[&named, more].concat())
}

fn run(mut spans: Vec<Span>) -> Trace {
    spans.push(span(1, 0, &[("gen_ai.operation.name", "invoke_agent")]));
    trace(spans)
}

fn only(trace: &Trace) -> &ToolCall {
    assert_eq!(trace.tool_calls().count(), 1);
    trace.tool_calls().next().unwrap()
}

fn with_result(result: &str) -> ToolCall {
    only(&run(vec![tool(2, "search", &[("gen_ai.tool.call.result", result)])])).clone()
}

#[test]
fn a_call_told_by_execute_tool_and_its_mcp_child_is_one() {
    let outer = tool(2, "search", &[("gen_ai.tool.call.id", "c1")]);
    let mcp = [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "search"),
        ("gen_ai.tool.call.id", "c1"),
        ("gen_ai.tool.call.result", "found"),
    ];
    let found = run(vec![outer.clone(), span(3, 2, &mcp)]);
    assert_eq!(only(&found).result.as_deref(), Some("found"), "what only the child knows is kept");

    let skewed = Span { start_time_unix_nano: 1, ..span(3, 2, &mcp) };
    only(&run(vec![outer, skewed]));
}

#[test]
fn a_call_told_by_client_and_server_around_a_request_is_one() {
    let mcp = [("mcp.method.name", "tools/call"), ("gen_ai.tool.name", "search")];
    let request = |id, parent| span(id, parent, &[("http.request.method", "POST")]);
    let served = |id, parent| vec![tool(2, "search", &[]), request(3, 2), request(4, 3), span(id, parent, &mcp)];
    only(&run(served(5, 4)));
    let mut far = served(9, 8);
    far.extend([request(5, 4), request(6, 5), request(7, 6), request(8, 7)]);
    assert_eq!(run(far).tool_calls().count(), 2, "beyond a few spans it is a tool that the tool used");
}

#[test]
fn a_call_id_that_a_model_uses_anew_in_a_later_turn_is_another_call() {
    let found = run(vec![
        tool(2, "search", &[("gen_ai.tool.call.id", "call_0")]),
        tool(9, "search", &[("gen_ai.tool.call.id", "call_0")]),
    ]);
    assert_eq!(found.tool_calls().count(), 2);
}

#[test]
fn errors_are_sorted_by_what_they_say() {
    let cases = [
        ("TimeoutError", "", ToolStatus::Timeout),
        ("", "request timed out after 30s", ToolStatus::Timeout),
        ("429", "", ToolStatus::RateLimited),
        ("", "Too Many Requests", ToolStatus::RateLimited),
        ("ValidationError", "", ToolStatus::InvalidArgs),
        ("TypeError", "search() missing 1 required positional argument: 'q'", ToolStatus::InvalidArgs),
        ("", "HTTP 422", ToolStatus::InvalidArgs),
        ("tool_error", "order 4290 not found", ToolStatus::Error),
        ("", "", ToolStatus::Error),
    ];
    for (error_type, message, status) in cases {
        let found = run(vec![failed(tool(2, "search", &[("error.type", error_type)]), message)]);
        assert_eq!(only(&found).status, status, "{error_type} {message}");
        assert!(only(&found).error.is_some());
    }
}

#[test]
fn a_result_that_reports_an_error_counts_although_the_span_is_fine() {
    let errors = [
        ("Error: order not found", "Error: order not found"),
        ("\"Error: order not found\"", "Error: order not found"),
        (r#"{"error": "no such user"}"#, "no such user"),
        (r#"{"error": {"code": 5, "message": "no such user"}}"#, "no such user"),
        (r#"{"isError": true, "content": []}"#, r#"{"isError":true,"content":[]}"#),
        (r#"{"content":[{"type":"text","text":"Error: gone"}]}"#, "Error: gone"),
        (r#"{"status":"error","message":"down"}"#, r#"{"status":"error","message":"down"}"#),
        (r#"{"success":false,"id":7}"#, r#"{"success":false,"id":7}"#),
        (r#"{"data":null,"errors":[{"message":"no such field"}]}"#, "no such field"),
        (r#"{"statusCode":500,"body":""}"#, r#"{"statusCode":500,"body":""}"#),
        ("HTTPError: 503 from upstream", "HTTPError: 503 from upstream"),
        ("Exception: connection refused", "Exception: connection refused"),
        ("Error executing tool search: no", "Error executing tool search: no"),
    ];
    for (result, error) in errors {
        let call = with_result(result);
        assert_eq!((call.status, call.error.as_deref()), (ToolStatus::Error, Some(error)), "{result}");
    }
}

#[test]
fn a_result_that_merely_speaks_of_errors_is_a_success() {
    for result in [
        "Errors found: none",
        "errors are rare",
        r#"{"error": null, "items": [1]}"#,
        r#"{"error":false}"#,
        "Error-free",
        "Error codes of the X200 printer are listed below",
        r#"{"error":"none","total":4312}"#,
        r#"{"error":{"code":0,"message":""},"total":4312}"#,
        r#"{"errors":[],"data":{"a":1}}"#,
        r#"{"job":7,"status":"failed"}"#,
        r#"{"status":200,"ok":true}"#,
    ] {
        assert_eq!(with_result(result).status, ToolStatus::Success, "{result}");
    }
}

#[test]
fn a_result_without_data_is_empty_and_one_with_any_is_not() {
    let empty = [
        "",
        "[]",
        "{}",
        "null",
        " [ ] ",
        "\"[]\"",
        "\"\"",
        r#"{"results":[]}"#,
        r#"{"results":[],"total":0,"next":null}"#,
        r#"{"results":[],"query":"red shoes"}"#,
        r#"{"flights":[]}"#,
        r#"{"content":[{"type":"text","text":"[]"}]}"#,
        r#"[{"type":"text","text":""}]"#,
        r#"{"results":[],"filters":{"color":"red"}}"#,
        r#"{"items":[],"pagination":{"page":1}}"#,
        r#"{"success":true,"orders":[],"total":0}"#,
        r#"{"count":0}"#,
        "No results found.",
        "0 records returned",
        "No matching items for 'x200'",
    ];
    for result in empty {
        assert_eq!(with_result(result).result_empty, Some(true), "{result}");
    }
    let full = [
        "0",
        "false",
        "ok",
        "[0]",
        r#"{"balance":0}"#,
        r#"{"user":"bob","orders":[]}"#,
        r#"{"results":[],"suggestions":["a"]}"#,
        r#"{"success":false}"#,
        r#"{"total":0}"#,
        r#"{"count":0,"user":"bob"}"#,
        r#"{"orders":[],"address":{"city":"Rome"},"total":0}"#,
        r#"{"content":[{"type":"text","text":"[1]"}]}"#,
        r#"{"content":[{"type":"image","data":"x"}]}"#,
        "No results were better than these: 1, 2",
        "No item is returned without its receipt",
    ];
    for result in full {
        assert_eq!(with_result(result).result_empty, Some(false), "{result}");
    }
    let unrecorded = run(vec![tool(2, "search", &[])]);
    assert_eq!(only(&unrecorded).result_empty, None);
    assert!(unrecorded.missing.contains(&"gen_ai.tool.call.result"));
}

#[test]
fn a_repeat_is_found_whatever_the_order_of_its_arguments_and_points_to_the_first() {
    let arguments = |id, arguments| tool(id, "refund", &[("gen_ai.tool.call.arguments", arguments)]);
    let found = run(vec![
        arguments(2, r#"{"a":1,"b":2}"#),
        tool(3, "other", &[("gen_ai.tool.call.arguments", r#"{"a":1,"b":2}"#)]),
        arguments(4, r#"{ "b": 2, "a": 1 }"#),
        arguments(5, r#"{"a":1,"b":3}"#),
        arguments(6, r#"{"a":1,"b":2}"#),
        tool(7, "refund", &[]),
        tool(8, "refund", &[]),
    ]);
    let repeats: Vec<_> = found.tool_calls().map(|call| call.repeat_of).collect();
    assert_eq!(repeats, [None, None, Some(0), None, Some(0), None, None], "unknown arguments repeat nothing");
}

#[test]
fn without_tool_spans_calls_are_recovered_from_what_models_asked_for() {
    let asks = r#"[{"role":"assistant","parts":[
        {"type":"tool_call","id":"c1","name":"search","arguments":{"q":"x"}},
        {"type":"tool_call","id":"c2","name":"lookup","arguments":{}}]}]"#;
    // The specification's examples say `result` where its schema says `response`.
    let told = r#"[{"role":"tool","parts":[
        {"type":"tool_call_response","id":"c1","response":["found"]},
        {"type":"tool_call_response","id":"c2","result":"Error: none"}]}]"#;
    let chat = ("gen_ai.operation.name", "chat");
    let spans = vec![
        span(2, 1, &[chat, ("gen_ai.output.messages", asks)]),
        span(3, 1, &[chat, ("gen_ai.input.messages", told)]),
    ];
    let found = run(spans.clone());
    let calls: Vec<_> =
        found.tool_calls().map(|call| (call.name.as_str(), call.result.as_deref(), call.status)).collect();
    let expected =
        [("search", Some(r#"["found"]"#), ToolStatus::Success), ("lookup", Some("Error: none"), ToolStatus::Error)];
    assert_eq!(calls, expected);

    let with_a_span = run(spans.into_iter().chain([tool(4, "search", &[])]).collect());
    assert_eq!(only(&with_a_span).name, "search");
}

fn asks(id: u32, arguments: &str) -> Span {
    let call = format!(
        r#"[{{"role":"assistant","parts":[{{"type":"tool_call","id":"call_0","name":"search","arguments":{arguments}}}]}}]"#
    );
    span(id, 1, &[("gen_ai.operation.name", "chat"), ("gen_ai.output.messages", &call)])
}

fn is_told(mut span: Span, results: &[&str]) -> Span {
    let part = |result| format!(r#"{{"type":"tool_call_response","id":"call_0","response":"{result}"}}"#);
    let parts: Vec<String> = results.iter().map(part).collect();
    let message = format!(r#"[{{"role":"tool","parts":[{}]}}]"#, parts.join(","));
    span.attributes.extend(super::builder::span(1, 0, &[("gen_ai.input.messages", &message)]).attributes);
    span
}

#[test]
fn what_a_tools_span_leaves_out_is_read_from_what_the_model_asked_and_was_told_around_it() {
    let named = |id, name| tool(id, name, &[("gen_ai.tool.call.id", "call_0")]);
    let spans = vec![
        asks(2, r#"{"q":"first"}"#),
        named(3, "search"),
        is_told(asks(4, r#"{"q":"second"}"#), &["one"]),
        named(5, "search"),
        is_told(asks(6, "{}"), &["one", "two"]),
        named(7, "another"),
    ];
    let told: Vec<_> = run(spans).tool_calls().map(|call| (call.arguments.clone(), call.result.clone())).collect();
    let both = |query: &str, result: &str| (Some(format!(r#"{{"q":"{query}"}}"#)), Some(result.to_owned()));
    assert_eq!(told, [both("first", "one"), both("second", "two"), (None, None)]);
}

#[test]
fn what_the_span_says_of_a_call_stands_and_a_call_that_failed_has_no_result() {
    let said = [("gen_ai.tool.call.id", "call_0"), ("gen_ai.tool.call.arguments", r#"{"q":"span"}"#)];
    let failing = failed(tool(3, "search", &said), "offline");
    let call =
        only(&run(vec![asks(2, r#"{"q":"message"}"#), failing, is_told(asks(4, "{}"), &["Error: offline"])])).clone();
    assert_eq!((call.arguments.as_deref(), call.result), (Some(r#"{"q":"span"}"#), None));
    assert_eq!(call.error.as_deref(), Some("offline"));
}

#[test]
fn without_tool_spans_an_id_that_is_used_anew_keeps_its_results_apart() {
    let found = run(vec![asks(2, "{}"), is_told(asks(4, "{}"), &["one"]), is_told(asks(6, "{}"), &["one", "two"])]);
    let results: Vec<_> = found.tool_calls().map(|call| call.result.as_deref()).collect();
    assert_eq!(results, [Some("one"), Some("two"), None]);
}

#[test]
fn a_tool_without_a_name_is_called_by_its_span() {
    let nameless =
        Span { name: "execute_tool search".to_owned(), ..span(2, 1, &[("gen_ai.operation.name", "execute_tool")]) };
    assert_eq!(only(&run(vec![nameless])).name, "search");
}
