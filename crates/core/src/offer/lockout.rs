//! Would it lock them out? The last question before a revision is published.
//!
//! No agent in the field comes back from settings that do not work
//! (agents.md H10), so we try them against ourselves first: with the offered
//! trust an agent must be able to verify our serving chain for the offered
//! host, and with what it is offered it must be admitted.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use opamp_operator_api::{
    v1alpha1::{Compatibility, ServedBy, TLSVersion},
    values::ProfileKey,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use url::Url;
use x509_parser::{
    extensions::GeneralName,
    oid_registry::OID_PKCS1_RSAENCRYPTION,
    prelude::{FromDer as _, X509Certificate},
};

use super::{
    Context, Revision, TlsLimits,
    connection::Roots,
    encode::Plan,
    material::{MaterialError, pair},
    revision::{Credential, ServerTrust, TrustRoots},
};
use crate::{
    Now,
    identity::{Bearer, Presented, Proof, Trust},
};

/// Our own side of a connection: what agents will have to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// DER, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its end.
    pub not_after: Timestamp,
}

/// A serving certificate that cannot be used.
pub type ServingError = MaterialError;

impl Serving {
    /// Reads the serving Secret's certificate; the key is only compared.
    ///
    /// # Errors
    /// As for any pair, with the same words.
    pub fn read(crt: &[u8], key: &[u8], now: Now) -> Result<Self, ServingError> {
        pair(crt, key, now).map(|(chain, _, validity)| Self {
            chain,
            not_after: validity.not_after,
        })
    }

    /// The hosts that its leaf names, as they stand in a URL.
    fn names(&self) -> Vec<String> {
        let leaf = self.chain.first().map(|der| X509Certificate::from_der(der));
        let Some(Ok((_, leaf))) = leaf else {
            return Vec::new();
        };
        let names = leaf.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice());
        let host = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                    Some(Ipv4Addr::from(v4).to_string())
                } else {
                    let v6 = <[u8; 16]>::try_from(*bytes).ok()?;
                    Some(format!("[{}]", Ipv6Addr::from(v6)))
                }
            }
            _ => None,
        };
        names.into_iter().flatten().filter_map(host).collect()
    }

    fn is_rsa(&self) -> bool {
        let leaf = self.chain.first().and_then(|der| {
            let (_, leaf) = X509Certificate::from_der(der).ok()?;
            Some(leaf.public_key().algorithm.algorithm == OID_PKCS1_RSAENCRYPTION)
        });
        leaf == Some(true)
    }
}

/// Says why agents that take `plan` could not come back.
pub(super) fn check(
    plan: &Plan,
    served_by: ServedBy,
    credential: &Credential,
    context: &Context<'_>,
    now: Now,
) -> Result<(), String> {
    let connection = &plan.connection;
    let blind = connection.tls && matches!(connection.roots, Roots::None);
    if blind && connection.client.is_some() && plan.compatibility == Compatibility::Universal {
        return Err(
            "an OpAMP Supervisor that gets a client certificate verifies its server all the same: \
             set `compatibility: Strict`, or take `insecureSkipVerify` back"
                .into(),
        );
    }
    if served_by == ServedBy::External {
        if is_ours(&plan.endpoint, context) {
            return Err(
                "`endpoint` is this operator's own, so agents would come back, with what it then admits nobody by: \
                 set `servedBy: Operator`, or the endpoint of the other server"
                    .into(),
            );
        }
        // Nobody here can say what that server takes.
        return Ok(());
    }
    if !plan.connection.tls {
        return Err(format!(
            "`endpoint` is {}:// but this operator serves TLS only: use wss:// or https://",
            plan.endpoint.scheme()
        ));
    }
    if plan.endpoint.path() != context.path {
        return Err(format!(
            "the path of `endpoint` is `{}` but this operator serves OpAMP at `{}`",
            plan.endpoint.path(),
            context.path
        ));
    }
    let Some(serving) = context.serving else {
        return Err("this operator has no usable serving certificate yet: see its log".into());
    };
    verify_serving(&plan.trust(), serving, now)?;
    admitted(plan, credential, context.trust, now)
}

/// Whether this leads to ourselves: to our own port and path, by whatever
/// scheme, at our own host or another name of our serving certificate. A
/// wildcard there may be for others as well.
fn is_ours(endpoint: &Url, context: &Context<'_>) -> bool {
    let ours = context.advertised_url;
    let same = endpoint.port_or_known_default() == ours.port_or_known_default()
        && endpoint.path() == ours.path();
    let host = endpoint.host_str().unwrap_or_default();
    let named = || {
        let names = context.serving.map(Serving::names).unwrap_or_default();
        names.iter().any(|name| name.eq_ignore_ascii_case(host))
    };
    same && (endpoint.host() == ours.host() || named())
}

