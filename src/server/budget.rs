//! Small on the wire, large in memory: a few KiB of gzip unpack to a MiB, and a
//! MiB of empty attributes decodes to a hundred. So whatever is not small once
//! unpacked is decoded and handled by a few at once, for the whole server.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Above this, a message needs a place. Heartbeats and what most agents report
/// of themselves stay below.
pub(super) const SMALL: usize = 16 * 1024;

/// See the module.
pub(super) struct Budget {
    places: Arc<Semaphore>,
    patience: Duration,
}

/// Leave to decode one message and to handle it.
pub(super) struct Leave {
    _place: Option<OwnedSemaphorePermit>,
}

impl Leave {
    /// For what is at most [`SMALL`].
    pub(super) const SMALL: Self = Self { _place: None };
}

impl Budget {
    pub(super) fn new(places: usize, patience: Duration) -> Self {
        let places = places.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(places)),
            patience,
        }
    }

    /// Leave to decode what is larger than [`SMALL`]; none if there was none in
    /// time.
    pub(super) async fn leave(&self) -> Option<Leave> {
        let place = timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok()?.ok()?;
        Some(Leave {
            _place: Some(place),
        })
    }

    pub(super) fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }
}
