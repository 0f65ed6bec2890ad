//! Waiting for a condition: the only place with a polling interval.
//!
//! Every wait has a deadline and, when it passes, says what it last saw.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at again.
const INTERVAL: Duration = Duration::from_millis(50);

/// What a look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds.
    Done(T),
    /// Not yet; the text says what was seen instead.
    NotYet(String),
    /// It cannot come true any more.
    Never(String),
}

impl<T> Look<T> {
    /// `Done` for a value, `NotYet(seen)` for none.
    pub fn some(value: Option<T>, seen: impl Display) -> Self {
        value.map_or_else(|| Self::NotYet(seen.to_string()), Self::Done)
    }
}

impl Look<()> {
    /// `Done` when `holds`, else `NotYet(seen)`.
    pub fn when(holds: bool, seen: impl Display) -> Self {
        if holds {
            Self::Done(())
        } else {
            Self::NotYet(seen.to_string())
        }
    }
}

/// Looks until the condition holds.
///
/// # Errors
/// When the deadline passes or the condition can never come true.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Look<T>,
) -> Result<T> {
    eventually_async(what, within, || std::future::ready(look())).await
}

/// As [`eventually`], for a look that itself waits.
///
/// # Errors
/// When the deadline passes or the condition can never come true.
pub async fn eventually_async<T, F>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Look<T>>,
{
    let deadline = Instant::now() + within;
    loop {
        let seen = match look().await {
            Look::Done(value) => return Ok(value),
            Look::Never(why) => bail!("{what}: cannot come true: {why}"),
            Look::NotYet(seen) => seen,
        };
        if Instant::now() >= deadline {
            bail!("{what}: not within {within:?}; last seen: {seen}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Looks for the whole time that nothing goes wrong.
///
/// # Errors
/// As soon as `wrong` returns what went wrong.
pub async fn throughout(
    what: &str,
    time: Duration,
    mut wrong: impl FnMut() -> Option<String>,
) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        if let Some(why) = wrong() {
            bail!("{what}: {why}");
        }
        if Instant::now() >= end {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits without a runtime, for use in `Drop`.  Returns whether it came true.
pub fn blocking(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(INTERVAL);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_what_it_last_saw() {
        let error = eventually("door", Duration::ZERO, || Look::when(false, "closed"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
    }

    #[tokio::test]
    async fn a_hopeless_wait_ends_at_once() {
        let look = || Look::<()>::Never("gone".into());
        assert!(eventually("x", Duration::MAX / 4, look).await.is_err());
    }

    #[tokio::test]
    async fn a_watch_reports_the_first_wrong_thing() {
        let wrong = throughout("watch", Duration::from_mins(1), || Some("bad".into())).await;
        assert!(wrong.unwrap_err().to_string().contains("bad"));
    }
}
