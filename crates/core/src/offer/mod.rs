//! From a profile and the objects it names to a validated, encoded, hashed
//! [`Revision`] – or to the one reason why there is none.

mod beside;
mod change;
mod check;
mod connection;
mod encode;
mod group;
mod hash;
mod lockout;
mod material;
mod object;
mod outcome;
mod pem;
mod read;
mod references;
mod resolve;
mod revision;
mod sections;

pub use beside::Beside;
pub use change::{Change, ChangeId};
pub use connection::TlsLimits;
pub use lockout::{HeldBack, Serving, ServingError, hold_back};
pub use material::{Bundle, ClientMaterial, MaterialError};
pub use object::{Object, Observed};
pub use outcome::{Context, Outcome, ReferenceState, Refusal, Resolution, Validity};
pub use references::references;
pub use resolve::{preview, resolve};
pub use revision::{Credential, Draft, Revision, ServerTrust, TrustRoots, WireHash};
