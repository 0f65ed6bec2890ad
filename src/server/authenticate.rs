//! From a request's credentials to who it is: 401 when everybody who could
//! judge said no, 503 when somebody has not been heard.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use opamp_operator_api::MARKER_HEADER;
use opamp_operator_core::identity::{Bearer, Inquiry, Presented, Proof};
use rustls_pki_types::CertificateDer;

use super::{metrics::Refused, shared::Shared, standing::Standing};
use crate::hub::{Gone, Hub};

/// The client's certificates, as the handshake showed them.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerChain(pub(super) Arc<[CertificateDer<'static>]>);

/// Judges a request. The refusal is ready to be sent.
pub(super) async fn authenticate(
    shared: &Shared,
    peer: &PeerChain,
    headers: &HeaderMap,
) -> Result<Standing, Box<Response>> {
    let bytes = |name: &str| headers.get(name).map(axum::http::HeaderValue::as_bytes);
    let authorization = bytes(header::AUTHORIZATION.as_str());
    let presented = Presented::new(peer.0.to_vec(), authorization, bytes(MARKER_HEADER));
    let hub = &shared.hub;
    // From here on whatever changes is news to the session.
    let judgement = hub.judgement.subscribe();
    let (bearer, gone) = inquire(hub, &presented, authorization).await;
    let trust = hub.trust.borrow().clone();
    let proof = trust.map_or(Proof::NotYet, |trust| {
        trust.verify(&presented, &bearer, hub.clock.now())
    });
    let nothing = presented.leaf.is_none() && presented.authorization.is_none();
    let (reason, why) = match proof {
        Proof::Proved(verdict) => {
            shared.metrics.proved(&verdict);
            return Ok(Standing::new(presented, verdict, judgement, gone));
        }
        Proof::NotYet => {
            shared.metrics.refused(Refused::NotReady);
            return Err(Box::new(unavailable(
                shared.refusal(),
                "not ready to judge credentials yet",
            )));
        }
        Proof::Refused => {
            let reason = if nothing {
                Refused::NoCredentials
            } else {
                Refused::UnknownCredentials
            };
            (reason, "the credentials prove nobody".to_owned())
        }
        Proof::Revoked(why) => (Refused::Revoked, why.to_string()),
    };
    shared.metrics.refused(reason);
    tracing::info!(
        certificate = presented.leaf.is_some(),
        authorization = presented.authorization.is_some(),
        why,
        "refused"
    );
    let refusal = (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, "Bearer")],
        "the credentials prove nobody: present a client certificate or a bearer token that this server knows\n",
    );
    Err(Box::new(refusal.into_response()))
}

/// Finds out what can be found out about the bearer token.
async fn inquire(
    hub: &Hub,
    presented: &Presented,
    authorization: Option<&[u8]>,
) -> (Bearer, Option<Gone>) {
    let trust = hub.trust.borrow().clone();
    let inquiry = trust.map(|trust| trust.inquire(presented, authorization, hub.clock.now()));
    let (authenticator, audience, otherwise) = match inquiry {
        None => return (Bearer::NotYet, None),
        Some(Inquiry::Known(bearer)) => return (bearer, None),
        Some(Inquiry::Ask {
            authenticator,
            audience,
            otherwise,
        }) => (authenticator, audience, otherwise),
    };
    let token = authorization
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|value| value.trim().split_once(' '));
    match (token, presented.authorization) {
        (Some((_, token)), Some(fingerprint)) => {
            let asked = hub
                .reviews
                .ask(&authenticator, &audience, token.trim(), fingerprint);
            match asked.await {
                (Bearer::Nobody, _) => (otherwise, None),
                said => said,
            }
        }
        _ => (Bearer::Nobody, None),
    }
}

/// 503, to be tried again later.
pub(super) fn unavailable(wait: Duration, why: &str) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, wait, why)
}

/// A refusal that says when to come back.
pub(super) fn refusal(status: StatusCode, wait: Duration, why: &str) -> Response {
    let retry = [(header::RETRY_AFTER, wait.as_secs().to_string())];
    (status, retry, format!("{why}\n")).into_response()
}
