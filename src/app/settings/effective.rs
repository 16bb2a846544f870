//! The settings that hold, each as a hash of its value: enough to tell which have changed, and nothing of what they are.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde_json::Value;

/// Digits of a hash that tell values apart.
const DIGITS: usize = 8;

/// Each setting by its whole key, with the hash of its value. A password in an address is no part of it: it would be
/// guessed from its hash.
pub(super) fn effective(settings: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), settings)];
    while let Some((key, value)) = open.pop() {
        match value {
            Value::Object(table) => {
                let within = |name: &String| if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                open.extend(table.iter().map(|(name, value)| (within(name), value)));
            }
            value => {
                found.insert(key, hashed(&without_passwords(&value.to_string())));
            }
        }
    }
    found
}

/// The keys that differ between two of these.
#[must_use]
pub fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    let mut changed: Vec<String> = keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect();
    changed.sort();
    changed
}

/// One hash over all of them.
#[must_use]
pub fn digest_of(effective: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = effective.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    hashed(&lines.concat())
}

fn hashed(text: &str) -> String {
    hex::encode(&digest(&SHA256, text.as_bytes()).as_ref()[..DIGITS])
}

/// Text without what stands between `://` and the last `@` after it.
fn without_passwords(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_is_named_by_its_key_and_nothing_tells_its_value() {
        let before = effective(&json!({ "store": { "url": "postgres://u:old@h/db" }, "watch": { "interval": "10s" } }));
        let after =
            effective(&json!({ "store": { "url": "postgres://u:old@h/db" }, "watch": { "interval": "5s" }, "x": 1 }));
        assert_eq!(changed(&before, &after), ["watch.interval", "x"]);
        assert_ne!(digest_of(&before), digest_of(&after));
        assert!(!format!("{before:?}").contains("10s"));
    }

    #[test]
    fn a_password_cannot_be_guessed_from_a_hash_that_does_not_know_it() {
        let of = |url: &str| effective(&json!({ "store": { "url": url } }));
        assert_eq!(of("postgres://u:one@host/db"), of("postgres://u:two@host/db"));
        assert_ne!(of("postgres://u:one@host/db"), of("postgres://u:one@other/db"));
    }
}
