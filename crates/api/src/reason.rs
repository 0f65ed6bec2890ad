//! One word for every outcome. A `Reason` is condition reason and event reason
//! at once; what it means is said where it is declared, and what to do about it
//! in [`remedies`]. `docs/conditions.md` is made of both.

mod remedies;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use remedies::Shown;

/// Declares an enum whose variants are their own words on the wire.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
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

            /// What is meant by a word.
            #[must_use]
            pub fn of(word: &str) -> Option<Self> {
                let mut all = Self::ALL.iter().copied();
                all.find(|known| known.as_str() == word)
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_start(),)+
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
        /// Agents that took the settings could not come back to this operator.
        WouldLockOut,
        /// The spec contradicts itself or cannot be understood.
        InvalidSpec,
        /// A Secret that the profile names does not exist.
        SecretNotFound,
        /// A `ConfigMap` that the profile names does not exist.
        ConfigMapNotFound,
        /// An object lacks the key that the profile names.
        KeyMissing,
        /// What should be PEM is not.
        InvalidPEM,
        /// A private key does not belong to its certificate.
        KeyMismatch,
        /// Certificates do not form a chain.
        BadChain,
        /// A certificate may not be used for this purpose.
        WrongKeyUsage,
        /// A Secret lacks the label by which its owner allows to offer it.
        SecretNotOptedIn,
        /// A Secret is of a type that is never offered.
        SecretTypeRefused,
        /// The operator may not read an object.
        Forbidden,
        /// A header value has characters that HTTP does not allow.
        InvalidHeaderValue,
        /// The settings are larger than an offer may be.
        OfferTooLarge,
        /// A certificate is past its end, so nothing new is offered.
        Expired,
        /// A certificate is before its start, so it is not offered yet.
        NotYetValid,
        /// A certificate is the placeholder that cert-manager stores until the
        /// issuer has answered.
        TemporaryCertificate,
        /// A certificate ends soon: it is in its last week, or its last tenth.
        ExpiringSoon,
        /// The operator's new serving certificate would be refused by agents.
        ServingCertificateHeldBack,
        /// The profile is paused.
        Paused,
        /// Every capable agent that is here runs the revision in force.
        Complete,
        /// Agents are being offered the revision.
        RolloutInProgress,
        /// The first agent did not prove in time that it runs the revision. Nobody
        /// else is touched.
        Halted,
        /// No capable agent uses the profile.
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
        /// The key behind markers is gone while revisions exist, so nothing is
        /// offered.
        HashKeyLost,
        /// Agents reported that the settings do not work for them.
        AgentsFailed,
        /// Agents left after they were offered the settings, and did not come
        /// back: perhaps they cannot.
        AgentsLost,
        /// Agents were offered settings too often, whatever these were.
        OffersExhausted,
        /// A new revision is in force.
        RevisionCreated,
        /// No other profile selects the same agents.
        NoOverlap,
        /// Agents of this profile are selected by others too, which give way.
        TakesPrecedence,
        /// Agents that this profile selects have another one, which takes
        /// precedence.
        Overridden,
        /// Agents changed from another profile that selects them to this one,
        /// which takes precedence.
        ProfileTookOver,
    }
}

words! {
    /// The conditions of a profile.
    ConditionType {
        /// Summary: every capable agent that uses the profile and is here runs the
        /// revision in force, and the newest version of the profile is that.
        Ready,
        /// The spec is understood and allowed.
        Accepted,
        /// Every reference was found and understood.
        ResolvedRefs,
        /// Nothing that is offered is expired.
        CredentialsValid,
        /// Agents are on their way to the current revision.
        Progressing,
        /// Other profiles select agents that this one selects too. That need not
        /// be wrong: a profile for all and one for some overlap.
        Overlapping,
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

    #[test]
    fn every_word_is_explained() {
        for reason in Reason::ALL {
            for text in [reason.meaning(), reason.remedy()] {
                assert!(
                    text.ends_with('.') && !text.contains("  "),
                    "{reason}: {text}"
                );
            }
        }
        let said = Reason::WouldLockOut.meaning();
        assert_eq!(
            said,
            "Agents that took the settings could not come back to this operator."
        );
    }
}
