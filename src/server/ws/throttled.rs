//! What becomes of a message that is not heard because there are too many.

use axum::extract::ws::close_code;
use opamp_wire::InstanceUid;

use super::{Close, Hearing, Session};
use crate::server::{exchange::unavailable, throttle::Empty};

impl Session {
    /// More came on this connection than may. Whoever goes on all the same is
    /// not even read any more: hearing it out would cost as much.
    pub(super) async fn throttled(&mut self, empty: Empty) -> Option<Close> {
        const TEXT: &str = "too many messages on this connection";
        let wait = self.shared.refusal();
        let reply = unavailable(self.uid(), TEXT, wait);
        match empty {
            Empty::Just => self.reply(&reply).await,
            Empty::Still => {
                let close = (close_code::AGAIN, TEXT);
                Some(self.refuse(&reply, wait, Hearing::Blocked, close).await)
            }
        }
    }

    /// More came from everybody than is heard. Who was heard before may wait
    /// for its next message; a newcomer starts anew, later.
    pub(super) async fn overloaded(&mut self) -> Option<Close> {
        const TEXT: &str = "the server is overloaded";
        let wait = self.shared.refusal();
        let reply = unavailable(self.uid(), TEXT, wait);
        if self.attached.is_some() {
            return self.reply(&reply).await;
        }
        let close = (close_code::AGAIN, TEXT);
        Some(self.refuse(&reply, wait, Hearing::Open, close).await)
    }

    /// Of the agent on this connection, as far as it said so.
    fn uid(&self) -> InstanceUid {
        let attached = self.attached.as_ref();
        attached.map_or(InstanceUid::NIL, |(attached, _)| {
            attached.agent.lock().uid()
        })
    }
}
