//! Bearer tokens that somebody else vouches for: the Kubernetes API for those
//! of ServiceAccounts, an issuer's signature for JSON Web Tokens.
//!
//! A token is looked at once, when it is shown; what is kept of it is what was
//! vouched for, never the token.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use opamp_operator_api::values::{Identity, IdentityMethod};

use super::Fingerprint;

/// What was found out about a connection's bearer token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bearer {
    /// There is none, or nobody vouches for it.
    #[default]
    Nobody,
    /// Whoever could vouch for it has not been heard.
    NotYet,
    /// Somebody vouches for it.
    Vouched(Arc<Vouched>),
}

/// What somebody vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Whom the token proves.
    pub identity: Identity,
    /// By whose word.
    pub by: Voucher,
    /// End of the token.
    pub expires: Option<Timestamp>,
    /// What the word says of the agent, by attribute key. An agent that claims
    /// something else of itself is refused.
    pub attributes: BTreeMap<String, String>,
}

/// Whose word it is, and what would take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// The Kubernetes API.
    Kubernetes {
        /// `metadata.uid` of the ServiceAccount.
        uid: String,
        /// The Pod to which the token is bound.
        pod: Option<Bound>,
    },
    /// An issuer's key.
    Key(Fingerprint),
}

/// The object that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bound {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// A ServiceAccount as a TokenReview tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`.
    pub uid: String,
    /// The Pod to which the token is bound.
    pub pod: Option<Bound>,
    /// Name of the node that the Pod runs on.
    pub node: Option<String>,
    /// End of the token.
    pub expires: Option<Timestamp>,
}

impl ServiceAccount {
    /// What the Kubernetes API vouches for, to an authenticator.
    #[must_use]
    pub fn vouched(self, authenticator: &str) -> Vouched {
        let named = [
            ("k8s.namespace.name", Some(self.namespace.clone())),
            ("k8s.serviceaccount.name", Some(self.name.clone())),
            ("k8s.pod.name", self.pod.as_ref().map(|p| p.name.clone())),
            ("k8s.pod.uid", self.pod.as_ref().map(|p| p.uid.clone())),
            ("k8s.node.name", self.node),
        ];
        let attribute = |(key, value): (&str, Option<String>)| Some((key.to_owned(), value?));
        Vouched {
            identity: Identity {
                namespace: self.namespace,
                method: IdentityMethod::ServiceAccount,
                authenticator: authenticator.to_owned(),
                subject: self.name,
            },
            by: Voucher::Kubernetes {
                uid: self.uid,
                pod: self.pod,
            },
            expires: self.expires,
            attributes: named.into_iter().filter_map(attribute).collect(),
        }
    }
}

/// What to do about a connection's bearer token before it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Nothing more can be found out.
    Known(Bearer),
    /// Ask the Kubernetes API whose token it is, for this audience.
    Ask {
        /// The authenticator that wants to know.
        authenticator: String,
        /// The only audience that will do.
        audience: String,
        /// What holds if it is nobody's whom that API knows: another issuer may
        /// give out tokens for the same audience.
        otherwise: Bearer,
    },
}
