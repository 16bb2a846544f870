//! The pure part of a judge: which inputs it needs, what it is asked, and what its answer means.
//!
//! Asking is done elsewhere: `run::evaluate` says what is to be judged, `backends::judge` calls the model.

mod cited;
mod fit;
mod input;
mod material;
mod template;
mod tokens;
mod verdict;

use std::sync::LazyLock;

use serde_json::json;

pub use input::Input;
pub(super) use template::RULES;
pub use template::{Template, TemplateProblem};
pub use tokens::estimated_tokens;
pub use verdict::{Verdict, VerdictError, parse_verdict};

use super::kinds::Finding;
use crate::domain::judge::JudgeRequest;
use crate::domain::trace::Trace;
use fit::Fitted;
use material::{Piece, Section, pieces};

/// One judge: what it needs and how it asks.
#[derive(Debug, Clone)]
pub struct Judge {
    /// Inputs without which it cannot judge.
    pub inputs: Vec<Input>,
    /// Inputs that are shown where the trace has them.
    pub optional_inputs: Vec<Input>,
    /// The policy document; `None` when the agent's own system instructions are the policy.
    pub policy: Option<String>,
    /// Key of the judge model under `[judge.models]`.
    pub model: String,
    /// Most tokens of untrusted text in a prompt, by [`estimated_tokens`].
    pub max_prompt_tokens: usize,
    /// Most tokens an answer may take.
    pub max_tokens: u32,
    /// The verdict is that of most of so many answers; an odd number.
    pub samples: u32,
    /// The prompt.
    pub template: Template,
}

/// A trace's inputs, cut to size and ready to be rendered.
#[derive(Debug)]
pub struct Prepared<'a> {
    judge: &'a Judge,
    fitted: Fitted<'a>,
}

impl Judge {
    /// Gathers and fits what the judge needs from a trace.
    ///
    /// # Errors
    /// [`Finding::NotEvaluable`] naming the first missing input, or the input that would be lost in the cut.
    pub fn prepare<'a>(&'a self, trace: &'a Trace) -> Result<Prepared<'a>, Finding> {
        let mut sections = Vec::new();
        for input in &self.inputs {
            let pieces = self.pieces(*input, trace);
            if pieces.is_empty() {
                return Err(Finding::NotEvaluable(format!("{} ({})", input.name(), input.attribute())));
            }
            sections.push(Section { input: *input, is_required: true, pieces });
        }
        let optional = self.optional_inputs.iter();
        sections.extend(optional.map(|input| Section {
            input: *input,
            is_required: false,
            pieces: self.pieces(*input, trace),
        }));
        let fitted = fit::fit(sections, self.max_prompt_tokens);
        let fitted = fitted.map_err(|lost| Finding::NotEvaluable(lost.to_string()))?;
        Ok(Prepared { judge: self, fitted })
    }

    fn pieces<'a>(&'a self, input: Input, trace: &'a Trace) -> Vec<Piece<'a>> {
        match (input, &self.policy) {
            (Input::Policy, Some(policy)) => vec![Piece::new(policy.as_str())],
            (input, _) => pieces(input, trace),
        }
    }
}

impl Prepared<'_> {
    /// Whether something was cut to fit the prompt.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.fitted.is_truncated()
    }

    /// The verdict is that of most of so many answers.
    #[must_use]
    pub const fn samples(&self) -> u32 {
        self.judge.samples
    }

    /// The request. `nonce` fences the untrusted texts: it must be unpredictable to whoever writes traces, and made
    /// of letters and digits.
    #[must_use]
    pub fn render(&self, nonce: &str) -> JudgeRequest {
        JudgeRequest {
            system: template::system(&self.judge.template, nonce),
            user: template::user(&self.judge.template, &self.fitted, nonce),
            schema: &SCHEMA,
            max_tokens: self.judge.max_tokens,
        }
    }
}

/// The answer's shape. The reason comes first, so that the verdict follows from it.
static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "reason": { "type": "string", "description": "one sentence, written before the verdict" },
            "verdict": { "type": "string", "enum": ["YES", "NO"] }
        },
        "required": ["reason", "verdict"],
        "additionalProperties": false
    })
});

#[cfg(test)]
mod tests;
