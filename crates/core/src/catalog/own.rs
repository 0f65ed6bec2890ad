//! The operator's own objects: authenticators from Secrets and bundles.

use std::collections::BTreeSet;

use opamp_operator_api::values::ObjectRef;

use crate::{
    Now,
    identity::{Authenticator, Fingerprint},
    offer::{Bundle, Object, Observed},
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

/// What came of building an authenticator.
#[derive(Debug)]
pub enum Built {
    /// It can judge; perhaps a part of its object is broken.
    Usable(Authenticator, Option<String>),
    /// It cannot, as long as its object is as it is: nobody is refused on its
    /// account, and whoever knew it before keeps what was known.
    Unknown(Option<String>),
}

/// Builds an authenticator from what is known of its object. The texts say
/// what is wrong with the object, for the log.
#[must_use]
pub fn authenticator(source: &AuthenticatorSource, observed: &Observed, now: Now) -> Built {
    let object = match observed {
        Observed::Pending => return Built::Unknown(None),
        Observed::Forbidden(remedy) => {
            let problem = format!("{} may not be read: {remedy}", source.object);
            return Built::Unknown(Some(problem));
        }
        // Objects that are replaced are away for a moment.
        Observed::Absent => {
            return Built::Unknown(Some(format!("{} does not exist", source.object)));
        }
        Observed::Present(object) => object,
    };
    match &source.kind {
        SourceKind::AgentToken => tokens(source, object),
        SourceKind::ClientCertificate { key, namespace } => {
            match bundle(source, object, key, namespace, now) {
                Ok(authenticator) => Built::Usable(authenticator, None),
                Err(problem) => Built::Unknown(Some(format!("{}: {problem}", source.object))),
            }
        }
    }
}

fn tokens(source: &AuthenticatorSource, object: &Object) -> Built {
    let is_token = |key: &str| key == "token" || key.starts_with("token-");
    let (mut tokens, mut problem) = (BTreeSet::new(), None);
    for (key, value) in object.data.iter().filter(|(key, _)| is_token(key)) {
        if value.len() < MIN_TOKEN_BYTES || !value.iter().all(u8::is_ascii_graphic) {
            problem = Some(format!(
                "key `{key}` of {} is not a token: it needs {MIN_TOKEN_BYTES} or more visible ASCII characters and no line break",
                source.object
            ));
            continue;
        }
        let header = [b"Bearer ", value.as_slice()].concat();
        tokens.insert(Fingerprint::of_authorization(&header));
    }
    if tokens.is_empty() && problem.is_some() {
        return Built::Unknown(problem);
    }
    let authenticator = Authenticator::Token {
        name: source.name.clone(),
        namespace: source.object.namespace.clone(),
        secret: source.object.name.clone(),
        tokens,
    };
    Built::Usable(authenticator, problem)
}

fn bundle(
    source: &AuthenticatorSource,
    object: &Object,
    key: &str,
    namespace: &str,
    now: Now,
) -> Result<Authenticator, String> {
    let pem = object
        .get(key)
        .ok_or_else(|| format!("it has no key `{key}`"))?;
    let bundle = Bundle::read(pem, key, now).map_err(|error| error.to_string())?;
    Authenticator::certificate(&source.name, namespace, &bundle.certificates)
        .map_err(|error| error.to_string())
}
