//! Where `controller` and `server` meet: channels and locks, no decision.

mod account;
mod book;
mod facts;
mod health;
mod index;
mod offers;
mod reviews;
mod roster;
mod seats;
mod statuses;
mod trail;
mod way;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use opamp_operator_core::{Now, identity::Trust};
use tokio::{sync::watch, time::Instant};

pub use book::{OfferBook, Unknown};
pub use facts::{Facts, Leadership};
pub use health::{Check, Health};
pub use reviews::{Gone, Reviews};
pub use roster::{Dirty, Explanation, Roster, SharedAgent};
pub use seats::Seat;
pub use statuses::{Known, Statuses};
pub use trail::{Follower, Step, Trail, What};

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
    /// Where it is told what happens of a change.
    pub trail: Trail,
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
            statuses: Statuses::new(Arc::clone(&roster.offers)),
            roster,
            health: Health::default(),
            trail: Trail::default(),
            hold,
        }
    }

    /// Tells what happens of changes to who follows this trail.
    #[must_use]
    pub fn followed_on(mut self, trail: Trail) -> Self {
        self.roster.trail = trail.clone();
        self.trail = trail;
        self
    }
}
