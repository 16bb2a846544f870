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
    let mut revision = hex::encode(digest(&SHA256, text.as_bytes()));
    revision.truncate(12);
    revision
}
