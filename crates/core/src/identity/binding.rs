//! Whose an instance UID is: decides who is refused, never what anybody gets.

use jiff::Timestamp;
use opamp_operator_api::values::{Identity, ProfileKey};

use super::{Recognition, Verdict};

/// What a link may do under an instance UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The UID had no owner: this identity owns it from now on.
    Bind(Identity),
    /// It is the owner.
    Owner,
    /// The UID has no owner, and gets none: this identity is proved by what we
    /// offered, and the agent may come again with what it had before.
    Ownerless,
    /// It shows what was offered to this UID: later revisions of those profiles,
    /// and what their tenant offers to any agent.
    Recognised,
    /// The UID has no owner, and it shows what some profiles offered, to
    /// whomever: it may be anybody of theirs, so it gets what these offer and
    /// nothing else.
    Unbound,
    /// It shows what was offered to this UID and ended not long ago: the
    /// current revisions of those profiles, to come back with.
    Expired,
    /// It is the owner by what its authenticator held when the UID was bound:
    /// retiring a token or a CA is not revoking it.
    Retired,
    /// Nobody knows who it is, and the UID has no owner: it may report.
    Anonymous,
    /// Somebody else's UID.
    Refused,
}

/// What is known of the owner of an instance UID.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past<'a> {
    /// Who it is.
    pub binding: Option<&'a Identity>,
    /// Since when.
    pub bound_at: Option<Timestamp>,
    /// When it last proved to run other settings than before.
    pub proved_at: Option<Timestamp>,
}

impl Past<'_> {
    /// Is this the owner, who came by what its authenticator held until `left`,
    /// and has not proved since that it needs it no more?
    fn came_by(&self, identity: &Identity, left: Timestamp) -> bool {
        let before = |moment: Timestamp| moment <= left;
        self.binding == Some(identity)
            && self.bound_at.is_none_or(before)
            && self.proved_at.is_none_or(before)
    }
}

/// What a link may be given for what it proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Whatever selects the agent.
    Everything,
    /// Later revisions of these profiles; and, if they are a tenant's, what
    /// that tenant offers to any agent.
    Recognised(Vec<ProfileKey>),
    /// Later revisions of these profiles alone.
    Own(Vec<ProfileKey>),
    /// The current revisions of these profiles.
    Expired(Vec<ProfileKey>),
    /// Nothing.
    Nothing,
}

impl Rights {
    /// How strong the proof is that gave them.
    #[must_use]
    pub const fn strength(&self) -> u8 {
        match self {
            Self::Everything => 2,
            Self::Recognised(_) | Self::Own(_) | Self::Expired(_) => 1,
            Self::Nothing => 0,
        }
    }
}

