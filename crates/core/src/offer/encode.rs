//! The wire form of an `opamp` section.
//!
//! *Universal* survives every agent we know (agents.md H3–H5): the supervisor
//! switches verification off when `certificate` is missing and takes its
//! `ca_cert` for the trust anchor of the server; other clients read `tls`.
//! *Strict* is the letter of the specification, where `ca_cert` is the CA of
//! the client certificate (section "TLSCertificate").

use opamp_operator_api::v1alpha1::Compatibility;
use opamp_wire::proto::{
    Header, Headers, OpAmpConnectionSettings, TlsCertificate, TlsConnectionSettings,
};
use zeroize::Zeroizing;

use super::{
    material::{Bundle, ClientMaterial},
    revision::ServerTrust,
};

/// Everything an `opamp` section says. No `Debug`.
pub(super) struct Plan {
    pub endpoint: url::Url,
    pub compatibility: Compatibility,
    pub heartbeat_seconds: u64,
    pub headers: Vec<(String, Zeroizing<String>)>,
    pub client: Option<ClientMaterial>,
    /// `ca.crt` of the client certificate's Secret: *Strict* form only.
    pub client_ca: Option<Vec<u8>>,
    pub bundle: Option<Bundle>,
    pub system_roots: bool,
}

impl Plan {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.endpoint.scheme(), "wss" | "https")
    }

    /// What agents will verify us by.
    pub(super) fn trust(&self) -> ServerTrust {
        ServerTrust {
            endpoint: self.endpoint.clone(),
            bundle: self
                .bundle
                .as_ref()
                .map(|bundle| bundle.certificates.clone()),
        }
    }

    /// The section without its marker header.
    pub(super) fn settings(&self) -> OpAmpConnectionSettings {
        let header = |(key, value): &(String, Zeroizing<String>)| Header {
            key: key.clone(),
            value: value.as_str().to_owned(),
        };
        OpAmpConnectionSettings {
            destination_endpoint: self.endpoint.to_string(),
            headers: Some(Headers {
                headers: self.headers.iter().map(header).collect(),
            }),
            certificate: self.certificate(),
            heartbeat_interval_seconds: self.heartbeat_seconds,
            tls: self.tls(),
            ..Default::default()
        }
    }

    fn certificate(&self) -> Option<TlsCertificate> {
        if !self.is_tls() {
            return None;
        }
        let (cert, private_key) = self
            .client
            .as_ref()
            .map_or_else(Default::default, |client| {
                (
                    client.chain_pem.to_vec().into(),
                    client.key_pem.to_vec().into(),
                )
            });
        let ca_cert = match self.compatibility {
            Compatibility::Universal => self.bundle.as_ref().map(|bundle| bundle.pem.clone()),
            Compatibility::Strict => {
                self.client.as_ref()?;
                self.client_ca.clone()
            }
        };
        Some(TlsCertificate {
            cert,
            private_key,
            ca_cert: ca_cert.unwrap_or_default().into(),
        })
    }

    fn tls(&self) -> Option<TlsConnectionSettings> {
        self.is_tls().then(|| TlsConnectionSettings {
            ca_pem_contents: self.bundle.as_ref().map_or_else(String::new, |bundle| {
                String::from_utf8_lossy(&bundle.pem).into_owned()
            }),
            include_system_ca_certs_pool: self.system_roots,
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `ca_cert` would be all that agents verify this server by (law 3). The
    /// `certificate` stays, or they would not verify it at all.
    #[test]
    fn s11_law3_no_ca_is_named_where_the_systems_roots_verify() {
        let plan = Plan {
            endpoint: "wss://opamp.example.com/v1/opamp".parse().unwrap(),
            compatibility: Compatibility::Universal,
            heartbeat_seconds: 30,
            headers: Vec::new(),
            client: None,
            client_ca: None,
            bundle: None,
            system_roots: true,
        };
        let settings = plan.settings();
        assert_eq!(settings.certificate, Some(TlsCertificate::default()));
        assert!(settings.tls.unwrap().include_system_ca_certs_pool);
    }
}
