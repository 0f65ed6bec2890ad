//! Whose an instance UID is: decides who is refused, never what anybody gets.

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
    /// It shows what was offered to this UID (or, for a UID without an owner,
    /// what was offered to a profile): later revisions of those profiles only.
    Recognised,
    /// It shows what was offered to this UID and ended not long ago: the
    /// current revisions of those profiles, to come back with.
    Expired,
    /// Somebody else's UID.
    Refused,
}

/// What a link may be given for what it proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Whatever selects the agent.
    Everything,
    /// Later revisions of these profiles; and, if they are a tenant's, what
    /// that tenant offers to any agent.
    Recognised(Vec<ProfileKey>),
    /// The current revisions of these profiles.
    Expired(Vec<ProfileKey>),
}

/// May a link with this verdict speak for a UID bound to `binding`? Revisions
/// that were sent to this UID are `offered`; those of which a record may have
/// been lost count as `held` too.
#[must_use]
pub fn admit(
    binding: Option<&Identity>,
    held: impl Fn(&Recognition) -> bool,
    offered: impl Fn(&Recognition) -> bool,
    verdict: &Verdict,
) -> Admission {
    match (binding, &verdict.primary) {
        (None, Some(_)) if verdict.primary_was_offered => Admission::Ownerless,
        (None, Some(primary)) => Admission::Bind(primary.clone()),
        (Some(owner), Some(primary)) if owner == primary => Admission::Owner,
        (None, None) if !verdict.recognised.is_empty() => Admission::Recognised,
        (Some(_), _) if verdict.recognised.iter().any(held) => Admission::Recognised,
        _ if verdict.expired.iter().any(offered) => Admission::Expired,
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
            (None, verdict(None, &[2]), Admission::Recognised),
            (None, by_offer("one"), Admission::Ownerless),
            (Some(&owner), by_offer("one"), Admission::Owner),
            (Some(&owner), by_offer("two"), Admission::Recognised),
            (None, verdict(None, &[]), Admission::Refused),
        ];
        for (binding, verdict, expected) in cases {
            assert_eq!(
                admit(binding, offered, offered, &verdict),
                expected,
                "{binding:?} {verdict:?}"
            );
        }
    }
}
