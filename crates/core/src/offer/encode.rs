//! The wire form of an `opamp` section.
//!
//! *Universal* survives every agent we know (agents.md H3–H5): the supervisor
//! switches verification off when `certificate` is missing and takes its
//! `ca_cert` for the trust anchor of the server; other clients read `tls`.
//! *Strict* is the letter of the specification, where `ca_cert` is the CA of
//! the client certificate (section "TLSCertificate").

use opamp_operator_api::v1alpha1::Compatibility;
use opamp_wire::proto::{OpAmpConnectionSettings, TlsCertificate};

use super::{
    connection::{Connection, Roots},
    revision::{ServerTrust, TrustRoots},
};

/// Everything an `opamp` section says. No `Debug`.
pub(super) struct Plan {
    pub endpoint: url::Url,
    pub compatibility: Compatibility,
    pub heartbeat_seconds: u64,
    pub connection: Connection,
}

impl Plan {
    /// What agents will verify us by.
    pub(super) fn trust(&self) -> ServerTrust {
        ServerTrust {
            endpoint: self.endpoint.clone(),
            roots: match &self.connection.roots {
                Roots::Bundle(bundle) => TrustRoots::Bundle(bundle.certificates.clone()),
                Roots::System => TrustRoots::System,
                Roots::None => TrustRoots::Anything,
            },
            limits: self.connection.limits.clone(),
        }
    }

    /// The section without its marker header.
    pub(super) fn settings(&self) -> OpAmpConnectionSettings {
        OpAmpConnectionSettings {
            destination_endpoint: self.endpoint.to_string(),
            headers: Some(self.connection.headers()),
            certificate: self.certificate(),
            heartbeat_interval_seconds: self.heartbeat_seconds,
            tls: self.connection.tls(),
            proxy: self.connection.proxy(),
        }
    }

    fn certificate(&self) -> Option<TlsCertificate> {
        let connection = &self.connection;
        if !connection.tls {
            return None;
        }
        match (self.compatibility, &connection.roots) {
            // With one they would verify, by the system's roots (see `lockout`).
            (Compatibility::Universal, Roots::None) => None,
            (Compatibility::Universal, _) => {
                let bundle = connection.bundle().map(|bundle| &*bundle.pem);
                Some(connection.certificate(bundle))
            }
            (Compatibility::Strict, _) => connection.strict_certificate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::connection::TlsLimits;

    fn without_credentials(roots: Roots) -> Plan {
        Plan {
            endpoint: "wss://opamp.example.com/v1/opamp".parse().unwrap(),
            compatibility: Compatibility::Universal,
            heartbeat_seconds: 30,
            connection: Connection {
                tls: true,
                headers: Vec::new(),
                client: None,
                client_ca: None,
                roots,
                limits: TlsLimits::default(),
                proxy: None,
            },
        }
    }

    /// A `ca_cert` would be all that agents verify this server by (law 3). The
    /// `certificate` stays, or they would not verify it at all.
    #[test]
    fn s11_law3_no_ca_is_named_where_the_systems_roots_verify() {
        let settings = without_credentials(Roots::System).settings();
        assert_eq!(settings.certificate, Some(TlsCertificate::default()));
        let tls = settings.tls.unwrap();
        assert!(tls.include_system_ca_certs_pool && !tls.insecure_skip_verify);
    }

    /// The other way round: with a `certificate` a supervisor would verify.
    #[test]
    fn h4_where_nothing_is_verified_every_agent_is_told_so() {
        let settings = without_credentials(Roots::None).settings();
        assert_eq!(settings.certificate, None);
        let tls = settings.tls.unwrap();
        assert!(tls.insecure_skip_verify && !tls.include_system_ca_certs_pool);
    }
}
