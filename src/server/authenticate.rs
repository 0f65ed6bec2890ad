//! From a request's credentials to who it is: 401 when everybody who could
//! judge said no, 503 when somebody has not been heard.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use opamp_operator_api::MARKER_HEADER;
use opamp_operator_core::identity::{Presented, Proof, Verdict};
use rustls_pki_types::CertificateDer;

use super::shared::Shared;

/// The client's certificates, as the handshake showed them.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerChain(pub(super) Arc<[CertificateDer<'static>]>);

/// Judges a request. The refusal is ready to be sent.
pub(super) fn authenticate(
    shared: &Shared,
    peer: &PeerChain,
    headers: &HeaderMap,
) -> Result<(Presented, Verdict), Box<Response>> {
    let bytes = |name: &str| headers.get(name).map(axum::http::HeaderValue::as_bytes);
    let presented = Presented::new(
        peer.0.to_vec(),
        bytes(header::AUTHORIZATION.as_str()),
        bytes(MARKER_HEADER),
    );
    let hub = &shared.hub;
    let trust = hub.trust.borrow().clone();
    let proof = trust.map_or(Proof::NotYet, |trust| {
        trust.verify(&presented, hub.clock.now())
    });
    match proof {
        Proof::Proved(verdict) => Ok((presented, verdict)),
        Proof::NotYet => Err(Box::new(unavailable(
            shared.refusal(),
            "not ready to judge credentials yet",
        ))),
        Proof::Refused => {
            tracing::info!(
                certificate = presented.leaf.is_some(),
                authorization = presented.authorization.is_some(),
                "refused: the credentials prove nobody"
            );
            let refusal = (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, "Bearer")],
                "the credentials prove nobody: present a client certificate or a bearer token that this server knows\n",
            );
            Err(Box::new(refusal.into_response()))
        }
    }
}

/// 503, to be tried again later.
pub(super) fn unavailable(wait: Duration, why: &'static str) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, wait, why)
}

/// A refusal that says when to come back.
pub(super) fn refusal(status: StatusCode, wait: Duration, why: &'static str) -> Response {
    let retry = [(header::RETRY_AFTER, wait.as_secs().to_string())];
    (status, retry, format!("{why}\n")).into_response()
}
