//! What stands out among the traces of a selection: tools that fail, conversations that need many calls, failures by how
//! bad they are.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::QueryError;
use super::search::{FoundTrace, FoundTraces, search, within_limit};
use super::selection::{Condition, selection};
use crate::backends::store::{ConversationUse, Selection, Store, ToolFailures};
use crate::domain::evaluation::FailureClass;
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;

/// What is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// Tools, by calls that failed.
    Tools,
    /// Conversations, by tool calls.
    Conversations,
    /// Failed traces: hard ones first, then soft, looping, drifting; of each the newest first.
    Failures,
}

/// The rank of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ranked {
    /// Tools, most failures first.
    Tools {
        /// They.
        tools: Vec<RankedTool>,
    },
    /// Conversations, most tool calls first.
    Conversations {
        /// They.
        conversations: Vec<RankedConversation>,
    },
    /// Traces: failures by how bad they are, or as they were searched for.
    Traces(FoundTraces),
}

/// What was found, and of which time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Traces that ended at or after this instant count.
    pub since: Option<Timestamp>,
    /// Traces that ended before this instant count.
    pub until: Option<Timestamp>,
    /// They, or what is ranked of them.
    #[serde(flatten)]
    pub found: Ranked,
}

/// How often calls of a tool failed. All but `traces` is weighted by upstream sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedTool {
    /// The tool.
    pub tool: String,
    /// Traces that call it, as they were received.
    pub traces: u64,
    /// Its calls.
    pub calls: f64,
    /// Calls that did not succeed.
    pub failed: f64,
    /// The share of them.
    pub failed_share: f64,
    /// Calls that succeeded and returned nothing.
    pub empty: f64,
}

/// What the runs of a conversation did, as they were received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankedConversation {
    /// The conversation.
    pub conversation_id: String,
    /// Its traces that call tools.
    pub traces: u64,
    /// Their tool calls.
    pub tool_calls: u64,
    /// Those that did not succeed.
    pub failed: u64,
}

impl Ranking {
    /// Every ranking with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("tools", Self::Tools), ("conversations", Self::Conversations), ("failures", Self::Failures)];

    /// The ranking as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

impl FromStr for Ranking {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found
            .map(|(_, ranking)| ranking)
            .ok_or_else(|| format!("{name:?} is none of {}", Self::ALL.map(|(name, _)| name).join(", ")))
    }
}

/// Finds the newest traces that conditions hold for; with a ranking, what stands out among them. The answer says which
/// time it is about.
///
/// # Errors
/// A condition or the limit means nothing, or the store failed.
pub async fn answered(
    store: &Store,
    ranking: Option<Ranking>,
    conditions: &[Condition],
    limit: usize,
    (names, now): (&AttributeMapping, Timestamp),
) -> Result<Answered, QueryError> {
    let selection = selection(conditions, names, now)?;
    let found = match ranking {
        Some(ranking) => top(store, ranking, &selection, limit).await?,
        None => Ranked::Traces(search(store, &selection, limit).await?),
    };
    Ok(Answered { since: selection.since, until: selection.until, found })
}

/// Ranks what a selection holds.
///
/// # Errors
/// The limit is out of range, or the store failed.
async fn top(store: &Store, ranking: Ranking, selection: &Selection, limit: usize) -> Result<Ranked, QueryError> {
    within_limit(limit)?;
    Ok(match ranking {
        Ranking::Tools => {
            let tools = store.failing_tools(selection, limit).await?.into_iter().map(RankedTool::from).collect();
            Ranked::Tools { tools }
        }
        Ranking::Conversations => {
            let found = store.busiest_conversations(selection, limit).await?;
            Ranked::Conversations { conversations: found.into_iter().map(RankedConversation::from).collect() }
        }
        Ranking::Failures => Ranked::Traces(failures(store, selection, limit).await?),
    })
}

/// The failed traces of a selection, class by class.
async fn failures(store: &Store, selection: &Selection, limit: usize) -> Result<FoundTraces, QueryError> {
    let mut traces: Vec<FoundTrace> = Vec::new();
    for class in FailureClass::ALL {
        let is_asked = selection.failure_class.is_none_or(|asked| asked == class);
        let left = limit - traces.len();
        if is_asked && left > 0 {
            let of_class = Selection { failure_class: Some(class), ..selection.clone() };
            traces.extend(store.search(&of_class, left).await?.into_iter().map(FoundTrace::from));
        }
    }
    Ok(FoundTraces { traces })
}

impl From<ToolFailures> for RankedTool {
    fn from(of: ToolFailures) -> Self {
        let failed_share = if of.calls > 0.0 { of.failed / of.calls } else { 0.0 };
        Self { tool: of.tool, traces: of.traces, calls: of.calls, failed: of.failed, failed_share, empty: of.empty }
    }
}

impl From<ConversationUse> for RankedConversation {
    fn from(of: ConversationUse) -> Self {
        Self { conversation_id: of.conversation, traces: of.traces, tool_calls: of.tool_calls, failed: of.failed }
    }
}