/// May a link with this verdict speak for a UID with this `past`? Revisions
/// that were sent to this UID are `offered`; those of which a record may have
/// been lost count as `held` too.
#[must_use]
pub fn admit(
    past: Past<'_>,
    held: impl Fn(&Recognition) -> bool,
    offered: impl Fn(&Recognition) -> bool,
    verdict: &Verdict,
) -> Admission {
    let retired = verdict.retired.as_ref();
    match (past.binding, &verdict.primary) {
        (None, Some(_)) if verdict.primary_was_offered => Admission::Ownerless,
        (None, Some(primary)) => Admission::Bind(primary.clone()),
        (Some(owner), Some(primary)) if owner == primary => Admission::Owner,
        (Some(_), None) if retired.is_some_and(|(id, left)| past.came_by(id, *left)) => {
            Admission::Retired
        }
        (None, None) if !verdict.recognised.is_empty() => Admission::Unbound,
        (Some(_), _) if verdict.recognised.iter().any(held) => Admission::Recognised,
        _ if verdict.expired.iter().any(offered) => Admission::Expired,
        (None, None) if verdict.anonymous.is_some() => Admission::Anonymous,
        _ => Admission::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opamp_operator_api::values::IdentityMethod;

    fn identity(subject: &str) -> Identity {
        Identity {
            namespace: "a".into(),
            method: IdentityMethod::AgentToken,
            authenticator: "t".into(),
            subject: subject.into(),
        }
    }

    fn verdict(primary: Option<&str>, recognised: &[u64]) -> Verdict {
        let profile = ProfileKey {
            namespace: "a".into(),
            name: "p".into(),
        };
        let recognise = |number: &u64| Recognition {
            profile: profile.clone(),
            number: *number,
        };
        Verdict {
            primary: primary.map(identity),
            recognised: recognised.iter().map(recognise).collect(),
            ..Verdict::default()
        }
    }

    #[test]
    fn law2_a_uid_belongs_to_the_first_identity_and_to_who_was_offered_something_under_it() {
        let owner = identity("one");
        let offered = |r: &Recognition| r.number == 3;
        let by_offer = |primary| Verdict {
            primary_was_offered: true,
            ..verdict(Some(primary), &[3])
        };
        let ended = |primary, numbers: &[u64]| Verdict {
            expired: verdict(None, numbers).recognised,
            ..verdict(primary, &[])
        };
        let cases = [
            (None, ended(None, &[3]), Admission::Expired),
            (None, ended(None, &[2]), Admission::Refused),
            (Some(&owner), ended(None, &[3]), Admission::Expired),
            (Some(&owner), ended(None, &[2]), Admission::Refused),
            (Some(&owner), ended(Some("one"), &[2]), Admission::Owner),
            (Some(&owner), ended(Some("two"), &[3]), Admission::Expired),
            (
                None,
                verdict(Some("one"), &[]),
                Admission::Bind(owner.clone()),
            ),
            (Some(&owner), verdict(Some("one"), &[]), Admission::Owner),
            (Some(&owner), verdict(Some("two"), &[]), Admission::Refused),
            (Some(&owner), verdict(None, &[3]), Admission::Recognised),
            // A different primary beside a recognised credential neither refuses nor re-binds.
            (
                Some(&owner),
                verdict(Some("two"), &[3]),
                Admission::Recognised,
            ),
            (Some(&owner), verdict(None, &[2]), Admission::Refused),
            (None, verdict(None, &[2]), Admission::Unbound),
            (None, verdict(None, &[3]), Admission::Unbound),
            (None, by_offer("one"), Admission::Ownerless),
            (Some(&owner), by_offer("one"), Admission::Owner),
            (Some(&owner), by_offer("two"), Admission::Recognised),
            (None, verdict(None, &[]), Admission::Refused),
        ];
        for (binding, verdict, expected) in cases {
            let past = Past {
                binding,
                ..Past::default()
            };
            assert_eq!(
                admit(past, offered, offered, &verdict),
                expected,
                "{binding:?} {verdict:?}"
            );
        }
    }

    #[test]
    fn law8_retiring_a_credential_is_not_revoking_it() {
        let owner = identity("one");
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let judge = |binding, bound_at, proved_at, subject| {
            let verdict = Verdict {
                retired: at(10).map(|left| (identity(subject), left)),
                ..Verdict::default()
            };
            let past = Past {
                binding,
                bound_at,
                proved_at,
            };
            admit(past, |_| false, |_| false, &verdict)
        };
        assert_eq!(judge(Some(&owner), at(5), None, "one"), Admission::Retired);
        assert_eq!(judge(Some(&owner), None, at(9), "one"), Admission::Retired);
        // Bound afterwards; proved newer settings afterwards; somebody else's; new.
        assert_eq!(judge(Some(&owner), at(11), None, "one"), Admission::Refused);
        assert_eq!(
            judge(Some(&owner), at(5), at(11), "one"),
            Admission::Refused
        );
        assert_eq!(judge(Some(&owner), at(5), None, "two"), Admission::Refused);
        assert_eq!(judge(None, None, None, "one"), Admission::Refused);
    }

    #[test]
    fn law2_a_stranger_may_report_under_a_uid_that_nobody_owns() {
        let stranger = Verdict {
            anonymous: Some("a".into()),
            ..Verdict::default()
        };
        let nobody = |_: &Recognition| false;
        let owner = identity("one");
        let bound = Past {
            binding: Some(&owner),
            ..Past::default()
        };
        assert_eq!(
            admit(Past::default(), nobody, nobody, &stranger),
            Admission::Anonymous
        );
        assert_eq!(admit(bound, nobody, nobody, &stranger), Admission::Refused);
    }
}
