//! Where a reason is shown, and what to do about it.

use super::{ConditionType, Reason};
use crate::condition::ConditionStatus;

/// A condition and the status that it has with a reason.
pub type Shown = (ConditionType, ConditionStatus);

const NOTHING: &str = "Nothing.";

/// Refusals say why in their own condition and in `Ready`.
const NOT_ACCEPTED: &[Shown] = &[
    (ConditionType::Accepted, ConditionStatus::False),
    (ConditionType::Ready, ConditionStatus::False),
];
const NOT_RESOLVED: &[Shown] = &[
    (ConditionType::ResolvedRefs, ConditionStatus::False),
    (ConditionType::Ready, ConditionStatus::False),
];
const NOT_VALID: &[Shown] = &[
    (ConditionType::CredentialsValid, ConditionStatus::False),
    (ConditionType::Ready, ConditionStatus::False),
];
const NOT_READY: &[Shown] = &[(ConditionType::Ready, ConditionStatus::False)];
/// Nothing is on its way, and that is well.
const AT_REST: &[Shown] = &[
    (ConditionType::Ready, ConditionStatus::True),
    (ConditionType::Progressing, ConditionStatus::False),
];

impl Reason {
    /// The conditions that have this reason, each with its status. Conditions
    /// that are not judged because of it are `Unknown` with the same reason.
    #[must_use]
    pub fn shown(self) -> &'static [Shown] {
        self.entry().0
    }

    /// What to do.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.entry().1
    }

    #[expect(clippy::too_many_lines, reason = "a table: one entry after the other")]
    fn entry(self) -> (&'static [Shown], &'static str) {
        use ConditionStatus::{False, True, Unknown};
        use ConditionType::{
            Accepted, CredentialsValid, Overlapping, Progressing, Ready, ResolvedRefs,
        };
        match self {
            Self::InsecureNotAllowed => (
                NOT_ACCEPTED,
                "Give the endpoint the scheme wss or https, or take the credentials out of the profile; name a CA instead of `insecureSkipVerify`, or let the operator's configuration allow that (`policy.insecureSkipVerify`).",
            ),
            Self::PolicyDenied => (
                NOT_ACCEPTED,
                "Lower `priority`, or write the profile in an admin namespace.",
            ),
            Self::WouldLockOut => (
                NOT_ACCEPTED,
                "Correct what the message names: the host of `endpoint` must be in the operator's serving certificate, `caBundleRef` must verify that certificate, and what is offered must be a credential that the operator would admit.",
            ),
            Self::InvalidSpec => (
                NOT_ACCEPTED,
                "Correct the fields that the message names. The API server refuses such a profile when it is written, so this one is older than its definition.",
            ),
            Self::SecretNotFound => (
                NOT_RESOLVED,
                "Create the Secret in the profile's namespace, or correct its name in the profile.",
            ),
            Self::ConfigMapNotFound => (
                NOT_RESOLVED,
                "Create the ConfigMap in the profile's namespace, or correct its name in the profile.",
            ),
            Self::KeyMissing => (
                NOT_RESOLVED,
                "Store the key, or name in the profile one of those that the message lists.",
            ),
            Self::InvalidPEM => (
                NOT_RESOLVED,
                "Store PEM: certificates under `tls.crt` and in a bundle, one private key without a passphrase under `tls.key`.",
            ),
            Self::KeyMismatch => (
                NOT_RESOLVED,
                "Store certificate and key of one issuance, in one write of the Secret.",
            ),
            Self::BadChain => (
                NOT_RESOLVED,
                "Store the agent's own certificate first, then each issuer after the one that it signed.",
            ),
            Self::WrongKeyUsage => (
                NOT_RESOLVED,
                "Have the certificate issued for client authentication (cert-manager: `usages: [client auth, digital signature]`).",
            ),
            Self::SecretNotOptedIn => (
                NOT_RESOLVED,
                "If agents may have it, label it: `kubectl label secret NAME -n NAMESPACE opamp-operator.dev/offerable=true` (cert-manager: `secretTemplate.labels` of the Certificate).",
            ),
            Self::SecretTypeRefused => (
                NOT_RESOLVED,
                "Name another Secret: tokens of the cluster, Helm releases and bootstrap tokens of agents are never offered, and `caBundleRef` names no TLS Secret.",
            ),
            Self::Forbidden => (
                NOT_RESOLVED,
                "Run the command in the message: it gives the operator's ServiceAccount what it lacks. Nothing needs to be restarted.",
            ),
            Self::InvalidHeaderValue => (
                NOT_RESOLVED,
                "Store the value as the message says: visible ASCII characters, no line break at the end, at most 4096 bytes.",
            ),
            Self::OfferTooLarge => (
                NOT_ACCEPTED,
                "Shorten the CA bundle or the headers: one message must hold the settings.",
            ),
            Self::Expired => (
                NOT_VALID,
                "Renew the certificate. See why that did not happen by itself: `kubectl describe certificate`.",
            ),
            Self::NotYetValid => (
                NOT_VALID,
                "Wait: it is offered as soon as it is valid. If that is long, look at the clocks of the issuer and of the operator's node.",
            ),
            Self::TemporaryCertificate => (
                NOT_VALID,
                "Wait for the issuer. If that takes long, see `kubectl describe certificate` and its CertificateRequest.",
            ),
            Self::ExpiringSoon => (
                &[(CredentialsValid, True)],
                "See that it is renewed: cert-manager should have done so before (`kubectl describe certificate`).",
            ),
            Self::ServingCertificateHeldBack => (
                NOT_VALID,
                "Put the CA of the new serving certificate into the profile's bundle beside the old one. Do not restart the operator before that: it goes on with the old certificate, which only its memory has.",
            ),
            Self::Paused => (
                &[(Ready, False), (Progressing, Unknown)],
                "Set `spec.paused: false` when agents may be offered settings again.",
            ),
            Self::Complete | Self::NoAgents => (AT_REST, NOTHING),
            Self::RolloutInProgress => (
                &[(Ready, False), (Progressing, True)],
                "Wait. If it takes long, the message says how many agents are pending or on their way; `kubectl get opag` says which.",
            ),
            Self::Halted => (
                &[(Ready, False), (Progressing, False)],
                "Look at the log of the agent that the message names. Then mend the profile or what it names, which makes a new revision; or the agent: when it shows the settings, the revision goes to all.",
            ),
            Self::RevisionCreated => (&[], NOTHING),
            Self::NoOverlap => (&[(Overlapping, False)], NOTHING),
            Self::TakesPrecedence => (
                &[(Overlapping, True)],
                "Nothing, if it is meant so. Else narrow `agentSelector`, or lower `priority`.",
            ),
            Self::Overridden => (
                &[(Overlapping, True)],
                "Nothing, if it is meant so. Else raise `priority`, or have the profile that the message names select others.",
            ),
            Self::ProfileTookOver => (
                &[],
                "Nothing, if it is meant so. Else narrow `agentSelector`, or lower `priority`: the agents go back.",
            ),
            Self::Resolved => (&[(ResolvedRefs, True)], NOTHING),
            Self::Valid => (&[(CredentialsValid, True)], NOTHING),
            Self::Accepted => (&[(Accepted, True)], NOTHING),
            Self::InsecureAllowed => (
                &[(Accepted, True)],
                "Name a CA in `caBundleRef` and take `insecureSkipVerify` back: until then the agents give their credentials to whoever answers.",
            ),
            Self::LedgerUnavailable => (
                NOT_ACCEPTED,
                "Mend what the message says: a permission, the API server, or the state directory. It is tried again every few seconds.",
            ),
            Self::HashKeyLost => (
                NOT_ACCEPTED,
                "Restore the Secret or file with the key from a backup, or give up what it recognises, as the message says.",
            ),
            Self::AgentsFailed => (
                NOT_READY,
                "Look at the logs of these agents. They are offered the same settings again after 10 minutes, later less often; new settings at once.",
            ),
            Self::AgentsLost => (
                &[(Ready, False), (Progressing, False)],
                "See why these agents are away: their logs say whether they were stopped, or cannot connect with what they were offered. Who comes back is judged anew. An agent that is gone for good counts no more from the next revision on.",
            ),
            Self::OffersExhausted => (
                NOT_READY,
                "See in their logs why these agents come back without what they were offered: a configuration that overwrites it, or a disk that keeps nothing.",
            ),
        }
    }
}
