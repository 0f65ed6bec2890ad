//! Metrics, for whoever scrapes them: they name profiles and no agent.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{Admin, TURN};
use crate::metrics::Form;

/// One page at a time, whoever asks.
pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let Ok(Ok(turn)) = timeout(TURN, admin.scrapes.acquire_owned()).await else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "others scrape: try again\n",
        )
            .into_response();
    };
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let form = Form::accepted(accept);
    // It looks at all agents, and files of the system.
    let making = move || {
        let page = admin.metrics.page(form);
        drop(turn);
        page
    };
    match tokio::task::spawn_blocking(making).await {
        Ok(Ok(page)) => ([(header::CONTENT_TYPE, form.content_type())], page).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
