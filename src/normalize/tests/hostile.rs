//! Span trees that no honest tracer makes.

use super::builder::{raw, span, trace};
use crate::domain::time::Timestamp;
use crate::normalize::{AttributeMapping, normalize};
use crate::otlp::span::Event;
use crate::otlp::{Encoding, KeyValue, Span, assemble, decode_traces, split_by_trace};

const CHAT: &[(&str, &str)] = &[("gen_ai.operation.name", "chat"), ("gen_ai.usage.input_tokens", "5")];

#[test]
fn a_trace_without_spans_is_nothing() {
    let empty = assemble("01010101010101010101010101010101".parse().unwrap(), Vec::new());
    assert_eq!(normalize(&empty, &AttributeMapping::default()), None);
}

#[test]
fn cycles_orphans_and_spans_that_are_their_own_parent_end() {
    let found = trace(vec![span(1, 2, CHAT), span(2, 3, &[]), span(3, 1, &[]), span(4, 4, CHAT), span(5, 99, CHAT)]);
    assert_eq!(found.span_count, 5);
    assert_eq!(found.model_calls().count(), 3);
    let earliest = found.model_calls().next().unwrap();
    assert_eq!(found.root_span_id, earliest.span_id, "without a root the earliest span stands for it");
}

#[test]
fn a_tree_of_ten_thousand_levels_is_walked_without_recursion() {
    let tools =
        [("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "dig"), ("gen_ai.tool.call.id", "same")];
    let level = |id: u32| span(id, id - 1, if id.is_multiple_of(2) { &tools } else { CHAT });
    let found = trace((1..=10_000).map(level).collect());
    assert_eq!(found.span_count, 10_000);
    assert_eq!(found.model_calls().count(), 5_000, "each tool asks a model of its own");
    assert_eq!(found.input_tokens(), Some(25_000));
}

#[test]
fn a_hundred_thousand_spans_are_read_in_linear_time() {
    let wide = |id: u32| span(id, u32::from(id != 1), CHAT);
    let found = trace((1..=100_000).map(wide).collect());
    assert_eq!(found.model_calls().count(), 99_999);
}

#[test]
fn clocks_that_run_backwards_or_were_never_set_are_harmless() {
    let backwards = Span { start_time_unix_nano: 9_000_000_000, end_time_unix_nano: 1, ..span(1, 0, CHAT) };
    let unset = Span { start_time_unix_nano: 0, end_time_unix_nano: 0, ..span(2, 1, CHAT) };
    let far = Span { end_time_unix_nano: u64::MAX, ..span(3, 1, CHAT) };
    let found = trace(vec![backwards, unset, far]);
    assert_eq!(found.started_at, Timestamp(9_000_000_000), "where its root starts");
    assert!(found.model_calls().all(|call| call.ended_at >= call.started_at));
    assert!(found.latency_seconds().unwrap() >= 0.0);
}

#[test]
fn a_clock_that_is_far_off_does_not_make_the_run_long() {
    let seconds = |spans: Vec<Span>| trace(spans).latency_seconds().unwrap();
    let lasts =
        |id, parent, seconds: u64| Span { end_time_unix_nano: seconds * 1_000_000_000, ..span(id, parent, CHAT) };
    let never = |id, parent| Span { end_time_unix_nano: u64::MAX, ..span(id, parent, CHAT) };
    let year_ahead = |id| Span { start_time_unix_nano: 31_536_000_000_000_000, ..lasts(id, 1, 31_536_009) };
    assert_eq!(seconds(vec![lasts(1, 0, 5), never(2, 1), year_ahead(3)]), 4.0);
    assert_eq!(seconds(vec![lasts(1, 0, 5), lasts(2, 1, 9)]), 8.0, "work may go on behind the root");
    assert_eq!(seconds(vec![never(1, 0), lasts(2, 1, 9)]), 8.0, "nor is the root believed");
    assert_eq!(seconds(vec![lasts(2, 1, 5), lasts(3, 1, 9), year_ahead(4)]), 7.0, "without a root");
    assert_eq!(seconds(vec![lasts(1, 0, 200_000), lasts(2, 1, 200_001)]), 200_000.0, "a run of days");
}

#[test]
fn content_of_the_wrong_shape_is_no_content() {
    let shapes =
        ["[[[[", "{", "5", "[1,2]", "[{\"role\":5,\"parts\":7}]", "[{\"parts\":[{\"type\":\"text\"}]}]", "null"];
    for shape in shapes {
        let found = trace(vec![span(
            1,
            0,
            &[CHAT[0], ("gen_ai.output.messages", shape), ("gen_ai.response.finish_reasons", shape)],
        )]);
        assert_eq!(found.model_calls().count(), 1, "{shape}");
    }
}

#[test]
fn indices_of_flattened_messages_cannot_allocate_what_they_name() {
    let found = trace(vec![span(1, 0, &[CHAT[0], ("gen_ai.completion.18446744073709551615.content", "hi")])]);
    assert_eq!(found.output.as_deref(), Some("hi"));
}

#[test]
fn spans_of_any_order_make_the_same_trace() {
    let spans: Vec<Span> = (1..=50).map(|id| span(id, id / 3, CHAT)).collect();
    let mut shuffled = spans.clone();
    fastrand::Rng::with_seed(7).shuffle(&mut shuffled);
    let mapping = AttributeMapping::default();
    assert_eq!(normalize(&raw(&[], spans), &mapping), normalize(&raw(&[], shuffled), &mapping));
}

#[test]
fn bytes_flipped_anywhere_are_refused_or_read_but_never_a_crash() {
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c",
        "spanId":"b7ad6b7169203331","startTimeUnixNano":"5","endTimeUnixNano":9,"attributes":[
        {"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},
        {"key":"gen_ai.input.messages","value":{"arrayValue":{"values":[{"kvlistValue":{"values":[]}}]}}},
        {"key":"gen_ai.output.messages","value":{"stringValue":"[{\"role\":\"assistant\",\"parts\":[{}]}]"}},
        {"key":"gen_ai.usage.input_tokens","value":{"doubleValue":"NaN"}}]}]}]}]}"#;
    let spans = decode_traces(text.as_bytes(), Encoding::Json).unwrap();
    let binary = split_by_trace(spans).traces.remove(0).encode().body;
    let read = flipped(text.as_bytes(), Encoding::Json, 3000) + flipped(&binary, Encoding::Protobuf, 3000);
    assert!(read > 1000, "most flips spoil only a value: {read}");
}

