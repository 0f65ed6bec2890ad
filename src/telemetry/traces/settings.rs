//! Where traces go.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use url::{Host, Url};

/// What the configuration says of traces.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traces {
    endpoint: Url,
    #[serde(default)]
    headers_file: Option<PathBuf>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    sample_ratio: Ratio,
    #[serde(default = "ten")]
    timeout_seconds: u64,
}

fn ten() -> u64 {
    10
}

/// How many of all changes are followed, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio(u32);

impl Ratio {
    const ALL: u32 = 1_000_000;

    /// Whether a change is one of them; `dice` is its own and evenly spread.
    pub(super) fn takes(self, dice: u64) -> bool {
        dice % u64::from(Self::ALL) < u64::from(self.0)
    }
}

impl Default for Ratio {
    fn default() -> Self {
        Self(Self::ALL)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ratio = f64::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(D::Error::custom("`sampleRatio` must be from 0 to 1"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to a million"
        )]
        Ok(Self((ratio * f64::from(Self::ALL)).round() as u32))
    }
}

impl Traces {
    /// What is wrong, if something is.
    ///
    /// # Errors
    /// With that.
    pub fn check(&self) -> Result<(), String> {
        let url = &self.endpoint;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(
                "`telemetry.traces.endpoint` must be https:// or http://: OTLP over HTTP".into(),
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "`telemetry.traces.endpoint` holds a credential: write it into `headersFile`"
                    .into(),
            );
        }
        if url.scheme() == "https" {
            return Ok(());
        }
        if self.ca_file.is_some() {
            return Err("`telemetry.traces.caFile` is of no use: the endpoint is http://".into());
        }
        if self.headers_file.is_some() && !self.stays_here() {
            return Err(
                "`telemetry.traces.headersFile` may hold a credential, and to an endpoint that is http:// it would \
                 go in the clear"
                    .into(),
            );
        }
        Ok(())
    }

    /// Where they go. What has no path is the address of a Collector.
    #[must_use]
    pub fn endpoint(&self) -> Url {
        let mut url = self.endpoint.clone();
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        url
    }

    /// Whether they leave this machine in the clear.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.endpoint.scheme() == "http" && !self.stays_here()
    }

    fn stays_here(&self) -> bool {
        match self.endpoint.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    pub(super) fn headers_file(&self) -> Option<&PathBuf> {
        self.headers_file.as_ref()
    }

    pub(super) fn ca_file(&self) -> Option<&PathBuf> {
        self.ca_file.as_ref()
    }

    pub(super) fn ratio(&self) -> Ratio {
        self.sample_ratio
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Traces, String> {
        let traces: Traces = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        traces.check().map(|()| traces)
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, named) in [
            ("{endpoint: 'ftp://localhost'}", "OTLP over HTTP"),
            ("{endpoint: 'https://u:p@localhost'}", "credential"),
            (
                "{endpoint: 'http://c:4318', headersFile: /h}",
                "in the clear",
            ),
            ("{endpoint: 'http://c:4318', caFile: /c}", "of no use"),
            (
                "{endpoint: 'http://c:4318', sampleRatio: 1.5}",
                "from 0 to 1",
            ),
            (
                "{endpoint: 'http://c:4318', sampleRatio: .nan}",
                "from 0 to 1",
            ),
            ("{endpoint: 'http://c:4318', ratio: 1}", "ratio"),
            ("{caFile: /c}", "endpoint"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_address_of_a_collector_is_enough() {
        for (endpoint, whole) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("https://c:4318/", "https://c:4318/v1/traces"),
            (
                "https://c/otlp/v1/traces?a=b",
                "https://c/otlp/v1/traces?a=b",
            ),
        ] {
            let traces = read(&format!("{{endpoint: '{endpoint}'}}")).unwrap();
            assert_eq!(traces.endpoint().as_str(), whole);
            assert!(!traces.is_plain(), "{endpoint}");
        }
        assert!(read("{endpoint: 'http://c:4318'}").unwrap().is_plain());
        assert!(read("{endpoint: 'http://[::1]:4318', headersFile: /h}").is_ok());
    }

    #[test]
    fn a_ratio_takes_so_many() {
        for (ratio, taken) in [("0", 0), ("0.25", 250), ("1", 1000)] {
            let text = format!("{{endpoint: 'http://c', sampleRatio: {ratio}}}");
            let ratio = read(&text).unwrap().ratio();
            let dice = (0..1000_u64).map(|n| n * 1000 + 7);
            assert_eq!(dice.filter(|dice| ratio.takes(*dice)).count(), taken);
        }
    }
}
