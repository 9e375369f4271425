//! Certificates and keys, read once at start: a wrong path is an error then, and not a node that seems misconfigured
//! for ever.

use crate::transport::{DialError, DialOptions, FileProblem, TlsIdentity};
use std::{fs, io, path::Path};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// What `tls://` nodes are checked with and shown.
#[derive(Clone)]
pub(super) struct Tls {
    authority: Option<Certificate>,
    identity: Option<Identity>,
    /// The name that certificates must carry, if it is not the address's host.
    name: Option<String>,
}

impl Tls {
    /// Reads every file that the options name. Tells all that cannot be used at once.
    pub(super) fn read(options: &DialOptions) -> Result<Self, DialError> {
        let mut problems = Vec::new();
        let mut file = |setting, path: &Path, kind| match read(path, kind) {
            Ok(pem) => Some(pem),
            Err(source) => {
                problems.push(FileProblem { setting, path: path.to_owned(), source });
                None
            }
        };
        let authority = options.tls_ca.as_ref().and_then(|path| file("tls_ca", path, Pem::Certificate));
        let pair = options.tls_identity.as_ref().map(|TlsIdentity { certificate, key }| {
            (file("tls_cert", certificate, Pem::Certificate), file("tls_key", key, Pem::Key))
        });
        if !problems.is_empty() {
            return Err(DialError::Files { problems });
        }
        let identity = match pair {
            Some((Some(certificate), Some(key))) => Some(Identity::from_pem(certificate, key)),
            Some(_) | None => None,
        };
        let tls =
            Self { authority: authority.map(Certificate::from_pem), identity, name: options.tls_server_name.clone() };
        tls.try_identity(options)?;
        Ok(tls)
    }

    /// What to say to a node, and what to expect from it.
    pub(super) fn config(&self, host: &str) -> ClientTlsConfig {
        let config = self.with_identity(ClientTlsConfig::new().domain_name(self.name.as_deref().unwrap_or(host)));
        match &self.authority {
            Some(authority) => config.ca_certificate(authority.clone()),
            None => config.with_native_roots(),
        }
    }

    fn with_identity(&self, config: ClientTlsConfig) -> ClientTlsConfig {
        match &self.identity {
            Some(identity) => config.identity(identity.clone()),
            None => config,
        }
    }

    /// Has the TLS library look at the pair, which it does only when a connection is configured.
    fn try_identity(&self, options: &DialOptions) -> Result<(), DialError> {
        let config = self.with_identity(ClientTlsConfig::new());
        match (Endpoint::from_static("https://localhost").tls_config(config), &options.tls_identity) {
            (Err(source), Some(TlsIdentity { certificate, key })) => Err(DialError::Identity {
                certificate: certificate.clone(),
                key: key.clone(),
                source: Box::new(source),
            }),
            // Whatever else is wrong is told for each node, with its address.
            (Err(_), None) | (Ok(_), _) => Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
enum Pem {
    Certificate,
    Key,
}

/// The TLS library takes a file without a certificate for one with none, and then trusts nobody.
fn read(path: &Path, kind: Pem) -> Result<Vec<u8>, io::Error> {
    let (marker, missing) = match kind {
        Pem::Certificate => (&b"-----BEGIN CERTIFICATE-----"[..], "the file holds no PEM certificate"),
        Pem::Key => (&b"PRIVATE KEY-----"[..], "the file holds no PEM key"),
    };
    let pem = fs::read(path)?;
    if pem.windows(marker.len()).any(|window| window == marker) {
        Ok(pem)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, missing))
    }
}
