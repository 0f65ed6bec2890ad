//! The operator's own objects: authenticators from Secrets and bundles.

use opamp_operator_api::values::{ObjectKind, ObjectRef};

use crate::{
    Now,
    identity::{Authenticator, Fingerprint},
    offer::{Bundle, Observed},
};

/// An authenticator of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorSource {
    /// As configured.
    pub name: String,
    /// What it reads.
    pub object: ObjectRef,
    /// How it judges.
    pub kind: SourceKind,
}

/// How an authenticator judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Tokens under `token` and `token-*`; the home namespace is the Secret's.
    AgentToken,
    /// Certificates under the CAs in `key`.
    ClientCertificate {
        /// Key of the object that holds the bundle.
        key: String,
        /// Home namespace of the holders.
        namespace: String,
    },
}

/// Shortest token that is accepted: shorter ones can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Builds an authenticator from what is known of its object. The second value
/// says what is wrong with the object, for the log; a broken object admits
/// nobody and refuses nobody else.
#[must_use]
pub fn authenticator(
    source: &AuthenticatorSource,
    observed: &Observed,
    now: Now,
) -> (Authenticator, Option<String>) {
    let object = match observed {
        Observed::Pending => {
            return (
                Authenticator::Unknown {
                    name: source.name.clone(),
                },
                None,
            );
        }
        Observed::Forbidden(remedy) => {
            let problem = format!("{} may not be read: {remedy}", source.object);
            return (
                Authenticator::Unknown {
                    name: source.name.clone(),
                },
                Some(problem),
            );
        }
        Observed::Absent => None,
        Observed::Present(object) => Some(object),
    };
    let absent = || {
        object
            .is_none()
            .then(|| format!("{} does not exist", source.object))
    };
    match &source.kind {
        SourceKind::AgentToken => {
            let mut problem = absent();
            let mut tokens = std::collections::BTreeSet::new();
            let values = object.into_iter().flat_map(|object| &object.data);
            for (key, value) in
                values.filter(|(key, _)| *key == "token" || key.starts_with("token-"))
            {
                if value.len() < MIN_TOKEN_BYTES || !value.iter().all(u8::is_ascii_graphic) {
                    problem = Some(format!(
                        "key `{key}` of {} is not a token: it needs {MIN_TOKEN_BYTES} or more visible ASCII characters and no line break",
                        source.object
                    ));
                    continue;
                }
                tokens.insert(Fingerprint::of_authorization(
                    &[b"Bearer ", value.as_slice()].concat(),
                ));
            }
            let token = Authenticator::Token {
                name: source.name.clone(),
                namespace: source.object.namespace.clone(),
                secret: source.object.name.clone(),
                tokens,
            };
            (token, problem)
        }
        SourceKind::ClientCertificate { key, namespace } => {
            let nobody = Authenticator::Certificate {
                name: source.name.clone(),
                namespace: namespace.clone(),
                verifier: None,
            };
            let Some(pem) = object.and_then(|object| object.get(key)) else {
                let missing = format!("{} has no key `{key}`", source.object);
                return (nobody, absent().or(Some(missing)));
            };
            let built = Bundle::read(pem, key, now)
                .map_err(|error| error.to_string())
                .and_then(|bundle| {
                    Authenticator::certificate(&source.name, namespace, &bundle.certificates)
                        .map_err(|error| error.to_string())
                });
            match built {
                Ok(authenticator) => (authenticator, None),
                Err(error) => (nobody, Some(format!("{}: {error}", source.object))),
            }
        }
    }
}

/// The reference to a Secret.
#[must_use]
pub fn secret(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        kind: ObjectKind::Secret,
        namespace: namespace.into(),
        name: name.into(),
    }
}
