//! The ledger: one entry per published revision, without any secret in it.
//!
//! It outlives the process and lets a new one recognise, by keyed digest, the
//! credentials that an earlier one gave away (law 8).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use opamp_operator_api::{v1alpha1::ServedBy, values::ProfileKey};
use serde::{Deserialize, Serialize};

use super::{Digest, Marker};
use crate::after;

/// How long an entry without an end of its own is kept once superseded.
const KEPT_AFTER_SUPERSEDED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long after its end a certificate still lets its agent in to be offered
/// the current revision: a long weekend.
pub(super) const EXPIRED_GRACE: SignedDuration = SignedDuration::from_hours(72);

/// What was published, and by which credentials its agents are recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// Whose revision it is.
    pub profile: ProfileKey,
    /// Counts from 1 within the profile, never reused.
    pub number: u64,
    /// What agents that run it show.
    pub marker: Marker,
    /// Keyed digest of the offered client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Digest>,
    /// Keyed digest of the offered `Authorization` value, if strong enough to
    /// be recognised (≥ 128 bits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Digest>,
    /// End of the offered certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Whose server it sends agents to. What is offered for that of another is
    /// recognised by nobody here.
    #[serde(default)]
    pub served_by: ServedBy,
    /// When it was written, before it was published.
    pub published: Timestamp,
}

impl LedgerEntry {
    /// Does it say the same, whenever it was written?
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { published, .. } = *self;
        *self
            == Self {
                published,
                ..other.clone()
            }
    }

    /// Is it of the same settings?
    #[must_use]
    pub fn is_of_same(&self, other: &Self) -> bool {
        self.marker == other.marker && self.served_by == other.served_by
    }

    /// Until when what it offered lets its own agent in; none for no known end.
    #[must_use]
    pub fn admits_until(&self) -> Option<Timestamp> {
        self.not_after.map(|end| after(end, EXPIRED_GRACE))
    }

    /// Kept until the credential's own end, else 30 days after being replaced.
    fn is_over(&self, superseded: Timestamp, wall: Timestamp) -> bool {
        let by_age = after(superseded, KEPT_AFTER_SUPERSEDED);
        let end = self.admits_until().map_or(by_age, |end| by_age.max(end));
        end < wall
    }
}

/// All entries, oldest first within a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(Vec<LedgerEntry>);

impl Ledger {
    /// From what was stored, in any order.
    #[must_use]
    pub fn new(mut entries: Vec<LedgerEntry>) -> Self {
        entries.sort_by(|a, b| (&a.profile, a.number).cmp(&(&b.profile, b.number)));
        Self(entries)
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.0
    }

    /// The newest revision of a profile.
    #[must_use]
    pub fn newest(&self, profile: &ProfileKey) -> Option<&LedgerEntry> {
        self.0.iter().rev().find(|entry| entry.profile == *profile)
    }

    /// Every number under which the same settings were published.
    #[must_use]
    pub fn numbers_of(&self, of: &LedgerEntry) -> BTreeSet<u64> {
        let same = |e: &&LedgerEntry| e.profile == of.profile && e.is_of_same(of);
        self.0.iter().filter(same).map(|e| e.number).collect()
    }

    /// Adds or replaces an entry.
    pub fn put(&mut self, entry: LedgerEntry) {
        let key = |e: &LedgerEntry| (e.profile.clone(), e.number);
        match self.0.binary_search_by(|e| key(e).cmp(&key(&entry))) {
            Ok(at) => self.0[at] = entry,
            Err(at) => self.0.insert(at, entry),
        }
    }

    /// Removes and returns the entries that nobody needs any more. The newest
    /// of a profile stays, so that no number is ever used again; and what is
    /// `in_force`, which need not be the newest: an edit may be taken back
    /// while its entry is being stored.
    pub fn prune(
        &mut self,
        wall: Timestamp,
        in_force: impl Fn(&LedgerEntry) -> bool,
    ) -> Vec<LedgerEntry> {
        let entries = std::mem::take(&mut self.0);
        let superseded = |at: usize| {
            let next = entries.get(at + 1)?;
            (next.profile == entries[at].profile).then_some(next.published)
        };
        let over: Vec<_> = (0..entries.len())
            .map(|at| {
                let entry = &entries[at];
                superseded(at).is_some_and(|when| entry.is_over(when, wall)) && !in_force(entry)
            })
            .collect();
        let (over, kept): (Vec<_>, Vec<_>) =
            entries.into_iter().zip(over).partition(|(_, over)| *over);
        self.0 = kept.into_iter().map(|(entry, _)| entry).collect();
        over.into_iter().map(|(entry, _)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeyRing;

    #[test]
    fn law8_what_is_in_force_is_kept_also_if_it_is_not_the_newest() {
        let keys = KeyRing::new(vec![[1; 32]]).unwrap();
        let at = |days: i64| after(Timestamp::UNIX_EPOCH, SignedDuration::from_hours(days * 24));
        let entry = |number: u64, settings: &[u8]| LedgerEntry {
            profile: ProfileKey::new("a", "p"),
            number,
            marker: keys.sign("test", settings),
            leaf: None,
            authorization: None,
            not_after: None,
            served_by: ServedBy::Operator,
            published: at(0),
        };
        let entries = [
            entry(1, b"a"),
            entry(2, b"b"),
            entry(3, b"a"),
            entry(4, b"c"),
        ];
        let mut ledger = Ledger::new(entries.to_vec());
        assert_eq!(ledger.numbers_of(&entries[0]), [1, 3].into());
        assert!(ledger.prune(at(29), |_| false).is_empty());
        let over = ledger.prune(at(31), |entry| entry.number == 2);
        assert_eq!(over, [entries[0].clone(), entries[2].clone()]);
        assert_eq!(ledger.entries(), [entries[1].clone(), entries[3].clone()]);
    }
}
