//! Requests are counted before anything else is done about them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use super::{authenticate::unavailable, connection::Connection, shared::Shared, throttle::Empty};

/// Every request is one of the messages of its connection, whatever becomes of
/// it.
pub(super) async fn counted(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>();
    let Some((connection, Err(empty))) = connection.map(|it| (it, it.message())) else {
        return next.run(request).await;
    };
    if empty == Empty::Still {
        connection.end();
    }
    unavailable(shared.refusal(), "too many requests on this connection")
}
