//! What a revision was made for: the change that was seen, by a name under
//! which the log tells everything that followed from it.

use std::fmt;

use crate::Now;

/// The name of a change. Of one process; what earlier ones saw has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u32);

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// An object, a profile or something of the operator's own became another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub id: ChangeId,
    /// When it was seen.
    pub at: Now,
    /// It was read for the first time: nobody knows since when it is as it is.
    pub first: bool,
}
