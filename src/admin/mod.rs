//! Probes, in the clear and away from the OpAMP port.

use axum::{Router, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// Serves `/livez` and `/readyz` until `closing` is cancelled.
pub async fn serve(
    listener: TcpListener,
    ready: watch::Receiver<bool>,
    closing: CancellationToken,
) {
    let unready = closing.clone();
    let readyz = move || async move {
        if *ready.borrow() && !unready.is_cancelled() {
            (StatusCode::OK, "ok\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: serving certificate and first sync are awaited\n",
            )
        }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz));
    let serving = axum::serve(listener, router).with_graceful_shutdown(closing.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "probes ended");
    }
}