/// Why a new serving certificate does not go into use yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// The profiles whose agents could not verify it, with what to do.
    pub profiles: BTreeMap<ProfileKey, String>,
    /// When it goes into use all the same, since the old one ends.
    pub until: Timestamp,
}

/// This long before the old serving certificate ends the new one goes into use
/// whoever cannot verify it: after the end nobody could.
const LAST_MOMENT: SignedDuration = SignedDuration::from_hours(1);

/// Must `new` wait? `running` are the revisions that agents are known to run,
/// or to be on their way to.
#[must_use]
pub fn hold_back<'a>(
    old: &Serving,
    new: &Serving,
    running: impl IntoIterator<Item = &'a Revision>,
    now: Now,
) -> Option<HeldBack> {
    let until = old.not_after - LAST_MOMENT;
    if until <= now.wall {
        return None;
    }
    let refuses = |revision: &Revision| {
        let trust = revision.server_trust();
        // Whoever cannot verify the old one either is not helped by waiting.
        let worse = !revision.is_external()
            && verify_serving(trust, new, now).is_err()
            && verify_serving(trust, old, now).is_ok();
        let message = format!(
            "the operator's new serving certificate is held back until {until}: agents of revision {} could not \
             verify it for host `{}`; put its CA into the profile's CA bundle beside the old one and wait until the \
             agents run that",
            revision.number(),
            trust.endpoint.host_str().unwrap_or_default()
        );
        worse.then(|| (revision.profile().clone(), message))
    };
    let profiles: BTreeMap<_, _> = running.into_iter().filter_map(refuses).collect();
    (!profiles.is_empty()).then_some(HeldBack { profiles, until })
}

fn verify_serving(trusted: &ServerTrust, serving: &Serving, now: Now) -> Result<(), String> {
    speaks(&trusted.limits, serving)?;
    let mut roots = RootCertStore::empty();
    let trust = match &trusted.roots {
        TrustRoots::Anything => return Ok(()),
        TrustRoots::Bundle(bundle) => {
            roots.add_parsable_certificates(bundle.iter().cloned());
            "`tls.caBundleRef`"
        }
        TrustRoots::System => {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            "the system's CAs"
        }
    };
    let unusable =
        |error: &dyn std::fmt::Display| format!("{trust} cannot verify anything: {error}");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(&error))?;
    let host = trusted.endpoint.host_str().unwrap_or_default();
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

/// With TLS 1.2 the suite names the kind of the server's key; with 1.3 any will
/// do. This operator speaks every suite and both versions.
fn speaks(limits: &TlsLimits, serving: &Serving) -> Result<(), String> {
    if limits.suites.is_empty() {
        return Ok(());
    }
    let key = if serving.is_rsa() { "RSA" } else { "ECDSA" };
    let with_key = format!("TLS_ECDHE_{key}_");
    let usable = |name: &str| {
        if name.starts_with("TLS_ECDHE_") {
            name.starts_with(&with_key) && limits.min != Some(TLSVersion::V1_3)
        } else {
            limits.max != Some(TLSVersion::V1_2)
        }
    };
    if limits.suites.iter().any(|suite| usable(suite.as_str())) {
        return Ok(());
    }
    Err(format!(
        "`tls` leaves agents no cipher suite that this operator could use with its {key} key: add to `cipherSuites` \
         one of TLS 1.3, or one that begins with {with_key}"
    ))
}

/// What lets agents come back, and be rotated.
const STRONGER: &str = "offer a client certificate, or a token of at least 128 bits (32 hexadecimal digits, or 22 \
     characters of base64)";

/// An offered certificate and a strong token will be recognised by the ledger;
/// anything else must prove somebody by the configuration.
fn admitted(plan: &Plan, credential: &Credential, trust: &Trust, now: Now) -> Result<(), String> {
    if credential.leaf.is_some() || (credential.authorization.is_some() && credential.strong) {
        return Ok(());
    }
    if credential.authorization.is_some() {
        // The old value would be nobody's as soon as it is replaced, and an
        // agent that polls could not come to be offered the new one.
        return Err(format!(
            "the token of the `Authorization` header could not be rotated safely: {STRONGER}"
        ));
    }
    let presented = Presented {
        chain: plan
            .connection
            .client
            .as_ref()
            .map(|client| client.chain.clone())
            .unwrap_or_default(),
        leaf: credential.leaf,
        authorization: credential.authorization,
        marker: None,
    };
    match trust.verify(&presented, &Bearer::Nobody, now) {
        Proof::Proved(verdict) if verdict.anonymous.is_none() => Ok(()),
        _ => Err(format!(
            "agents would come back with nothing this operator admits: {STRONGER}"
        )),
    }
}
