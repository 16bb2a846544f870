//! `/api/v1/releases`: versions that were noticed, and what they changed.

use axum::Json;
use axum::extract::State;

use super::WebState;
use super::api::Answer;
use super::error::WebError;
use super::parameters::Parameters;
use crate::queries::releases::{
    DEFAULT_WINDOW, ReleaseComparison, ReleaseComparisonRequest, ReleaseDetail, ReleaseFilter, ReleaseName, Releases,
};
use crate::queries::releases::{compare as compare_releases, release as one_release, releases as list_releases};

pub(super) async fn releases(State(state): State<WebState>, mut parameters: Parameters) -> Answer<Releases> {
    let filter = ReleaseFilter {
        service: parameters.take("service"),
        unsettled: parameters.parse("unsettled", "true or false")?.unwrap_or(false),
    };
    parameters.finish()?;
    Ok(Json(list_releases(&state.store, &filter).await?))
}

pub(super) async fn release(State(state): State<WebState>, mut parameters: Parameters) -> Answer<ReleaseDetail> {
    let name = name(&mut parameters, "version")?;
    parameters.finish()?;
    Ok(Json(one_release(&state.store, &name).await?))
}

pub(super) async fn compare(State(state): State<WebState>, mut parameters: Parameters) -> Answer<ReleaseComparison> {
    let request = comparison_request(&mut parameters)?;
    parameters.finish()?;
    Ok(Json(compare_releases(&state.store, &request).await?))
}

/// Which two releases are meant.
pub(super) fn comparison_request(parameters: &mut Parameters) -> Result<ReleaseComparisonRequest, WebError> {
    Ok(ReleaseComparisonRequest {
        after: name(parameters, "to")?,
        before: parameters.take("from"),
        window: parameters
            .parse::<humantime::Duration>("window", "a duration such as 24h")?
            .map_or(DEFAULT_WINDOW, Into::into),
    })
}

fn name(parameters: &mut Parameters, version: &'static str) -> Result<ReleaseName, WebError> {
    Ok(ReleaseName {
        service: parameters.require("service")?,
        dimension: parameters.take("dimension"),
        value: parameters.require(version)?,
    })
}
