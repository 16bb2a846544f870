//! What stands out among traces: tools by their failures, conversations by their tool calls, failures by how bad they are.

use maud::{Markup, html};

use super::figures::{percent, whole};
use super::layout::address;
use super::text::clipped;
use super::traces::{of, table as traces};
use crate::queries::selection::Condition;
use crate::queries::top::{Ranked, RankedConversation, RankedTool, Ranking};

/// Links to every ranking of a selection, and to its newest traces.
pub(super) fn offers(chosen: Option<Ranking>, conditions: &[Condition]) -> Markup {
    let rankings = Ranking::ALL.into_iter().map(|(_, ranking)| Some(ranking));
    html! {
        p.desk {
            @for (place, ranking) in [None].into_iter().chain(rankings).enumerate() {
                @if place > 0 { " · " }
                a href=(of(ranking, conditions, &[])) aria-current=[(ranking == chosen).then_some("true")] { (in_words(ranking)) }
            }
        }
    }
}

const fn in_words(ranking: Option<Ranking>) -> &'static str {
    match ranking {
        None => "newest traces",
        Some(Ranking::Tools) => "tools by failures",
        Some(Ranking::Conversations) => "conversations by tool calls",
        Some(Ranking::Failures) => "failures by how bad they are",
    }
}

/// A ranking, first first.
pub(super) fn ranked(of: &Ranked) -> Markup {
    match of {
        Ranked::Tools { tools } if tools.is_empty() => none("No trace of this time calls a tool."),
        Ranked::Conversations { conversations } if conversations.is_empty() => {
            none("No conversation of this time calls a tool.")
        }
        Ranked::Traces(found) if found.traces.is_empty() => none("No trace of this time failed."),
        Ranked::Tools { tools } => self::tools(tools),
        Ranked::Conversations { conversations } => self::conversations(conversations),
        Ranked::Traces(found) => traces(&found.traces),
    }
}

fn none(why: &str) -> Markup {
    html! { p.muted { (why) } }
}

fn tools(tools: &[RankedTool]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Tool" } @for name in ["Failed", "Share", "Calls", "Returned nothing", "Traces"] { th.number { (name) } } } }
            tbody { @for tool in tools { tr {
                td { (clipped(&tool.tool, 80)) }
                td.number { (whole(tool.failed)) }
                td.number { (percent(tool.failed_share)) }
                td.number { (whole(tool.calls)) }
                td.number { (whole(tool.empty)) }
                td.number { (tool.traces) }
            } } }
        } }
        p.muted { "All but traces are weighted by upstream sampling." }
    }
}

fn conversations(conversations: &[RankedConversation]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Conversation" } @for name in ["Tool calls", "Failed", "Traces"] { th.number { (name) } } } }
            tbody { @for one in conversations { tr {
                td { a href=(address("/traces", &[("conversation", &one.conversation_id)])) { (clipped(&one.conversation_id, 80)) } }
                td.number { (one.tool_calls) }
                td.number { (one.failed) }
                td.number { (one.traces) }
            } } }
        } }
    }
}
