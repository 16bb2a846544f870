//! What model calls cost whose spans do not say it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::trace::ModelCall;

/// Prices by model: those of the user, then the shipped ones.
///
/// Read from the settings' `[prices]`. A name there is a model's, or a pattern in which `*` stands for any text; a
/// model's own name wins over a pattern, a longer pattern over a shorter, and any of them over the shipped price.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "BTreeMap<String, Price>")]
pub struct PriceTable {
    named: BTreeMap<String, Price>,
    /// The longest first.
    patterns: Vec<(String, Price)>,
}

/// What a model costs, in US dollars a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens.
    pub input_usd_per_mtok: f64,
    /// Prompt tokens read from a cache; like other prompt tokens when absent.
    pub cached_input_usd_per_mtok: Option<f64>,
    /// Prompt tokens written to a cache; like other prompt tokens when absent.
    pub cache_write_usd_per_mtok: Option<f64>,
    /// Completion tokens that are no reasoning, or all of them when [`Price::reasoning_usd_per_mtok`] is absent.
    pub output_usd_per_mtok: f64,
    /// Reasoning tokens; like other completion tokens when absent.
    pub reasoning_usd_per_mtok: Option<f64>,
}

/// Prompt tokens that a cache makes cheaper or dearer, both among the prompt tokens of the call unless they are more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CacheTokens {
    pub(super) read: Option<u64>,
    pub(super) written: Option<u64>,
}

static SHIPPED: LazyLock<BTreeMap<String, Price>> =
    LazyLock::new(|| toml::from_str(include_str!("prices.toml")).unwrap_or_default());

impl Price {
    /// Its keys, each with its amount.
    fn amounts(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let amounts = [
            ("input_usd_per_mtok", Some(self.input_usd_per_mtok)),
            ("cached_input_usd_per_mtok", self.cached_input_usd_per_mtok),
            ("cache_write_usd_per_mtok", self.cache_write_usd_per_mtok),
            ("output_usd_per_mtok", Some(self.output_usd_per_mtok)),
            ("reasoning_usd_per_mtok", self.reasoning_usd_per_mtok),
        ];
        amounts.into_iter().filter_map(|(key, amount)| Some((key, amount?)))
    }

    /// What tokens cost, in US dollars.
    fn cost_usd(&self, input: u64, cache: CacheTokens, output: u64, reasoning: u64) -> f64 {
        let (read, written) = (cache.read.unwrap_or(0), cache.written.unwrap_or(0));
        // More tokens of the cache than prompt tokens in all prove that the sender counts them apart.
        let fresh = input.checked_sub(read.saturating_add(written)).unwrap_or(input);
        let reasoning = reasoning.min(output);
        let priced = [
            (fresh, None, self.input_usd_per_mtok),
            (read, self.cached_input_usd_per_mtok, self.input_usd_per_mtok),
            (written, self.cache_write_usd_per_mtok, self.input_usd_per_mtok),
            (output - reasoning, None, self.output_usd_per_mtok),
            (reasoning, self.reasoning_usd_per_mtok, self.output_usd_per_mtok),
        ];
        priced.into_iter().map(|(tokens, own, usual)| tokens as f64 * own.unwrap_or(usual)).sum::<f64>() / 1e6
    }
}

impl PriceTable {
    /// Every amount of the user's, with its model or pattern and its key.
    pub fn amounts(&self) -> impl Iterator<Item = (&str, &'static str, f64)> {
        let patterns = self.patterns.iter().map(|(pattern, price)| (pattern, price));
        let all = self.named.iter().chain(patterns);
        all.flat_map(|(name, price)| price.amounts().map(|(key, amount)| (name.as_str(), key, amount)))
    }

    /// The price of a call; `None` for an unknown model, or when a count is missing: part of a price looks like one.
    pub(super) fn cost_usd(&self, call: &ModelCall, cache: CacheTokens) -> Option<f64> {
        let (input, output) = (call.input_tokens?, call.output_tokens?);
        let price = self.price(call.model.as_deref()?)?;
        Some(price.cost_usd(input, cache, output, call.reasoning_tokens.unwrap_or(0)))
    }

    fn price(&self, model: &str) -> Option<&Price> {
        let by_pattern = || Some(&self.patterns.iter().find(|(pattern, _)| fits(pattern, model))?.1);
        named(&self.named, model).or_else(by_pattern).or_else(|| named(&SHIPPED, model))
    }
}

/// The price of a model under its own name, else under the name without gateway or release date.
fn named<'p>(prices: &'p BTreeMap<String, Price>, model: &str) -> Option<&'p Price> {
    let bare = without_gateway(model);
    [model, bare, without_date(bare)].into_iter().find_map(|name| prices.get(name))
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

