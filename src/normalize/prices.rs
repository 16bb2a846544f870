//! What model calls cost whose spans do not say it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::domain::trace::ModelCall;

/// Prices by model.
///
/// Read from settings a model given there replaces or adds to the shipped ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Price>", into = "BTreeMap<String, Price>")]
pub struct PriceTable(BTreeMap<String, Price>);

/// What a model costs, in US dollars a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens.
    pub input: f64,
    /// Prompt tokens read from a cache; like others when absent.
    pub cached: Option<f64>,
    /// Completion tokens, reasoning included.
    pub output: f64,
}

static SHIPPED: LazyLock<PriceTable> =
    LazyLock::new(|| PriceTable(toml::from_str(include_str!("prices.toml")).unwrap_or_default()));

impl PriceTable {
    /// The shipped prices: list prices of the large providers, dated in `prices.toml`.
    #[must_use]
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    /// The price of a call; `None` for an unknown model, or when a count is missing: part of a price looks like one.
    pub(super) fn cost_usd(&self, call: &ModelCall, cached_tokens: Option<u64>) -> Option<f64> {
        let (input, output) = (call.input_tokens?, call.output_tokens?);
        let price = self.price(call.model.as_deref()?)?;
        let cached = cached_tokens.unwrap_or(0).min(input);
        let cached_price = price.cached.unwrap_or(price.input);
        let per_million =
            (input - cached) as f64 * price.input + cached as f64 * cached_price + output as f64 * price.output;
        Some(per_million / 1e6)
    }

    /// The price of a model under its own name, else under the name without gateway or release date.
    fn price(&self, model: &str) -> Option<&Price> {
        let exact = |name: &str| self.0.get(name);
        let bare = without_gateway(model);
        exact(model).or_else(|| exact(bare)).or_else(|| exact(without_date(bare)))
    }
}

/// A name as its maker gives it: gateways put path segments or dotted words before it.
fn without_gateway(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let mut after_dots = name.rmatch_indices('.').map(|(at, _)| &name[at + 1..]);
    after_dots.find(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic())).unwrap_or(name)
}

/// A name up to the first part that is a date, a build number or `latest`.
fn without_date(model: &str) -> &str {
    let is_release =
        |part: &str| part == "latest" || (part.len() >= 3 && part.bytes().all(|byte| byte.is_ascii_digit()));
    let separators = model.match_indices(['-', '@']).map(|(at, _)| at);
    let release = separators.clone().find(|at| {
        let rest = &model[at + 1..];
        is_release(rest.split(['-', '@', ':']).next().unwrap_or(rest))
    });
    &model[..release.unwrap_or(model.len())]
}

impl Default for PriceTable {
    fn default() -> Self {
        Self::shipped().clone()
    }
}

impl From<BTreeMap<String, Price>> for PriceTable {
    fn from(given: BTreeMap<String, Price>) -> Self {
        let mut prices = Self::default();
        prices.0.extend(given);
        prices
    }
}

impl From<PriceTable> for BTreeMap<String, Price> {
    fn from(prices: PriceTable) -> Self {
        prices.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_prices_are_read_and_are_prices() {
        let prices = &PriceTable::shipped().0;
        assert!(prices.len() > 20);
        for (model, price) in prices {
            assert!(0.0 < price.input && price.input < price.output, "{model}");
            assert!(price.cached.is_none_or(|cached| cached < price.input), "{model}");
        }
    }

    #[test]
    fn a_model_is_found_under_the_names_that_gateways_and_releases_give_it() {
        let same = [
            ("gpt-4o", "gpt-4o-2024-08-06"),
            ("gpt-4o", "openai/gpt-4o"),
            ("claude-sonnet-4", "us.anthropic.claude-sonnet-4-20250514-v1:0"),
            ("claude-3-5-haiku", "claude-3-5-haiku@20241022"),
            ("gemini-2.0-flash", "models/gemini-2.0-flash-001"),
            ("gpt-5-mini", "gpt-5-mini-latest"),
        ];
        let table = PriceTable::shipped();
        for (model, named) in same {
            assert_eq!(table.price(named), table.0.get(model), "{named}");
        }
        assert_ne!(table.price("gpt-4o-2024-05-13"), table.price("gpt-4o"), "a release may have its own price");
        for unknown in ["gpt-4o-audio-preview", "claude-opus-4-9", "gpt-5-pro", "llama3", "", "-", "."] {
            assert_eq!(table.price(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn prices_of_ones_own_replace_and_add() {
        let own = r#"{"gpt-4o":{"input":1,"output":2},"house-model":{"input":3,"output":4}}"#;
        let table: PriceTable = serde_json::from_str(own).unwrap();
        assert_eq!(table.price("gpt-4o"), Some(&Price { input: 1.0, cached: None, output: 2.0 }));
        assert!(table.price("house-model").is_some() && table.price("o3").is_some());
    }
}
