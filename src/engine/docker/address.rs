//! Finds the engine's address from `DOCKER_HOST`, `DOCKER_CERT_PATH` and `DOCKER_TLS_VERIFY`, or
//! their keys in the config.
//!
//! Finding an address touches no socket, because a server may start before its engine. Errors that
//! can be known without the engine (an unknown scheme, a missing certificate) are reported at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The path of Docker's default socket.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// The longest path that a socket can have.
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// bollard's own limit on the wait for an answer to begin. All timeouts are ours, so this limit
/// must never come first.
const NO_LIMIT_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

/// The address of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A port without encryption: any client that reaches it is root there.
    Tcp(String),
    /// A port with TLS and a client certificate.
    Tls {
        /// The address as `host:port`.
        host: String,
        /// The folder with `ca.pem`, `cert.pem` and `key.pem`.
        certificates: PathBuf,
    },
}

/// The error for an address at which no engine can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No engine speaks this scheme.
    #[error(
        "`{0}` is no engine's address: write one like `unix:///var/run/docker.sock` or `tcp://host:2376`"
    )]
    Unknown(String),
    /// A certificate file is missing or unreadable.
    #[error(
        "TLS to the engine wants `{0}`, and it cannot be read: `DOCKER_CERT_PATH` (or `cert_path`) names the folder that holds ca.pem, cert.pem and key.pem"
    )]
    NoCertificate(String),
    /// A certificate file exists and holds something else.
    #[error("TLS to the engine wants `{file}`, and it holds no {wanted} in PEM form")]
    BadCertificate {
        file: String,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// No socket can have this path.
    #[error(
        "`{0}` is no socket's path: it has to be absolute and at most {MAX_SOCKET_PATH_BYTES} bytes long"
    )]
    BadSocket(String),
    /// The value of this variable is not UTF-8.
    #[error(
        "`{0}` is set to what is not UTF-8: set it to an address such as `unix:///var/run/docker.sock`, or unset it"
    )]
    NotText(&'static str),
}

impl Address {
    /// Returns the address from the arguments, or from the environment, or the default socket.
    ///
    /// # Errors
    /// [`AddressError`] if no engine can be at the address.
    pub fn find(
        host: Option<&str>,
        cert_path: Option<&Path>,
        tls_verify: Option<bool>,
    ) -> Result<Self, AddressError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text =
            |value: OsString| value.into_string().map_err(|_| AddressError::NotText("DOCKER_HOST"));
        let host = host
            .map(str::to_owned)
            .map_or_else(|| variable("DOCKER_HOST").map(text).transpose(), |it| Ok(Some(it)))?;
        let certificates = cert_path
            .map(Path::to_owned)
            .or_else(|| variable("DOCKER_CERT_PATH").map(PathBuf::from));
        let tls = tls_verify
            .unwrap_or_else(|| variable("DOCKER_TLS_VERIFY").is_some_and(|value| value != "0"));
        Self::parse(host.as_deref(), certificates, tls)
    }

    fn parse(
        host: Option<&str>,
        certificates: Option<PathBuf>,
        tls: bool,
    ) -> Result<Self, AddressError> {
        let Some(host) = host else { return Ok(Self::Unix(DEFAULT_SOCKET.into())) };
        let unknown = || AddressError::Unknown(host.to_owned());
        match host.split_once("://") {
            Some(("unix", path)) => Self::socket(path),
            None if host.starts_with('/') => Self::socket(host),
            Some((scheme @ ("tcp" | "http" | "https"), place)) => {
                let place = place.trim_end_matches('/');
                if !place
                    .rsplit_once(':')
                    .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
                {
                    return Err(unknown());
                }
                if tls || scheme == "https" {
                    Self::with_tls(place, certificates)
                } else {
                    Ok(Self::Tcp(place.to_owned()))
                }
            }
            Some(_) | None => Err(unknown()),
        }
    }

    fn socket(path: &str) -> Result<Self, AddressError> {
        match path.starts_with('/') && path.len() <= MAX_SOCKET_PATH_BYTES {
            true => Ok(Self::Unix(path.into())),
            false => Err(AddressError::BadSocket(path.to_owned())),
        }
    }

    fn with_tls(place: &str, certificates: Option<PathBuf>) -> Result<Self, AddressError> {
        let certificates = certificates
            .or_else(|| Some(std::env::home_dir()?.join(".docker")))
            .unwrap_or_default();
        check_certificates(&certificates)?;
        Ok(Self::Tls { host: place.to_owned(), certificates })
    }

    /// Returns a client of the engine. Fails for a socket that does not exist yet.
    pub(super) fn client(&self) -> Result<Docker, bollard::errors::Error> {
        match self {
            Self::Unix(path) => Docker::connect_with_unix(
                &path.to_string_lossy(),
                NO_LIMIT_SECONDS,
                API_DEFAULT_VERSION,
            ),
            Self::Tcp(place) => Docker::connect_with_http(
                &format!("tcp://{place}"),
                NO_LIMIT_SECONDS,
                API_DEFAULT_VERSION,
            ),
            Self::Tls { host, certificates } => Docker::connect_with_ssl(
                &format!("tcp://{host}"),
                &certificates.join("key.pem"),
                &certificates.join("cert.pem"),
                &certificates.join("ca.pem"),
                NO_LIMIT_SECONDS,
                API_DEFAULT_VERSION,
            ),
        }
    }
}

/// Reads the three certificate files, because bollard would report no error. bollard leaves out a
/// client certificate that it cannot read, and the engine then answers "bad certificate".
fn check_certificates(folder: &Path) -> Result<(), AddressError> {
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        let file = folder.join(name);
        let text = std::fs::read(&file)
            .map_err(|_| AddressError::NoCertificate(file.display().to_string()))?;
        let (good, wanted) = match name {
            "key.pem" => (PrivateKeyDer::from_pem_slice(&text).is_ok(), "private key"),
            _ => (CertificateDer::from_pem_slice(&text).is_ok(), "certificate"),
        };
        if !good {
            return Err(AddressError::BadCertificate { file: file.display().to_string(), wanted });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_socket_or_a_port() {
        let parse = |text| Address::parse(text, None, false);
        assert_eq!(parse(None), Ok(Address::Unix(DEFAULT_SOCKET.into())));
        assert_eq!(
            parse(Some("unix:///run/podman.sock")),
            Ok(Address::Unix("/run/podman.sock".into()))
        );
        assert_eq!(parse(Some("tcp://docker:2375")), Ok(Address::Tcp("docker:2375".to_owned())));
        for wrong in ["docker", "ftp://docker:1", "tcp://docker", "tcp://:1", "tcp://docker:99999"]
        {
            assert_eq!(parse(Some(wrong)), Err(AddressError::Unknown(wrong.to_owned())));
        }
        for wrong in ["relative".to_owned(), format!("/{}", "x".repeat(107))] {
            let parsed = Address::parse(Some(&format!("unix://{wrong}")), None, false);
            assert_eq!(parsed, Err(AddressError::BadSocket(wrong)));
        }
    }

    #[test]
    fn tls_without_certificates_fails_at_once() {
        let error = Address::parse(Some("tcp://docker:2376"), Some("/nowhere".into()), true)
            .expect_err("no certificates");
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }

    #[test]
    fn invalid_certificate_file_fails_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), "nonsense").expect("written");
        let error = Address::parse(Some("tcp://docker:2376"), Some(folder.path().into()), true)
            .expect_err("no PEM");
        assert!(error.to_string().contains("ca.pem`, and it holds no certificate"), "{error}");
    }
}
