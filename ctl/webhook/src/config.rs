//! `[[webhook]]` of the configuration file, and what comes of it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ctl_api::model::{Name, NameError};
use http::Uri;
use http::uri::Scheme;
use reqwest::{Client, Url};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;

use crate::post::client;
use crate::signature::{self, Secret, SecretError};

/// Most receivers.
pub const MAX_WEBHOOKS: usize = 16;
/// Most events that may be pending for one receiver before they are coalesced.
const MAX_PENDING: usize = 1_000_000;

/// A `[[webhook]]`, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Name of the receiver.
    pub name: String,
    /// URL to which events are posted.
    pub url: String,
    /// The file that holds the secret which events are signed with.
    pub secret_file: PathBuf,
    /// A file of PEM certificates to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Limit of pending events; beyond it they are coalesced by virtual IP.
    #[serde(default = "default_pending")]
    pub pending: usize,
}

fn default_pending() -> usize {
    10_000
}

/// A receiver whose configuration is right.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) name: Name,
    pub(crate) pending: usize,
    pub(crate) secret: Secret,
    /// The URL that events are posted to.
    pub(crate) url: Url,
    /// The HTTP client, with connections of its own.
    pub(crate) client: Client,
}

/// Error in a `[[webhook]]` section, with its name.
#[derive(Debug, Error)]
#[error("webhook {name:?}: {problem}")]
pub struct ConfigError {
    /// Name, as written.
    pub name: String,
    /// Error in the section.
    pub problem: Problem,
}

/// Error in a `[[webhook]]` section.
#[derive(Debug, Error)]
pub enum Problem {
    /// Not a name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// Two of one name.
    #[error("its name stands there twice; give each a name of its own")]
    Twice,
    /// Too many receivers.
    #[error("it is one too many; at most {MAX_WEBHOOKS}: let one receiver pass events on")]
    TooMany,
    /// Not a URL that can be posted to.
    #[error(
        "url {0:?} is not a URL such as \"https://noc.example/bcast\": http or https, a host, no user and no fragment"
    )]
    Url(String),
    /// `pending` out of range.
    #[error("pending = {0} is out of range: 1 to {MAX_PENDING}")]
    Pending(usize),
    /// The secret cannot be read.
    #[error("cannot read secret_file {}: {reason}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The secret cannot be one.
    #[error("secret_file {}: {problem}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: SecretError,
    },
    /// The certificates cannot be read.
    #[error("ca_file {}: {reason}; it holds certificates in PEM", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A CA for a connection without TLS.
    #[error("ca_file is given, but the url is not https")]
    CaUnused,
    /// The system has no certificates to trust.
    #[error("the system has no certificates to trust ({0}); install ca-certificates, or set ca_file")]
    NoRoots(String),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A host that no certificate can be for.
    #[error("url: {0}")]
    Host(#[from] InvalidDnsNameError),
    /// The HTTP client cannot be made.
    #[error("HTTP: {0}")]
    Client(#[from] reqwest::Error),
}

impl WebhookConfig {
    /// Checks all of them, and reads their files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(webhooks: &[Self]) -> Result<Vec<Endpoint>, ConfigError> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for webhook in webhooks {
            let wrong = |problem| ConfigError { name: webhook.name.clone(), problem };
            let endpoint = webhook.endpoint().map_err(wrong)?;
            if endpoints.iter().any(|other| other.name == endpoint.name) {
                return Err(wrong(Problem::Twice));
            }
            if endpoints.len() == MAX_WEBHOOKS {
                return Err(wrong(Problem::TooMany));
            }
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }

    fn endpoint(&self) -> Result<Endpoint, Problem> {
        let name: Name = self.name.parse()?;
        if !(1..=MAX_PENDING).contains(&self.pending) {
            return Err(Problem::Pending(self.pending));
        }
        let wrong_url = || Problem::Url(self.url.clone());
        let uri: Uri = self.url.parse().map_err(|_| wrong_url())?;
        let authority = uri.authority().ok_or_else(wrong_url)?;
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        // `host:` and ports beyond 65535 parse as an authority, without a port.
        let has_port = authority.as_str() != authority.host();
        if !(secure || uri.scheme() == Some(&Scheme::HTTP))
            || authority.as_str().contains('@')
            || authority.host().is_empty()
            || self.url.contains('#')
            || has_port && authority.port_u16().is_none_or(|port| port == 0)
        {
            return Err(wrong_url());
        }
        let url: Url = self.url.parse().map_err(|_| wrong_url())?;
        if secure {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            ServerName::try_from(host.to_owned())?;
        }
        let tls = match (secure, &self.ca_file) {
            (true, ca_file) => tls(roots(ca_file.as_deref())?)?,
            (false, Some(_)) => return Err(Problem::CaUnused),
            (false, None) => tls(RootCertStore::empty())?,
        };
        let (secret, client) = (secret(&self.secret_file)?, client(tls)?);
        Ok(Endpoint { name, pending: self.pending, secret, url, client })
    }
}

fn secret(path: &Path) -> Result<Secret, Problem> {
    let read = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        if file.metadata()?.permissions().mode() & 0o007 != 0 {
            tracing::warn!(file = %path.display(), "others may read this secret; chmod o= it");
        }
        let mut bytes = Vec::new();
        file.take(signature::MOST as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|reason| Problem::SecretFile { path: path.into(), reason })?;
    Secret::new(&bytes).map_err(|problem| Problem::Secret { path: path.into(), problem })
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, Problem> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates to trust: the file's, or the system's.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Problem> {
    if let Some(path) = ca_file {
        return roots_of(path);
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(Problem::NoRoots(why));
    }
    Ok(roots)
}

fn roots_of(path: &Path) -> Result<RootCertStore, Problem> {
    let wrong = |reason: String| Problem::CaFile { path: path.into(), reason };
    let pem = fs::read(path).map_err(|reason| wrong(reason.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("no certificate is in it".to_owned())) } else { Ok(roots) }
}
