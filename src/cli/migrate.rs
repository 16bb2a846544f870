//! `driftline migrate`: brings the configured store's schema up to date, and nothing else.

use super::Context;
use super::failure::{Exit, Failure, chain};
use super::output::Output;
use crate::backends::store::Store;

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    let url = context.settings()?.store.url;
    let failed = |error| Failure::CouldNot(chain(&error));
    let store = Store::open(&url, false).await.map_err(failed)?;
    let version = store.schema_version().await.map_err(failed)?;
    store.close().await;
    let mut output = Output::new();
    if context.json {
        output.json(&serde_json::json!({ "schema_version": version }))?;
    } else {
        output.line(&format!("the store has schema version {version}, the newest that this program knows"))?;
    }
    output.finish()?;
    Ok(Exit::Done)
}
