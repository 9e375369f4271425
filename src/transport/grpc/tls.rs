//! Certificates and keys, read once at start: a wrong path is an error then, and not a node that seems misconfigured
//! for ever. TLS 1.2 or newer with ring, and HTTP/2 by ALPN.

use super::handshake::RawConnection;
use crate::transport::{DialError, DialOptions, FileProblem, TlsIdentity};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{error::Error, fs, io, path::Path, sync::Arc};
use tokio_rustls::TlsConnector;

const HTTP2: &[u8] = b"h2";

/// What `tls://` nodes are checked with and shown.
#[derive(Clone)]
pub(super) struct Tls {
    /// Instead of the system's.
    authorities: Option<Arc<RootCertStore>>,
    identity: Option<Arc<SingleCertAndKey>>,
    /// The name that certificates must carry, if it is not the address's host.
    name: Option<String>,
}

impl Tls {
    /// Reads every file that the options name. Tells all that cannot be used at once.
    pub(super) fn read(options: &DialOptions) -> Result<Self, DialError> {
        let mut problems = Vec::new();
        let authorities = options.tls_ca.as_ref().and_then(|path| {
            let found = certificates(path).and_then(|found| trusted(found).map_err(unusable));
            kept(found, "tls_ca", path, &mut problems)
        });
        let pair = options.tls_identity.as_ref().map(|TlsIdentity { certificate, key }| {
            let chain = kept(certificates(certificate), "tls_cert", certificate, &mut problems);
            (chain, kept(private_key(key), "tls_key", key, &mut problems))
        });
        if !problems.is_empty() {
            return Err(DialError::Files { problems });
        }
        let identity = match (pair, &options.tls_identity) {
            (Some((Some(chain), Some(key))), Some(TlsIdentity { certificate, key: path })) => {
                // Compares the two, so that a mixed-up pair is told at once.
                let certified =
                    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| DialError::Identity {
                        certificate: certificate.clone(),
                        key: path.clone(),
                        source: Box::new(source),
                    })?;
                Some(Arc::new(SingleCertAndKey::from(certified)))
            }
            _ => None,
        };
        Ok(Self { authorities: authorities.map(Arc::new), identity, name: options.tls_server_name.clone() })
    }

    /// What to say to a node at this host, and what to expect from it.
    pub(super) fn toward(&self, host: &str) -> Result<NodeTls, Box<dyn Error + Send + Sync>> {
        let authorities = match &self.authorities {
            Some(authorities) => Arc::clone(authorities),
            None => Arc::new(system()?),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities);
        let mut config = match &self.identity {
            Some(identity) => config.with_client_cert_resolver(Arc::clone(identity) as _),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        let name = ServerName::try_from(self.name.as_deref().unwrap_or(host).to_owned())?;
        Ok(NodeTls { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

/// How the TLS of one node is made.
pub(super) struct NodeTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl NodeTls {
    pub(super) async fn connect(&self, raw: RawConnection) -> io::Result<RawConnection> {
        let stream = self.connector.connect(self.name.clone(), raw).await?;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the node does not offer HTTP/2 over TLS"));
        }
        Ok(Box::new(stream))
    }
}

/// Named, for a process may have several or none installed.
fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// Authorities that the system trusts. It keeps a few that nobody can read; without any, no node could be trusted.
fn system() -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs).0 == 0 {
        return Err("the system has no certificates that can be read; name some as `tls_ca`".into());
    }
    Ok(roots)
}

fn trusted(found: Vec<CertificateDer<'static>>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    found.into_iter().try_for_each(|certificate| roots.add(certificate))?;
    Ok(roots)
}

/// At least one: the TLS library takes a file without a certificate for one with none, and then trusts nobody.
fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        // The library's error may repeat a line of the file.
        Ok(_) | Err(_) => Err(unusable("the file holds no PEM certificate")),
    }
}

fn private_key(path: &Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&fs::read(path)?).map_err(|_| unusable("the file holds no PEM key"))
}

fn unusable(why: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn kept<T>(found: io::Result<T>, setting: &'static str, path: &Path, problems: &mut Vec<FileProblem>) -> Option<T> {
    found.map_err(|source| problems.push(FileProblem { setting, path: path.to_owned(), source })).ok()
}
