//! Parents and children. Whatever the links say (cycles, orphans, a span as its own parent, ten thousand levels), every
//! walk visits each span a bounded number of times and nothing recurses.

use std::collections::HashMap;
use std::iter;

use super::convention::Role;
use super::span_view::SpanView;

/// The spans of a trace in order, and where each one's parent is.
pub(super) struct Tree<'a> {
    pub(super) views: Vec<SpanView<'a>>,
    /// Position of each span's parent, when it has arrived.
    parents: Vec<Option<usize>>,
    /// Position of the root, or of the earliest span when the root never arrived.
    root: usize,
}

impl<'a> Tree<'a> {
    /// `None` when there is no span.
    pub(super) fn new(views: Vec<SpanView<'a>>) -> Option<Self> {
        let positions: HashMap<&[u8], usize> =
            views.iter().enumerate().map(|(position, view)| (view.id.as_bytes().as_slice(), position)).collect();
        let parent = |(position, view): (usize, &SpanView<'_>)| {
            positions.get(view.span.parent_span_id.as_slice()).copied().filter(|parent| *parent != position)
        };
        let parents = views.iter().enumerate().map(parent).collect();
        let root = views.iter().position(|view| view.span.parent_span_id.is_empty()).unwrap_or(0);
        (!views.is_empty()).then_some(Self { views, parents, root })
    }

    /// The root span, or the earliest span when the root never arrived.
    pub(super) fn root(&self) -> &SpanView<'a> {
        &self.views[self.root]
    }

    /// Position of the root.
    pub(super) const fn root_position(&self) -> usize {
        self.root
    }

    /// Position of a span's parent, when it has arrived.
    pub(super) fn parent(&self, position: usize) -> Option<usize> {
        self.parents[position]
    }

    /// The positions of the spans around a span, innermost first; endless in a cycle.
    pub(super) fn above(&self, position: usize) -> impl Iterator<Item = usize> {
        iter::successors(self.parents[position], |parent| self.parents[*parent])
    }

    /// The root, then every span in order.
    pub(super) fn root_first(&self) -> impl Iterator<Item = &SpanView<'a>> {
        std::iter::once(self.root()).chain(&self.views)
    }

    /// The span that stands for the run: the root, unless that is another service's and agents or models run below.
    pub(super) fn subject(&self) -> &SpanView<'a> {
        let runs = |view: &&SpanView<'a>| matches!(view.role, Role::Agent | Role::Model);
        let agent = || self.views.iter().find(|view| view.role == Role::Agent);
        let root = Some(self.root()).filter(runs);
        root.or_else(agent).or_else(|| self.views.iter().find(runs)).unwrap_or_else(|| self.root())
    }

    /// For each span, whether a model call lies below it. A model call with another below it only wraps that one, unless
    /// a tool or an agent stands between: then the other is a call that the tool or agent made for itself.
    pub(super) fn wraps_model(&self) -> Vec<bool> {
        let mut wraps = vec![false; self.views.len()];
        for start in self.positions_of(Role::Model) {
            let mut above = self.parents[start];
            let calls_itself = |position: usize| matches!(self.views[position].role, Role::Tool | Role::Agent);
            // Where a mark stands already, all that is meant above it is marked too; in a cycle no span wraps itself.
            let is_met = |position: &usize| *position == start || calls_itself(*position);
            while let Some(position) = above.filter(|position| !wraps[*position] && !is_met(position)) {
                wraps[position] = true;
                above = self.parents[position];
            }
        }
        wraps
    }

    /// The tool call around a span, past the few spans that a request between processes puts in between.
    pub(super) fn enclosing_tool(&self, position: usize) -> Option<usize> {
        const MOST_BETWEEN: usize = 4;
        let mut nearest = self.above(position).take(MOST_BETWEEN + 1);
        let role = |position: &usize| self.views[*position].role;
        nearest.find(|parent| role(parent) != Role::Other).filter(|tool| role(tool) == Role::Tool && *tool != position)
    }

    /// The model call around a span: its parent, or that one's parent when what stands between does nothing itself.
    pub(super) fn wrapping_model(&self, position: usize) -> Option<usize> {
        let role = |position: usize| self.views[position].role;
        let parent = self.parents[position]?;
        let above = if role(parent) == Role::Other { self.parents[parent]? } else { parent };
        (role(above) == Role::Model && above != position).then_some(above)
    }

    /// For each span, how many agents and tools it runs inside of: what a sub-agent hears is not what the user said.
    pub(super) fn enclosing(&self) -> Vec<usize> {
        let mut depths: Vec<Option<usize>> = vec![None; self.views.len()];
        let mut path = Vec::new();
        for start in 0..self.views.len() {
            let mut above = Some(start);
            while let Some(position) = above.filter(|position| depths[*position].is_none()) {
                // A mark for cycles: the walk that comes back here starts counting from zero.
                depths[position] = Some(0);
                path.push(position);
                above = self.parents[position];
            }
            while let Some(position) = path.pop() {
                depths[position] = Some(self.parents[position].map_or(0, |parent| self.depth_below(parent, &depths)));
            }
        }
        depths.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn depth_below(&self, parent: usize, depths: &[Option<usize>]) -> usize {
        let encloses = matches!(self.views[parent].role, Role::Agent | Role::Tool);
        depths[parent].unwrap_or_default() + usize::from(encloses)
    }

    fn positions_of(&self, role: Role) -> impl Iterator<Item = usize> {
        self.views.iter().enumerate().filter(move |(_, view)| view.role == role).map(|(position, _)| position)
    }
}
