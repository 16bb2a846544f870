//! What is left of the error budgets of services.

use serde::{Deserialize, Serialize};

use super::{QueryError, Store, compute};
use crate::domain::time::Timestamp;
use crate::watch::rules::{ErrorBudget, Objective, RuleState};

/// The error budgets of all services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objectives {
    /// Least left first.
    pub objectives: Vec<ErrorBudget>,
}

/// What the watch keeps of a service, as far as its rules are concerned.
#[derive(Deserialize)]
struct Kept {
    #[serde(default)]
    rules: RuleState,
}

/// What is left of each objective's error budget, in every service that is watched.
///
/// # Errors
/// The store failed.
pub async fn objectives(store: &Store, objectives: &[Objective], now: Timestamp) -> Result<Objectives, QueryError> {
    if objectives.is_empty() {
        return Ok(Objectives { objectives: Vec::new() });
    }
    let (states, objectives) = (store.rule_states().await?, objectives.to_vec());
    compute(move || left(&states, &objectives, now)).await
}

fn left(states: &[(String, String)], objectives: &[Objective], now: Timestamp) -> Objectives {
    let mut found = Vec::new();
    for (service, state) in states {
        // What another version has written, the watch begins anew.
        let Ok(Kept { rules }) = serde_json::from_str(state) else { continue };
        found.extend(rules.error_budgets(service, objectives, now));
    }
    found.sort_by(|one, other| one.remaining.total_cmp(&other.remaining));
    Objectives { objectives: found }
}
