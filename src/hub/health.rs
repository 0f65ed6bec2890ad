//! How the process is, for those who watch it from outside. Who leads is no
//! part of it: a process that only serves agents is as ready as one that leads.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::backend::Pulse;

/// The controller looks around at least every few seconds. What it does in
/// between, with the largest fleets, takes a fraction of this.
const CONTROLLER_SILENT: Duration = Duration::from_secs(60);
/// Every step of the Lease's task takes a few seconds at most, whatever the API
/// does: this is twenty seconds more than a Lease lasts.
const LEASE_SILENT: Duration = Duration::from_secs(35);

/// One thing that was looked at, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// None if nothing is.
    pub problem: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Health {
    /// Beats as the controller's loop turns.
    pub controller: Pulse,
    lease: OnceLock<Arc<Pulse>>,
    synced: AtomicBool,
    listening: AtomicBool,
    ending: AtomicBool,
    serving_until: Mutex<Option<Timestamp>>,
}

impl Health {
    /// There is a Lease, and a task that sees to it.
    pub fn watch_lease(&self, pulse: Arc<Pulse>) {
        let _ = self.lease.set(pulse);
    }

    /// Whether everything that could judge an agent was read once.
    pub fn set_synced(&self, synced: bool) {
        self.synced.store(synced, Ordering::Relaxed);
    }

    /// The end of the serving certificate; none if there is none.
    pub fn set_serving(&self, until: Option<Timestamp>) {
        *self.serving_until.lock() = until;
    }

    /// What was said of that last.
    #[must_use]
    pub fn serving_until(&self) -> Option<Timestamp> {
        *self.serving_until.lock()
    }

    /// Agents can connect.
    pub fn set_listening(&self) {
        self.listening.store(true, Ordering::Relaxed);
    }

    /// The process is about to end: nobody should be sent here any more.
    pub fn set_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether a process like this one gets on, or only another one would.
    #[must_use]
    pub fn live(&self) -> Vec<Check> {
        let silent = |pulse: &Pulse, limit: Duration| {
            let age = pulse.age();
            let stuck = || format!("it has not moved for {} s", age.as_secs());
            (age > limit).then(stuck)
        };
        let mut checks = vec![Check {
            name: "controller",
            problem: silent(&self.controller, CONTROLLER_SILENT),
        }];
        checks.extend(self.lease.get().map(|pulse| Check {
            name: "lease",
            problem: silent(pulse, LEASE_SILENT),
        }));
        checks
    }

    /// Whether agents should be sent here.
    #[must_use]
    pub fn ready(&self, now: Timestamp) -> Vec<Check> {
        let until = self.serving_until();
        let certificate = match until {
            None => Some("there is none that can be used; the log says why".to_owned()),
            Some(end) if end <= now => Some(format!("it ended at {end}")),
            Some(_) => None,
        };
        let unless = |holds: &AtomicBool, problem: &str| {
            (!holds.load(Ordering::Relaxed)).then(|| problem.to_owned())
        };
        let ending = self.ending.load(Ordering::Relaxed);
        let check = |name, problem| Check { name, problem };
        vec![
            check(
                "synced",
                unless(&self.synced, "profiles and authenticators are still read"),
            ),
            check("certificate", certificate),
            check(
                "listening",
                unless(&self.listening, "the OpAMP port is not open"),
            ),
            check(
                "running",
                ending.then(|| "the process was asked to end".to_owned()),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(checks: Vec<Check>) -> Vec<&'static str> {
        let failing = checks.into_iter().filter(|check| check.problem.is_some());
        failing.map(|check| check.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_move_is_named() {
        let (health, lease) = (Health::default(), Arc::<Pulse>::default());
        assert_eq!(failing(health.live()), [""; 0]);
        health.watch_lease(Arc::clone(&lease));
        tokio::time::advance(LEASE_SILENT + Duration::from_secs(1)).await;
        assert_eq!(failing(health.live()), ["lease"]);
        lease.beat();
        assert_eq!(failing(health.live()), [""; 0]);
        tokio::time::advance(CONTROLLER_SILENT).await;
        lease.beat();
        assert_eq!(failing(health.live()), ["controller"]);
        health.controller.beat();
        assert_eq!(failing(health.live()), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let health = Health::default();
        let all = ["synced", "certificate", "listening"];
        assert_eq!(failing(health.ready(at(5))), all);
        health.set_synced(true);
        health.set_serving(Some(at(9)));
        health.set_listening();
        assert_eq!(failing(health.ready(at(5))), [""; 0]);
        assert_eq!(failing(health.ready(at(9))), ["certificate"]);
        health.set_ending();
        assert_eq!(failing(health.ready(at(5))), ["running"]);
    }
}
