//! Room for connections. Whoever has not authenticated yet counts apart, so
//! that strangers, however many, never use up the room of agents.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use super::{Limits, seldom::Seldom};

/// Of the places of strangers, the part that one address may have.
const SHARE_OF_ONE_PEER: usize = 4;

/// See the module.
pub(super) struct Room {
    limits: Limits,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// Strangers of each address.
    peers: Mutex<HashMap<IpAddr, usize>>,
    crowded: Seldom,
    greedy: Seldom,
    full: Seldom,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            handshakes: places(limits.handshakes.max(1)),
            connections: places(limits.connections),
            limits: limits.clone(),
            peers: Mutex::default(),
            crowded: Seldom::default(),
            greedy: Seldom::default(),
            full: Seldom::default(),
        })
    }

    /// A place for the next stranger. Until there is one, connections wait in
    /// the system's backlog: an agent that waits does better than one that is
    /// turned away and backs off.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.handshakes).try_acquire_owned() {
            return Some(place);
        }
        self.crowded.note(|left_out| {
            tracing::warn!(
                limit = self.limits.handshakes,
                left_out,
                "limits.handshakes is reached: new connections wait until others have authenticated or ended"
            );
        });
        Arc::clone(&self.handshakes).acquire_owned().await.ok()
    }

    /// Lets a connection in; none if its address has its share already.
    pub(super) fn enter(
        self: &Arc<Self>,
        place: OwnedSemaphorePermit,
        peer: IpAddr,
    ) -> Option<Arc<Connection>> {
        let address = network(peer);
        let share = (self.limits.handshakes / SHARE_OF_ONE_PEER).max(1);
        let mut peers = self.peers.lock();
        let count = peers.entry(address).or_default();
        if *count >= share {
            drop(peers);
            self.greedy.note(|left_out| {
                tracing::warn!(
                    %peer,
                    share,
                    left_out,
                    "a quarter of limits.handshakes comes from one address: its further connections are closed"
                );
            });
            return None;
        }
        *count += 1;
        drop(peers);
        let stranger = Stranger {
            room: Arc::clone(self),
            address,
            _place: place,
        };
        let now = Instant::now();
        Some(Arc::new(Connection {
            room: Arc::clone(self),
            accepted: now,
            state: Mutex::new(State {
                place: Place::Stranger { _of: stranger },
                requests: 0,
                quiet_since: now,
            }),
            leaving: Notify::new(),
        }))
    }
}

/// A host usually has a whole /64 of IPv6.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A place among the handshakes.
struct Stranger {
    room: Arc<Room>,
    address: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut peers = self.room.peers.lock();
        if let Some(count) = peers.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.address);
            }
        }
    }
}

/// One TCP connection; its place is free again when the last who knows of it
/// is gone: the task that serves requests, or the WebSocket after it.
pub(super) struct Connection {
    room: Arc<Room>,
    accepted: Instant,
    state: Mutex<State>,
    leaving: Notify,
}

struct State {
    place: Place,
    /// Under way.
    requests: usize,
    quiet_since: Instant,
}

enum Place {
    Stranger {
        _of: Stranger,
    },
    /// Held until the connection ends.
    Agent {
        _place: OwnedSemaphorePermit,
    },
}

/// Why a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nobody authenticated in time.
    Stranger,
    /// No request for long.
    Idle,
    /// Whoever it was has been answered, and not admitted.
    Refused,
}

impl Connection {
    /// Somebody authenticated on it: from now on it counts as an agent's.
    /// False if there is no room for another agent.
    pub(super) fn admit(&self) -> bool {
        let mut state = self.state.lock();
        if matches!(state.place, Place::Agent { .. }) {
            return true;
        }
        let place = Arc::clone(&self.room.connections).try_acquire_owned();
        let Ok(place) = place else {
            drop(state);
            self.room.full.note(|left_out| {
                tracing::warn!(
                    limit = self.room.limits.connections,
                    left_out,
                    "limits.connections is reached: further agents are answered 503"
                );
            });
            return false;
        };
        state.place = Place::Agent { _place: place };
        true
    }

    /// A request begins; it ends with the guard.
    pub(super) fn request(self: &Arc<Self>) -> Request {
        self.state.lock().requests += 1;
        Request(Arc::clone(self))
    }

    /// Waits until the connection should end.
    pub(super) async fn over(&self) -> Over {
        tokio::select! {
            () = self.leaving.notified() => Over::Refused,
            over = self.overdue() => over,
        }
    }

    /// One deadline from accept to the first request that authenticates,
    /// whatever a stranger does until then; later the silence between requests.
    async fn overdue(&self) -> Over {
        let limits = &self.room.limits;
        loop {
            let (over, at) = {
                let state = self.state.lock();
                match state.place {
                    Place::Stranger { .. } => (Over::Stranger, self.authenticated_by()),
                    // Its own parts are bounded.
                    Place::Agent { .. } if state.requests > 0 => {
                        (Over::Idle, Instant::now() + limits.idle())
                    }
                    Place::Agent { .. } => (Over::Idle, state.quiet_since + limits.idle()),
                }
            };
            if at <= Instant::now() {
                return over;
            }
            sleep_until(at).await;
        }
    }

    fn authenticated_by(&self) -> Instant {
        let limits = &self.room.limits;
        self.accepted + limits.handshake() + limits.first_message()
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
        if matches!(state.place, Place::Stranger { .. }) {
            self.0.leaving.notify_one();
        }
    }
}
