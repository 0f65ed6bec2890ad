//! What authenticators held: a token or CA that leaves its object admits
//! nobody new, but whoever came by it may come back for a while (retiring is
//! not revoking). This outlives the process, or a restart would refuse agents
//! that were admitted before it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Digest;
use crate::after;

/// Credentials that are remembered of one authenticator, those that left last:
/// as many as a Secret may hold, for all of them may be replaced at once.
const TOKENS_KEPT: usize = 1024;
/// Each may cost every stranger a signature to check.
const AUTHORITIES_KEPT: usize = 64;

/// A credential, or an authority over credentials. No secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Held {
    /// Keyed digest of `Bearer <token>`.
    Token(Digest),
    /// DER of a certificate authority, in hexadecimal.
    Authority(String),
}

/// What one authenticator holds, or held until a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldEntry {
    /// Name of the authenticator.
    pub authenticator: String,
    /// What.
    pub held: Held,
    /// When it left; none while it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Timestamp>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldBook(Vec<HeldEntry>);

impl HeldBook {
    /// From what was stored.
    #[must_use]
    pub fn new(entries: Vec<HeldEntry>) -> Self {
        Self(entries)
    }

    /// For storing.
    #[must_use]
    pub fn entries(&self) -> &[HeldEntry] {
        &self.0
    }

    /// An authenticator was read: it holds `now_held`, and what is `revoked`
    /// is forgotten at once. True if anything differs from before.
    pub fn observe(
        &mut self,
        authenticator: &str,
        now_held: &BTreeSet<Held>,
        revoked: &BTreeSet<Held>,
        wall: Timestamp,
    ) -> bool {
        let before = self.0.clone();
        self.0
            .retain(|entry| entry.authenticator != authenticator || !revoked.contains(&entry.held));
        for entry in self
            .0
            .iter_mut()
            .filter(|e| e.authenticator == authenticator)
        {
            entry.left = if now_held.contains(&entry.held) {
                None
            } else {
                entry.left.or(Some(wall))
            };
        }
        for held in now_held {
            let known =
                |entry: &HeldEntry| entry.authenticator == authenticator && entry.held == *held;
            if !self.0.iter().any(known) {
                self.0.push(HeldEntry {
                    authenticator: authenticator.to_owned(),
                    held: held.clone(),
                    left: None,
                });
            }
        }
        self.forget_oldest(authenticator);
        self.0 != before
    }

    /// What is in force does not count: its object bounds it.
    fn forget_oldest(&mut self, authenticator: &str) {
        let mut left: Vec<_> = self.retired(authenticator).collect();
        left.sort_by_key(|(_, when)| std::cmp::Reverse(*when));
        let (mut tokens, mut authorities) = (0, 0);
        let over = |(held, _): &(&Held, Timestamp)| {
            let (count, kept) = match held {
                Held::Token(_) => (&mut tokens, TOKENS_KEPT),
                Held::Authority(_) => (&mut authorities, AUTHORITIES_KEPT),
            };
            *count += 1;
            *count > kept
        };
        let over: BTreeSet<_> = left
            .into_iter()
            .filter(over)
            .map(|(h, _)| h.clone())
            .collect();
        self.0.retain(|entry| {
            entry.authenticator != authenticator
                || entry.left.is_none()
                || !over.contains(&entry.held)
        });
    }

    /// Forgets what left longer than `period` ago; true if there was any.
    pub fn prune(&mut self, period: SignedDuration, wall: Timestamp) -> bool {
        let before = self.0.len();
        self.0
            .retain(|entry| entry.left.is_none_or(|left| after(left, period) > wall));
        self.0.len() != before
    }

    /// What `authenticator` held and does not any more, and when it left.
    pub fn retired(&self, authenticator: &str) -> impl Iterator<Item = (&Held, Timestamp)> {
        self.0
            .iter()
            .filter(move |entry| entry.authenticator == authenticator)
            .filter_map(|entry| Some((&entry.held, entry.left?)))
    }

    /// When the next one is to be forgotten.
    #[must_use]
    pub fn next_end(&self, period: SignedDuration) -> Option<Timestamp> {
        let ends = self.0.iter().filter_map(|e| Some(after(e.left?, period)));
        ends.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn held(names: &[&str]) -> BTreeSet<Held> {
        let held = |name: &&str| Held::Authority((*name).to_owned());
        names.iter().map(held).collect()
    }

    fn left(book: &HeldBook) -> Vec<(String, Timestamp)> {
        let name = |(held, left): (&Held, Timestamp)| match held {
            Held::Authority(name) => (name.clone(), left),
            Held::Token(_) => unreachable!(),
        };
        book.retired("ca").map(name).collect()
    }

    #[test]
    fn law8_what_leaves_is_remembered_and_what_is_revoked_is_not() {
        let mut book = HeldBook::default();
        let nothing = BTreeSet::new();
        assert!(book.observe("ca", &held(&["a", "b"]), &nothing, at(1)));
        assert!(!book.observe("ca", &held(&["a", "b"]), &nothing, at(2)));
        assert!(book.observe("ca", &held(&["b"]), &nothing, at(3)));
        assert_eq!(left(&book), [("a".to_owned(), at(3))]);
        assert!(
            !book.observe("ca", &held(&["b"]), &nothing, at(4)),
            "left once"
        );
        assert!(book.observe("ca", &held(&["a", "b"]), &nothing, at(5)));
        assert_eq!(left(&book), [], "it is back");
        book.observe("ca", &held(&[]), &nothing, at(6));
        assert!(book.observe("ca", &held(&[]), &held(&["a"]), at(7)));
        assert_eq!(left(&book), [("b".to_owned(), at(6))]);
        assert!(!book.observe("other", &held(&[]), &nothing, at(8)));
        let day = SignedDuration::from_hours(24);
        assert_eq!(book.next_end(day), Some(at(6) + day));
        assert!(!book.prune(day, at(100)));
        assert!(book.prune(day, at(7) + day));
        assert_eq!(book.entries(), []);
    }

    #[test]
    fn law10_only_so_many_are_remembered() {
        let mut book = HeldBook::default();
        // The first stays in force for long, and leaves last.
        let last = 3 * AUTHORITIES_KEPT;
        for turn in 0..=last {
            let name = turn.to_string();
            let now_held = if turn < last {
                held(&["first", &name])
            } else {
                held(&[])
            };
            let wall = at(i64::try_from(turn).unwrap());
            book.observe("ca", &now_held, &BTreeSet::new(), wall);
        }
        let left = left(&book);
        assert_eq!(left.len(), AUTHORITIES_KEPT);
        assert!(left.iter().any(|(name, _)| name == "first"));
    }
}
