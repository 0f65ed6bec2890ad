//! `OpAMP` on the wire, for both peers: messages, frames, bodies, and the
//! replies of a server.
//!
//! Nothing here decides anything or does I/O. Two promises hold throughout:
//! input of any content is an error at worst, never a panic; and no `Debug`
//! and no error shows what a message contains.

mod body;
mod capabilities;
mod frame;
pub mod proto;
mod redact;
mod reply;
mod uid;

pub use body::{BodyError, Encoding, decompress, gzip};
pub use capabilities::{AgentCapabilities, ServerCapabilities};
pub use frame::{FrameError, decode_frame, encode_frame};
pub use prost::Message;
pub use proto::*;
pub use reply::{ErrorKind, OfferBytes, Reply, ReplyError};
pub use uid::{InstanceUid, UidError};
