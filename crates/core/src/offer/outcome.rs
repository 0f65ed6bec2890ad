//! What became of a profile: the values around [`super::resolve`].

use jiff::{SignedDuration, Timestamp};
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    values::ObjectRef,
};

use super::{Draft, Serving};
use crate::{
    Now,
    identity::{KeyRing, Trust},
};

/// What resolving needs beside the profile and its objects.
pub struct Context<'a> {
    /// For profiles without an endpoint.
    pub advertised_url: &'a url::Url,
    /// Where we serve OpAMP.
    pub path: &'a str,
    /// Our own serving chain, once there is one.
    pub serving: Option<&'a Serving>,
    /// Who would be admitted.
    pub trust: &'a Trust,
    /// Signs markers.
    pub keys: &'a KeyRing,
}

/// Why a profile has no usable settings: becomes a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which condition is false for it.
    pub condition: ConditionType,
    /// One word.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
}

/// What became of a profile.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Something it names has not been heard of: changes nothing.
    Pending,
    /// The last good revision stays in force.
    Unresolved(Refusal),
    /// Fit to be published.
    Resolved(Box<Draft>),
}

/// What the status shows of a referenced object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceState {
    /// Which.
    pub object: ObjectRef,
    /// The version that was read.
    pub resource_version: Option<String>,
    /// Validity of the certificate in it.
    pub validity: Option<Validity>,
}

/// An outcome and until when it holds.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The answer.
    pub outcome: Outcome,
    /// What is wrong beside OpAMP, and keeps nothing of that back.
    pub beside: Vec<Refusal>,
    /// All referenced objects.
    pub references: Vec<ReferenceState>,
    /// When time alone may change the answer.
    pub until: Option<Timestamp>,
}

pub(super) enum Stop {
    Pending,
    Refused(Refusal),
}

pub(super) fn refused(
    condition: ConditionType,
    reason: Reason,
    message: impl Into<String>,
) -> Stop {
    Stop::Refused(Refusal {
        condition,
        reason,
        message: message.into(),
    })
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its beginning.
    pub not_before: Timestamp,
    /// Its end.
    pub not_after: Timestamp,
}

/// A certificate of usual length ends soon in its last week: after cert-manager
/// should have renewed it.
const SOON: SignedDuration = SignedDuration::from_hours(24 * 7);

impl Validity {
    /// In its last week; a short one in its last tenth.
    #[must_use]
    pub(crate) fn ends_soon(&self, now: Now) -> bool {
        let lifetime = self.not_after.duration_since(self.not_before);
        self.not_after < now.wall + SOON.min(lifetime / 10)
    }
}
