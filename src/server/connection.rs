//! One TCP connection: a stranger's until somebody authenticates on it, an
//! agent's from then on.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, sleep_until},
};

use super::{
    heard::Waiting,
    quota::{Account, Connected, Quotas, SECONDS_OF_MESSAGES},
    room::{Room, Stranger},
    throttle::{Bucket, Empty, Rate},
};

/// Its place is free again when the last who knows of it is gone: the task
/// that serves requests, or the WebSocket after it.
pub(super) struct Connection {
    room: Arc<Room>,
    began: Instant,
    state: Mutex<State>,
    leaving: Notify,
}

struct State {
    place: Place,
    /// Under way.
    requests: usize,
    quiet_since: Instant,
    messages: Bucket,
    /// For its peer, as long as that is a stranger.
    waiting: Waiting,
}

enum Place {
    Stranger(Stranger),
    /// Held until the connection ends.
    Agent {
        _place: OwnedSemaphorePermit,
        _of: Connected,
    },
}

/// Why a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nobody authenticated in time.
    Stranger,
    /// Others wait for its place, and all it does is keep us waiting.
    Slow,
    /// No request for long.
    Idle,
    /// Whoever it was has been answered, and not admitted.
    Refused,
}

/// Why there is no room for another agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Server,
    Identity,
}

impl Full {
    /// For people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Server => "the server takes no more connections",
            Self::Identity => "the server takes no more connections of this identity",
        }
    }
}

impl Connection {
    /// Its first place is a stranger's.
    pub(super) fn new(room: Arc<Room>, stranger: Stranger) -> Arc<Self> {
        let began = Instant::now();
        Arc::new(Self {
            room,
            began,
            state: Mutex::new(State {
                place: Place::Stranger(stranger),
                requests: 0,
                quiet_since: began,
                messages: Bucket::default(),
                waiting: Waiting::default(),
            }),
            leaving: Notify::new(),
        })
    }

    /// Somebody authenticated on it: from now on it counts as an agent's, and
    /// as one of this account, whoever else authenticates on it later.
    pub(super) fn admit(&self, quotas: &Quotas, account: &Arc<Account>) -> Result<(), Full> {
        let mut state = self.state.lock();
        if matches!(state.place, Place::Agent { .. }) {
            return Ok(());
        }
        let of = quotas.connect(account).ok_or(Full::Identity)?;
        let place = self.room.connection().ok_or(Full::Server)?;
        state.place = Place::Agent {
            _place: place,
            _of: of,
        };
        Ok(())
    }

    /// A request begins; it ends with the guard.
    pub(super) fn request(self: &Arc<Self>) -> Request {
        self.state.lock().requests += 1;
        Request(Arc::clone(self))
    }

    /// May another message be heard on this connection?
    pub(super) fn message(&self) -> Result<(), Empty> {
        let limit = self.room.limits().messages_per_connection;
        let rate = Rate::new(limit, SECONDS_OF_MESSAGES);
        let now = self.began.elapsed();
        let taken = self.state.lock().messages.take(rate, now);
        if taken.is_err() {
            self.room.note_flooded(limit);
        }
        taken
    }

    /// It ends once what is under way has been answered.
    pub(super) fn end(&self) {
        self.leaving.notify_one();
    }

    /// Its peer is waited for.
    pub(super) fn waits(&self) {
        let mut state = self.state.lock();
        if matches!(state.place, Place::Stranger(_)) {
            state.waiting.begins(Instant::now());
        }
    }

    /// Its peer sent something, or left.
    pub(super) fn hears(&self) {
        let mut state = self.state.lock();
        if matches!(state.place, Place::Stranger(_)) {
            state.waiting.ends(Instant::now());
        }
    }

    /// Waits until the connection should end.
    pub(super) async fn over(&self) -> Over {
        tokio::select! {
            () = self.leaving.notified() => Over::Refused,
            over = self.overdue() => over,
        }
    }

    async fn overdue(&self) -> Over {
        loop {
            match self.look(Instant::now()) {
                Ok(again) => sleep_until(again).await,
                Err(over) => return over,
            }
        }
    }

    /// When to look again. One deadline until the first request that
    /// authenticates, whatever a stranger does until then; later the silence
    /// between requests.
    fn look(&self, now: Instant) -> Result<Instant, Over> {
        let state = self.state.lock();
        let idle = self.room.limits().idle();
        let stranger = match &state.place {
            Place::Stranger(stranger) => stranger,
            // Its own parts are bounded.
            Place::Agent { .. } if state.requests > 0 => return Ok(now + idle),
            Place::Agent { .. } => {
                let end = state.quiet_since + idle;
                return if end <= now { Err(Over::Idle) } else { Ok(end) };
            }
        };
        let end = self.authenticated_by();
        if end <= now {
            return Err(Over::Stranger);
        }
        let patience = self.room.patience();
        // While a request is under way it is we who are waited for.
        let waited = state.waiting.so_far(now).filter(|_| state.requests == 0);
        let waited = waited.unwrap_or_default();
        if waited >= patience && stranger.pressed() {
            return Err(Over::Slow);
        }
        let look = patience.saturating_sub(waited).max(patience / 4);
        Ok(end.min(now + look))
    }

    fn authenticated_by(&self) -> Instant {
        let limits = self.room.limits();
        self.began + limits.handshake() + limits.first_message()
    }
}

/// A request under way.
pub(super) struct Request(Arc<Connection>);

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.requests -= 1;
        state.quiet_since = Instant::now();
        // A stranger that was refused would hold its place for nothing.
        if matches!(state.place, Place::Stranger(_)) {
            self.0.leaving.notify_one();
        }
    }
}
