//! Where `controller` and `server` meet: channels and locks, no decision.

mod book;
mod health;
mod index;
mod reviews;
mod roster;
mod seats;
mod statuses;
mod way;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use opamp_operator_core::{Now, identity::Trust};
use tokio::{sync::watch, time::Instant};

pub use book::{OfferBook, Unknown};
pub use health::{Check, Health};
pub use reviews::{Gone, Reviews};
pub use roster::{Dirty, Explanation, Roster, SharedAgent};
pub use seats::Seat;
pub use statuses::{Known, Statuses};

/// The only clock of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts counting uptime.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            wall: Timestamp::now(),
            uptime: self.0.elapsed(),
        }
    }

    /// The moment at which `uptime` will be reached.
    #[must_use]
    pub fn instant(&self, uptime: Duration) -> Instant {
        self.0 + uptime
    }
}

/// All that is shared between the two sides.
#[derive(Debug)]
pub struct Hub {
    /// The clock.
    pub clock: Clock,
    /// What agents should have.
    pub book: OfferBook,
    /// Whether this process writes for all.
    pub leads: AtomicBool,
    /// Who is who; none until everything that could judge has been read once.
    pub trust: watch::Sender<Option<Arc<Trust>>>,
    /// Counts how often trust changed in more than what we offered ourselves:
    /// open sessions are to be judged again.
    pub judgement: watch::Sender<u64>,
    /// What the Kubernetes API said of bearer tokens.
    pub reviews: Reviews,
    /// The serving key pair; none until there is a usable one.
    pub serving: watch::Sender<Option<Arc<rustls::sign::CertifiedKey>>>,
    /// The agents.
    pub roster: Roster,
    /// How the process is.
    pub health: Health,
    /// What is known of profiles.
    pub statuses: Statuses,
    /// How long a process without memory of an agent waits before it offers.
    pub hold: Duration,
}

impl Hub {
    /// An empty hub.
    #[must_use]
    pub fn new(roster: Roster, hold: Duration, reviews: Reviews) -> Self {
        Self {
            clock: Clock::start(),
            book: OfferBook::default(),
            leads: AtomicBool::new(false),
            trust: watch::Sender::new(None),
            judgement: watch::Sender::new(0),
            reviews,
            serving: watch::Sender::new(None),
            roster,
            health: Health::default(),
            statuses: Statuses::default(),
            hold,
        }
    }
}