/// Whether a name is what a pattern with any number of `*` describes.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_prefix(start).and_then(|name| name.strip_suffix(end)) else { return false };
    middle.split('*').all(|part| match name.find(part) {
        Some(at) => {
            name = &name[at + part.len()..];
            true
        }
        None => false,
    })
}

impl From<BTreeMap<String, Price>> for PriceTable {
    fn from(given: BTreeMap<String, Price>) -> Self {
        let (patterns, named) = given.into_iter().partition::<BTreeMap<_, _>, _>(|(name, _)| name.contains('*'));
        let mut patterns: Vec<_> = patterns.into_iter().collect();
        patterns.sort_by_key(|(pattern, _)| Reverse(pattern.len()));
        Self { named, patterns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input_usd_per_mtok: 4.0,
        cached_input_usd_per_mtok: Some(1.0),
        cache_write_usd_per_mtok: Some(5.0),
        output_usd_per_mtok: 10.0,
        reasoning_usd_per_mtok: None,
    };

    fn table(own: &str) -> PriceTable {
        toml::from_str(own).unwrap()
    }

    fn input_price(table: &PriceTable, model: &str) -> Option<f64> {
        table.price(model).map(|price| price.input_usd_per_mtok)
    }

    #[test]
    fn the_shipped_prices_are_read_and_are_prices() {
        assert!(SHIPPED.len() > 20);
        for (model, price) in SHIPPED.iter() {
            let input = price.input_usd_per_mtok;
            assert!(0.0 < input && input < price.output_usd_per_mtok, "{model}");
            assert!(price.cached_input_usd_per_mtok.is_none_or(|cached| cached < input), "{model}");
            assert!(price.cache_write_usd_per_mtok.is_none_or(|written| written > input), "{model}");
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
        let table = PriceTable::default();
        for (model, named) in same {
            assert_eq!(table.price(named), SHIPPED.get(model), "{named}");
        }
        assert_ne!(table.price("gpt-4o-2024-05-13"), table.price("gpt-4o"), "a release may have its own price");
        for unknown in ["gpt-4o-audio-preview", "claude-opus-4-9", "gpt-5-pro", "llama3", "", "-", "."] {
            assert_eq!(table.price(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn ones_own_prices_win_by_name_then_by_the_longest_pattern_then_come_the_shipped() {
        let own = "\"gpt-4o\" = { input_usd_per_mtok = 1, output_usd_per_mtok = 2 }\n\
                   \"gpt-*\" = { input_usd_per_mtok = 3, output_usd_per_mtok = 4 }\n\
                   \"gpt-5-*\" = { input_usd_per_mtok = 5, output_usd_per_mtok = 6 }\n\
                   \"*/house\" = { input_usd_per_mtok = 7, output_usd_per_mtok = 0 }\n";
        let table = table(own);
        let expected = [
            ("openai/gpt-4o-2024-08-06", Some(1.0)),
            ("gpt-4.1", Some(3.0)),
            ("gpt-5-mini", Some(5.0)),
            ("ours/models/house", Some(7.0)),
            ("o3", SHIPPED.get("o3").map(|price| price.input_usd_per_mtok)),
            ("llama3", None),
        ];
        for (model, price) in expected {
            assert_eq!(input_price(&table, model), price, "{model}");
        }
    }

    #[test]
    fn tokens_read_from_and_written_to_a_cache_and_reasoning_have_their_own_prices() {
        let cache = |read, written| CacheTokens { read, written };
        let cost = |price: Price, cache| price.cost_usd(1_000_000, cache, 200_000, 150_000);
        let expected = [
            (PRICE, cache(None, None), 4.0 + 2.0),
            (PRICE, cache(Some(500_000), None), 2.0 + 0.5 + 2.0),
            (PRICE, cache(Some(500_000), Some(100_000)), 1.6 + 0.5 + 0.5 + 2.0),
            (PRICE, cache(Some(9_000_000), Some(3_000_000)), 4.0 + 9.0 + 15.0 + 2.0),
            (Price { cached_input_usd_per_mtok: None, ..PRICE }, cache(Some(500_000), None), 4.0 + 2.0),
            (Price { reasoning_usd_per_mtok: Some(30.0), ..PRICE }, cache(None, None), 4.0 + 0.5 + 4.5),
        ];
        for (price, cache, dollars) in expected {
            assert!((cost(price, cache) - dollars).abs() < 1e-9, "{price:?} {cache:?}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [("*", ""), ("a*", "a"), ("a*c", "abc"), ("*b*", "abc"), ("*a*b*c", "1a2b3b4c")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a*", "ba"), ("a*a", "a"), ("*b*b*", "b"), ("a*c", "acb"), ("é*", "e")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
