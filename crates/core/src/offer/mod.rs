//! From a profile and the objects it names to a validated, encoded, hashed
//! [`Revision`] – or to the one reason why there is none.

mod encode;
mod hash;
mod lockout;
mod material;
mod object;
mod resolve;
mod revision;

pub use lockout::{HeldBack, Serving, ServingError, hold_back};
pub use material::{Bundle, ClientMaterial, MaterialError};
pub use object::{Object, Observed};
pub(crate) use resolve::expiring_soon;
pub use resolve::{Context, Outcome, ReferenceState, Refusal, Resolution, references, resolve};
pub use revision::{Credential, Draft, Revision, WireHash};
