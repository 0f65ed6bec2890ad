//! From a request's credentials to who it is: 401 when everybody who could
//! judge said no, 503 when somebody has not been heard.

use std::sync::Arc;

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use opamp_operator_api::MARKER_HEADER;
use opamp_operator_core::identity::{Presented, Proof, Verdict};
use rustls_pki_types::CertificateDer;

use crate::hub::Hub;

/// The client's certificates, as the handshake showed them.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerChain(pub(super) Arc<[CertificateDer<'static>]>);

/// Judges a request. The refusal is ready to be sent.
pub(super) fn authenticate(
    hub: &Hub,
    peer: &PeerChain,
    headers: &HeaderMap,
) -> Result<(Presented, Verdict), Box<Response>> {
    let bytes = |name: &str| headers.get(name).map(axum::http::HeaderValue::as_bytes);
    let presented = Presented::new(
        peer.0.to_vec(),
        bytes(header::AUTHORIZATION.as_str()),
        bytes(MARKER_HEADER),
    );
    let trust = hub.trust.borrow().clone();
    let proof = trust.map_or(Proof::NotYet, |trust| {
        trust.verify(&presented, hub.clock.now())
    });
    match proof {
        Proof::Proved(verdict) => Ok((presented, verdict)),
        Proof::NotYet => Err(Box::new(unavailable("not ready to judge credentials yet"))),
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

/// 503, to be tried again after a jittered half minute (spec section "Throttling").
pub(super) fn unavailable(why: &'static str) -> Response {
    let mut random = [0; 1];
    // Without randomness all come back at once; the answer stays right.
    let _ = getrandom::fill(&mut random);
    let seconds = 30 + u32::from(random[0]) % 30;
    let retry = [(header::RETRY_AFTER, seconds.to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{why}\n")).into_response()
}
