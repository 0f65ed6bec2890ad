//! What a connection presented, whom it proves, and whose an instance UID is.
//!
//! The TLS handshake proves possession of a key and nothing more; what it is
//! worth is judged here, by [`Trust::verify`], a pure function.

mod authenticator;
mod bearer;
mod binding;
mod certificate;
mod deny;
mod held;
mod jwt;
mod keys;
mod ledger;
mod presented;
mod trust;

pub use authenticator::{Authenticator, Terms, Tokens, TrustError, client_verifier};
pub use bearer::{Bearer, Bound, Inquiry, ServiceAccount, Vouched, Voucher};
pub use binding::{Admission, Past, Rights, admit};
pub use certificate::{Home, NamePattern};
pub use deny::{DenyList, Revoked};
pub use held::{Held, HeldBook, HeldEntry};
pub use jwt::{JwtHome, JwtKeys, JwtRules, claimed_audiences, claimed_expiry, is_jwt, judge};
pub use keys::{Digest, KeyRing, Marker};
pub use ledger::{Ledger, LedgerEntry};
pub use presented::{Fingerprint, Presented};
pub use trust::{Proof, Recognition, ServiceAccounts, Sources, Trust, Verdict};
