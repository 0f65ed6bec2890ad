//! What a connection presented, whom it proves, and whose an instance UID is.
//!
//! The TLS handshake proves possession of a key and nothing more; what it is
//! worth is judged here, by [`Trust::verify`], a pure function.

mod binding;
mod keys;
mod ledger;
mod presented;
mod trust;

pub use binding::{Admission, Rights, admit};
pub use keys::{Digest, KeyRing, Marker};
pub use ledger::{Ledger, LedgerEntry};
pub use presented::{Fingerprint, Presented};
pub use trust::{Authenticator, Proof, Recognition, Trust, TrustError, Verdict};
