//! What makes two scores comparable: the hash of everything that changes a score, and of nothing else.

use ring::digest::{SHA256, digest};
use serde_json::json;

use super::kinds::Kind;
use crate::domain::judge::JudgeModelIdentity;

/// First 12 hexadecimal digits of the SHA-256 of kind, kind version, settings, prompt, policy and judge model.
///
/// Settings at their default, the description, severity, flag and cases are not in it.
pub(super) fn revision(kind: &Kind, canonical: &serde_json::Value, model: Option<&JudgeModelIdentity>) -> String {
    // serde_json keeps object keys sorted, so that equal definitions have equal texts.
    let text =
        json!({ "kind": kind.name, "version": kind.version, "definition": canonical, "model": model }).to_string();
    hashed(&text)
}

/// The revision of a judgement: the definition's own where the model that was asked for has answered, or one that does
/// not say which it is; else the hash of both, so that a model which the provider changes starts a new series.
#[must_use]
pub fn resolved(definition: &str, model: Option<&str>) -> String {
    model.map_or_else(
        || definition.to_owned(),
        |model| hashed(&json!({ "definition": definition, "model": model }).to_string()),
    )
}

fn hashed(text: &str) -> String {
    let mut revision = hex::encode(digest(&SHA256, text.as_bytes()));
    revision.truncate(12);
    revision
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_another_than_the_one_asked_for_is_another_revision() {
        let revisions = [None, Some("m-1"), Some("m-2")].map(|model| resolved("abc", model));
        assert_eq!(revisions[0], "abc");
        assert!(revisions[1] != revisions[0] && revisions[1] != revisions[2] && revisions[1].len() == 12);
        assert_ne!(resolved("abd", Some("m-1")), revisions[1]);
    }
}
