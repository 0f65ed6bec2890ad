//! One word for every outcome. A `Reason` is condition reason and event reason
//! at once.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares an enum whose variants are their own words on the wire.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The CamelCase word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why something is as it is.
    Reason {
        /// Plaintext, or verification switched off, where policy does not allow it.
        InsecureNotAllowed,
        /// The operator's policy forbids the profile.
        PolicyDenied,
        /// Agents that took the settings could not come back.
        WouldLockOut,
        /// The spec contradicts itself or cannot be understood.
        InvalidSpec,
        /// A Secret does not exist.
        SecretNotFound,
        /// A `ConfigMap` does not exist.
        ConfigMapNotFound,
        /// An object lacks a key.
        KeyMissing,
        /// What should be PEM is not.
        InvalidPEM,
        /// A private key does not belong to its certificate.
        KeyMismatch,
        /// Certificates do not form a chain.
        BadChain,
        /// A certificate may not be used for this purpose.
        WrongKeyUsage,
        /// A Secret lacks the label that allows to offer it.
        SecretNotOptedIn,
        /// A Secret is of a type that is never offered.
        SecretTypeRefused,
        /// The operator may not read an object.
        Forbidden,
        /// A header value has characters that HTTP does not allow.
        InvalidHeaderValue,
        /// The settings are larger than an offer may be.
        OfferTooLarge,
        /// A certificate is past its end.
        Expired,
        /// A certificate is before its start.
        NotYetValid,
        /// A certificate is cert-manager's placeholder.
        TemporaryCertificate,
        /// A certificate ends soon.
        ExpiringSoon,
        /// The operator's new serving certificate would be refused by agents.
        ServingCertificateHeldBack,
        /// The profile is paused.
        Paused,
        /// Every agent has the revision.
        Complete,
        /// Agents are being offered the revision.
        RolloutInProgress,
        /// The first agent did not prove the revision in time.
        Halted,
        /// No agent uses the profile.
        NoAgents,
        /// Every reference was found and understood.
        Resolved,
        /// Every credential is valid.
        Valid,
        /// The spec is understood and allowed.
        Accepted,
        /// Verification is switched off, and policy allows it.
        InsecureAllowed,
        /// What is offered cannot be recorded, so nothing new is offered.
        LedgerUnavailable,
        /// The key behind markers is gone while revisions exist.
        HashKeyLost,
        /// Agents reported that the settings do not work for them.
        AgentsFailed,
        /// Agents were offered settings too often, whatever these were.
        OffersExhausted,
    }
}

words! {
    /// The conditions of a profile.
    ConditionType {
        /// Summary: every capable matched agent runs the current revision.
        Ready,
        /// The spec is understood and allowed.
        Accepted,
        /// Every reference was found and understood.
        ResolvedRefs,
        /// Nothing that is offered is expired.
        CredentialsValid,
        /// Agents are on their way to the current revision.
        Progressing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_everywhere() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert_eq!(reason.to_string(), reason.as_str());
        }
        for kind in ConditionType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
