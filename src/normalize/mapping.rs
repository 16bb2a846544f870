//! Which attributes carry what a company calls tier, feature or invoice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names that traces can be searched and split by, each with the attributes that may carry it, best first.
///
/// Read from the settings' `[attributes]`: a name given there replaces its default, and new names are added. `user`
/// stands in for a user id that no convention knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Vec<String>>", into = "BTreeMap<String, Vec<String>>")]
pub struct AttributeMapping(BTreeMap<String, Vec<String>>);

const DEFAULTS: [(&str, &[&str]); 9] = [
    ("tier", &["user_tier", "user.tier", "customer.tier", "tier"]),
    ("user", &["user_id", "userId"]),
    ("organisation", &["org_id", "org.id", "organization.id", "organisation.id", "tenant.id"]),
    ("feature", &["feature_name", "feature.name", "app.feature", "feature"]),
    ("prompt_version", &["prompt_version", "prompt.version"]),
    ("invoice.id", &["invoice.id", "invoice_id"]),
    ("order.id", &["order.id", "order_id"]),
    ("customer.id", &["customer.id", "customer_id"]),
    ("ticket.id", &["ticket.id", "ticket_id"]),
];

impl AttributeMapping {
    /// Adds attributes that are asked for by their own key; a name that is there stays as it is.
    pub fn add_keys<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys {
            self.0.entry(key.to_owned()).or_insert_with(|| vec![key.to_owned()]);
        }
    }

    /// The names, each with the attributes that may carry it, best first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, keys)| (name.as_str(), keys.as_slice()))
    }
}

impl Default for AttributeMapping {
    fn default() -> Self {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Self(DEFAULTS.iter().map(|(name, keys)| ((*name).to_owned(), owned(keys))).collect())
    }
}

impl From<BTreeMap<String, Vec<String>>> for AttributeMapping {
    fn from(given: BTreeMap<String, Vec<String>>) -> Self {
        let mut mapping = Self::default();
        mapping.0.extend(given);
        mapping
    }
}

impl From<AttributeMapping> for BTreeMap<String, Vec<String>> {
    fn from(mapping: AttributeMapping) -> Self {
        mapping.0
    }
}
