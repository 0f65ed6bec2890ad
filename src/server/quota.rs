//! What one identity may take of what all share. Its connections and the new
//! agents under it have limits of their own. Its messages have none: a fleet
//! may be one identity, and come back whole after a restart of ours. But what
//! exceeds a quarter of `limits.messages` leaves half of them to the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use opamp_operator_api::values::{Identity, ProfileKey};
use opamp_operator_core::identity::Verdict;
use opamp_wire::InstanceUid;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Limits,
    exchange::Denied,
    seldom::Seldom,
    throttle::{Bucket, Rate},
};
use crate::hub::Hub;

/// An identity that takes less than one in so many of all messages is heard as
/// long as anybody is.
const SHARE_OF_ONE_IDENTITY: u32 = 4;
/// For `limits.messages`.
pub(super) const SECONDS_OF_MESSAGES: Duration = Duration::from_secs(10);
/// For `limits.newAgentsPerIdentity`.
const HOUR: Duration = Duration::from_secs(3600);

/// Whoever shares an account: what proved it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Identity(Identity),
    /// Shown is what a profile offered, and nothing else.
    Profile(ProfileKey),
    Nobody,
}

impl Holder {
    fn of(verdict: &Verdict) -> Self {
        let profile = || verdict.shown().next().map(|shown| &shown.profile);
        let retired = verdict.retired.as_ref().map(|(identity, _)| identity);
        match (verdict.primary.as_ref().or(retired), profile()) {
            (Some(identity), _) => Self::Identity(identity.clone()),
            (None, Some(profile)) => Self::Profile(profile.clone()),
            (None, None) => Self::Nobody,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Identity(identity) => identity.to_string(),
            Self::Profile(profile) => format!("settings of profile {profile}"),
            Self::Nobody => "nobody".into(),
        }
    }
}

/// See the module.
pub(super) struct Quotas {
    limits: Limits,
    began: Instant,
    all: Rate,
    messages: Mutex<Bucket>,
    accounts: Mutex<HashMap<Holder, Arc<Account>>>,
    crowded: Seldom,
    flooded: Seldom,
    multiplied: Seldom,
}

/// What one identity took.
pub(super) struct Account {
    holder: Holder,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    connections: usize,
    messages: Bucket,
    new_agents: Bucket,
}

impl Quotas {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            began: Instant::now(),
            all: Rate::new(limits.messages, SECONDS_OF_MESSAGES),
            messages: Mutex::default(),
            accounts: Mutex::default(),
            crowded: Seldom::default(),
            flooded: Seldom::default(),
            multiplied: Seldom::default(),
        }
    }

    /// The account of whoever this is.
    pub(super) fn account(&self, verdict: &Verdict) -> Arc<Account> {
        let holder = Holder::of(verdict);
        let mut accounts = self.accounts.lock();
        if let Some(account) = accounts.get(&holder) {
            return Arc::clone(account);
        }
        // Those with connections are no more than connections; the others are
        // a memory of what they took that nobody needs for long.
        if accounts.len() >= self.limits.connections.saturating_mul(2).max(1024) {
            accounts.retain(|_, account| Arc::strong_count(account) > 1);
        }
        let account = Arc::new(Account {
            holder: holder.clone(),
            used: Mutex::default(),
        });
        accounts.insert(holder, Arc::clone(&account));
        account
    }

    /// One more connection; it counts until the guard is dropped. None over
    /// `limits.connectionsPerIdentity`.
    pub(super) fn connect(&self, account: &Arc<Account>) -> Option<Connected> {
        let mut used = account.used.lock();
        if used.connections >= self.limits.connections_per_identity {
            drop(used);
            self.crowded.note(|left_out| {
                tracing::warn!(
                    identity = account.holder.name(),
                    limit = self.limits.connections_per_identity,
                    left_out,
                    "limits.connectionsPerIdentity is reached: further connections of this identity are answered 503"
                );
            });
            return None;
        }
        used.connections += 1;
        Some(Connected(Arc::clone(account)))
    }

    /// May a message be heard, by what its identity and all others sent?
    pub(super) fn message(&self, account: &Account) -> bool {
        let now = self.began.elapsed();
        let share = self.all.share(SHARE_OF_ONE_IDENTITY);
        let within = account.used.lock().messages.take(share, now).is_ok();
        let mut messages = self.messages.lock();
        let taken = if within {
            messages.take(self.all, now)
        } else {
            messages.take_above_half(self.all, now)
        };
        drop(messages);
        if taken.is_err() {
            self.flooded.note(|left_out| {
                tracing::warn!(
                    identity = account.holder.name(),
                    limit = self.limits.messages,
                    left_out,
                    "limits.messages is reached: messages are refused, first those of identities that send most"
                );
            });
        }
        taken.is_ok()
    }

    /// Takes in an instance UID, unless nobody knows it and its identity
    /// brought in too many of that kind.
    pub(super) fn takes(
        &self,
        account: &Account,
        hub: &Hub,
        uid: InstanceUid,
        verdict: &Verdict,
    ) -> Result<(), Denied> {
        if hub.roster.known(uid, verdict).is_some() {
            return Ok(());
        }
        let rate = Rate::new(self.limits.new_agents_per_identity, HOUR);
        let mut used = account.used.lock();
        let taken = used.new_agents.take(rate, self.began.elapsed());
        drop(used);
        if taken.is_err() {
            self.multiplied.note(|left_out| {
                tracing::warn!(
                    identity = account.holder.name(),
                    limit = self.limits.new_agents_per_identity,
                    left_out,
                    "limits.newAgentsPerIdentity is reached: instance UIDs that are not known yet are refused"
                );
            });
        }
        taken.map_err(|_| Denied::Newcomer)
    }
}

