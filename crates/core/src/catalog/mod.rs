//! State per profile: observed objects, outcome, last good revision, debounce;
//! and [`Candidates`], what an agent chooses its profile from.

mod explain;
mod own;
mod profile;
mod select;
mod state;
mod target;
mod tokens;

pub use explain::{Explained, Relation, explain};
pub use own::{
    AuthenticatorSource, Built, KeySource, Material, SourceKind, Usable, authenticator, remember,
};
pub use profile::{ProfileState, Stored};
pub use select::{
    Candidate, Candidates, Choice, Chooser, Fit, MAX_OVERRIDDEN, candidates, choose, overridden,
};
pub use state::{Catalog, Policy, Settings, Settled};
pub use target::{Bound, Target};
