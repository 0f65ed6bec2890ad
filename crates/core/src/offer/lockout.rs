//! Would it lock them out? The last question before a revision is published.
//!
//! No agent in the field comes back from settings that do not work
//! (agents.md H10), so we try them against ourselves first: with the offered
//! trust an agent must be able to verify our serving chain for the offered
//! host, and with what it is offered it must be admitted.

use std::{sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    encode::Plan,
    material::{ClientMaterial, MaterialError},
    revision::Credential,
};
use crate::{
    Now,
    identity::{Presented, Proof, Trust},
};

/// Our own side of a connection: what agents will have to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// DER, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// A serving certificate that cannot be used.
pub type ServingError = MaterialError;

impl Serving {
    /// Reads the serving Secret's certificate; the key is only compared.
    ///
    /// # Errors
    /// As for any pair, with the same words.
    pub fn read(crt: &[u8], key: &[u8], now: Now) -> Result<Self, ServingError> {
        ClientMaterial::read_server(crt, key, now).map(|chain| Self { chain })
    }
}

/// Says why agents that take `plan` could not come back.
pub(super) fn check(
    plan: &Plan,
    credential: &Credential,
    serving: Option<&Serving>,
    trust: &Trust,
    now: Now,
) -> Result<(), String> {
    if !plan.is_tls() {
        return Err(format!(
            "`endpoint` is {}:// but this operator serves TLS only: use wss:// or https://",
            plan.endpoint.scheme()
        ));
    }
    let Some(serving) = serving else {
        return Err("this operator has no usable serving certificate yet: see its log".into());
    };
    verify_serving(plan, serving, now)?;
    admitted(plan, credential, trust, now)
}

fn verify_serving(plan: &Plan, serving: &Serving, now: Now) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    match &plan.bundle {
        Some(bundle) => {
            roots.add_parsable_certificates(bundle.certificates.iter().cloned());
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let trust = if plan.bundle.is_some() {
        "`tls.caBundleRef`"
    } else {
        "the system's CAs"
    };
    let unusable =
        |error: &dyn std::fmt::Display| format!("{trust} cannot verify anything: {error}");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(&error))?;
    let host = plan.endpoint.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host).map_err(|_| {
        format!("the host `{host}` of `endpoint` is neither a DNS name nor an IP address")
    })?;
    let Some((leaf, rest)) = serving.chain.split_first() else {
        return Err("this operator has no serving certificate".into());
    };
    let seconds = u64::try_from(now.wall.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    verifier.verify_server_cert(leaf, rest, &name, &[], time).map(drop).map_err(|error| {
        format!(
            "agents could not verify this operator's own serving certificate for host `{host}` with {trust} \
             ({error}): keep the old CA in the bundle until the serving certificate is re-issued, \
             or correct `endpoint`"
        )
    })
}

/// An offered certificate and a strong token will be recognised by the ledger;
/// anything else must prove somebody by the configuration.
fn admitted(plan: &Plan, credential: &Credential, trust: &Trust, now: Now) -> Result<(), String> {
    if credential.leaf.is_some() || (credential.authorization.is_some() && credential.strong) {
        return Ok(());
    }
    let presented = Presented {
        chain: plan
            .client
            .as_ref()
            .map(|client| client.chain.clone())
            .unwrap_or_default(),
        leaf: credential.leaf,
        authorization: credential.authorization,
        marker: None,
    };
    match trust.verify(&presented, now) {
        Proof::Proved(_) => Ok(()),
        _ => Err("agents would come back with nothing this operator admits: offer a client certificate, \
                  or an `Authorization` header whose token has at least 128 bits (22 characters of base64)"
            .into()),
    }
}
