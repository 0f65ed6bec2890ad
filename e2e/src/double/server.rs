//! The `server` section of a supervisor: from its file, or from an offer.

use std::fmt;

use opamp_wire::proto::OpAmpConnectionSettings;

use super::Options;

/// Where to connect and with what.
#[derive(Clone, PartialEq)]
pub(super) struct Server {
    pub(super) endpoint: String,
    /// In the order of the wire.
    pub(super) headers: Vec<(String, String)>,
    pub(super) tls: Tls,
}

/// What a connection proves and wants proved.
#[derive(Clone, PartialEq)]
pub(super) struct Tls {
    /// None: the server is not verified at all.
    pub(super) roots: Option<Roots>,
    /// Certificate chain and key as PEM.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Whom a server must be signed by.
#[derive(Clone, PartialEq)]
pub(super) enum Roots {
    /// The system's roots.
    System,
    /// These alone, as PEM.
    These(Vec<u8>),
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    Http,
}

impl Server {
    /// The settings of the supervisor's own file.
    pub(super) fn of_file(options: &Options) -> Self {
        Self {
            endpoint: options.endpoint.clone(),
            headers: vec![(
                "Authorization".to_owned(),
                format!("Bearer {}", options.token),
            )],
            tls: Tls {
                roots: Some(Roots::These(options.ca.clone().into_bytes())),
                identity: None,
            },
        }
    }

    /// Exactly what is offered, and nothing of what was before.
    ///
    /// # Errors
    /// In words, when a supervisor would not take it.
    pub(super) fn of_offer(offer: &OpAmpConnectionSettings) -> Result<Self, String> {
        let headers = offer.headers.iter().flat_map(|all| &all.headers);
        let mut headers: Vec<_> = headers
            .map(|header| (header.key.clone(), header.value.clone()))
            .collect();
        // As a map of names writes itself; values of one name keep their order.
        headers.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        let tls = match &offer.certificate {
            // Asked for nothing, it verifies nothing.
            None => Tls {
                roots: None,
                identity: None,
            },
            Some(certificate) => {
                let (cert, key) = (&certificate.cert, &certificate.private_key);
                if cert.is_empty() != key.is_empty() {
                    return Err("a certificate without its key, or a key alone".to_owned());
                }
                Tls {
                    roots: Some(if certificate.ca_cert.is_empty() {
                        Roots::System
                    } else {
                        Roots::These(certificate.ca_cert.to_vec())
                    }),
                    identity: (!cert.is_empty()).then(|| (cert.to_vec(), key.to_vec())),
                }
            }
        };
        let server = Self {
            endpoint: offer.destination_endpoint.clone(),
            headers,
            tls,
        };
        server.transport().map(|_| server)
    }

    /// How messages travel to this endpoint.
    ///
    /// # Errors
    /// In words, when the endpoint is none.
    pub(super) fn transport(&self) -> Result<Transport, String> {
        match self.endpoint.split_once("://") {
            Some(("ws" | "wss", _)) => Ok(Transport::WebSocket),
            Some(("http" | "https", _)) => Ok(Transport::Http),
            _ if self.endpoint.is_empty() => Err("no endpoint".to_owned()),
            _ => Err("an endpoint of another scheme".to_owned()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Server")
            .field("endpoint", &self.endpoint)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}
