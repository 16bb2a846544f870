//! What the tree of spans tells besides the steps: errors that stop half way up, agents inside of agents, and agents that
//! hang on nothing. Nothing here is judged; the rules `swallowed_error`, `recursion` and `broken_context` do that.

use std::collections::HashMap;

use crate::domain::ids::SpanId;
use crate::domain::time::Timestamp;
use crate::domain::trace::{ContainedError, DetachedAgent, Propagation, Recursion, Structure};

use super::convention::Role;
use super::span_view::SpanView;
use super::tree::Tree;

/// Spans above an agent that are looked at: an agent that runs deeper inside of others counts as deep as that.
const MOST_ABOVE: usize = 256;
/// Most failed spans and detached agents that are kept: a hostile trace may hold nothing else.
const MOST_KEPT: usize = 100;

/// Reads a trace's structure.
pub(super) fn structure(tree: &Tree<'_>) -> Structure {
    let agents: Vec<usize> = positions(tree, |view| view.role == Role::Agent).collect();
    let mut structure = Structure { agents: agents.len(), nesting: agents.len().min(1), ..Structure::default() };
    structure.contained_errors = contained_errors(tree);
    structure.propagation = propagation(tree);
    structure.detached_agents = agents.iter().filter_map(|agent| detached(tree, *agent)).take(MOST_KEPT).collect();
    if agents.len() > 1 {
        let names = agent_names(tree);
        agents.iter().for_each(|agent| nest(tree, &names, *agent, &mut structure));
    }
    structure
}

fn positions<'t>(tree: &'t Tree<'_>, is_meant: fn(&SpanView<'_>) -> bool) -> impl Iterator<Item = usize> + use<'t> {
    tree.views.iter().enumerate().filter(move |(_, view)| is_meant(view)).map(|(position, _)| position)
}

/// The agent's name, else its span's.
fn agent_name(view: &SpanView<'_>) -> String {
    view.text(|names| names.agent).map_or_else(|| view.span.name.clone(), Into::into)
}

/// For each span the name of its agent, read once; `None` for a span of no agent.
fn agent_names(tree: &Tree<'_>) -> Vec<Option<String>> {
    tree.views.iter().map(|view| (view.role == Role::Agent).then(|| agent_name(view))).collect()
}

fn nest(tree: &Tree<'_>, names: &[Option<String>], position: usize, structure: &mut Structure) {
    let agent = &names[position];
    let (mut nesting, mut depth) = (1, 1);
    for above in tree.above(position).take(MOST_ABOVE).take_while(|above| *above != position) {
        nesting += usize::from(names[above].is_some());
        depth += usize::from(names[above] == *agent);
    }
    structure.nesting = structure.nesting.max(nesting);
    if depth > structure.recursion.as_ref().map_or(1, |deepest| deepest.depth) {
        let span_id = tree.views[position].id;
        structure.recursion = agent.clone().map(|agent| Recursion { agent, depth, span_id });
    }
}

fn detached(tree: &Tree<'_>, position: usize) -> Option<DetachedAgent> {
    let view = &tree.views[position];
    let missing_parent = SpanId::from_bytes(&view.span.parent_span_id).ok();
    let is_the_root = missing_parent.is_none() && position == tree.root_position();
    let hangs_on_nothing = tree.parent(position).is_none() && !is_the_root && missing_parent != Some(view.id);
    hangs_on_nothing.then(|| DetachedAgent { agent: agent_name(view), span_id: view.id, missing_parent })
}

/// A span that names itself as its parent hangs on nothing that could arrive, and counts as an orphan.
fn propagation(tree: &Tree<'_>) -> Propagation {
    let mut propagation = Propagation::default();
    for (position, view) in tree.views.iter().enumerate().filter(|(position, _)| tree.parent(*position).is_none()) {
        let is_root = view.span.parent_span_id.is_empty();
        propagation.roots += usize::from(is_root);
        propagation.orphans += usize::from(!is_root);
        let is_alone = position == tree.root_position() && tree.views.len() == 1;
        propagation.detached_tools += usize::from(view.role == Role::Tool && !is_alone);
    }
    propagation
}

/// What is done again when it is tried again: the same tool, any model, else a span of the same name.
fn operation<'a>(view: &SpanView<'a>) -> (Role, String) {
    let name = match view.role {
        Role::Model => String::new(),
        Role::Tool => view.text(|names| names.tool_name).map_or_else(|| view.span.name.clone(), Into::into),
        Role::Agent | Role::Retrieval | Role::Other => view.span.name.clone(),
    };
    (view.role, name)
}

fn contained_errors(tree: &Tree<'_>) -> Vec<ContainedError> {
    let failed: Vec<(usize, usize, String)> = positions(tree, |view| view.has_failed() || view.error_type().is_some())
        .filter_map(|position| Some((position, tree.parent(position)?, tree.views[position].error()?)))
        .filter(|(_, parent, _)| tree.views[*parent].error().is_none())
        .take(MOST_KEPT)
        .collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let last_success = last_successes(tree);
    let contained = |(position, parent, error): (usize, usize, String)| {
        let view = &tree.views[position];
        let operation = operation(view);
        let is_retried = last_success.get(&(parent, operation.clone())).is_some_and(|start| *start >= view.ended_at);
        let name = if operation.1.is_empty() { view.span.name.clone() } else { operation.1 };
        ContainedError { span_id: view.id, parent_span_id: tree.views[parent].id, name, error, is_retried }
    };
    failed.into_iter().map(contained).collect()
}

/// For each parent and operation, when it last began to be done with success.
fn last_successes(tree: &Tree<'_>) -> HashMap<(usize, (Role, String)), Timestamp> {
    let mut successes = HashMap::new();
    for position in positions(tree, |view| view.error().is_none()) {
        if let Some(parent) = tree.parent(position) {
            let view = &tree.views[position];
            successes.insert((parent, operation(view)), view.started_at);
        }
    }
    successes
}
