//! What kinds that learn from good traffic have in common: the file of what is usual, and what is usual among values.

use serde::de::DeserializeOwned;

use super::Source;
use crate::evaluate::mistake::Mistake;

/// Name of the file of what is usual, unless the settings name another.
pub const LEARNED: &str = "learned.json";

/// What the file says is usual; `None` before it is written.
pub(super) fn read<T: DeserializeOwned>(source: &Source<'_>, file: &str, remedy: &str) -> Result<Option<T>, Mistake> {
    let Some(text) = source.folder.file(file) else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|error| Mistake {
        line: Some(error.line()),
        ..source.folder.mistake(file, &error.to_string(), remedy)
    })
}

/// What is wrong with how many times beyond the usual is far.
pub(super) fn mistake_of_times(source: &Source<'_>, times: f64) -> Option<Mistake> {
    let is_right = times.is_finite() && times > 1.0;
    (!is_right).then(|| source.mistake("times", &format!("times is {times}"), "set it above 1"))
}

/// Quantiles of values, each with the weight of its run: the first value up to which so large a share of all weight lies.
pub(super) fn quantiles<const N: usize>(mut values: Vec<(f64, f64)>, shares: [f64; N]) -> [f64; N] {
    values.sort_unstable_by(|(left, _), (right, _)| left.total_cmp(right));
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    shares.map(|share| {
        let mut sum = 0.0;
        let reaches = |(_, own): &&(f64, f64)| {
            sum += own;
            sum >= share * total
        };
        values.iter().find(reaches).or(values.last()).map_or(0.0, |(value, _)| *value)
    })
}
