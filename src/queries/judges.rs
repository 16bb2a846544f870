//! How far each judge can be relied on: what it makes of its control questions.

use serde::{Deserialize, Serialize};

use super::QueryError;
use super::judge_revisions::{JudgeRevision, judge_revisions};
use crate::backends::store::{JudgeControls, Store};
use crate::domain::time::Timestamp;
use crate::evaluate::accuracy::Share;
use crate::evaluate::control::{Catches, LEAST_CATCH_RATE, WINDOW_DAYS};
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::run::Evaluators;

/// The judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judges {
    /// Days whose control questions are counted, today included.
    pub days: i64,
    /// A judge that certainly catches less is in doubt.
    pub least_catch_rate: f64,
    /// Each judge that is loaded, and revisions of the past, also of models of the past, that were asked within these days, by name.
    pub judges: Vec<JudgeState>,
}

/// One revision of a judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeState {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Whether it is the revision that judges now: the loaded one, of the model that last answered.
    pub current: bool,
    /// Its control questions, and how they were answered.
    #[serde(flatten)]
    pub catches: Catches,
    /// Share of them that it caught; absent before the first answer.
    pub catch_rate: Option<Share>,
    /// Whether it certainly catches less than it should.
    pub in_doubt: bool,
}

/// Answers for every judge.
///
/// # Errors
/// The store failed.
pub async fn judges(store: &Store, evaluators: &Evaluators, now: Timestamp) -> Result<Judges, QueryError> {
    let counted = store.controls(WINDOW_DAYS, now).await?;
    let is_judge = |behaviour: &Behaviour| matches!(behaviour, Behaviour::Judge(_));
    let loaded = evaluators.definitions().iter().filter(|definition| is_judge(&definition.behaviour));
    let seen = judge_revisions(store, evaluators).await?;
    let mut judges: Vec<JudgeState> =
        loaded.map(|it| state(&it.name, current(it, &seen), Catches::default(), true)).collect();
    for JudgeControls { evaluator, revision, caught, missed } in counted {
        let at = judges.iter().position(|judge| judge.evaluator == evaluator && judge.revision == revision);
        let of_this = state(&evaluator, &revision, Catches { caught, missed }, at.is_some());
        match at {
            Some(at) => judges[at] = of_this,
            None => judges.push(of_this),
        }
    }
    judges.sort_by(|left, right| (&left.evaluator, right.current).cmp(&(&right.evaluator, left.current)));
    Ok(Judges { days: WINDOW_DAYS, least_catch_rate: LEAST_CATCH_RATE, judges })
}

/// The names of the judges that are loaded.
pub(super) fn loaded_judges(evaluators: &Evaluators) -> impl Iterator<Item = String> {
    let is_judge = |it: &&EvaluatorDefinition| matches!(it.behaviour, Behaviour::Judge(_));
    evaluators.definitions().iter().filter(is_judge).map(|it| it.name.clone())
}

/// The revision of the model that last answered, and the definition's own before any did.
fn current<'a>(definition: &'a EvaluatorDefinition, seen: &'a [JudgeRevision]) -> &'a str {
    let of_this = seen.iter().filter(|it| it.evaluator == definition.name);
    of_this.max_by_key(|it| it.last_seen_at).map_or(&definition.revision, |it| &it.revision)
}

fn state(evaluator: &str, revision: &str, catches: Catches, current: bool) -> JudgeState {
    JudgeState {
        evaluator: evaluator.to_owned(),
        revision: revision.to_owned(),
        current,
        catches,
        catch_rate: catches.rate(),
        in_doubt: catches.is_in_doubt(),
    }
}