/// An open connection, as its account counts it.
pub(super) struct Connected(Arc<Account>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.used.lock().connections -= 1;
    }
}

#[cfg(test)]
mod tests {
    use opamp_operator_api::values::IdentityMethod;
    use opamp_operator_core::identity::Recognition;

    use super::*;

    fn identity(number: usize) -> Verdict {
        Verdict {
            primary: Some(Identity {
                namespace: "default".into(),
                method: IdentityMethod::ClientCertificate,
                authenticator: "fleet".into(),
                subject: format!("agent-{number}"),
            }),
            ..Verdict::default()
        }
    }

    #[test]
    fn law10_accounts_of_those_that_left_are_not_kept_for_ever() {
        let quotas = Quotas::new(&Limits {
            connections: 2,
            connections_per_identity: 1,
            ..Limits::default()
        });
        let here = quotas.account(&identity(0));
        let connected = quotas.connect(&here).unwrap();
        drop(here);
        for other in 1..10_000 {
            drop(quotas.account(&identity(other)));
        }
        assert!(quotas.accounts.lock().len() <= 1024);
        // Who is here was not forgotten.
        let here = quotas.account(&identity(0));
        assert!(quotas.connect(&here).is_none());
        drop(connected);
        assert!(quotas.connect(&here).is_some());
    }

    #[test]
    fn law9_an_account_is_of_who_was_proved_else_of_the_profile_that_offered() {
        let quotas = Quotas::new(&Limits::default());
        let recognised = |profile: &str| Verdict {
            recognised: [Recognition {
                profile: ProfileKey::new("default", profile),
                number: 1,
            }]
            .into(),
            ..Verdict::default()
        };
        let same = |a: &Verdict, b: &Verdict| {
            let (a, b) = (quotas.account(a), quotas.account(b));
            Arc::ptr_eq(&a, &b)
        };
        assert!(same(&identity(1), &identity(1)));
        assert!(!same(&identity(1), &identity(2)));
        assert!(same(&recognised("a"), &recognised("a")));
        assert!(!same(&recognised("a"), &recognised("b")));
        // What left its object proves whose it was.
        let retired = |number| Verdict {
            retired: identity(number)
                .primary
                .zip(Some(jiff::Timestamp::UNIX_EPOCH)),
            ..Verdict::default()
        };
        assert!(!same(&retired(1), &retired(2)));
        assert!(!same(&retired(1), &Verdict::default()));
        assert!(same(&retired(1), &identity(1)));
        // The profile does not matter where an identity was proved.
        let both = Verdict {
            primary: identity(1).primary,
            ..recognised("a")
        };
        assert!(same(&both, &identity(1)));
        assert!(!same(&both, &recognised("a")));
    }
}
