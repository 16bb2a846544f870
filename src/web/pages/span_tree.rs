//! The spans of a trace in order of a walk from its roots, whatever parents they claim.

use std::collections::{HashMap, HashSet};

use crate::domain::ids::SpanId;
use crate::queries::span::StoredSpan;

/// Spans with their depth, each once: roots and orphans by start, children under their parents; spans that only a
/// cycle reaches come last.
pub(super) fn walk(spans: &[StoredSpan]) -> Vec<(usize, &StoredSpan)> {
    let known: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let mut children: HashMap<SpanId, Vec<&StoredSpan>> = HashMap::new();
    let (mut roots, mut walked) = (Vec::new(), Vec::with_capacity(spans.len()));
    for span in spans {
        match span.parent_span_id.filter(|parent| known.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(span),
            None => roots.push(span),
        }
    }
    let mut stack: Vec<(usize, &StoredSpan)> = roots.into_iter().rev().map(|span| (0, span)).collect();
    while let Some((depth, span)) = stack.pop() {
        walked.push((depth, span));
        let below = children.remove(&span.span_id).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
    }
    let seen: HashSet<SpanId> = walked.iter().map(|(_, span)| span.span_id).collect();
    walked.extend(spans.iter().filter(|span| !seen.contains(&span.span_id)).map(|span| (0, span)));
    walked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u8, parent: Option<u8>) -> StoredSpan {
        let id_of = |id: u8| SpanId::from_bytes(&[id; 8]).unwrap();
        StoredSpan { parent_span_id: parent.map(id_of), ..StoredSpan::unknown(id_of(id)) }
    }

    fn walked(spans: &[StoredSpan]) -> Vec<(usize, u8)> {
        walk(spans).into_iter().map(|(depth, span)| (depth, span.span_id.as_bytes()[0])).collect()
    }

    #[test]
    fn children_follow_their_parents_in_order() {
        let spans = [span(1, None), span(2, Some(1)), span(3, Some(1)), span(4, Some(2)), span(5, Some(9))];
        assert_eq!(walked(&spans), [(0, 1), (1, 2), (2, 4), (1, 3), (0, 5)]);
    }

    #[test]
    fn cycles_are_shown_once_and_do_not_hang() {
        assert_eq!(walked(&[span(1, Some(1)), span(2, Some(3)), span(3, Some(2))]), [(0, 1), (0, 2), (0, 3)]);
    }
}
