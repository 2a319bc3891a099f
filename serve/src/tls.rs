//! TLS of the server, for HTTP and for the PostgreSQL wire: one certificate, which is read again when its files change.
//!
//! A new certificate that cannot be read is no reason to stop: the one before it stays in use, and the log says why.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lake_schemas::Code;
use lake_store::LakeError;
use lake_store::locked::lock;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::bounded_file;

/// Interval at which the files are checked: a certificate is renewed weeks before it ends.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Time after which a check that still runs is reported.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Maximum size of a file, in bytes: a certificate with its chain has some thousand.
const FILE_BYTES_MAX: usize = 1 << 20;

/// ALPN protocol of HTTP clients.
const HTTP: &[u8] = b"http/1.1";

/// ALPN protocol of PostgreSQL clients.
const POSTGRESQL: &[u8] = b"postgresql";

/// A certificate and its key, from their files.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    now: Mutex<Now>,
}

/// Content of the files, and when they were written.
#[derive(Clone)]
struct Now {
    changed: [Option<SystemTime>; 2],
    /// Error of the last try to read the files; empty if it succeeded.
    complaint: String,
    http: TlsAcceptor,
    postgresql: TlsAcceptor,
}

impl Tls {
    /// Reads a file of certificates, the server's first, and a file of its key, both in PEM.
    pub fn new(certificate: &Path, key: &Path) -> Result<Self, LakeError> {
        let now = read(certificate, key)?;
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), now: Mutex::new(now) })
    }

    /// Returns the acceptor of HTTP connections.
    pub(super) fn http(&self) -> TlsAcceptor {
        lock(&self.now).http.clone()
    }

    /// Returns the acceptor of PostgreSQL connections.
    pub(super) fn postgresql(&self) -> TlsAcceptor {
        lock(&self.now).postgresql.clone()
    }

    /// Checks the files until told to stop. Connected clients keep the certificate that they have seen.
    pub(super) async fn keep_fresh(self: &Arc<Self>, stop: &CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let tls = Arc::clone(self);
            // Files may be on a slow disk, and a server that stops does not wait for it.
            let mut looking = tokio::task::spawn_blocking(move || tls.look());
            let looked = async {
                if let Ok(looked) = timeout(LOOK_LIMIT, &mut looking).await {
                    return looked;
                }
                let certificate = self.certificate.display();
                tracing::warn!(%certificate, "its disk does not answer; the certificate stays what it was");
                looking.await
            };
            if let Some(Err(error)) = stop.run_until_cancelled(looked).await {
                tracing::warn!(%error, "looking at the certificate");
            }
        }
    }

    /// Reads the files again, if they have changed. Files that cannot be read are tried again at each check, since only
    /// a permission or a descriptor may be missing, and are reported once.
    pub fn look(&self) {
        let changed = [changed(&self.certificate), changed(&self.key)];
        let is_known = {
            let now = lock(&self.now);
            changed == now.changed && now.complaint.is_empty()
        };
        if is_known {
            return;
        }
        match read(&self.certificate, &self.key) {
            Ok(now) => {
                *lock(&self.now) = now;
                tracing::info!(certificate = %self.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                let (complaint, mut now) = (error.to_string(), lock(&self.now));
                if now.complaint != complaint {
                    tracing::warn!(%error, "the certificate stays what it was");
                    now.complaint = complaint;
                }
            }
        }
    }
}

/// Returns when a file was last written, if it exists.
fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|known| known.modified()).ok()
}

fn read(certificate: &Path, key: &Path) -> Result<Now, LakeError> {
    // Taken before the files are read: a change meanwhile is then read at the next check.
    let changed = [changed(certificate), changed(key)];
    let wrong = |flag: &str, file: &Path, why: String| {
        LakeError::Refused(Code::TlsFiles.because(format!("{flag} {}: {why}", file.display())))
    };
    let unread = |flag: &str, file: &Path, error: io::Error| {
        LakeError::store(format!("{flag} {}: {error}", file.display()), error)
    };
    let chain = text(certificate).map_err(|error| unread(CERTIFICATE, certificate, error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(|error| wrong(CERTIFICATE, certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(CERTIFICATE, certificate, "there is no certificate in it; it is a file in PEM".to_owned()));
    }
    let secret = text(key).map_err(|error| unread(KEY, key, error))?;
    let secret = PrivateKeyDer::from_pem_slice(&secret)
        .map_err(|_| wrong(KEY, key, "there is no private key in it; it is a file in PEM".to_owned()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("it is the certificate of another key than {KEY} {}", key.display())
            }
            error => format!("it does not go with {KEY} {}: {error}", key.display()),
        })
        .map_err(|why| wrong(CERTIFICATE, certificate, why))?;
    let acceptor = |protocol: &[u8]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    };
    Ok(Now { changed, complaint: String::new(), http: acceptor(HTTP), postgresql: acceptor(POSTGRESQL) })
}

/// Flags that name the files.
const CERTIFICATE: &str = "--tls-cert";
const KEY: &str = "--tls-key";

/// Reads a file, unless it is larger than it may be.
fn text(file: &Path) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::other(format!("more than {FILE_BYTES_MAX} bytes are no certificate or key"));
    bounded_file::read(file, FILE_BYTES_MAX)?.ok_or_else(too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_read_without_end() {
        let said = |certificate: &str| match Tls::new(Path::new(certificate), Path::new("/dev/zero")) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{certificate} is no certificate"),
        };
        for certificate in ["/dev/zero", "/dev"] {
            let said = said(certificate);
            assert!(
                said.starts_with(&format!("--tls-cert {certificate}: it is a folder, a pipe or a device")),
                "{said}"
            );
        }
    }
}
