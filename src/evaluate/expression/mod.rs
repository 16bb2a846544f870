//! Conditions on a trace in a subset of CEL, the Common Expression Language (<https://cel.dev>).
//!
//! An expression is written by the user, the trace is written by whoever talks to the agent. So an expression is
//! checked as far as possible when it is read, and its evaluation is bounded: in depth by its size, in time by a number
//! of steps, whatever the trace holds.
//!
//! Of CEL there are: `true`, `false`, `null`, numbers, texts in `'` or `"`, lists; `.field` and `["key"]`; `! - * / % + <
//! <= > >= == != in && || ?:`; `has(x.y)`, `size(x)` and `x.size()`; `contains`, `startsWith`, `endsWith` and `matches`
//! of texts; `all`, `exists`, `exists_one`, `filter` and `map` of lists. The rest is refused when the file is read.
//! Two things are simpler than in CEL: there is one kind of number, and the pattern of `matches` is a literal.
//!
//! An absent fact is `null`. It can be compared for equality; any other use of it is an error that names it, and makes
//! the run `not_evaluable`, so that a missing cost is never a cost of zero. As in CEL, `&&` and `||` do without the side
//! that fails where the other one decides.

mod evaluate;
pub(super) mod fields;
mod syntax;
#[cfg(test)]
mod tests;

pub(super) use fields::subject;

use crate::domain::trace::Trace;

use evaluate::Evaluation;
use fields::Value;
use syntax::Node;

/// A condition that was read and checked.
#[derive(Debug)]
pub(super) struct Expression {
    root: Node,
}

/// Why an expression has no answer for a trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// A fact that the trace does not carry was used as if it were there.
    #[error("{0}")]
    Absent(String),
    /// An operation on values that it does not have.
    #[error("{0}")]
    WrongType(String),
    /// The trace is too large for this expression.
    #[error("the expression takes more than {} steps", evaluate::MOST_STEPS)]
    TooLong,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { root: syntax::parse(text)? })
    }

    /// Whether the condition holds for a trace.
    ///
    /// # Errors
    /// Why it has no answer.
    pub(super) fn holds(&self, trace: &Trace) -> Result<bool, Unanswered> {
        match Evaluation::of(trace).value(&self.root)? {
            Value::Boolean(holds) => Ok(holds),
            other => Err(Unanswered::WrongType(format!("the expression is {}, not true or false", other.kind()))),
        }
    }
}
