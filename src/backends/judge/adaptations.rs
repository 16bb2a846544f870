//! What servers of one protocol do not all take, and how we find out.

use super::{JudgeModelSettings, Provider};

/// What a server turned out not to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Adaptations {
    /// The answer's length goes by the other of `max_tokens` and `max_completion_tokens`.
    pub(super) other_max_tokens: bool,
    /// No structured output: the prompt alone says what the answer looks like.
    pub(super) no_structure: bool,
    /// No temperature.
    pub(super) no_temperature: bool,
}

impl Adaptations {
    /// Goes without the parameter that a refusal names, unless that was tried; says which. `said` is lower case.
    pub(super) fn adapt(&mut self, said: &str, settings: &JudgeModelSettings) -> Option<&'static str> {
        let names = |words: &[&str]| words.iter().any(|word| said.contains(word));
        let is_openai = settings.provider == Provider::Openai;
        if is_openai && !self.other_max_tokens && names(&["max_tokens", "max_completion_tokens"]) {
            self.other_max_tokens = true;
            return Some("max_tokens");
        }
        let structure = ["response_format", "json_schema", "structured output", "tool_choice", "tools"];
        if settings.structured_output && !self.no_structure && names(&structure) {
            self.no_structure = true;
            return Some("structured output");
        }
        if settings.parameters.contains_key("temperature") && !self.no_temperature && names(&["temperature"]) {
            self.no_temperature = true;
            return Some("temperature");
        }
        None
    }
}
