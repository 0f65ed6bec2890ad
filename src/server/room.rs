//! Room for connections. Whoever has not authenticated yet counts apart, so
//! that strangers, however many, never use up the room of agents. They come in
//! two steps: a seat costs next to nothing, and there are many; a place, where
//! TLS is spoken, costs memory and work. Whoever is silent never leaves its
//! seat, and everybody else gets a place in the order of coming, so that a
//! whole fleet may come back at once and nobody has to be turned away.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use super::{Limits, connection::Connection, seldom::Seldom};

/// The part of all seats that is left when one address has all it may have.
/// Behind one address may be every agent there is: load balancers show their
/// own.
const SEATS_FOR_OTHERS: usize = 4;
/// Of the places of strangers, the part that one address may have at once.
const PLACES_OF_ONE_ADDRESS: usize = 4;
/// Of the time for TLS, the part that a stranger may keep others waiting.
const PATIENCE: u32 = 4;

/// See the module.
pub(super) struct Room {
    limits: Limits,
    seats: Arc<Semaphore>,
    places: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    addresses: Mutex<HashMap<IpAddr, Address>>,
    seated: Seldom,
    greedy: Seldom,
    crowded: Seldom,
    late: Seldom,
    full: Seldom,
    flooded: Seldom,
}

/// The strangers of one address.
struct Address {
    strangers: usize,
    places: Arc<Semaphore>,
}

fn permits(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            seats: permits(limits.waiting.max(1)),
            places: permits(limits.handshakes.max(1)),
            connections: permits(limits.connections),
            addresses: Mutex::default(),
            limits: limits.clone(),
            seated: Seldom::default(),
            greedy: Seldom::default(),
            crowded: Seldom::default(),
            late: Seldom::default(),
            full: Seldom::default(),
            flooded: Seldom::default(),
        })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How long a stranger may keep us waiting while others wait for it.
    pub(super) fn patience(&self) -> Duration {
        self.limits.handshake() / PATIENCE
    }

    /// A seat for the next stranger. Until there is one, connections wait in
    /// the system's backlog.
    pub(super) async fn seat(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
            return Some(seat);
        }
        self.seated.note(|left_out| {
            tracing::warn!(
                limit = self.limits.waiting,
                left_out,
                "limits.waiting is reached: new connections are accepted when others have begun TLS or ended"
            );
        });
        Arc::clone(&self.seats).acquire_owned().await.ok()
    }

    /// Seats a connection; none if its address has its share already.
    pub(super) fn arrive(
        self: &Arc<Self>,
        seat: OwnedSemaphorePermit,
        peer: IpAddr,
    ) -> Option<Arrival> {
        let of = network(peer);
        let share = self.limits.waiting - self.limits.waiting / SEATS_FOR_OTHERS;
        let mut addresses = self.addresses.lock();
        let address = addresses.entry(of).or_insert_with(|| Address {
            strangers: 0,
            places: permits((self.limits.handshakes / PLACES_OF_ONE_ADDRESS).max(1)),
        });
        if address.strangers >= share.max(1) {
            drop(addresses);
            self.greedy.note(|left_out| {
                tracing::warn!(
                    %peer,
                    share,
                    left_out,
                    "three quarters of limits.waiting come from one address: its further connections are closed"
                );
            });
            return None;
        }
        address.strangers += 1;
        let share = Arc::clone(&address.places);
        drop(addresses);
        let room = Arc::clone(self);
        Some(Arrival {
            seat,
            presence: Presence { room, of },
            share,
        })
    }

    /// Room for one more agent.
    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.connections).try_acquire_owned().ok();
        if place.is_none() {
            self.full.note(|left_out| {
                tracing::warn!(
                    limit = self.limits.connections,
                    left_out,
                    "limits.connections is reached: further agents are answered 503"
                );
            });
        }
        place
    }

    /// A connection carries more messages than it may.
    pub(super) fn note_flooded(&self, limit: u32) {
        self.flooded.note(|left_out| {
            tracing::warn!(
                limit,
                left_out,
                "limits.messagesPerConnection is reached: further messages of this connection are refused"
            );
        });
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

/// Counts among the strangers of its address until it is dropped.
struct Presence {
    room: Arc<Room>,
    of: IpAddr,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut addresses = self.room.addresses.lock();
        if let Entry::Occupied(mut entry) = addresses.entry(self.of) {
            entry.get_mut().strangers -= 1;
            if entry.get().strangers == 0 {
                entry.remove();
            }
        }
    }
}

/// A stranger on a seat.
pub(super) struct Arrival {
    seat: OwnedSemaphorePermit,
    presence: Presence,
    /// The places that its address may have.
    share: Arc<Semaphore>,
}

impl Arrival {
    /// Waits until the peer says something, then for a place; none if either
    /// takes too long.
    pub(super) async fn place(self, stream: &TcpStream) -> Option<Arc<Connection>> {
        let mut byte = [0];
        tokio::select! {
            biased;
            heard = stream.peek(&mut byte) => drop(heard.ok()?),
            () = self.silent_too_long() => return None,
        }
        let room = Arc::clone(&self.presence.room);
        if self.share.available_permits() == 0 || room.places.available_permits() == 0 {
            room.crowded.note(|left_out| {
                tracing::warn!(
                    limit = room.limits.handshakes,
                    left_out,
                    "limits.handshakes is reached, or a quarter of it by one address: connections wait for TLS"
                );
            });
        }
        let turn = async {
            let of_address = Arc::clone(&self.share).acquire_owned().await.ok()?;
            let place = Arc::clone(&room.places).acquire_owned().await.ok()?;
            Some((of_address, place))
        };
        let Ok(turn) = timeout(room.limits.first_message(), turn).await else {
            room.late.note(|left_out| {
                tracing::warn!(
                    left_out,
                    "a connection waited for TLS for limits.firstMessageSeconds and is closed"
                );
            });
            return None;
        };
        let (of_address, place) = turn?;
        let Self {
            seat,
            presence,
            share,
        } = self;
        drop(seat);
        let stranger = Stranger {
            presence,
            share,
            _of_address: of_address,
            _place: place,
        };
        Some(Connection::new(room, stranger))
    }

    async fn silent_too_long(&self) {
        let (room, began) = (&self.presence.room, Instant::now());
        let end = began + room.limits.handshake();
        let mut look = began + room.patience();
        loop {
            sleep_until(look).await;
            if look >= end || room.seats.available_permits() == 0 {
                return;
            }
            look = end.min(look + room.patience() / 4);
        }
    }
}

/// A stranger on a place.
pub(super) struct Stranger {
    presence: Presence,
    share: Arc<Semaphore>,
    _of_address: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Stranger {
    /// Does anybody wait for its place?
    pub(super) fn pressed(&self) -> bool {
        let places = [&self.share, &self.presence.room.places];
        places.iter().any(|places| places.available_permits() == 0)
    }
}
