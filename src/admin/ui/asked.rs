//! What the query of a page says.

use axum::http::Uri;
use jiff::Timestamp;
use url::form_urlencoded::{Serializer, parse};

use super::{Frame, When};

/// How often a browser may ask again, in seconds.
const REFRESH: std::ops::RangeInclusive<u16> = 5..=3600;
/// What the link offers.
const USUAL_REFRESH: u16 = 10;
/// The longest text that is searched for.
const MAX_FIND: usize = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Asked {
    path: String,
    pub(super) now: Timestamp,
    /// Where a list goes on.
    pub(super) after: Option<String>,
    /// How what is looked for begins.
    pub(super) find: Option<String>,
    refresh: Option<u16>,
}

/// Where a list goes on, and where it begins.
pub(super) struct Next {
    /// None on the last page.
    pub(super) next: Option<String>,
    /// None on the first.
    pub(super) first: Option<String>,
}

impl Asked {
    /// Or why it cannot be understood, with as much of it as can.
    pub(super) fn read(uri: &Uri, now: Timestamp) -> Result<Self, (Self, &'static str)> {
        let mut asked = Self {
            path: uri.path().to_owned(),
            now,
            after: None,
            find: None,
            refresh: None,
        };
        for (name, value) in parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "after" => asked.after = Some(value.into_owned()),
                "find" => {
                    let find: String = value.trim().chars().take(MAX_FIND).collect();
                    asked.find = (!find.is_empty()).then_some(find);
                }
                "refresh" => {
                    let seconds = value.parse().ok();
                    asked.refresh = seconds.filter(|seconds| REFRESH.contains(seconds));
                    if asked.refresh.is_none() {
                        return Err((asked, "A page is made again every 5 to 3600 seconds."));
                    }
                }
                _ => {
                    let said = "The query may hold after, find and refresh.";
                    return Err((asked, said));
                }
            }
        }
        Ok(asked)
    }

    /// What stands around the page.
    pub(super) fn frame(&self, title: impl Into<String>, within: &'static str) -> Frame {
        let toggled = self.refresh.is_none().then_some(USUAL_REFRESH);
        Frame {
            title: title.into(),
            within,
            version: env!("CARGO_PKG_VERSION"),
            made: When::of(self.now, self.now),
            refresh: self.refresh,
            toggled: self.link(self.after.as_deref(), toggled),
        }
    }

    /// The links of a list whose last row on this page is `last`, if there are
    /// more.
    pub(super) fn next(&self, last: Option<String>) -> Next {
        Next {
            next: last.map(|last| self.link(Some(&last), self.refresh)),
            first: self.after.is_some().then(|| self.link(None, self.refresh)),
        }
    }

    /// This page with another query.
    fn link(&self, after: Option<&str>, refresh: Option<u16>) -> String {
        let mut query = Serializer::new(String::new());
        let refresh = refresh.map(|seconds| seconds.to_string());
        for (name, value) in [
            ("find", self.find.as_deref()),
            ("after", after),
            ("refresh", refresh.as_deref()),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        match query.finish() {
            query if query.is_empty() => self.path.clone(),
            query => format!("{}?{query}", self.path),
        }
    }
}