#[test]
fn no_convention_crashes_on_bytes_flipped_anywhere() {
    for dialect in &super::dialects::DIALECTS {
        let group = raw(&[], dialect.spans()).resource_spans;
        let binary = split_by_trace(group).traces.remove(0).encode().body;
        let read = flipped(&binary, Encoding::Protobuf, 1000);
        assert!(read > 300, "{}: most flips spoil only a value: {read}", dialect.name);
    }
}

#[test]
fn any_value_under_any_name_is_read_or_passed_over() {
    let known: Vec<KeyValue> = super::dialects::DIALECTS
        .iter()
        .flat_map(super::dialects::Dialect::spans)
        .flat_map(|span| span.attributes)
        .collect();
    let mut random = fastrand::Rng::with_seed(13);
    let attributes = |random: &mut fastrand::Rng| -> Vec<KeyValue> {
        let shuffled = |random: &mut fastrand::Rng| KeyValue {
            value: known[random.usize(0..known.len())].value.clone(),
            ..known[random.usize(0..known.len())].clone()
        };
        (0..random.usize(0..12)).map(|_| shuffled(random)).collect()
    };
    let mut seen = [0; 3];
    for _ in 0..2000 {
        let spans = (1..=random.u32(1..6)).map(|id| {
            let events = (0..random.usize(0..3))
                .map(|_| Event { attributes: attributes(&mut random), ..Default::default() })
                .collect();
            Span { attributes: attributes(&mut random), events, ..span(id, random.u32(0..6), &[]) }
        });
        let found = trace(spans.collect());
        let counts = [found.model_calls().count(), found.tool_calls().count(), usize::from(found.output.is_some())];
        seen.iter_mut().zip(counts).for_each(|(seen, count)| *seen += count);
    }
    assert!(seen.iter().all(|seen| *seen > 500), "{seen:?}");
}

/// Reads a message as often as said, each time with a few bytes flipped; how many traces came out.
fn flipped(original: &[u8], encoding: Encoding, times: usize) -> usize {
    let mut random = fastrand::Rng::with_seed(11);
    let mut read = 0;
    for _ in 0..times {
        let mut bytes = original.to_vec();
        (0..random.usize(1..4)).for_each(|_| bytes[random.usize(0..original.len())] = random.u8(..));
        let pieces = decode_traces(&bytes, encoding).map(|spans| split_by_trace(spans).traces).unwrap_or_default();
        for piece in pieces {
            let raw = assemble(piece.trace_id, vec![piece.resource_spans]);
            read += usize::from(normalize(&raw, &AttributeMapping::default()).is_some());
        }
    }
    read
}

#[test]
fn a_prompt_of_nothing_but_marks_and_odd_letters_has_a_skeleton() {
    let mut random = fastrand::Rng::with_seed(5);
    let letters: Vec<char> = "aZ0:.-# \n\u{e9}\u{130}\u{1f600}@".chars().collect();
    for _ in 0..500 {
        let prompt: String = (0..random.usize(0..60)).map(|_| letters[random.usize(0..letters.len())]).collect();
        let found = trace(vec![span(1, 0, &[CHAT[0], ("gen_ai.system_instructions", &prompt)])]);
        assert_eq!(found.agent_version.is_some(), found.system_instructions.is_some(), "{prompt:?}");
    }
}
