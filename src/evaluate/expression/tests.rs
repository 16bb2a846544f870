use serde_json::json;

use super::*;
use crate::evaluate::cases::trace_of;

fn trace() -> Trace {
    let description = json!({
        "input": "refund A7", "output": "Done.", "seconds": 2.5, "steps": [
            {"model": "m-1", "input_tokens": 900, "finish_reasons": ["tool_call"]},
            {"tool": "get_order", "arguments": {"id": 7}, "result": "open"},
            {"tool": "refund", "arguments": {"id": 7}, "status": "timeout", "times": 2},
            {"retrieval": "rules", "documents": ["one", "two"]}
        ]
    });
    let mut trace = trace_of(&serde_json::from_value(description).unwrap());
    trace.attributes.insert("tier".to_owned(), "gold".to_owned());
    trace.attributes.insert("order.id".to_owned(), "A7".to_owned());
    trace
}

fn holds(expression: &str) -> Result<bool, Unanswered> {
    Expression::parse(expression).unwrap().holds(&trace())
}

#[test]
fn a_condition_on_the_run_holds_or_not() {
    for (expression, expected) in [
        ("trace.tools.size() > 0", true),
        ("size(trace.tools) == 3 && trace.service == 'case'", true),
        ("trace.latency_seconds <= 2.5 ? true : false", true),
        ("trace.tools.exists(t, t.name == \"refund\" && t.status != 'success')", true),
        ("trace.tools.all(t, t.status == 'success')", false),
        ("trace.tools.exists_one(t, t.name == 'get_order')", true),
        ("trace.tools.filter(t, t.repeated).size() == 1", true),
        ("'refund' in trace.tools.map(t, t.name)", true),
        ("trace.tools[0].name.startsWith('get_') && trace.tools[0].result.endsWith('n')", true),
        ("trace.input.contains('A7') && trace.output.matches('^D.ne\\\\.$')", true),
        ("trace.attributes.tier in ['gold', 'silver'] && trace.attributes['order.id'] == 'A7'", true),
        ("'tier' in trace.attributes && !('feature' in trace.attributes)", true),
        ("trace.models.exists(m, 'tool_call' in m.finish_reasons)", true),
        ("trace.retrievals[0].documents == ['one', 'two']", true),
        ("-1 + 2 * 3 - 4 / 2 == 3 && 7 % 4 == 3 && (1 + 2) * 3 == 9", true),
        ("1 < 2 == true", true),
        ("!!true && !false || false", true),
        ("'a' < 'b' && 'b' >= 'b'", true),
        ("has(trace.cost_usd) || trace.release != null", false),
        ("trace.release == null && !has(trace.attributes.feature) && !has(trace.tools[9])", true),
    ] {
        assert_eq!(holds(expression), Ok(expected), "{expression}");
    }
}

#[test]
fn an_absent_fact_is_named_and_never_zero() {
    assert_eq!(holds("trace.cost_usd < 1"), Err(Unanswered::Absent("cost_usd".to_owned())));
    assert_eq!(holds("trace.attributes.feature.size() > 1"), Err(Unanswered::Absent("attributes.feature".to_owned())));
    assert_eq!(holds("trace.cost_usd < 1 || trace.tools.size() == 3"), Ok(true));
    assert_eq!(holds("trace.cost_usd < 1 && trace.tools.size() == 9"), Ok(false));
    assert_eq!(holds("trace.tools.size() == 3 && trace.cost_usd < 1"), Err(Unanswered::Absent("cost_usd".to_owned())));
    assert_eq!(holds("trace.tools.exists(t, t.result.contains('open'))"), Ok(true), "two results are absent");
}

#[test]
fn values_that_do_not_go_together_have_no_answer() {
    for expression in
        ["1", "trace.tools", "'a' < 1", "!1", "trace.tools.name == 'x'", "trace.output.all(t, true)", "1 in 2"]
    {
        assert!(matches!(holds(expression), Err(Unanswered::WrongType(_))), "{expression}: {:?}", holds(expression));
    }
}

#[test]
fn what_is_wrong_is_said_when_the_expression_is_read() {
    for (expression, expected) in [
        ("", "ends too early"),
        ("trace.tools.size() >", "ends too early"),
        ("trac.tools", "unexpected \"trac\" at 1; what can be named is trace"),
        ("trace.toolz", "there is no field \"toolz\""),
        ("trace.tools.sum()", "there is no function \"sum\""),
        ("trace.tools.exists(t, u.name == '')", "what can be named is trace, t"),
        ("trace.output.matches('(')", "unclosed group"),
        ("trace.output.matches(trace.input)", "expected a pattern as text"),
        ("has(1)", "has() asks for a field"),
        ("'a", "the text at 1 is not closed"),
        ("1.2.3", "\"1.2.3\" is no number"),
        ("true ; false", "';' at 6 is not understood"),
        ("(true", "expected \")\""),
        ("true true", "unexpected \"true\" at 6"),
    ] {
        let error = Expression::parse(expression).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{expression}: {error}");
    }
}

#[test]
fn an_expression_of_any_form_is_bounded() {
    for (expression, expected) in [
        (format!("{}true{}", "(".repeat(1_000), ")".repeat(1_000)), "nested deeper"),
        (format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000)), "nested deeper"),
        (format!("{}true", "!".repeat(4_000)), "more than 400 parts"),
        (format!("1{} == 1", "+1".repeat(1_000)), "more than 400 parts"),
        ("x".repeat(5_000), "longer than 4096 bytes"),
    ] {
        assert!(Expression::parse(&expression).map(|_| ()).unwrap_err().contains(expected));
    }
    // The deepest trees there can be are evaluated on a thread's small stack.
    assert_eq!(holds(&format!("{}true", "!".repeat(398))), Ok(true));
    assert_eq!(holds(&format!("1{} == 198", " + 1".repeat(197))), Ok(true));
    assert_eq!(holds(&format!("{}true{}", "(".repeat(30), ")".repeat(30))), Ok(true));
}

#[test]
fn a_hostile_trace_ends_an_evaluation_and_not_the_other_way_round() {
    let steps = json!([{"tool": "t", "result": "x".repeat(1_000), "times": 5_000}]);
    let trace = trace_of(&serde_json::from_value(json!({"output": "x".repeat(1_000_000), "steps": steps})).unwrap());
    for expression in [
        "trace.tools.all(a, trace.tools.all(b, trace.tools.all(c, a.name == c.name)))",
        "trace.tools.all(a, trace.output.contains('y') || true)",
        "trace.tools.map(a, trace.tools).size() > 0",
        "trace.tools.exists(a, trace.output == trace.output && false)",
    ] {
        assert_eq!(Expression::parse(expression).unwrap().holds(&trace), Err(Unanswered::TooLong), "{expression}");
    }
}
