//! What an agent needs for one connection, whatever it is for, and its form on
//! the wire. Nothing here prints its content.

use jiff::Timestamp;
use opamp_operator_api::v1alpha1::{CipherSuite, TLSVersion};
use opamp_wire::proto::{
    Header, Headers, ProxyConnectionSettings, TlsCertificate, TlsConnectionSettings,
};
use zeroize::Zeroizing;

use super::material::{Bundle, ClientMaterial};

/// Names and values of headers.
pub(super) type Values = Vec<(String, Zeroizing<String>)>;

/// What agents verify their server by.
#[derive(Clone)]
pub(super) enum Roots {
    /// These CAs alone.
    Bundle(Bundle),
    /// Those of their system.
    System,
    /// Nothing, since there is no TLS or policy allows it.
    None,
}

/// Which forms of TLS agents may use; what is unset is theirs to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsLimits {
    /// The lowest version.
    pub min: Option<TLSVersion>,
    /// The highest version.
    pub max: Option<TLSVersion>,
    /// The cipher suites; none for all.
    pub suites: Vec<CipherSuite>,
}

/// A proxy, checked.
pub(super) struct Proxy {
    pub(super) url: String,
    pub(super) headers: Values,
}

/// Everything but the address.
pub(super) struct Connection {
    /// Whether the address asks for TLS.
    pub(super) tls: bool,
    pub(super) headers: Values,
    pub(super) client: Option<ClientMaterial>,
    /// `ca.crt` of the client certificate's Secret: *Strict* form only.
    pub(super) client_ca: Option<Vec<u8>>,
    pub(super) roots: Roots,
    pub(super) limits: TlsLimits,
    pub(super) proxy: Option<Proxy>,
}

impl Connection {
    pub(super) fn bundle(&self) -> Option<&Bundle> {
        match &self.roots {
            Roots::Bundle(bundle) => Some(bundle),
            Roots::System | Roots::None => None,
        }
    }

    /// When its client certificate does.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        let client = self.client.as_ref();
        client.map(|client| client.validity.not_after)
    }

    pub(super) fn headers(&self) -> Headers {
        headers(&self.headers)
    }

    /// The client certificate with this beside it.
    pub(super) fn certificate(&self, ca_cert: Option<&[u8]>) -> TlsCertificate {
        let (cert, private_key) = self
            .client
            .as_ref()
            .map_or_else(Default::default, |client| {
                (
                    client.chain_pem.to_vec().into(),
                    client.key_pem.to_vec().into(),
                )
            });
        TlsCertificate {
            cert,
            private_key,
            ca_cert: ca_cert.unwrap_or_default().to_vec().into(),
        }
    }

    /// As the specification says it: with the CA of the client certificate
    /// (section "TLSCertificate"), and nothing where there is none.
    pub(super) fn strict_certificate(&self) -> Option<TlsCertificate> {
        self.client.as_ref()?;
        Some(self.certificate(self.client_ca.as_deref()))
    }

    pub(super) fn tls(&self) -> Option<TlsConnectionSettings> {
        let version = |version: Option<TLSVersion>| version.map_or("", TLSVersion::as_str);
        self.tls.then(|| TlsConnectionSettings {
            ca_pem_contents: self.bundle().map_or_else(String::new, |bundle| {
                String::from_utf8_lossy(&bundle.pem).into_owned()
            }),
            include_system_ca_certs_pool: matches!(self.roots, Roots::System),
            insecure_skip_verify: matches!(self.roots, Roots::None),
            min_version: version(self.limits.min).to_owned(),
            max_version: version(self.limits.max).to_owned(),
            cipher_suites: self
                .limits
                .suites
                .iter()
                .map(|suite| suite.as_str().to_owned())
                .collect(),
        })
    }

    pub(super) fn proxy(&self) -> Option<ProxyConnectionSettings> {
        self.proxy.as_ref().map(|proxy| ProxyConnectionSettings {
            url: proxy.url.clone(),
            connect_headers: (!proxy.headers.is_empty()).then(|| headers(&proxy.headers)),
        })
    }
}

fn headers(values: &Values) -> Headers {
    let header = |(key, value): &(String, Zeroizing<String>)| Header {
        key: key.clone(),
        value: value.as_str().to_owned(),
    };
    Headers {
        headers: values.iter().map(header).collect(),
    }
}
