//! TLS towards nodes, for links whose handshaker has to come after it. Other links leave TLS to tonic, which does the
//! same: TLS 1.2 or newer with ring, the configured authority or the system's roots, and HTTP/2 by ALPN.

use super::handshake::RawConnection;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{error::Error, io, sync::Arc};

const HTTP2: &[u8] = b"h2";

/// How the TLS of one node is made.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// For a node whose certificate carries `name` and comes from an authority of `authorities`, a PEM text, or from
    /// one that the system trusts.
    pub(super) fn new(name: &str, authorities: Option<&[u8]>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate?)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                // Systems keep a few certificates that nobody can read; without any, no node could be trusted.
                if roots.add_parsable_certificates(found.certs).0 == 0 {
                    return Err("the system has no certificates that can be read; name some as `tls_ca`".into());
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Self { config: Arc::new(config), name: ServerName::try_from(name.to_owned())? })
    }

    pub(super) async fn connect(self, raw: RawConnection) -> io::Result<RawConnection> {
        let stream = tokio_rustls::TlsConnector::from(self.config).connect(self.name, raw).await?;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the node does not offer HTTP/2 over TLS"));
        }
        Ok(Box::new(stream))
    }
}
